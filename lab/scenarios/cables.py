# SPDX-License-Identifier: Apache-2.0
r"""A cable between switches goes dead, a switch dies and comes back empty: another way is found, nothing unfiltered.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1                         ips1

First the cable leaf1 - spine1 goes, and comes back; then spine2, which is then on the way, loses power; then it comes
back empty and spine1 loses power. Expected: each time packets flow again over what is left, none without its functions,
and a switch that came back empty is programmed before it is used.
"""

from __future__ import annotations

from lab.scenarios import arena
from lab.scenarios.judge import journeys, judge, recovery_ms
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ips, ngfw

RATE, FAST_RATE = 1000, 300
FIREWALL, IPS = frozenset({"fw1"}), frozenset({"ips1"})


def begin(play: Play) -> str:
    """1. A chain through fw1 and ips1, which stand at different leaves; datagrams flow over spine1, the nearer one."""
    stage = play.stage
    play.kept["chain"] = stage.chain("cables", [ngfw("fw1"), ips("ips1")], classifiers=CLASSIFIERS)
    play.kept["traffic"] = stage.flowing_now(rate=play.times(RATE, FAST_RATE))
    play.kept["traffic"].flow_on(200)
    play.kept["events"] = []
    return "datagrams flow"


def cable(play: Play) -> str:
    """2. The cable leaf1 - spine1 goes dead: datagrams go on over spine2. The cable comes back."""
    _event(play, play.stage.cut("leaf1", "spine1"))
    play.stage.mend("leaf1-spine1")
    return "over spine2"


def switch(play: Play) -> str:
    """3. spine2 loses power: datagrams go on over spine1. It comes back empty."""
    _event(play, play.stage.kill_switch("spine2"))
    play.stage.mend("spine2")
    return "over spine1"


def emptied(play: Play) -> str:
    """4. spine1 loses power: datagrams go on over spine2, which came back with nothing."""
    _event(play, play.stage.kill_switch("spine1"))
    play.stage.mend("spine1")
    return "over spine2 again"


def settle(play: Play) -> str:
    """5. No datagram arrived without having crossed fw1 and ips1, there and back."""
    seen = play.kept["traffic"].stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    for when_ns in play.kept["events"]:
        took_ms = recovery_ms(trips, when_ns)
        check(took_ms is not None, "nothing arrived any more")
        play.outcome.reroute_ms.append(took_ms or 0.0)
    check(verdict.bypassed == 0, f"{verdict.bypassed} arrived unfiltered: {'; '.join(verdict.notes)}")
    check(verdict.misordered == 0 and verdict.duplicated == 0, "; ".join(verdict.notes))
    return play.outcome.line()


def _event(play: Play, when_ns: int) -> None:
    play.kept["events"].append(when_ns)
    play.kept["traffic"].flow_on(100, 60.0)
    play.stage.wait_ready(play.kept["chain"])


SCENARIO = Scenario(
    name="cables",
    title="Cables and switches go and come back empty",
    expects="packets flow again over what is left, none without its functions",
    fabric=arena.write,
    steps=(begin, cable, switch, emptied, settle),
)
