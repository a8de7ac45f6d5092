# SPDX-License-Identifier: Apache-2.0
r"""Carrier-grade NAT in the middle of a chain, and the loss of the one that serves.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- inet
   fw1 ips2                    ips1 cgn1 cgn2

Outbound packets cross the firewall, then the CGN, then the IPS, which sees public addresses; answers come to the pool
and cross the same three backwards. Then the CGN loses power. Expected: nothing leaves untranslated, answers find the
subscriber, and new flows go through the other CGN and its own pool.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from lab.scenarios import arena
from lab.scenarios.judge import RECEIVER, journeys, judge, recovery_ms
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, cgn, ips, ngfw

RATE, FAST_RATE = 500, 200
FLOWS = 60
BOTH = frozenset(arena.KINDS["cgn"])


def begin(play: Play) -> str:
    """1. A chain to the outside through firewall, CGN and IPS; datagrams flow, and their sources are of the pool."""
    stage = play.stage
    hops = [ngfw("fw1"), cgn(), ips("ips1")]
    play.kept["chain"] = stage.chain("nat", hops, destination="outside", classifiers=CLASSIFIERS)
    stage.allow(frozenset({"fw1"}), BOTH, frozenset({"ips1"}))
    traffic = play.kept["traffic"] = stage.flowing_now(sink="inet", rate=play.times(RATE, FAST_RATE))
    traffic.flow_on(200)
    play.kept["first"] = stage.serving(play.kept["chain"], 1)
    return f"{play.kept['first']} translates to {_sources(play)}"


def many(play: Play) -> str:
    """2. Flows from 31 subscribers at once: each gets its answers."""
    sample = play.kept["sample"] = play.kept["traffic"].sample(FLOWS, arena.CLIENTS)
    answered = sample.round()
    check(all(answered.values()), f"{sum(answered.values())} of {FLOWS} flows were answered")
    return f"{FLOWS} flows of {len(arena.CLIENTS)} subscribers were answered"


def dies(play: Play) -> str:
    """3. The CGN loses power: flows go on through the other one, from its own pool."""
    stage, first = play.stage, play.kept["first"]
    play.kept["death"] = stage.kill(first)
    play.kept["traffic"].flow_on(100, 60.0)
    stage.wait_ready(play.kept["chain"])
    answered = play.kept["sample"].round()
    check(all(answered.values()), f"{sum(answered.values())} of {FLOWS} flows were answered")
    other = next(iter(BOTH - {first}))
    pools = {name: ip_network(pool) for name, pool in arena.POOLS.items()}
    sources = _sources(play)
    check(any(ip_address(one) in pools[other] for one in sources), f"nothing came from the pool of {other}: {sources}")
    check(all(any(ip_address(one) in pool for pool in pools.values()) for one in sources), f"untranslated: {sources}")
    return f"through {other}; sources {sources}"


def settle(play: Play) -> str:
    """4. Every datagram and every answer crossed all three, in order."""
    seen = play.kept["traffic"].stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    other = BOTH - {play.kept["first"]}
    took_ms = recovery_ms(trips, play.kept["death"], other)
    check(took_ms is not None, "nothing crossed the other CGN")
    play.outcome.failover_ms.append(took_ms or 0.0)
    check(verdict.bypassed == 0, f"{verdict.bypassed} past a function: {'; '.join(verdict.notes)}")
    check(verdict.misordered == 0 and verdict.duplicated == 0, "; ".join(verdict.notes))
    check(any(one.place == RECEIVER for one in seen), "nothing arrived")
    return play.outcome.line()


def _sources(play: Play) -> list[str]:
    """Where the receiver says that datagrams came from."""
    return sorted({source for tally in play.kept["traffic"].server.tallies() for source in tally.sources})


SCENARIO = Scenario(
    name="nat",
    title="NAT in the middle of a chain",
    expects="nothing untranslated, answers by the same way back; through the other CGN when one dies",
    fabric=arena.write,
    steps=(begin, many, dies, settle),
)
