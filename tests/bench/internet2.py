# SPDX-License-Identifier: Apache-2.0
"""Bari's Internet2 case after the paper (CNSM 2015, sections IV and V): 12 nodes, 15 links, every pair's traffic
through three functions, instances of functions bought where they run, transit paid by the hop.

The traffic matrix is SNDlib's of the same network (Abilene). Peers: the paper's stage dynamic programming, chain by
chain, and HiGHS on the whole integral program.
"""

from __future__ import annotations

import highspy
import numpy as np
import topohub

from chains.planning.market.types import Demands, Network
from chains.planning.market.ways import ways
from tests.bench.instances import Instance

FUNCTIONS = 3


def internet2(seed: int = 1) -> Instance:
    """An instance carries a tenth of the traffic of its function and costs what carrying it over one link does."""
    told = topohub.get("sndlib/abilene")
    draw = np.random.default_rng(seed)
    edges = [(int(edge["source"]), int(edge["target"])) for edge in told["edges"]]
    pairs = [
        (int(a), int(b), float(mbps) / 1000)
        for a, row in told["graph"]["demands"].items()
        for b, mbps in row.items()
        if mbps > 0
    ]
    mbps = np.array([max(1.0, round(volume)) for _, _, volume in pairs])
    nodes = len(told["nodes"])
    places = draw.permutation(nodes)[: round(nodes * 0.6)]
    tail = np.array([end for a, b in edges for end in (a, b)], np.int64)
    head = np.array([end for a, b in edges for end in (b, a)], np.int64)
    sites = np.array([place for _ in range(FUNCTIONS) for place in places], np.int64)
    arcs, many = len(tail), len(sites)
    unit = np.ceil(max(mbps.max(), mbps.sum() / 10))
    network = Network(
        nodes, tail, head, np.full(arcs, 0.001), np.full(arcs, 10.0), sites, np.zeros(many), np.zeros(many),
        np.zeros(many), (arcs + np.arange(many))[:, None],
        np.concatenate([np.full(arcs, mbps.sum() * 4), np.full(many, unit)]),
        np.concatenate([np.zeros(arcs), np.full(many, 0.001 * unit)]),
        np.concatenate([np.ones(arcs), np.full(many, 12.0)]),
    )  # fmt: skip
    menus = tuple(np.flatnonzero(np.arange(many) // len(places) == function) for function in range(FUNCTIONS))
    chains = len(pairs)
    demands = Demands(
        np.array([a for a, _, _ in pairs]), np.array([b for _, b, _ in pairs]), mbps,
        np.array([draw.permutation(FUNCTIONS) for _ in pairs]), np.zeros((chains, FUNCTIONS, 0)),
        np.full(chains, 1e6), np.full(chains, np.inf), menus,
    )  # fmt: skip
    return Instance("internet2", network, demands)


def stage_dp(case: Instance) -> float:
    """Viterbi over the functions, chain by chain: an instance with room costs nothing, a new one its price."""
    network, demands = case.network, case.demands
    apart = ways(network, network.arc_cost).cost
    free = np.zeros(network.sites)
    cost = 0.0
    for chain in range(demands.chains):
        mbps, target = float(demands.bandwidth_mbps[chain]), int(demands.target[chain])
        value, before = np.zeros(1), np.array([int(demands.source[chain])])
        trail = []
        for menu in demands.menu[chain].tolist():
            sites = demands.menus[menu]
            nodes = network.site_node[sites]
            deploy = np.where(free[sites] >= mbps, 0.0, network.module_cost[network.site_uses[sites, 0]])
            # The paper's stage cost: transit to the node, and from there on to the egress
            reach = value[:, None] + mbps * (apart[np.ix_(before, nodes)] + apart[nodes, target][None])
            trail.append((reach.argmin(0), sites))
            value, before = reach.min(0) + deploy, nodes
        at = int((value + mbps * apart[before, target]).argmin())
        here = target
        for came, sites in reversed(trail):
            site = int(sites[at])
            resource = int(network.site_uses[site, 0])
            if free[site] < mbps:
                free[site] += network.capacity[resource]
                cost += float(network.module_cost[resource])
            free[site] -= mbps
            cost += mbps * float(apart[network.site_node[site], here])
            here, at = int(network.site_node[site]), int(came[at])
        cost += mbps * float(apart[int(demands.source[chain]), here])
    return cost


def optimum(case: Instance, limit_s: float) -> tuple[float, float]:
    """HiGHS on flows over (hop, node) with integral instances. Result: cost, proven bound."""
    network, demands = case.network, case.demands
    apart = ways(network, network.arc_cost).cost
    engine = highspy.Highs()
    engine.setOptionValue("output_flag", False)
    engine.setOptionValue("time_limit", limit_s)
    engine.setOptionValue("mip_rel_gap", 1e-4)
    bought = [
        engine.addIntegral(0, 12, float(network.module_cost[network.site_uses[site, 0]]))
        for site in range(network.sites)
    ]
    used: list[list[object]] = [[] for _ in range(network.sites)]
    for chain in range(demands.chains):
        mbps = float(demands.bandwidth_mbps[chain])
        menus = [demands.menus[menu].tolist() for menu in demands.menu[chain].tolist()]
        node = network.site_node
        picks = [{site: engine.addBinary() for site in sites} for sites in menus]
        for pick in picks:
            engine.addConstr(sum(pick.values()) == 1)
            for site, var in pick.items():
                used[site].append(mbps * var)
        for site, var in picks[0].items():
            engine.changeColCost(var.index, mbps * float(apart[int(demands.source[chain]), node[site]]))
        for site, var in picks[-1].items():
            engine.changeColCost(var.index, mbps * float(apart[node[site], int(demands.target[chain])]))
        for one, other in zip(picks, picks[1:], strict=False):
            flow = {
                (a, b): engine.addVariable(0, 1, mbps * float(apart[node[a], node[b]]))
                for a in one
                for b in other
            }
            for a in one:
                engine.addConstr(sum(flow[a, b] for b in other) == one[a])
            for b in other:
                engine.addConstr(sum(flow[a, b] for a in one) == other[b])
    for site, amounts in enumerate(used):
        engine.addConstr(sum(amounts) <= float(network.capacity[network.site_uses[site, 0]]) * bought[site])
    engine.minimize()
    told = engine.getInfo()
    return float(told.objective_function_value), float(told.mip_dual_bound)
