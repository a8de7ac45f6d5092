# SPDX-License-Identifier: Apache-2.0
"""The numbers of placement: a fabric as arrays, chains as arrays, and where every chain runs.

Built by whoever holds the fabric's names; read by every module here. All indices are dense and start at 0.
One unit for one thing: bandwidth in Mb/s, cost in cost units, latency in microseconds. Capacities and needs
are whole numbers held in float64, so that sums of them are exact and a full resource is full to the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NONE = -1


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes, arcs (a link is two), sites (one function at one place) and the resources they draw on.

    tail, head [A]: nodes. arc_cost [A]: for a Mb/s, above 0. site_node [S]; site_cost [S]: for a Mb/s;
    site_fixed [S]: for a hop, whatever its bandwidth. capacity [R]: resources 0 to A-1 are the arcs'
    bandwidth, the rest is drawn on by sites. site_uses [S, K]: the resource that the need of kind k counts
    against, NONE for none; kind 0 is the chain's bandwidth. Sites may share a resource.
    module_cost [R]: above 0 where capacity is bought in modules of `capacity`, at most module_most [R] of
    them; elsewhere the capacity is there and costs nothing.
    """

    nodes: int
    tail: Ints
    head: Ints
    arc_cost: Floats
    arc_latency_us: Floats
    site_node: Ints
    site_cost: Floats
    site_fixed: Floats
    site_latency_us: Floats
    site_uses: Ints
    capacity: Floats
    module_cost: Floats = field(default_factory=lambda: np.zeros(0))
    module_most: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.module_cost) == 0:
            object.__setattr__(self, "module_cost", np.zeros(len(self.capacity)))
            object.__setattr__(self, "module_most", np.ones(len(self.capacity)))
        if len(self.arc_cost) and self.arc_cost.min() <= 0:
            raise ValueError("an arc costs nothing: a way could go round in circles for free")
        if len(self.capacity) < len(self.tail) or self.site_uses.max(initial=NONE) >= len(self.capacity):
            raise ValueError("an arc or a site names a resource that has no capacity")

    @property
    def arcs(self) -> int:
        return len(self.tail)

    @property
    def sites(self) -> int:
        return len(self.site_node)

    @property
    def most(self) -> Floats:
        """[R]: capacity with all modules bought."""
        return np.where(self.module_cost > 0, self.capacity * self.module_most, self.capacity)


@dataclass(frozen=True, slots=True)
class Demands:
    """Chains. menus: for each kind of hop the sites that may serve it.

    source, target [C]: nodes. bandwidth_mbps [C]: above 0. menu [C, H]: index in `menus`, NONE past a
    chain's last hop. needs [C, H, K-1]: of kinds 1 and up. penalty [C]: cost of leaving the chain out.
    latency_us [C]: budget one way, infinite for none.
    """

    source: Ints
    target: Ints
    bandwidth_mbps: Floats
    menu: Ints
    needs: Floats
    penalty: Floats
    latency_us: Floats
    menus: tuple[Ints, ...]

    @property
    def chains(self) -> int:
        return len(self.source)

    def of(self, chains: Ints) -> Demands:
        """Some of the chains, in the order given."""
        return Demands(
            self.source[chains], self.target[chains], self.bandwidth_mbps[chains], self.menu[chains],
            self.needs[chains], self.penalty[chains], self.latency_us[chains], self.menus,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Routes:
    """Ways through functions, each of one chain.

    chain [N]. sites [N, H]: NONE past the last hop. Route n crosses arcs[starts[n]:starts[n+1]] in order;
    legs (as arcs): the number of hops already served there.
    """

    chain: Ints
    sites: Ints
    starts: Ints
    arcs: Ints
    legs: Ints

    def __len__(self) -> int:
        return len(self.chain)

    def of(self, rows: Ints) -> Routes:
        """Some of the routes, in the order given."""
        lengths = (self.starts[1:] - self.starts[:-1])[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        picked = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Routes(self.chain[rows], self.sites[rows], starts, self.arcs[picked], self.legs[picked])

    def way(self, row: int) -> Ints:
        return self.arcs[self.starts[row] : self.starts[row + 1]]


@dataclass(frozen=True, slots=True)
class Found:
    """A route of one chain. cost: its own; value: at the prices in force. legs: as in Routes.

    is_checked: the table's answer stood; otherwise the graph was searched.
    """

    sites: tuple[int, ...]
    arcs: tuple[int, ...]
    legs: tuple[int, ...]
    cost: float
    value: float
    is_checked: bool = True


def joined(parts: Sequence[Routes]) -> Routes:
    """One after the other."""
    lengths = np.concatenate([part.starts[1:] - part.starts[:-1] for part in parts])
    return Routes(
        np.concatenate([part.chain for part in parts]),
        np.concatenate([part.sites for part in parts]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([part.arcs for part in parts]),
        np.concatenate([part.legs for part in parts]),
    )


def no_routes(hops: int) -> Routes:
    empty = np.zeros(0, np.int64)
    return Routes(empty, np.zeros((0, hops), np.int64), np.zeros(1, np.int64), empty, empty)


@dataclass(frozen=True, slots=True)
class Usage:
    """What routes draw, as triples: route `row` draws `amount` of `resource`. A pair may occur twice."""

    row: Ints
    resource: Ints
    amount: Floats


def usage(network: Network, demands: Demands, routes: Routes) -> Usage:
    """An arc crossed twice counts twice, and so does a resource that two hops draw on."""
    lengths = routes.starts[1:] - routes.starts[:-1]
    over = np.repeat(np.arange(len(routes)), lengths)
    bandwidth = demands.bandwidth_mbps[routes.chain]
    rows, resources, amounts = [over], [routes.arcs], [bandwidth[over]]
    for kind in range(network.site_uses.shape[1]):
        row, hop = np.nonzero(routes.sites >= 0)
        used = network.site_uses[routes.sites[row, hop], kind]
        amount = bandwidth[row] if kind == 0 else demands.needs[routes.chain[row], hop, kind - 1]
        held = used >= 0
        rows.append(row[held])
        resources.append(used[held])
        amounts.append(amount[held])
    return Usage(np.concatenate(rows), np.concatenate(resources), np.concatenate(amounts))


def load(network: Network, used: Usage) -> Floats:
    """[R]: the sum over all routes."""
    return summed(used.resource, used.amount, len(network.capacity))


def summed(index: Ints, amount: Floats, size: int) -> Floats:
    """[size]: the sum of the amounts at each index."""
    return np.bincount(index, amount, minlength=size).astype(np.float64)


def costs(network: Network, demands: Demands, routes: Routes) -> Floats:
    """[N]: each route's own cost, modules left out."""
    bandwidth = demands.bandwidth_mbps[routes.chain]
    lengths = routes.starts[1:] - routes.starts[:-1]
    over = np.repeat(np.arange(len(routes)), lengths)
    found: Floats = bandwidth * summed(over, network.arc_cost[routes.arcs], len(routes))
    for hop in range(routes.sites.shape[1]):
        row = np.flatnonzero(routes.sites[:, hop] >= 0)
        site = routes.sites[row, hop]
        found[row] += bandwidth[row] * network.site_cost[site] + network.site_fixed[site]
    return found


def modules(network: Network, drawn: Floats) -> Floats:
    """[R]: how many modules the load needs; 0 where capacity is not bought."""
    bought = network.module_cost > 0
    return np.where(bought, np.ceil(drawn / np.where(network.capacity > 0, network.capacity, 1.0)), 0.0)
