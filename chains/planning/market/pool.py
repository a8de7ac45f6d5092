# SPDX-License-Identifier: Apache-2.0
"""Routes found so far, each once, with their cost and what they draw: the columns of the master program.

Called by solve; read by program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chains.planning.market.types import Demands, Floats, Ints, Network, Routes, costs, joined, no_routes

Hashes = npt.NDArray[np.uint64]


@dataclass(slots=True)
class Pool:
    """routes, their own `cost` [N] and `mark` [N]: equal marks, equal routes."""

    network: Network
    demands: Demands
    routes: Routes
    cost: Floats
    mark: Hashes

    def add(self, found: Routes) -> Ints:
        """Those that are new. Result: for each route of `found` its row in the pool."""
        marks = mark(found)
        everything = np.concatenate([self.mark, marks])
        kept, first, place = np.unique(everything, return_index=True, return_inverse=True)
        old = len(self.mark)
        fresh = np.sort(first[first >= old])
        row_of = np.empty(len(kept), np.int64)
        is_old = first < old
        row_of[is_old] = first[is_old]
        row_of[~is_old] = old + np.searchsorted(fresh, first[~is_old])
        if len(fresh):
            part = found.of(fresh - old)
            self.routes = joined([self.routes, part])
            self.cost = np.concatenate([self.cost, costs(self.network, self.demands, part)])
            self.mark = np.concatenate([self.mark, everything[fresh]])
        return row_of[place[old:]]

    def keep(self, rows: Ints) -> None:
        """Forget all others."""
        self.routes, self.cost, self.mark = self.routes.of(rows), self.cost[rows], self.mark[rows]


def pool(network: Network, demands: Demands) -> Pool:
    return Pool(network, demands, no_routes(demands.menu.shape[1]), np.zeros(0), np.zeros(0, np.uint64))


def mark(routes: Routes) -> Hashes:
    """64 bits of a route; with a million routes two differing ones are alike once in ten million runs."""
    with np.errstate(over="ignore"):
        total: Hashes = _scatter(routes.chain.astype(np.uint64))
        for hop in range(routes.sites.shape[1]):
            total += _scatter(
                (routes.sites[:, hop] + 2).astype(np.uint64) * np.uint64(64) + np.uint64(hop + 1)
            )
        steps = routes.arcs.astype(np.uint64) * np.uint64(64) + routes.legs.astype(np.uint64)
        steps = _scatter(steps + np.uint64(1 << 40))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(steps, dtype=np.uint64)])
        total += sums[routes.starts[1:]] - sums[routes.starts[:-1]]
    return total


def _scatter(number: Hashes) -> Hashes:
    """SplitMix64 by Steele, Lea and Flood (2014)."""
    number = number + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))
