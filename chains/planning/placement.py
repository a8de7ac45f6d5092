# SPDX-License-Identifier: Apache-2.0
"""Choose where every hop of one chain runs, at least cost, or say why nowhere.

A layered graph: one layer for each hop, a node for each candidate, arcs priced by the least-cost
way between them. Dynamic programming finds the optimum of the relaxed problem; what a layered graph
cannot see (a device or a link used twice) is repaired by branch and bound, so the answer is exact.
Method: stage DP as in Bari et al., "On orchestrating virtual network functions", CNSM 2015.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chains.planning.candidates import AT_DESTINATION, AT_SOURCE, Context, Spot, spots
from chains.planning.groups import Priced, grouped
from chains.planning.routing import INFINITE, LATENCY_COST_PER_US, Arc, Graph, cables, graph, unfit_links
from chains.planning.shares import Group, Share, divided
from chains.planning.types import (
    Buckets,
    Candidate,
    Capability,
    Endpoint,
    Hop,
    HopPlacement,
    Placement,
    Realm,
    Reason,
    Refused,
)

MAX_BRANCHES = 400
# How often the price of latency is raised before a latency budget is called unreachable.
LATENCY_RAISES = 12

Banned = frozenset[tuple[int, str]]
Closed = frozenset[tuple[int, Arc]]


@dataclass(frozen=True, slots=True)
class Solution:
    """layers: the hops on the way that are realised (bypassed ones left out), groups in the same order.

    closed: (leg, arc) that a way may not use; leg i leads to layer i, the last to the destination. shares: parts of the
    traffic that meet the same members; held: the buckets that made them, by function.
    """

    layers: tuple[Hop, ...]
    groups: tuple[Group, ...]
    closed: Closed
    graph: Graph
    placement: Placement
    shares: tuple[Share, ...] = ()
    held: Mapping[str, Buckets] = field(default_factory=dict)
    taps: tuple[tuple[Hop, Spot], ...] = ()

    @property
    def spots(self) -> tuple[Spot, ...]:
        """The first member of each group."""
        return tuple(group.members[0] for group in self.groups)

    def way(self, leg: int, start: str, end: str) -> tuple[Arc, ...]:
        found = self.graph.way(start, end, _closed_on(self.closed, leg))
        assert found is not None, "placement only chooses what is reachable"
        return found


def place(context: Context) -> Solution:
    """The least-cost solution. Errors: Refused with a reason for each hop that has no candidate.

    Where the latency budget binds, latency is priced up until the budget holds (Lagrangian
    relaxation, as LARAC by Juttner et al., INFOCOM 2001): feasible, not always the cheapest.
    """
    chain = context.chain
    weight = context.fabric.prices.latency_per_us
    for _ in range(LATENCY_RAISES):
        priced = replace(context, latency_weight=weight, cables=context.cables or cables(context.fabric))
        solution = _place(priced, graph(context.fabric, chain, weight))
        if chain.latency_budget_us is None or solution.placement.latency_us <= chain.latency_budget_us:
            return solution
        weight = 4 * max(weight, LATENCY_COST_PER_US)
    reason = Reason(
        "latency",
        f"the fastest placement takes {solution.placement.latency_us} us one way, the budget is "
        f"{chain.latency_budget_us} us: raise the budget or drop a hop",
    )
    raise Refused((reason,), solution.placement)


def _place(context: Context, ways: Graph) -> Solution:
    found = [(hop, *spots(context, hop)) for hop in context.chain.hops if hop.capability is not Capability.TAP]
    _refuse_empty(context, found)
    layers = tuple(hop for hop, able, _ in found if able)
    options = tuple(able for _, able, _ in found if able)
    problem = _Problem(context, ways, layers, options)
    chosen, cost, banned, closed = problem.solve()
    groups = grouped(context, layers, chosen, _priced_spots(problem, banned, closed))
    parts = divided(context.chain, groups, context.matches)
    placement = _explain(problem, found, groups, cost, banned, closed)
    latency_us = max(_latency_us(problem, share.spots, closed) for share in parts.shares)
    placement = replace(placement, latency_us=latency_us)
    return Solution(layers, groups, closed, ways, placement, parts.shares, parts.held)


def _priced_spots(problem: _Problem, banned: Banned, closed: Closed) -> tuple[Priced, ...]:
    """Of each layer: every candidate with what the whole chain costs through it, the others at their best."""
    if all(hop.instances + hop.standby == 1 for hop in problem.layers):
        return ()
    forward, backward = problem.forward(banned, closed), problem.backward(banned, closed)
    return tuple(
        tuple((spot, forward[layer][index][0] + backward[layer][index]) for index, spot in enumerate(options))
        for layer, options in enumerate(problem.options)
    )


@dataclass(frozen=True, slots=True)
class _Problem:
    context: Context
    ways: Graph
    layers: tuple[Hop, ...]
    options: tuple[tuple[Spot, ...], ...]
    _costs: dict[tuple[str, str, frozenset[Arc]], float] = field(default_factory=dict)

    def solve(self) -> tuple[tuple[Spot, ...], float, Banned, Closed]:
        """Best first over what is banned; the first solution without a conflict is optimal."""
        queue: list[tuple[float, int, tuple[Spot, ...], Banned, Closed]] = []
        seen: set[tuple[Banned, Closed]] = set()

        def add(banned: Banned, closed: Closed) -> None:
            if (banned, closed) in seen:
                return
            seen.add((banned, closed))
            best = self.relaxed(banned, closed)
            if best is not None:
                heapq.heappush(queue, (best[1], len(seen), best[0], banned, closed))

        add(frozenset(), frozenset())
        while queue and len(seen) < MAX_BRANCHES:
            cost, _, chosen, banned, closed = heapq.heappop(queue)
            branches = self.conflict(chosen, closed)
            if not branches:
                return chosen, cost, banned, closed
            for extra_banned, extra_closed in branches:
                add(banned | extra_banned, closed | extra_closed)
        detail = (
            "no way with enough free bandwidth visits the functions in order (links whose ends share no tag "
            "are left out): free capacity or add an offer"
        )
        unfit = unfit_links(self.context.fabric, self.context.chain)
        if unfit:
            detail = f"{detail}. Left out as well: {'; '.join(unfit)}"
        raise Refused((Reason("no-route", detail),))

    def relaxed(self, banned: Banned, closed: Closed) -> tuple[tuple[Spot, ...], float] | None:
        """Forward dynamic programming over the layers; None if the end cannot be reached."""
        forward = self.forward(banned, closed)
        end = Endpoint(AT_DESTINATION, "")
        legs = len(self.layers)
        if not legs:
            cost = self.leg_cost(0, Endpoint(AT_SOURCE, ""), end, closed)
            return ((), cost) if cost < INFINITE else None
        finals = [
            (cost + self.leg_cost(legs, spot.exit, end, closed), index)
            for index, (spot, (cost, _)) in enumerate(zip(self.options[-1], forward[-1], strict=True))
        ]
        cost, index = min(finals)
        if cost == INFINITE:
            return None
        chosen: list[Spot] = []
        for layer in range(legs - 1, -1, -1):
            chosen.append(self.options[layer][index])
            index = forward[layer][index][1]
        return tuple(reversed(chosen)), cost

    def forward(self, banned: Banned, closed: Closed) -> list[list[tuple[float, int]]]:
        """[layer][option] -> (cost from the source up to and with it, index in the layer before)."""
        table: list[list[tuple[float, int]]] = []
        for layer, options in enumerate(self.options):
            row: list[tuple[float, int]] = []
            for spot in options:
                if (layer, spot.candidate.offers[0]) in banned:
                    row.append((INFINITE, 0))
                elif layer == 0:
                    cost = self.leg_cost(0, Endpoint(AT_SOURCE, ""), spot.entry, closed)
                    row.append((cost + spot.candidate.cost, 0))
                else:
                    arrivals = (
                        (table[-1][i][0] + self.leg_cost(layer, before.exit, spot.entry, closed), i)
                        for i, before in enumerate(self.options[layer - 1])
                    )
                    cost, index = min(arrivals)
                    row.append((cost + spot.candidate.cost, index))
            table.append(row)
        return table

    def backward(self, banned: Banned, closed: Closed) -> list[list[float]]:
        """[layer][option] -> cost from after it to the destination."""
        end = Endpoint(AT_DESTINATION, "")
        rows = [[self.leg_cost(len(self.layers), spot.exit, end, closed) for spot in self.options[-1]]]
        for layer in range(len(self.layers) - 1, 0, -1):
            rows.append(
                [
                    min(
                        self.leg_cost(layer, spot.exit, after.entry, closed)
                        + after.candidate.cost
                        + rows[-1][i]
                        if (layer, after.candidate.offers[0]) not in banned
                        else INFINITE
                        for i, after in enumerate(self.options[layer])
                    )
                    for spot in self.options[layer - 1]
                ]
            )
        return list(reversed(rows))

    def leg_cost(self, leg: int, start: Endpoint, end: Endpoint, closed: Closed) -> float:
        """The mean over the attachments where an end of the chain is meant. A host spot has no way back in."""
        if start.device == end.device:
            return 0.0
        if end.device == AT_SOURCE or start.device == AT_DESTINATION:
            return INFINITE
        shut = _closed_on(closed, leg) if closed else frozenset()
        found = self._costs.get((start.device, end.device, shut))
        if found is None:
            ends = [(first, last) for first in self._devices(start) for last in self._devices(end)]
            costs = [self.ways.cost(first, last, shut) for first, last in ends]
            found = self._costs[start.device, end.device, shut] = sum(costs) / len(costs)
        return found

    def legs(self, chosen: Sequence[Spot], closed: Closed) -> list[list[tuple[int, tuple[Arc, ...]]]]:
        """For each pair of attachments the (leg, way) that lead there."""
        found = []
        for source in self._devices(Endpoint(AT_SOURCE, "")):
            for destination in self._devices(Endpoint(AT_DESTINATION, "")):
                here, ways = source, []
                stations = [
                    (leg, spot) for leg, spot in enumerate(chosen) if spot.offers[0].realm != Realm.HOST
                ]
                for leg, spot in stations:
                    ways.append((leg, self.ways.way(here, spot.entry.device, _closed_on(closed, leg)) or ()))
                    here = spot.exit.device
                last = len(chosen)
                ways.append((last, self.ways.way(here, destination, _closed_on(closed, last)) or ()))
                found.append(ways)
        return found

    def conflict(self, chosen: Sequence[Spot], closed: Closed) -> list[tuple[Banned, Closed]]:
        """The branches that each remove the first conflict found; [] if there is none."""
        users: dict[str, list[int]] = {}
        for layer, spot in enumerate(chosen):
            if spot.offers[0].realm != Realm.HOST:
                users.setdefault(spot.device, []).append(layer)
        for layers in users.values():
            if len(layers) > 1:
                return [
                    (frozenset({(layer, chosen[layer].candidate.offers[0])}), frozenset())
                    for layer in layers[:2]
                ]
        for ways in self.legs(chosen, closed):
            crossings = Counter(frozenset((arc.start, arc.end)) for _, way in ways for arc in way)
            for _, way in ways:
                for arc in way:
                    count = crossings[frozenset((arc.start, arc.end))]
                    if count * self.context.chain.bandwidth_mbps > arc.free_mbps:
                        return self._reroute(ways, arc)
        return []

    def _reroute(self, ways: list[tuple[int, tuple[Arc, ...]]], full: Arc) -> list[tuple[Banned, Closed]]:
        cable = {full.start, full.end}
        return [
            (frozenset(), frozenset({(leg, arc)}))
            for leg, way in ways
            for arc in way
            if {arc.start, arc.end} == cable
        ]

    def _devices(self, place: Endpoint) -> list[str]:
        chain = self.context.chain
        if place.device == AT_SOURCE:
            return [attachment.switch.device for attachment in chain.source.attachments]
        if place.device == AT_DESTINATION:
            return [attachment.switch.device for attachment in chain.destination.attachments]
        return [place.device]


def _closed_on(closed: Closed, leg: int) -> frozenset[Arc]:
    return frozenset(arc for at, arc in closed if at == leg)


Found = list[tuple[Hop, tuple[Spot, ...], tuple[Candidate, ...]]]


def _refuse_empty(context: Context, found: Found) -> None:
    reasons = []
    for hop, able, unable in found:
        if not able and hop.blocks:
            why = "; ".join(f"{', '.join(c.offers)}: {c.excluded}" for c in unable) or "nobody offers it"
            reasons.append(
                Reason("no-candidate", f"hop {hop.position + 1} ({hop.function}): {why}", hop.position)
            )
    if reasons:
        hops = tuple(HopPlacement(hop.position, hop.function, None, unable, "") for hop, _, unable in found)
        raise Refused(tuple(reasons), Placement(hops, 0.0, {}, 0))


def _explain(
    problem: _Problem, found: Found, groups: tuple[Group, ...], cost: float, banned: Banned, closed: Closed
) -> Placement:
    """Every candidate with what the whole chain would cost if this hop ran there."""
    hops: list[HopPlacement] = []
    backward = problem.backward(banned, closed) if problem.layers else []
    forward = problem.forward(banned, closed)
    terms: Counter[str] = Counter()
    layer = 0
    for hop, able, unable in found:
        if not able:
            why = "; ".join(f"{', '.join(c.offers)}: {c.excluded}" for c in unable) or "nobody offers it"
            hops.append(
                HopPlacement(hop.position, hop.function, None, unable, f"bypassed as the hop allows: {why}")
            )
            continue
        group = groups[layer]
        pick = group.members[0]
        terms.update(pick.candidate.cost_terms)
        others = []
        for index, spot in enumerate(able):
            total = forward[layer][index][0] + backward[layer][index]
            if spot not in group.members and spot not in group.backups:
                others.append(_priced(spot, total))
        others.sort(key=lambda candidate: (bool(candidate.excluded), candidate.cost, candidate.offers))
        hops.append(
            HopPlacement(
                hop.position,
                hop.function,
                _chosen(group, cost),
                (*others, *unable),
                _reason(group, cost, others),
                max(0, hop.instances + hop.standby - len(group.members) - len(group.backups)),
            )
        )
        layer += 1
    links = cost - sum(terms.values())
    return Placement(tuple(hops), round(cost, 6), _rounded({**terms, "links": links}), 0)


def _priced(spot: Spot, total: float) -> Candidate:
    if total == INFINITE:
        why = "no way in this order of hops: already serves another hop, or no link with room leads there"
        return replace(spot.candidate, cost=0.0, cost_terms={}, excluded=why)
    terms = {**spot.candidate.cost_terms, "rest of the chain": total - spot.candidate.cost}
    return replace(spot.candidate, cost=round(total, 6), cost_terms=_rounded(terms))


def _chosen(group: Group, cost: float) -> Candidate:
    """The first member's candidate; of a group with the names of all its members."""
    first = _priced(group.members[0], cost)
    if len(group.members) == 1:
        return first
    return replace(first, offers=tuple(spot.offers[0].name for spot in group.members))


def _reason(group: Group, cost: float, others: list[Candidate]) -> str:
    rivals = [other for other in others if not other.excluded]
    if group.hop.instances + group.hop.standby > 1:
        ready = ", ".join(spot.offers[0].name for spot in group.backups) or "nobody"
        return (
            f"{len(group.members)} of {group.hop.instances} wanted share the traffic, the cheapest that can serve; "
            f"kept ready: {ready}"
        )
    if not rivals:
        return "the only place that can serve this hop"
    runner_up = rivals[0]
    names = ", ".join(runner_up.offers)
    return f"the whole chain costs {cost:.3f} with it; next best is {names} at {runner_up.cost:.3f}"


def _latency_us(problem: _Problem, chosen: tuple[Spot, ...], closed: Closed) -> int:
    functions = sum(max(offer.latency_us for offer in spot.offers) + spot.hairpin_us for spot in chosen)
    ways = problem.legs(chosen, closed)
    return functions + max(
        (sum(arc.latency_us for _, way in pair for arc in way) for pair in ways), default=0
    )


def _rounded(terms: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in terms.items()}
