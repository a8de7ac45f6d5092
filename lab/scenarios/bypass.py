# SPDX-License-Identifier: Apache-2.0
r"""The last instance of a hop that may be bypassed dies: the hop is skipped, nothing else, and everybody is told.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1 ips2                    ips1

ips2 is switched off and ips1 dies. Expected: packets go on through the firewall alone; a finding and an audit entry say
so; when ips1 is back they cross it again.
"""

from __future__ import annotations

from lab.client import Api
from lab.scenarios import arena
from lab.scenarios.judge import journeys, judge, recovery_ms
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ips, ngfw

RATE, FAST_RATE = 1000, 300
FIREWALL, IPS = frozenset({"fw1"}), frozenset({"ips1"})
RETURN_S = 60.0


def begin(play: Play) -> str:
    """1. A chain through a firewall and an IPS that may be bypassed; there is no other IPS."""
    stage = play.stage
    stage.offer("ips2", is_enabled=False)
    hops = [ngfw("fw1"), ips(failure_mode="bypass")]
    play.kept["chain"] = stage.chain("bypass", hops, classifiers=CLASSIFIERS)
    play.kept["traffic"] = stage.flowing_now(rate=play.times(RATE, FAST_RATE))
    play.kept["traffic"].flow_on(200)
    return "datagrams cross fw1 and ips1"


def die(play: Play) -> str:
    """2. ips1 loses power: datagrams go on through the firewall alone."""
    stage = play.stage
    play.kept["death"] = stage.kill("ips1")
    stage.allow(FIREWALL, only=False)
    play.kept["traffic"].flow_on(200)
    Api.wait_until(lambda: not stage.serving(play.kept["chain"], 1), "the hop to be left out", RETURN_S)
    stage.wait_ready(play.kept["chain"])
    return "datagrams arrive, first because the switch goes round it, then because the chain does"


def told(play: Play) -> str:
    """3. A finding names the hop that is skipped, and the audit has it."""
    stage = play.stage
    found = Api.wait_until(
        lambda: [row for row in stage.operator.results("findings/?limit=100") if "bypass" in f"{row}".lower()],
        "a finding about the bypass", 20.0,
    )  # fmt: skip
    audit = [row for row in stage.operator.results("audit/?limit=200") if "bypass" in f"{row}".lower()]
    check(bool(audit), "the audit does not say that the hop is skipped")
    return str(found[0].get("detail") or found[0].get("title"))[:120]


def back(play: Play) -> str:
    """4. ips1 is back: datagrams cross it again."""
    stage = play.stage
    stage.mend("ips1")
    chain = play.kept["chain"]
    with stage.lab.capture("ips1", "out") as capture:
        Api.wait_until(lambda: len(capture.packets()) > 50, "datagrams to cross the IPS again", RETURN_S)
    stage.wait_ready(chain)
    stage.forbid(FIREWALL)
    play.kept["traffic"].flow_on(100)
    return "the chain is ready"


def settle(play: Play) -> str:
    """5. Every datagram that arrived had crossed the firewall; the last ones cross the IPS too."""
    seen = play.kept["traffic"].stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    took_ms = recovery_ms(trips, play.kept["death"])
    check(took_ms is not None, "nothing arrived after the death")
    play.outcome.local_ms.append(took_ms or 0.0)
    check(verdict.bypassed == 0, f"{verdict.bypassed} skipped more than the dead hop: {'; '.join(verdict.notes)}")
    last = max((trip for trip in trips.values() if trip.arrived_ns), key=lambda trip: trip.sent_ns)
    check("ips1" in last.visits, f"the last datagram crossed {last.visits}")
    return play.outcome.line()


SCENARIO = Scenario(
    name="bypass",
    title="A hop that may be bypassed loses its last instance",
    expects="the hop is skipped and nothing else, alarmed and audited; it is back in the way when its instance is",
    fabric=arena.write,
    steps=(begin, die, told, back, settle),
)
