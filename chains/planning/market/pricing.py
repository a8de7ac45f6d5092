# SPDX-License-Identifier: Apache-2.0
"""Every chain's least-cost route at given prices, all chains at once.

Stage dynamic programming (Bari et al., CNSM 2015) on one all-pairs table, chains that pass between the same
two menus side by side. Capacities are what the prices say and nothing else. Called by ascent, pool and solve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chains.planning.market.types import NONE, Demands, Floats, Ints, Network, Routes
from chains.planning.market.ways import Ways

# As many numbers at a time as stay in a core's cache
CACHED = 1 << 15


@dataclass(frozen=True, slots=True)
class Stages:
    """Which chains pass from which menu to which. width: of the largest menu.

    firsts: (menu, chains) whose first hop it is. steps[h]: (menu, next menu, chains). ends[h]: (menu, chains)
    whose last hop h is; straight: chains without hops.
    """

    width: int
    hops: int
    straight: Ints
    firsts: tuple[tuple[int, Ints], ...]
    steps: tuple[tuple[tuple[int, int, Ints], ...], ...]
    ends: tuple[tuple[tuple[int, Ints], ...], ...]


def stages(demands: Demands) -> Stages:
    menu, hops = demands.menu, demands.menu.shape[1]
    width = max((len(sites) for sites in demands.menus), default=0)
    last = (menu >= 0).sum(1) - 1
    many = len(demands.menus)
    steps, ends = [], []
    for hop in range(hops):
        ends.append(_split(menu[:, hop], np.flatnonzero(last == hop)))
        on = np.flatnonzero(last > hop)
        pairs = _split(menu[:, hop] * many + menu[:, min(hop + 1, hops - 1)], on)
        steps.append(tuple((key // many, key % many, chains) for key, chains in pairs))
    firsts = _split(menu[:, 0], np.flatnonzero(last >= 0)) if hops else ()
    return Stages(width, hops, np.flatnonzero(last < 0), firsts, tuple(steps), tuple(ends))


def _split(keys: Ints, chains: Ints) -> tuple[tuple[int, Ints], ...]:
    if not len(chains):
        return ()
    ordered = chains[np.argsort(keys[chains], kind="stable")]
    cuts = np.flatnonzero(np.diff(keys[ordered])) + 1
    return tuple((int(keys[part[0]]), part) for part in np.split(ordered, cuts))


@dataclass(frozen=True, slots=True)
class Best:
    """value [C]: priced cost, infinite if there is no route. sites [C, H]: NONE past the last hop."""

    value: Floats
    sites: Ints


def site_prices(
    network: Network, demands: Demands, chains: Ints, hop: int, sites: Ints, price: Floats
) -> Floats:
    """[chains, sites]: what a site costs for the hop, per Mb/s of the chain."""
    kinds = network.site_uses[sites]
    per_mbps = network.site_cost[sites] + _at(price, kinds[:, 0])
    inverse = 1.0 / demands.bandwidth_mbps[chains]
    found: Floats = per_mbps[None, :] + inverse[:, None] * network.site_fixed[sites][None, :]
    for kind in range(1, kinds.shape[1]):
        prices = _at(price, kinds[:, kind])
        if prices.any():
            found += (demands.needs[chains, hop, kind - 1] * inverse)[:, None] * prices[None, :]
    return found


def _at(price: Floats, resource: Ints) -> Floats:
    return np.where(resource >= 0, price[np.where(resource >= 0, resource, 0)], 0.0)


def forward(network: Network, demands: Demands, order: Stages, ways: Ways, price: Floats) -> list[Floats]:
    """[hop][C, width]: the least priced cost per Mb/s from the source up to and with each site of the menu."""
    tables = [np.full((demands.chains, order.width), np.inf) for _ in range(order.hops)]
    for menu, chains in order.firsts:
        sites = demands.menus[menu]
        reach = ways.cost[np.ix_(demands.source[chains], network.site_node[sites])]
        tables[0][chains, : len(sites)] = reach + site_prices(network, demands, chains, 0, sites, price)
    for hop, steps in enumerate(order.steps):
        for menu, after, chains in steps:
            here, there = demands.menus[menu], demands.menus[after]
            between = ways.cost[np.ix_(network.site_node[here], network.site_node[there])]
            own = site_prices(network, demands, chains, hop + 1, there, price)
            tables[hop + 1][chains, : len(there)] = (
                least_sums(tables[hop][chains, : len(here)], between) + own
            )
    return tables


def best(network: Network, demands: Demands, order: Stages, ways: Ways, price: Floats) -> Best:
    """The least priced route of every chain. price [R]: of all resources; `ways` holds the arcs' already."""
    tables = forward(network, demands, order, ways, price)
    value = np.full(demands.chains, np.inf)
    sites = np.full((demands.chains, order.hops), NONE, np.int64)
    at = np.zeros(demands.chains, np.int64)  # index in the menu
    straight = order.straight
    value[straight] = ways.cost[demands.source[straight], demands.target[straight]]
    for hop in range(order.hops - 1, -1, -1):
        for menu, after, chains in order.steps[hop] if hop < order.hops - 1 else ():
            here, there = demands.menus[menu], demands.menus[after]
            between = ways.cost[np.ix_(network.site_node[here], network.site_node[there])].T
            at[chains] = (tables[hop][chains, : len(here)] + between[at[chains]]).argmin(1)
            sites[chains, hop] = here[at[chains]]
        for menu, chains in order.ends[hop]:
            here = demands.menus[menu]
            totals = tables[hop][chains, : len(here)]
            totals = totals + ways.cost[np.ix_(network.site_node[here], demands.target[chains])].T
            at[chains] = totals.argmin(1)
            value[chains] = totals[np.arange(len(chains)), at[chains]]
            sites[chains, hop] = here[at[chains]]
    sites[~np.isfinite(value)] = NONE
    return Best(value * demands.bandwidth_mbps, sites)


