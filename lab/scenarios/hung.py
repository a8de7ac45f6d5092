# SPDX-License-Identifier: Apache-2.0
r"""An instance hangs with all its links up: the prober beside its switch finds out, and the switch goes round it.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1 fw3                     fw2

The firewall hop has a standby, and every firewall is asked through, ten times a second, by the prober at its leaf. The
member that serves stops forwarding again and again. Expected: traffic through another within 1 s, and no packet that
arrives without having crossed a firewall.
"""

from __future__ import annotations

from lab.scenarios import arena
from lab.scenarios.judge import journeys, judge, recovery_ms
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ngfw
from lab.wiring import ASKED, ASKED_PORT, ASKS

# Not more: an instance that comes and goes is held down from the third time on.
TIMES, FAST_TIMES = 3, 1
RATE, FAST_RATE = 1000, 300
LIMIT_MS, FAST_LIMIT_MS = 1000, 5000
FIREWALLS = frozenset(arena.KINDS["ngfw"])
PROBE = {
    "kind": "through", "source": ASKS, "destination": ASKED, "port": ASKED_PORT,
    "interval_ms": 100, "timeout_ms": 100, "rise": 3, "fall": 3, "fails_over": True,
}  # fmt: skip


def begin(play: Play) -> str:
    """1. Every firewall is asked through; a chain through one of them with a standby; datagrams flow."""
    stage = play.stage
    for box in sorted(FIREWALLS):
        stage.offer(box, probes=[PROBE])
    play.kept["chain"] = stage.chain("hung", [ngfw(standby=1)], classifiers=CLASSIFIERS)
    stage.allow(FIREWALLS)
    stage.wait_sound()
    play.kept["traffic"] = stage.flowing_now(rate=play.times(RATE, FAST_RATE))
    play.kept["traffic"].flow_on(200)
    play.kept["hangs"] = []
    return f"{stage.serving(play.kept['chain'], 0)} serves"


def hang(play: Play) -> str:
    """2. The firewall that serves gives nothing back; when the chain is ready it wakes up, and the next one hangs."""
    stage, chain, count = play.stage, play.kept["chain"], play.times(TIMES, FAST_TIMES)
    for number in range(count):
        victim = stage.serving(chain, 0)
        play.kept["hangs"].append((stage.swallow(victim), FIREWALLS - {victim}))
        play.kept["traffic"].flow_on(100)
        stage.wait_ready(chain)
        stage.mend(victim)
        stage.wait_sound()
        stage.wait_ready(chain)
        play.say(f"{number + 1} of {count}: {victim} hung and is back")
    return f"{count} times"


def settle(play: Play) -> str:
    """3. From each hang to the first datagram that was sent after it and arrived through another one."""
    stage, seen = play.stage, play.kept["traffic"].stop()
    for box in sorted(FIREWALLS):
        stage.offer(box, probes=[])
    verdict, trips = judge(seen, stage.eras), journeys(seen)
    play.outcome.add(verdict)
    for when_ns, survivors in play.kept["hangs"]:
        took_ms = recovery_ms(trips, when_ns, survivors)
        check(took_ms is not None, "nothing crossed another firewall")
        play.outcome.failover_ms.append(took_ms or 0.0)
    check(verdict.bypassed == 0, f"{verdict.bypassed} arrived unfiltered: {'; '.join(verdict.notes)}")
    check(verdict.misordered == 0 and verdict.duplicated == 0, "; ".join(verdict.notes))
    worst, limit_ms = max(play.outcome.failover_ms), play.times(LIMIT_MS, FAST_LIMIT_MS)
    check(worst < limit_ms, f"{worst:.0f} ms, and {limit_ms} are allowed")
    return play.outcome.line()


SCENARIO = Scenario(
    name="hung",
    title="An instance hangs with its links up, and its switch goes round it",
    expects="through another within 1 s; nothing unfiltered in between",
    fabric=arena.write,
    steps=(begin, hang, settle),
    is_fast=False,
)
