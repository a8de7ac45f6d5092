# SPDX-License-Identifier: Apache-2.0
r"""A group of firewalls shares a chain's flows: one dies, and comes back.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1 fw3                     fw2

Flows of 31 clients over three instances. Expected: every flow meets one member, the same in both directions; when a
member dies only its flows move; when it is back only they come back; every flow is answered all the time but for those
of the dead one.
"""

from __future__ import annotations

from lab.client import Api
from lab.scenarios import arena
from lab.scenarios.judge import Journey, journeys, judge
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ngfw

FLOWS, FAST_FLOWS = 310, 93
MEMBERS = frozenset(arena.KINDS["ngfw"])
RETURN_S = 90.0


def begin(play: Play) -> str:
    """1. A chain through a group of three firewalls; one datagram of every flow, there and back."""
    stage = play.stage
    play.kept["chain"] = stage.chain("group", [ngfw(instances=len(MEMBERS))], classifiers=CLASSIFIERS)
    stage.allow(MEMBERS)
    traffic = play.kept["traffic"] = stage.flowing_now(rate=0)
    play.kept["sample"] = traffic.sample(play.times(FLOWS, FAST_FLOWS), arena.CLIENTS)
    play.kept["rounds"] = {"before": _round(play)}
    return f"{play.times(FLOWS, FAST_FLOWS)} flows of {len(arena.CLIENTS)} clients were answered"


def dies(play: Play) -> str:
    """2. fw2 loses power: its flows move to the others."""
    play.stage.kill("fw2")
    Api.wait_until(lambda: all(play.kept["sample"].round().values()), "every flow to be answered", RETURN_S)
    play.stage.wait_ready(play.kept["chain"])
    play.kept["rounds"]["without"] = _round(play)
    return "every flow is answered by two members"


def back(play: Play) -> str:
    """3. fw2 is back, and so are its flows."""
    stage, sample = play.stage, play.kept["sample"]
    stage.mend("fw2")
    with stage.lab.capture("fw2", "out") as capture:
        Api.wait_until(lambda: sample.round() and capture.packets(), "the member to be used again", RETURN_S)
    stage.wait_ready(play.kept["chain"])
    play.kept["rounds"]["again"] = _round(play)
    return "every flow is answered"


def settle(play: Play) -> str:
    """4. Which member each flow met, there and back, in each of the three rounds."""
    seen = play.kept["traffic"].stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    rounds = {name: _members(trips, number) for name, number in play.kept["rounds"].items()}
    before, without, again = rounds["before"], rounds["without"], rounds["again"]
    check(verdict.bypassed == 0 and verdict.misordered == 0, "; ".join(verdict.notes))
    shares = {name: sum(1 for member in before.values() if member == name) for name in sorted(MEMBERS)}
    check(all(shares.values()), f"not shared: {shares}")
    moved = {flow for flow in before if without[flow] != before[flow]}
    check(all(before[flow] == "fw2" for flow in moved), "flows of members that live have moved")
    check(all(without[flow] != "fw2" for flow in without), "a flow met the dead member")
    astray = sum(again[flow] != before[flow] for flow in before)
    check(not astray, f"{astray} flows did not come back to where they were")
    return f"shares {shares}; {len(moved)} of {len(before)} flows moved, all of fw2's, and came back; both ways alike"


def _round(play: Play) -> int:
    """The number of a round in which every flow is answered."""
    sample = play.kept["sample"]
    answered = sample.round()
    check(all(answered.values()), f"{sum(answered.values())} of {len(answered)} flows were answered")
    return int(sample.rounds) - 1


def _members(trips: dict[tuple[int, int], Journey], number: int) -> dict[int, str]:
    """Flow -> its member. Errors: Untrue if it met another one on the way back."""
    found = {}
    for (stream, of), trip in trips.items():
        if of == number:
            both = f"{trip.visits} and {trip.answer_visits}"
            check(trip.visits == trip.answer_visits and len(trip.visits) == 1, both)
            found[stream] = trip.visits[0]
    return found


SCENARIO = Scenario(
    name="groups",
    title="A group of firewalls loses a member and gets it back",
    expects="the same member both ways; only the lost member's flows move, and only they come back",
    fabric=arena.write,
    steps=(begin, dies, back, settle),
)