def least_sums(have: Floats, between: Floats) -> Floats:
    """[n, T]: over s the minimum of have[n, s] + between[s, t]."""
    rows, (here, there) = len(have), between.shape
    found = np.empty((rows, there))
    if rows * there < CACHED // 8 and here * there <= CACHED:
        together = max(1, CACHED // (here * there))
        for first in range(0, rows, together):
            part = have[first : first + together]
            np.min(part[:, :, None] + between, axis=1, out=found[first : first + together])
        return found
    together = max(1, CACHED // there)
    for first in range(0, rows, together):
        part, out = have[first : first + together], found[first : first + together]
        sums = np.empty_like(out)
        np.add(part[:, :1], between[0], out=out)
        for index in range(1, here):
            np.add(part[:, index : index + 1], between[index], out=sums)
            np.minimum(out, sums, out=out)
    return found


def routes(network: Network, demands: Demands, ways: Ways, chains: Ints, sites: Ints) -> Routes:
    """The least-cost ways through the sites. chains [N]; sites [N, H], all reachable."""
    hops = sites.shape[1]
    served = (sites >= 0).sum(1)
    stops = np.repeat(demands.target[chains][:, None], hops + 1, axis=1)
    if network.sites:
        stops[:, :hops] = np.where(
            sites >= 0, network.site_node[np.where(sites >= 0, sites, 0)], stops[:, :hops]
        )
    starts = np.concatenate([demands.source[chains][:, None], stops[:, :-1]], axis=1)
    legs = np.repeat(np.arange(hops + 1)[None, :], len(chains), axis=0)
    starts, ends, legs = starts.ravel(), stops.ravel(), np.minimum(legs, served[:, None]).ravel()
    owner = np.repeat(np.arange(len(chains)), hops + 1)
    found: list[tuple[Ints, Ints, Ints]] = []
    left = np.flatnonzero(starts != ends)
    here = ends.copy()
    step = 0
    while len(left):
        arcs = ways.into[here[left], starts[left]]
        assert arcs.min() >= 0, "only what is reachable is walked"
        found.append((left, np.full(len(left), step), arcs))
        here[left] = network.tail[arcs]
        left = left[here[left] != starts[left]]
        step += 1
    if not found:
        empty = np.zeros(0, np.int64)
        return Routes(chains, sites, np.zeros(len(chains) + 1, np.int64), empty, empty)
    leg, back, arcs = (np.concatenate(part) for part in zip(*found, strict=True))
    in_order = np.lexsort((-back, leg))
    leg, arcs = leg[in_order], arcs[in_order]
    counts = np.bincount(owner[leg], minlength=len(chains))
    return Routes(chains, sites, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), arcs, legs[leg])
