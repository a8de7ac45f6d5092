# SPDX-License-Identifier: Apache-2.0
"""Checks an answer from its numbers alone: is it a placement, does it fit, does it cost and prove what it says.

Shares no code with the solvers: ways are SciPy's, and each chain's least priced route is found by itself.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from chains.planning.market.solve import Answer
from chains.planning.market.types import Demands, Floats, Network

TOLERANCE = 1e-6


def faults(network: Network, demands: Demands, answer: Answer) -> list[str]:
    """What is wrong with the answer; [] if nothing is."""
    found: list[str] = []
    cost, drawn = 0.0, defaultdict(float)
    placed = set()
    held = answer.routes
    for row, chain in enumerate(int(chain) for chain in held.chain):
        if chain in placed:
            found.append(f"chain {chain} is placed twice")
        placed.add(chain)
        arcs = [int(arc) for arc in held.arcs[held.starts[row] : held.starts[row + 1]]]
        legs = [int(leg) for leg in held.legs[held.starts[row] : held.starts[row + 1]]]
        sites = [int(site) for site in held.sites[row] if site >= 0]
        found += [f"chain {chain}: {fault}" for fault in _astray(network, demands, chain, arcs, legs, sites)]
        cost += _draw(network, demands, chain, arcs, sites, drawn)
    missing = set(range(demands.chains)) - placed
    if missing != {int(chain) for chain in answer.unplaced}:
        found.append("the chains named as left out are not those that have no route")
    cost += sum(float(demands.penalty[chain]) for chain in missing)
    for resource, amount in drawn.items():
        limit = float(network.capacity[resource])
        if network.module_cost[resource] > 0:
            modules = -(-amount // limit)
            cost += modules * float(network.module_cost[resource])
            limit *= float(network.module_most[resource])
        if amount > limit:
            found.append(f"resource {resource} holds {limit}, {amount} are drawn")
    if abs(cost - answer.cost) > TOLERANCE * max(1.0, abs(cost)):
        found.append(f"it costs {cost}, not {answer.cost}")
    proven = bound(network, demands, answer.price)
    if abs(proven - answer.bound) > TOLERANCE * max(1.0, abs(proven)):
        found.append(f"its prices prove {proven}, not {answer.bound}")
    if answer.cost < proven - TOLERANCE * abs(proven):
        found.append(f"it costs {answer.cost}, less than the bound {proven}")
    return found


def _astray(
    network: Network, demands: Demands, chain: int, arcs: list[int], legs: list[int], sites: list[int]
) -> list[str]:
    """The way leads from the source by each site in turn to the target."""
    wanted = [int(menu) for menu in demands.menu[chain] if menu >= 0]
    if len(sites) != len(wanted):
        return [f"{len(sites)} of {len(wanted)} hops are served"]
    found = [
        f"site {site} is not on menu {menu}"
        for site, menu in zip(sites, wanted, strict=True)
        if site not in demands.menus[menu]
    ]
    here = int(demands.source[chain])
    stops = [int(network.site_node[site]) for site in sites] + [int(demands.target[chain])]
    for leg, stop in enumerate(stops):
        for arc in [arc for arc, on in zip(arcs, legs, strict=True) if on == leg]:
            if int(network.tail[arc]) != here:
                found.append(f"arc {arc} does not start at {here}")
            here = int(network.head[arc])
        if here != stop:
            found.append(f"leg {leg} ends at {here}, not at {stop}")
    if legs != sorted(legs):
        found.append("legs out of order")
    delay_us = sum(float(network.arc_latency_us[arc]) for arc in arcs)
    if delay_us + sum(float(network.site_latency_us[site]) for site in sites) > float(
        demands.latency_us[chain]
    ):
        found.append("it takes longer than its budget")
    return found


def _draw(
    network: Network, demands: Demands, chain: int, arcs: list[int], sites: list[int], drawn: dict[int, float]
) -> float:
    """Adds what the route draws; result: its cost."""
    mbps = float(demands.bandwidth_mbps[chain])
    cost = 0.0
    for arc in arcs:
        drawn[arc] += mbps
        cost += mbps * float(network.arc_cost[arc])
    for hop, site in enumerate(sites):
        cost += mbps * float(network.site_cost[site]) + float(network.site_fixed[site])
        for kind, resource in enumerate(int(resource) for resource in network.site_uses[site]):
            if resource >= 0:
                drawn[resource] += mbps if kind == 0 else float(demands.needs[chain, hop, kind - 1])
    return cost


def bound(network: Network, demands: Demands, price: Floats) -> float:
    """What the prices prove: Lagrangian duality, with SciPy's shortest ways. Errors: ValueError on a price below 0."""
    if price.min() < 0:
        raise ValueError("a price below 0 proves nothing")
    arcs = len(network.tail)
    cost = network.arc_cost + price[:arcs]
    order = np.lexsort((cost, network.head, network.tail))
    pairs = network.tail[order] * network.nodes + network.head[order]
    cheapest = order[np.concatenate([[True], np.diff(pairs) != 0])]
    ends = (network.tail[cheapest], network.head[cheapest])
    apart = dijkstra(coo_matrix((cost[cheapest], ends), shape=(network.nodes, network.nodes)).tocsr())
    total = 0.0
    for chain in range(demands.chains):
        total += min(_least(network, demands, price, apart, chain), float(demands.penalty[chain]))
    for resource, value in enumerate(price.tolist()):
        capacity, module = float(network.capacity[resource]), float(network.module_cost[resource])
        if value and module > 0:
            total -= max(0.0, value * capacity - module) * float(network.module_most[resource])
        elif value:
            total -= value * capacity
    return total


def _least(network: Network, demands: Demands, price: Floats, apart: Floats, chain: int) -> float:
    """From the target backwards."""
    mbps = float(demands.bandwidth_mbps[chain])
    to_go = apart[:, int(demands.target[chain])] * mbps
    for hop in range(demands.menu.shape[1] - 1, -1, -1):
        if demands.menu[chain, hop] < 0:
            continue
        sites = demands.menus[int(demands.menu[chain, hop])]
        nodes = network.site_node[sites]
        own = mbps * network.site_cost[sites] + network.site_fixed[sites] + to_go[nodes]
        needs = [mbps, *demands.needs[chain, hop].tolist()]
        for kind, need in enumerate(needs):
            uses = network.site_uses[sites, kind]
            own = own + need * np.where(uses >= 0, price[uses], 0.0)
        to_go = (apart[:, nodes] * mbps + own).min(1)
    return float(to_go[int(demands.source[chain])])
