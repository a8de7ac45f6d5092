# SPDX-License-Identifier: Apache-2.0
"""Prices of resources by dual ascent, and the bound that any prices prove.

Every chain answers the prices with its least priced route. The sum of the answers less what the capacity earns
is a lower bound on the cost of every placement (Lagrangian duality), whatever the prices. Prices are learnt from
blocks of chains that are samples of the whole: after each block what is drawn beyond the block's share of a
capacity gets dearer, by a share of its price, so that no step need be tuned to a network; what the blocks before
drew too much is paid back by those that follow. So the routes of one sweep over all blocks nearly fit together.
Called by solve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chains.planning.market.pricing import Stages, best, routes, stages
from chains.planning.market.types import (
    Bools,
    Demands,
    Floats,
    Ints,
    Network,
    Routes,
    joined,
    load,
    summed,
    usage,
)
from chains.planning.market.ways import Incidence, ways

# Of a price, the share that one block may move it: at first, by how much it falls each block, and at last
FIRST, FADE, LAST = 0.5, 0.95, 0.03
# The part of its worth that a resource without a price starts from
SEED = 0.02
PAYBACK = 0.3
MOST_BLOCKS, LEAST_CHAINS = 25, 100


@dataclass(frozen=True, slots=True)
class Market:
    """A network and its chains with what pricing needs of them. floor [R]: what a module's unit costs."""

    network: Network
    demands: Demands
    order: Stages
    into: Incidence
    capacity: Floats
    floor: Floats

    def respond(self, price: Floats) -> Response:
        """Every chain's least priced route. price [R], 0 where capacity is infinite."""
        table = ways(self.network, self.network.arc_cost + price[: self.network.arcs], self.into)
        found = best(self.network, self.demands, self.order, table, price)
        placed = np.flatnonzero(found.value < self.demands.penalty)
        taken = routes(self.network, self.demands, table, placed, found.sites[placed])
        value = np.minimum(found.value, self.demands.penalty)
        earned = np.where(np.isfinite(self.capacity), self.capacity, 0.0) * (price - self.floor)
        drawn = load(self.network, usage(self.network, self.demands, taken))
        return Response(value, taken, drawn, float(value.sum() - earned.sum()))


@dataclass(frozen=True, slots=True)
class Response:
    """value [C]: least priced cost, the penalty at most. drawn [R]. bound: proven for these prices."""

    value: Floats
    routes: Routes
    drawn: Floats
    bound: float


def market(network: Network, demands: Demands, into: Incidence, capacity: Floats | None = None) -> Market:
    """capacity [R]: other than the network's, for a sample."""
    bought = network.module_cost > 0
    floor = np.where(bought, network.module_cost / np.where(bought, network.capacity, 1.0), 0.0)
    held = network.most if capacity is None else capacity
    return Market(network, demands, stages(demands), into, held, floor)


def worth(held: Market) -> Floats:
    """[R]: what a unit would cost if a chain's whole cost were the price of what it draws of one resource."""
    answer = held.respond(held.floor)
    used = usage(held.network, held.demands, answer.routes)
    count = np.bincount(used.resource, minlength=len(held.capacity))
    mean = summed(used.resource, used.amount, len(held.capacity)) / np.maximum(count, 1)
    typical = float(mean[mean > 0].mean()) if (mean > 0).any() else 1.0
    reached = answer.value < held.demands.penalty
    own = float(answer.value[reached].mean()) if reached.any() else 1.0
    return own / np.where(mean > 0, mean, typical)


@dataclass(slots=True)
class Ascent:
    """price [R]: at this moment. mean [R]: over the last sweep, which is what proves the better bound."""

    market: Market
    blocks: tuple[tuple[Ints, Demands, Stages], ...]
    worth: Floats
    price: Floats
    mean: Floats
    usable: Bools
    block: int = 0

    def sweep(self) -> Routes:
        """All blocks once. Result: every chain's route, at the price of its moment."""
        held = self.market
        capacity = np.where(self.usable, np.maximum(held.capacity, 1e-9), np.inf)
        drawn, mean = np.zeros(len(capacity)), np.zeros(len(capacity))
        found, done = [], 0.0
        for rows, demands, order in self.blocks:
            answer = Market(held.network, demands, order, held.into, held.capacity, held.floor).respond(
                self.price
            )
            part = answer.routes
            found.append(Routes(rows[part.chain], part.sites, part.starts, part.arcs, part.legs))
            mean += self.price * len(rows)
            share = len(rows) / held.demands.chains
            drawn += answer.drawn
            done += share
            beyond = np.clip(answer.drawn / (capacity * share) - 1.0, -1.0, 3.0)
            owed = np.clip((drawn / capacity - done) / max(1.0 - done, 0.08), -1.0, 3.0)
            self._move(np.where(self.usable, np.clip(beyond + PAYBACK * owed, -2.0, 4.0), 0.0))
        self.mean = mean / held.demands.chains
        return joined(found)

    def _move(self, pressure: Floats) -> None:
        step = max(LAST, FIRST * FADE**self.block)
        self.block += 1
        moved = self.price + step * (self.price + SEED * self.worth) * pressure
        self.price = np.where(self.usable, np.maximum(self.market.floor, moved), 0.0)


def ascent(held: Market, price: Floats | None = None, seed: int = 1, block: int = 0) -> Ascent:
    """price [R]: where to start from; block: how many blocks' learning they stand for."""
    demands = held.demands
    many = max(1, min(MOST_BLOCKS, demands.chains // LEAST_CHAINS))
    draw = np.random.default_rng(seed)
    by_size = np.argsort(demands.bandwidth_mbps, kind="stable")
    deals = -(-demands.chains // many)
    labels = np.concatenate([draw.permutation(many) for _ in range(deals)])[: demands.chains]
    blocks = []
    for label in range(many):
        rows = np.sort(by_size[labels == label])
        part = demands.of(rows)
        blocks.append((rows, part, stages(part)))
    usable = np.isfinite(held.capacity)
    begun = np.where(usable, np.maximum(held.floor, held.floor if price is None else price), 0.0)
    return Ascent(held, tuple(blocks), worth(held), begun, begun.copy(), usable, block)


def spread(price: Floats, count: int, width: float, seed: int) -> list[Floats]:
    """Prices near the given ones: what answers them is what may be worth taking."""
    draw = np.random.default_rng(seed)
    return [price * np.exp(width * draw.standard_normal(len(price))) for _ in range(count)]


def sample(held: Market, every: int) -> Market:
    """One chain of so many, of every size alike, and the capacity that is their share."""
    by_size = np.argsort(held.demands.bandwidth_mbps, kind="stable")
    strata = by_size[: len(by_size) // every * every].reshape(-1, every)
    picked = np.sort(strata[np.arange(len(strata)), np.arange(len(strata)) * 7919 % every])
    some = held.demands.of(picked)
    share = len(picked) / held.demands.chains
    return Market(held.network, some, stages(some), held.into, held.capacity * share, held.floor)
