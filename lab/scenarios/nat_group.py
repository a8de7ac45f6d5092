# SPDX-License-Identifier: Apache-2.0
r"""Two carrier-grade NATs side by side as a group: every subscriber has one of them, both ways.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- inet
   fw1                         ips1 cgn1 cgn2

Flows of 31 subscribers to the outside. Expected: both CGNs translate; all flows of a subscriber leave by one of them,
from its pool and from one address of it, and their answers come back through the same one; when one dies only its
subscribers move, and nothing leaves untranslated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from lab.client import Api
from lab.scenarios import arena
from lab.scenarios.judge import Journey, journeys, judge
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, cgn, ips, ngfw

FLOWS, FAST_FLOWS = 310, 93
BOTH = frozenset(arena.KINDS["cgn"])
POOLS = {name: ip_network(pool) for name, pool in arena.POOLS.items()}
RETURN_S = 90.0


def begin(play: Play) -> str:
    """1. A chain to the outside through a firewall, a group of two CGNs and an IPS; one datagram of every flow."""
    stage = play.stage
    hops = [ngfw("fw1"), cgn(instances=2), ips("ips1")]
    play.kept["chain"] = stage.chain("nat-group", hops, destination="outside", classifiers=CLASSIFIERS)
    stage.allow(frozenset({"fw1"}), BOTH, frozenset({"ips1"}))
    traffic = play.kept["traffic"] = stage.flowing_now(sink="inet", rate=0)
    play.kept["sample"] = traffic.sample(play.times(FLOWS, FAST_FLOWS), arena.CLIENTS)
    play.kept["rounds"] = {"before": _round(play)}
    return f"{play.times(FLOWS, FAST_FLOWS)} flows of {len(arena.CLIENTS)} subscribers were answered"


def dies(play: Play) -> str:
    """2. cgn1 loses power: its subscribers go on through cgn2."""
    play.stage.kill("cgn1")
    Api.wait_until(lambda: all(play.kept["sample"].round().values()), "every flow to be answered", RETURN_S)
    play.stage.wait_ready(play.kept["chain"])
    play.kept["rounds"]["without"] = _round(play)
    return "every flow is answered"


def settle(play: Play) -> str:
    """3. Which CGN each flow met, there and back, and from which address it left."""
    traffic = play.kept["traffic"]
    sources = {tally.stream: tally.sources for tally in traffic.server.tallies()}
    seen = traffic.stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    check(verdict.bypassed == 0 and verdict.misordered == 0, "; ".join(verdict.notes))
    check(verdict.duplicated == 0, f"{verdict.duplicated} doubled")
    before, without = (_members(trips, play.kept["rounds"][name]) for name in ("before", "without"))
    shares = {name: sum(member == name for member in before.values()) for name in sorted(BOTH)}
    check(all(shares.values()), f"not shared: {shares}")
    check(set(without.values()) == {"cgn2"}, f"after the death: {sorted(set(without.values()))}")
    for subscriber, streams in _subscribers(before).items():
        members = {before[stream] for stream in streams}
        check(len(members) == 1, f"{subscriber} met {sorted(members)}")
        public = {source for stream in streams for source in sources[stream]}
        # One address of each CGN that served it: paired pooling, RFC 6888 section 3.
        wanted = sorted(members | {"cgn2"})
        found = sorted(name for one in public for name, pool in POOLS.items() if ip_address(one) in pool)
        check(found == wanted and len(public) == len(wanted), f"{subscriber} left as {sorted(public)}, by {wanted}")
    return f"shares {shares}, both ways alike, one of them for each of {len(_subscribers(before))} subscribers"


def _members(trips: Mapping[tuple[int, int], Journey], number: int) -> dict[int, str]:
    """Flow -> its CGN. Errors: Untrue if it came back by another way."""
    found = {}
    for (stream, of), trip in trips.items():
        if of == number:
            there, back = trip.visits, trip.answer_visits
            check(there == back[::-1] and len(there) == 3, f"there {there}, back {back}")
            found[stream] = there[1]
    return found


def _subscribers(flows: Iterable[int]) -> dict[str, list[int]]:
    """Subscriber -> its flows: the sample deals them out in turn."""
    found: dict[str, list[int]] = defaultdict(list)
    for index, stream in enumerate(sorted(flows)):
        found[arena.CLIENTS[index % len(arena.CLIENTS)]].append(stream)
    return found


def _round(play: Play) -> int:
    """The number of a round in which every flow is answered."""
    sample = play.kept["sample"]
    answered = sample.round()
    check(all(answered.values()), f"{sum(answered.values())} of {len(answered)} flows were answered")
    return int(sample.rounds) - 1


SCENARIO = Scenario(
    name="nat-group",
    title="Two CGNs side by side as a group",
    expects="each subscriber has one CGN, both ways; only those of the lost one move; nothing untranslated",
    fabric=arena.write,
    steps=(begin, dies, settle),
)
