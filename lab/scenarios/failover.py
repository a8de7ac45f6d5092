# SPDX-License-Identifier: Apache-2.0
r"""An instance dies under load and the orchestrator alone finds a way: nothing unfiltered in between.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1 ips2                    ips1

The chain's IPS hop is `block`. The IPS that serves it loses power again and again; each time it comes back before the
next. Expected: traffic through the other one within 5 s, and no packet that arrives without having crossed an IPS.
"""

from __future__ import annotations

from lab.scenarios import arena
from lab.scenarios.judge import journeys, judge, recovery_ms
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ips, ngfw

TIMES, FAST_TIMES = 20, 1
RATE, FAST_RATE = 1000, 300
# The figure is the machine's as much as ours: the test suite shares its processors with other tests.
LIMIT_MS, FAST_LIMIT_MS = 5000, 60000
BOTH = frozenset(arena.KINDS["ips"])


def begin(play: Play) -> str:
    """1. A chain through a firewall and an IPS, whichever; datagrams flow."""
    stage = play.stage
    play.kept["chain"] = stage.chain("failover", [ngfw("fw1"), ips()], classifiers=CLASSIFIERS)
    stage.allow(frozenset({"fw1"}), BOTH)
    play.kept["traffic"] = stage.flowing_now(rate=play.times(RATE, FAST_RATE))
    play.kept["traffic"].flow_on(200)
    play.kept["deaths"] = []
    return f"{stage.serving(play.kept['chain'], 1)} serves"


def die(play: Play) -> str:
    """2. The IPS that serves loses power; when traffic flows again it comes back, and the other one is next."""
    stage, chain, count = play.stage, play.kept["chain"], play.times(TIMES, FAST_TIMES)
    for number in range(count):
        victim = stage.serving(chain, 1)
        play.kept["deaths"].append((stage.kill(victim), BOTH - {victim}))
        play.kept["traffic"].flow_on(100, 90.0)
        stage.wait_ready(chain)
        stage.mend(victim)
        stage.wait_sound()
        play.say(f"{number + 1} of {count}: {victim} died and is back")
    return f"{count} deaths"


def settle(play: Play) -> str:
    """3. From each death to the first datagram that was sent after it and arrived through the survivor."""
    seen = play.kept["traffic"].stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    for when_ns, survivor in play.kept["deaths"]:
        took_ms = recovery_ms(trips, when_ns, survivor)
        check(took_ms is not None, "nothing crossed the survivor")
        play.outcome.failover_ms.append(took_ms or 0.0)
    check(verdict.bypassed == 0, f"{verdict.bypassed} arrived unfiltered: {'; '.join(verdict.notes)}")
    check(verdict.misordered == 0 and verdict.duplicated == 0, "; ".join(verdict.notes))
    worst, limit_ms = max(play.outcome.failover_ms), play.times(LIMIT_MS, FAST_LIMIT_MS)
    check(worst < limit_ms, f"{worst:.0f} ms, and {limit_ms} are allowed")
    return play.outcome.line()


SCENARIO = Scenario(
    name="failover",
    title="An instance dies, the orchestrator finds another",
    expects="through the survivor within 5 s; nothing unfiltered in between",
    fabric=arena.write,
    steps=(begin, die, settle),
    is_fast=True,
)
