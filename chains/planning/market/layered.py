# SPDX-License-Identifier: Apache-2.0
"""The exact search that a table cannot do: full arcs left out, arcs and resources counted as often as used.

A* over (hops served, node), guided by the tables' cost to go, which is never too high. What a layered graph
cannot see (an arc or a resource used twice) is repaired by branch and bound: the first answer without a
conflict is the least. Called by single.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chains.planning.market.types import Floats, Found

if TYPE_CHECKING:
    from chains.planning.market.single import Desk

MOST_BRANCHES = 200
Barred = frozenset[tuple[int, int]]


def search(desk: Desk, chain: int) -> Found | None:
    """The least priced route that fits, None if there is none (or none within MOST_BRANCHES branches)."""
    graph: Layers | None = None
    room, mbps = desk.room, desk.mbps[chain]
    queue: list[tuple[float, int, Found, Barred, Barred]] = []
    seen: set[tuple[Barred, Barred]] = set()

    def add(arcs: Barred, sites: Barred) -> None:
        if (arcs, sites) in seen or len(seen) >= MOST_BRANCHES:
            return
        nonlocal graph
        seen.add((arcs, sites))
        # While every arc on the way has room for one crossing, the tables give the least route sooner
        found = desk.relaxed(chain, sites) if not arcs else None
        if arcs or (found is not None and any(room[arc] < mbps for arc in found.arcs)):
            graph = graph or Layers(desk, chain)
            found = graph.shortest(arcs, sites)
        if found is not None:
            heapq.heappush(queue, (found.value, len(seen), found, arcs, sites))

    add(frozenset(), frozenset())
    while queue:
        _, _, found, arcs, sites = heapq.heappop(queue)
        branches = conflict(desk, chain, found)
        if not branches:
            return replace(found, is_checked=False)
        for more_arcs, more_sites in branches:
            add(arcs | more_arcs, sites | more_sites)
    return None


class Layers:
    """The layered graph of one chain. to_go [H+1][V]: from a node with so many hops served to the end."""

    def __init__(self, desk: Desk, chain: int) -> None:
        self.desk, self.chain = desk, chain
        self.mbps = desk.mbps[chain]
        self.numbers = [number for number in desk.menu_of[chain] if number >= 0]
        menus = [desk.menu(number) for number in self.numbers]
        self.own: list[dict[int, list[tuple[float, int]]]] = []
        target = desk.target[chain]
        to_go = [desk.table.cost[:, target]]
        for hop in range(len(menus) - 1, -1, -1):
            menu = menus[hop]
            own = desk.own(chain, hop, menu)
            self.own.append(_by_node(own, menu.nodes.tolist(), menu.sites.tolist()))
            if len(own):
                to_go.append((menu.reach + (own + to_go[-1][menu.nodes])).min(1))
            else:
                to_go.append(np.full(desk.network.nodes, np.inf))
        self.own.reverse()
        self.to_go = [row.tolist() for row in reversed(to_go)]

    def shortest(self, arcs_barred: Barred, sites_barred: Barred) -> Found | None:
        """arcs_barred: (leg, arc); sites_barred: (hop, site)."""
        desk, to_go, mbps, room = self.desk, self.to_go, self.mbps, self.desk.room
        price, last, goal = desk.arc_price, len(self.numbers), desk.target[self.chain]
        start = (0, desk.source[self.chain])
        came: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
        best = {start: 0.0}
        done: set[tuple[int, int]] = set()
        queue = [(to_go[0][start[1]], 0.0, start)]
        while queue:
            estimate, cost, state = heapq.heappop(queue)
            if state in done:
                continue
            if estimate == np.inf:
                return None
            done.add(state)
            layer, node = state
            if layer == last and node == goal:
                return self._found(came, state, cost)
            steps = [
                (cost + price[arc], (layer, end), arc)
                for arc, end in desk.out[node]
                if room[arc] >= mbps and (layer, arc) not in arcs_barred
            ]
            if layer < last:
                steps += [
                    (cost + own, (layer + 1, node), -1 - site)
                    for own, site in self.own[layer].get(node, ())
                    if (layer, site) not in sites_barred
                ]
            for total, after, by in steps:
                if total < best.get(after, np.inf):
                    best[after] = total
                    came[after] = (state, by)
                    heapq.heappush(queue, (total + to_go[after[0]][after[1]], total, after))
        return None

    def _found(
        self, came: dict[tuple[int, int], tuple[tuple[int, int], int]], state: tuple[int, int], cost: float
    ) -> Found:
        sites: list[int] = []
        arcs: list[int] = []
        legs: list[int] = []
        while state in came:
            before, by = came[state]
            if by < 0:
                sites.append(-1 - by)
            else:
                arcs.append(by)
                legs.append(state[0])
            state = before
        at, way = tuple(reversed(sites)), tuple(reversed(arcs))
        own = self.desk.cost(self.chain, at, way)
        return Found(at, way, tuple(reversed(legs)), own, cost * self.mbps, is_checked=False)


def conflict(desk: Desk, chain: int, found: Found) -> list[tuple[Barred, Barred]]:
    """The branches that each remove the first conflict; [] if the route fits."""
    room, mbps = desk.room, desk.mbps[chain]
    if len(set(found.arcs)) < len(found.arcs):
        for arc in found.arcs:
            count = found.arcs.count(arc)
            if count > 1 and count * mbps > room[arc]:
                legs = [leg for leg, other in zip(found.legs, found.arcs, strict=True) if other == arc]
                return [(frozenset({(leg, arc)}), frozenset()) for leg in legs]
    drawn: dict[int, float] = {}
    for resource, amount in desk.draws(chain, found.sites):
        drawn[resource] = drawn.get(resource, 0.0) + amount
    for resource, amount in drawn.items():
        if amount > room[resource]:
            return [
                (frozenset(), frozenset({(hop, site)}))
                for hop, site in enumerate(found.sites)
                if resource in desk.uses[site]
            ]
    return []


def _by_node(own: Floats, nodes: list[int], sites: list[int]) -> dict[int, list[tuple[float, int]]]:
    found: dict[int, list[tuple[float, int]]] = {}
    for price, node, site in zip(own.tolist(), nodes, sites, strict=True):
        if price != np.inf:
            found.setdefault(node, []).append((price, site))
    return found
