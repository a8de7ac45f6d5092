# SPDX-License-Identifier: Apache-2.0
"""What placement is measured against: plain greedy, HiGHS on the compact program and over a pool, shortest ways by
SciPy, rustworkx and NetworkX on the layered graph, and Bari's stage dynamic programming.

Written for the benchmark, from the public descriptions; none shares code with the solvers but the arrays.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import highspy
import networkx as nx
import numpy as np
import rustworkx as rx
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from chains.planning.market.ascent import market, spread
from chains.planning.market.pool import pool
from chains.planning.market.program import settle
from chains.planning.market.single import Desk, desk
from chains.planning.market.types import Demands, Floats, Network
from chains.planning.market.ways import incidence


def greedy(network: Network, demands: Demands) -> tuple[float, int]:
    """Chain by chain as they arrive, each where it costs least now. Result: cost with penalties, how many left out."""
    held = desk(network, demands, np.zeros(len(network.capacity)))
    cost, missing = 0.0, 0
    for chain in range(demands.chains):
        found = held.place(chain)
        if found is None:
            cost, missing = cost + float(demands.penalty[chain]), missing + 1
        else:
            held.book(chain, found.sites, found.arcs)
            cost += found.cost
    return cost, missing


@dataclass(slots=True)
class Program:
    """A linear program in the making, by columns."""

    cost: list[float]
    index: list[int]
    value: list[float]
    starts: list[int]
    low: list[float]
    high: list[float]

    def column(self, cost: float, entries: list[tuple[int, float]]) -> None:
        self.cost.append(cost)
        self.index += [row for row, _ in entries]
        self.value += [value for _, value in entries]
        self.starts.append(len(self.index))

    def solve(self, limit_s: float) -> tuple[float, float, bool]:
        """Result: objective, seconds, whether it came to its end."""
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(self.cost), len(self.low)
        model.col_cost_ = np.array(self.cost)
        model.col_lower_, model.col_upper_ = np.zeros(len(self.cost)), np.full(len(self.cost), np.inf)
        model.row_lower_, model.row_upper_ = np.array(self.low), np.array(self.high)
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_ = np.array(self.starts, np.int32)
        model.a_matrix_.index_, model.a_matrix_.value_ = np.array(self.index, np.int32), np.array(self.value)
        engine = highspy.Highs()
        engine.setOptionValue("output_flag", False)
        engine.setOptionValue("solver", "ipm")
        engine.setOptionValue("time_limit", limit_s)
        engine.passModel(model)
        began = time.process_time()
        engine.run()
        is_done = engine.getModelStatus() == highspy.HighsModelStatus.kOptimal
        return engine.getInfo().objective_function_value, time.process_time() - began, is_done


def compact(network: Network, demands: Demands, limit_s: float) -> tuple[float, float, bool]:
    """The textbook arc-flow program; chains to one target through the same functions are one commodity.

    Only where sites count bandwidth and nothing else, and cost nothing by the hop.
    """
    together: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for chain in range(demands.chains):
        together[(int(demands.target[chain]), *demands.menu[chain].tolist())].append(chain)
    limited = np.flatnonzero(np.isfinite(network.capacity))
    row_of = {int(resource): row for row, resource in enumerate(limited)}
    program = Program([], [], [], [0], [-np.inf] * len(limited), network.capacity[limited].tolist())
    tails, heads = network.tail.tolist(), network.head.tolist()
    for (target, *menus), chains in together.items():
        base, layers = len(program.low), [menu for menu in menus if menu >= 0]
        supply = np.zeros((len(layers) + 1) * network.nodes)
        for chain in chains:
            supply[int(demands.source[chain])] += demands.bandwidth_mbps[chain]
        supply[len(layers) * network.nodes + target] -= supply.sum()
        program.low += supply.tolist()
        program.high += supply.tolist()
        for layer in range(len(layers) + 1):
            first = base + layer * network.nodes
            for arc, cost in enumerate(network.arc_cost.tolist()):
                ends = [(first + tails[arc], 1.0), (first + heads[arc], -1.0)]
                program.column(cost, [*ends, (row_of[arc], 1.0)] if arc in row_of else ends)
            if layer == len(layers):
                continue
            for site in demands.menus[layers[layer]].tolist():
                node, uses = int(network.site_node[site]), int(network.site_uses[site, 0])
                ends = [(first + node, 1.0), (first + network.nodes + node, -1.0)]
                program.column(
                    float(network.site_cost[site]), [*ends, (row_of[uses], 1.0)] if uses in row_of else ends
                )
    return program.solve(limit_s)


def pooled(
    network: Network, demands: Demands, price: Floats, width: float, count: int, limit_s: float
) -> float:
    """HiGHS' MIP over every chain's best routes at many prices near the given ones. Result: its cost."""
    held = market(network, demands, incidence(network))
    columns = pool(network, demands)
    for tried in [price, *spread(price + 1e-9, count, width, 7)]:
        columns.add(held.respond(np.where(np.isfinite(network.capacity), tried, 0.0)).routes)
    chosen = settle(columns, np.arange(len(columns.routes)), network.most, 1 << 30, limit_s)
    if chosen is None:
        return float(demands.penalty.sum())
    placed = columns.routes.chain[chosen]
    left_out = np.setdiff1d(np.arange(demands.chains), placed)
    return float(columns.cost[chosen].sum() + demands.penalty[left_out].sum())


@dataclass(frozen=True, slots=True)
class Layers:
    """The layered graph of one chain on what is left: node + layer x nodes. Arrays tail, head, price."""

    tail: np.ndarray
    head: np.ndarray
    price: np.ndarray
    nodes: int
    start: int
    end: int


def layers(held: Desk, chain: int) -> Layers:
    network, demands = held.network, held.demands
    mbps = float(demands.bandwidth_mbps[chain])
    room = np.flatnonzero((held.left[: network.arcs] >= mbps) & ~held.closed)
    menus = [menu for menu in demands.menu[chain].tolist() if menu >= 0]
    cost = mbps * (network.arc_cost[room] + held.price[room])
    tails, heads, prices = [], [], []
    for layer in range(len(menus) + 1):
        tails.append(network.tail[room] + layer * network.nodes)
        heads.append(network.head[room] + layer * network.nodes)
        prices.append(cost)
        if layer == len(menus):
            break
        sites = demands.menus[menus[layer]]
        own = mbps * network.site_cost[sites] + network.site_fixed[sites]
        fits = ~held.shut[sites]
        for kind in range(network.site_uses.shape[1]):
            uses = network.site_uses[sites, kind]
            need = mbps if kind == 0 else float(demands.needs[chain, layer, kind - 1])
            own = own + need * np.where(uses >= 0, held.price[uses], 0.0)
            fits &= np.where(uses >= 0, held.left[uses], np.inf) >= need
        # The cheapest first at each node: a sparse matrix holds one entry a pair
        order = np.lexsort((own[fits], network.site_node[sites][fits]))
        nodes = network.site_node[sites][fits][order]
        first = np.concatenate([[True], np.diff(nodes) != 0]) if len(nodes) else np.zeros(0, bool)
        tails.append(nodes[first] + layer * network.nodes)
        heads.append(nodes[first] + (layer + 1) * network.nodes)
        prices.append(own[fits][order][first])
    size = network.nodes * (len(menus) + 1)
    end = int(demands.target[chain]) + len(menus) * network.nodes
    return Layers(
        np.concatenate(tails),
        np.concatenate(heads),
        np.concatenate(prices),
        size,
        int(demands.source[chain]),
        end,
    )


def by_scipy(held: Desk, chain: int) -> float:
    """Arrays and query: the residuals are others for every chain."""
    graph = layers(held, chain)
    matrix = csr_matrix((graph.price, (graph.tail, graph.head)), shape=(graph.nodes, graph.nodes))
    return float(dijkstra(matrix, indices=graph.start, return_predecessors=True)[0][graph.end])


def by_rustworkx(held: Desk, chain: int) -> float:
    graph = layers(held, chain)
    built = rx.PyDiGraph()
    built.add_nodes_from(range(graph.nodes))
    built.add_edges_from(
        list(zip(graph.tail.tolist(), graph.head.tolist(), graph.price.tolist(), strict=True))
    )
    return float(rx.dijkstra_shortest_path_lengths(built, graph.start, float, goal=graph.end)[graph.end])


def by_networkx(held: Desk, chain: int) -> float:
    graph = layers(held, chain)
    built = nx.DiGraph()
    built.add_weighted_edges_from(
        zip(graph.tail.tolist(), graph.head.tolist(), graph.price.tolist(), strict=True)
    )
    return float(nx.dijkstra_path_length(built, graph.start, graph.end))
