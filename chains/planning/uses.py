# SPDX-License-Identifier: Apache-2.0
"""What a compiled chain takes: of offers and of links. Called by plan; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import ceil

from chains.planning.branches import Tail
from chains.planning.candidates import Context, entries_needed
from chains.planning.compile import Compiled
from chains.planning.paths import LINK, Stop, backwards
from chains.planning.placement import Solution
from chains.planning.routes import Route
from chains.planning.types import Chain, Endpoint, LinkUse, OfferUse, Realm, Reason, Refused

Arc = tuple[Endpoint, Endpoint]


def offer_uses(context: Context, solution: Solution) -> tuple[OfferUse, ...]:
    """A member of a group takes its buckets' part; a backup is ready for the largest part that it stands in for."""
    mbps = context.chain.bandwidth_mbps
    found: list[OfferUse] = []
    for layer, (hop, group) in enumerate(zip(solution.layers, solution.groups, strict=True)):
        for spot in group.members:
            entries = entries_needed(context, hop) if spot.offers[0].realm == Realm.SWITCH else 0
            part = sum(share.part for share in solution.shares if share.spots[layer] is spot)
            taken = ceil(round(mbps * part, 6)) if len(group.members) > 1 else -(-mbps // len(spot.offers))
            found.extend(OfferUse(hop.position, offer.name, taken, entries) for offer in spot.offers)
        for backup in group.backups:
            parts: dict[str, float] = defaultdict(float)
            for share in solution.shares:
                if share.backups[layer] is backup:
                    parts[share.spots[layer].device] += share.part
            reserved = ceil(round(mbps * max(parts.values(), default=0.0), 6))
            found.append(OfferUse(hop.position, backup.offers[0].name, reserved, 0))
    found.extend(OfferUse(hop.position, spot.offers[0].name, 0, 0) for hop, spot in solution.taps)
    return tuple(found)


def tail_uses(context: Context, tail: Tail | None) -> tuple[OfferUse, ...]:
    """Of the hops of a branch: all packets may be marked."""
    return offer_uses(context, tail.placed) if tail is not None else ()


def link_uses(chain: Chain, compiled: Compiled) -> tuple[LinkUse, ...]:
    """Both directions of every pair; a pair may carry all of the chain's bandwidth, its shares their parts."""
    most: dict[Arc, float] = {}
    for arcs in _arcs(compiled).values():
        for arc, times in arcs.items():
            most[arc] = max(most.get(arc, 0.0), times)
    found = []
    for ends, link in compiled.tags.links.items():
        from_a, from_b = most.get((link.a, link.b), 0.0), most.get((link.b, link.a), 0.0)
        tags = tuple(sorted(tag for (cable, _), tag in compiled.tags.crossings.items() if cable == ends))
        if from_a or from_b or tags:
            found.append(LinkUse(link.a, link.b, _mbps(chain, from_a), _mbps(chain, from_b), tags))
    return tuple(sorted(found, key=lambda use: (use.a, use.b)))


def refuse_full(chain: Chain, solution: Solution, compiled: Compiled) -> None:
    """Placement sees to links but for shares and copies: those are known only now. Errors: Refused."""
    is_plain = len(solution.shares) == 1 and not solution.taps
    if is_plain and not any(route.tails for route in compiled.routes):
        return
    links = {(link.a, link.b): link for link in compiled.tags.links.values()}
    for use in link_uses(chain, compiled):
        link = links[use.a, use.b]
        free = (link.capacity_mbps - link.used_from_a_mbps, link.capacity_mbps - link.used_from_b_mbps)
        if use.from_a_mbps > free[0] or use.from_b_mbps > free[1]:
            detail = (
                f"the shares and copies of the chain need {max(use.from_a_mbps, use.from_b_mbps)} Mb/s on the link "
                f"{link.a.device}:{link.a.port} - {link.b.device}:{link.b.port}, {min(free)} Mb/s are free"
            )
            raise Refused((Reason("no-route", detail),), solution.placement)


def _arcs(compiled: Compiled) -> Mapping[Arc, Mapping[Arc, float]]:
    """By pair of attachments: how many times the chain's bandwidth goes over each link, in each direction."""
    found: dict[Arc, dict[Arc, float]] = {}
    for route in compiled.routes:
        ends = (route.pair.source.switch, route.pair.destination.switch)
        arcs = found.setdefault(ends, defaultdict(float))
        for stop, times in _crossings(route):
            end = Endpoint(stop.device, stop.egress)
            arcs[end, compiled.tags.peers[end]] += times * route.share.part
    return found


def _crossings(route: Route) -> list[tuple[Stop, int]]:
    """A copy is made of both directions; ways round a lost hop carry only what that hop does not."""
    ways = [(route.forward, 1), (backwards(route.forward), 1), *((mirror.way, 2) for mirror in route.mirrors)]
    ways += [(way, 1) for way in route.tails[:1]]
    return [(stop, times) for way, times in ways for stop in way if stop.leaves == LINK]


def _mbps(chain: Chain, times: float) -> int:
    return ceil(round(times * chain.bandwidth_mbps, 6))
