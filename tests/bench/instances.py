# SPDX-License-Identifier: Apache-2.0
"""Seeded placement instances: fat-trees, wide networks, public networks with their traffic matrices.

Three kinds of place: a switch's own tables (three stateless functions, cheap, few entries), appliances (four
functions, few places), servers (all six functions, 25 Gb/s, dear). Chains of three functions, log-normal
bandwidth. Public networks are read from the package topohub; a network of the Internet Topology Zoo that it
leaves out can be put as GraphML under var/topologies/, otherwise a generated one of the same size stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chains.planning.market.types import NONE, Demands, Floats, Ints, Network

FUNCTIONS = 6
STATELESS, APPLIANCE = (0, 1, 2), (0, 1, 3, 4)
ZOO = Path(__file__).resolve().parents[2] / "var" / "topologies"
SHORTEST_MBPS, MOST_MBPS = 1.0, 10_000.0
Edge = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Instance:
    name: str
    network: Network
    demands: Demands


def fat_tree(k: int) -> tuple[int, list[Edge], list[int]]:
    """Nodes, links, and the edge switches. Core first, then pod by pod aggregation and edge switches."""
    half = k // 2
    cores = half * half
    links, leaves = [], []
    for pod in range(k):
        first = cores + pod * k
        for a in range(half):
            links += [(a * half + c, first + a) for c in range(half)]
            links += [(first + a, first + half + e) for e in range(half)]
        leaves += [first + half + e for e in range(half)]
    return cores + k * k, links, leaves


def wide(nodes: int, links: int, seed: int) -> tuple[int, list[Edge], list[int]]:
    """A sparse wide-area network: a tree of nearest neighbours and the shortest links beside it."""
    draw = np.random.default_rng(seed)
    place = draw.random((nodes, 2)) * np.array([3.0, 1.0])
    apart = np.linalg.norm(place[:, None] - place[None], axis=2)
    found = {(int(np.argmin(apart[node, :node])), node) for node in range(1, nodes)}
    order = np.argsort(apart[np.triu_indices(nodes, 1)], kind="stable")
    pairs = np.column_stack(np.triu_indices(nodes, 1))[order]
    for index in np.flatnonzero(draw.random(len(pairs)) < 0.25):
        if len(found) >= links:
            break
        found.add((int(pairs[index, 0]), int(pairs[index, 1])))
    return nodes, sorted(found), list(range(nodes))


def zoo(name: str, nodes: int, links: int, seed: int) -> tuple[str, tuple[int, list[Edge], list[int]]]:
    """The Zoo's network if its GraphML is there, else a generated one of the same size."""
    path = ZOO / f"{name}.graphml"
    if not path.is_file():
        return f"wide-{nodes}", wide(nodes, links, seed)
    text = path.read_text(encoding="utf-8")
    ids = {key: index for index, key in enumerate(re.findall(r'<node id="([^"]+)"', text))}
    ends = re.findall(r'<edge source="([^"]+)" target="([^"]+)"', text)
    edges = sorted({(min(ids[a], ids[b]), max(ids[a], ids[b])) for a, b in ends if a != b})
    return name.lower(), (len(ids), edges, list(range(len(ids))))


def build(
    name: str,
    shape: tuple[int, list[Edge], list[int]],
    chains: int,
    seed: int = 1,
    *,
    cut: float = 1.0,
    has_entries: bool = True,
    busiest: float = 0.67,
) -> Instance:
    """cut: links keep this share of their capacity. busiest: how full the fullest link is before the cut
    when every chain takes its cheapest route."""
    nodes, edges, leaves = shape
    draw = np.random.default_rng(seed)
    demands = _chains(draw, leaves, chains)
    network = _places(draw, nodes, edges, demands, has_entries)
    capacity = network.capacity.copy()
    capacity[: network.arcs] = _link_capacity(network, demands, busiest) * cut
    return Instance(name, replace(network, capacity=np.floor(capacity)), _with_menus(demands, network))


