# SPDX-License-Identifier: Apache-2.0
"""Least-cost ways between all pairs of nodes at given arc prices, by rounds over whole rows.

Bellman and Ford's rounds, vectorised over all sources at once: as many rounds as the longest least-cost way
has arcs, each one addition and one minimum for every arc and source. Called by pricing and single.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chains.planning.market.types import NONE, Bools, Floats, Ints, Network


@dataclass(frozen=True, slots=True)
class Incidence:
    """The arcs into every node, by rank. arcs[i]: the i-th arc into each of the first nodes of `order`."""

    order: Ints
    arcs: tuple[Ints, ...]


def incidence(network: Network) -> Incidence:
    degree = np.bincount(network.head, minlength=network.nodes)
    order = np.argsort(-degree, kind="stable").astype(np.int64)
    by_head = np.argsort(network.head, kind="stable")
    first = np.concatenate([[0], np.cumsum(degree)])
    ranks = [
        by_head[first[order[: int((degree > rank).sum())]] + rank]
        for rank in range(int(degree.max(initial=0)))
    ]
    return Incidence(order, tuple(ranks))


@dataclass(frozen=True, slots=True)
class Ways:
    """cost [V, V] from, to: for a Mb/s, infinite if there is no way. into [V, V] to, from: the last arc."""

    network: Network
    price: Floats
    cost: Floats
    into: Ints
    _found: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def way(self, start: int, end: int) -> tuple[int, ...]:
        """The arcs of the least-cost way, () if start is end. Errors: KeyError if there is none."""
        key = start * self.network.nodes + end
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._walk(start, end)
        return found

    def _walk(self, start: int, end: int) -> tuple[int, ...]:
        arcs: list[int] = []
        while end != start:
            arc = int(self.into[end, start])
            if arc == NONE:
                raise KeyError(f"no way from {start} to {end}")
            arcs.append(arc)
            end = int(self.network.tail[arc])
        return tuple(reversed(arcs))


def ways(network: Network, price: Floats, into: Incidence | None = None, closed: Bools | None = None) -> Ways:
    """All pairs. price [A]: above 0. closed [A]: arcs that may not be used."""
    arcs_into = into or incidence(network)
    if closed is not None:
        price = np.where(closed, np.inf, price)
    order, tail = arcs_into.order, network.tail
    position = np.empty(network.nodes, np.int64)
    position[order] = np.arange(network.nodes)
    # Row i is node order[i], so that the nodes with an i-th arc are the first rows
    cost = np.full((network.nodes, network.nodes), np.inf)
    cost[position, np.arange(network.nodes)] = 0.0
    ranks = [(position[tail[arcs]], price[arcs][:, None], len(arcs)) for arcs in arcs_into.arcs]
    for _ in range(network.nodes):
        before = cost.copy()
        for tails, prices, count in ranks:
            np.minimum(cost[:count], cost[tails] + prices, out=cost[:count])
        if np.array_equal(before, cost):
            break
    last = _last_arcs(cost, arcs_into, ranks)
    return Ways(network, price, np.ascontiguousarray(cost[position].T), last[position])


def _last_arcs(cost: Floats, arcs_into: Incidence, ranks: list[tuple[Ints, Floats, int]]) -> Ints:
    """The arc that attains the minimum: at the fixed point equality is exact."""
    last = np.full(cost.shape, NONE, np.int64)
    finite = np.isfinite(cost)
    for (tails, prices, count), arcs in zip(ranks, arcs_into.arcs, strict=True):
        attains = (cost[tails] + prices == cost[:count]) & finite[:count] & (last[:count] == NONE)
        last[:count] = np.where(attains, arcs[:, None], last[:count])
    last[np.arange(len(cost)), arcs_into.order] = NONE
    return last
