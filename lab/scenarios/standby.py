# SPDX-License-Identifier: Apache-2.0
r"""An instance dies and its switch goes round it at once, asking nobody; later the orchestrator makes it permanent.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1 fw3                     ips1

The firewall hop has a standby. The member that serves loses power again and again. Expected: traffic through the
standby in less than 1 s, and no packet that arrives without having crossed a firewall.
"""

from __future__ import annotations

import functools

from lab.client import Api
from lab.scenarios import arena
from lab.scenarios.judge import journeys, judge, recovery_ms
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ips, ngfw

TIMES, FAST_TIMES = 20, 1
RATE, FAST_RATE = 1000, 300
# The figure is the machine's as much as ours: the test suite shares its processors with other tests.
LIMIT_MS, FAST_LIMIT_MS, RETURN_S = 1000, 20000, 90.0
FIREWALLS, IPS = frozenset(arena.KINDS["ngfw"]), frozenset({"ips1"})


def begin(play: Play) -> str:
    """1. A chain through a firewall with a standby and through ips1; datagrams flow."""
    stage = play.stage
    hops = [ngfw(standby=1), ips("ips1")]
    play.kept["chain"] = stage.chain("standby", hops, classifiers=CLASSIFIERS)
    stage.allow(FIREWALLS, IPS)
    play.kept["traffic"] = stage.flowing_now(rate=play.times(RATE, FAST_RATE))
    play.kept["traffic"].flow_on(200)
    play.kept["deaths"] = []
    return f"{stage.serving(play.kept['chain'], 0)} serves"


def die(play: Play) -> str:
    """2. The firewall that serves loses power; when the chain is ready again it comes back, and the next one dies."""
    stage, chain, count = play.stage, play.kept["chain"], play.times(TIMES, FAST_TIMES)
    for number in range(count):
        victim = stage.serving(chain, 0)
        play.kept["deaths"].append((stage.kill(victim), FIREWALLS - {victim}))
        play.kept["traffic"].flow_on(100)
        Api.wait_until(functools.partial(_is_left, play, victim), "the way round to be permanent", RETURN_S)
        stage.wait_ready(chain)
        stage.mend(victim)
        stage.wait_sound()
        stage.wait_ready(chain)
        play.say(f"{number + 1} of {count}: {victim} died and is back")
    return f"{count} deaths"


def _is_left(play: Play, victim: str) -> bool:
    return play.stage.serving(play.kept["chain"], 0) != victim


def settle(play: Play) -> str:
    """3. From each death to the first datagram that was sent after it and arrived through the standby."""
    seen = play.kept["traffic"].stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    for when_ns, survivors in play.kept["deaths"]:
        took_ms = recovery_ms(trips, when_ns, survivors)
        check(took_ms is not None, "nothing crossed the standby")
        play.outcome.local_ms.append(took_ms or 0.0)
    check(verdict.bypassed == 0, f"{verdict.bypassed} arrived unfiltered: {'; '.join(verdict.notes)}")
    check(verdict.misordered == 0 and verdict.duplicated == 0, "; ".join(verdict.notes))
    worst, limit_ms = max(play.outcome.local_ms), play.times(LIMIT_MS, FAST_LIMIT_MS)
    check(worst < limit_ms, f"{worst:.0f} ms, and {limit_ms} are allowed")
    return play.outcome.line()


SCENARIO = Scenario(
    name="standby",
    title="A switch goes round a dead instance by itself",
    expects="through the standby in less than 1 s; nothing unfiltered in between",
    fabric=arena.write,
    steps=(begin, die, settle),
    is_fast=True,
)