def _chains(draw: np.random.Generator, leaves: list[int], chains: int) -> Demands:
    ends = np.array([draw.choice(leaves, 2, replace=False) for _ in range(chains)])
    mbps = np.clip(np.round(draw.lognormal(np.log(300), 1.2, chains)), SHORTEST_MBPS, MOST_MBPS)
    menu = np.array([draw.permutation(FUNCTIONS)[:3] for _ in range(chains)], dtype=np.int64)
    entries = draw.integers(1, 4, (chains, 3)).astype(float)
    # Left out, a chain costs what no placement does
    return Demands(
        ends[:, 0].astype(np.int64), ends[:, 1].astype(np.int64), mbps, menu, entries[:, :, None],
        1000.0 + mbps, np.full(chains, np.inf), (),
    )  # fmt: skip


def _places(
    draw: np.random.Generator, nodes: int, edges: list[Edge], demands: Demands, has_entries: bool
) -> Network:
    """Sites of one switch share its table; capacities leave about a third of the cheap places short."""
    total = float(demands.bandwidth_mbps.sum())
    asic = draw.permutation(nodes)[: round(nodes * 0.7)]
    boxes = draw.permutation(nodes)[: max(4, round(nodes * 0.05))]
    hosts = draw.permutation(nodes)[: max(8, round(nodes * 0.07))]
    entries = max(5.0, round(0.5 * 2.0 * 1.5 * len(demands.source) / max(1, len(asic)) / 3))
    node, cost, uses, caps = [], [], [], []
    arcs = 2 * len(edges)
    for place in asic:
        table = arcs + len(caps)
        caps.append(entries * 3 if has_entries else np.inf)
        for _function in STATELESS:
            node.append((place, _function))
            cost.append(0.2 + 0.1 * draw.random())
            uses.append((NONE, table))
    for place in boxes:
        for function in APPLIANCE:
            node.append((place, function))
            cost.append(1.0 + 0.5 * draw.random())
            uses.append((arcs + len(caps), NONE))
            caps.append(np.floor(total / 2 * 0.6 / len(boxes)))
    for place in hosts:
        for function in range(FUNCTIONS):
            node.append((place, function))
            cost.append(4.0 + 2.0 * draw.random())
            uses.append((arcs + len(caps), NONE))
            caps.append(np.floor(max(25_000.0, total / 2 * 1.4 / len(hosts))))
    tail = np.array([end for a, b in edges for end in (a, b)], np.int64)
    head = np.array([end for a, b in edges for end in (b, a)], np.int64)
    sites = len(node)
    return Network(
        nodes, tail, head, np.repeat(0.25 + 0.05 * draw.random(len(edges)), 2) / 1000, np.full(arcs, 10.0),
        np.array([place for place, _ in node], np.int64), np.array(cost) / 1000, np.full(sites, 0.001),
        np.array([function for _, function in node], dtype=float), np.array(uses, np.int64),
        np.concatenate([np.zeros(arcs), caps]),
    )  # fmt: skip


def _with_menus(demands: Demands, network: Network) -> Demands:
    function = network.site_latency_us.astype(int)  # the generator's note of what a site does
    return replace(demands, menus=tuple(np.flatnonzero(function == f) for f in range(FUNCTIONS)))


def _link_capacity(network: Network, demands: Demands, busiest: float) -> Floats:
    """Every link as wide as the fullest one needs, so that none of them is the odd one out."""
    from chains.planning.market.pricing import best, routes, stages
    from chains.planning.market.types import load, usage
    from chains.planning.market.ways import ways

    told = _with_menus(demands, network)
    table = ways(network, network.arc_cost)
    price = np.zeros(len(network.capacity))
    found = best(network, told, stages(told), table, price)
    taken: Ints = np.arange(told.chains)
    drawn = load(network, usage(network, told, routes(network, told, table, taken, found.sites)))
    return np.full(network.arcs, np.ceil(drawn[: network.arcs].max() / busiest))
