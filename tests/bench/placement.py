# SPDX-License-Identifier: Apache-2.0
"""Placing one chain against a plain shortest path over the same layered graph, which must find the same cost.

The yardstick is written here, shares no code with placement and does less: no capacities used twice, no
explanation of the candidates turned down. Pure values, no database.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from chains.planning.candidates import Context
from chains.planning.classes import count_matches
from chains.planning.placement import place
from chains.planning.routing import LATENCY_COST_PER_US, LINK_COST_PER_GBPS, peers
from chains.planning.types import Attachment, Chain, Endpoint, Fabric, Realm, Segment
from tests.bench.report import Figure
from tests.planning.fabrics import Builder, chain

HOPS = ("filter", "ngfw", "ips")
# Placing is a small part of a dry run, which waits for the database; a person notices 100 ms.
MOST_US = 50_000
Node = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Size:
    """leaves, boxes: of each of two functions. With four spines."""

    leaves: int
    boxes: int
    chains: int
    repeats: int


FULL = Size(leaves=24, boxes=36, chains=40, repeats=3)
SMALL = Size(leaves=6, boxes=8, chains=6, repeats=2)


def figures(size: Size) -> Iterator[Figure]:
    """Medians over chains between different leaves. Errors: AssertionError if the costs differ."""
    fabric = leaf_spine(size)
    ours, theirs = [], []
    for number in range(size.chains):
        wanted = between(fabric, f"leaf{number % size.leaves:02d}", f"leaf{(7 * number + 3) % size.leaves:02d}")
        for _ in range(size.repeats):
            placed, took_s = _timed(lambda wanted=wanted: place_cost(fabric, wanted))
            found, yardstick_s = _timed(lambda wanted=wanted: shortest(fabric, wanted))
            assert abs(placed - found) < 1e-4, f"placement costs {placed}, the shortest path {found}"
            ours.append(took_s)
            theirs.append(yardstick_s)
    value, against = median(ours) * 1e6, median(theirs) * 1e6
    devices = f"{len(fabric.devices)} devices, {len(HOPS)} hops, {len(fabric.offers)} offers"
    goal = f"the cost of a shortest path, at most {MOST_US} us"
    yield Figure("placement", value, "us", against, devices, goal, value <= MOST_US)


def leaf_spine(size: Size) -> Fabric:
    """Costs differ from box to box, so that the least is found by looking and not by a tie."""
    builder = Builder()
    leaves = [f"leaf{number:02d}" for number in range(size.leaves)]
    for name in (*leaves, *(f"spine{number}" for number in range(4))):
        builder.device(name, "switch")
    for i, leaf in enumerate(leaves):
        builder.device(f"host{leaf}", "host")
        builder.link(f"{leaf}:host", f"host{leaf}:eth0")
        for j in range(4):
            builder.link(f"{leaf}:spine{j}", f"spine{j}:{leaf}", 100_000, 10 + (3 * i + j) % 7)
        builder.offer(leaf, "filter", Realm.SWITCH, cost_fixed=1.0 + i % 5 / 50, is_shared=True)
    for number in range(size.boxes):
        for function, share in (("ngfw", 0.013), ("ips", 0.017)):
            leaf = leaves[(number * 5) % size.leaves]
            cost = 10 + number % 9 * share
            builder.appliance(f"{function}{number:02d}", function, leaf, cost_fixed=cost, is_shared=True)
    return builder.fabric()


def between(fabric: Fabric, source: str, destination: str) -> Chain:
    def segment(name: str, leaf: str, network: int) -> Segment:
        prefixes = (f"10.10.{network}.0/24",)
        return Segment(name, "a", prefixes, (Attachment(Endpoint(leaf, "host"), prefixes, f"host{leaf}"),))

    return chain(*HOPS, source=segment("clients", source, 1), destination=segment("servers", destination, 2))


def place_cost(fabric: Fabric, wanted: Chain) -> float:
    return place(Context(fabric, wanted, peers(fabric), count_matches(wanted))).placement.cost


def shortest(fabric: Fabric, wanted: Chain) -> float:
    """Dijkstra over (hops done, switch): a link stays in its layer, a function leads into the next."""
    links, functions = _steps(fabric, wanted)
    goal: Node = (len(wanted.hops), wanted.destination.attachments[0].switch.device)
    queue: list[tuple[float, Node]] = [(0.0, (0, wanted.source.attachments[0].switch.device))]
    done: set[Node] = set()
    while queue:
        cost, node = heapq.heappop(queue)
        if node == goal:
            return cost
        if node in done:
            continue
        done.add(node)
        layer, switch = node
        for other, price in links[switch]:
            heapq.heappush(queue, (cost + price, (layer, other)))
        for price in functions[node]:
            heapq.heappush(queue, (cost + price, (layer + 1, switch)))
    raise AssertionError("the destination cannot be reached")


def _steps(fabric: Fabric, wanted: Chain) -> tuple[dict[str, list[tuple[str, float]]], dict[Node, list[float]]]:
    """switch -> (neighbour, price); (layer, switch) -> prices of the next hop's functions there."""
    gbps = wanted.bandwidth_mbps / 1000
    switches = {name for name, device in fabric.devices.items() if device.kind == "switch"}
    links: dict[str, list[tuple[str, float]]] = defaultdict(list)
    home: dict[str, str] = {name: name for name in switches}
    hairpin_us: Counter[str] = Counter()
    for link in fabric.links:
        price = LINK_COST_PER_GBPS * gbps + LATENCY_COST_PER_US * link.latency_us
        for one, other in ((link.a, link.b), (link.b, link.a)):
            if one.device in switches and other.device in switches:
                links[one.device].append((other.device, price))
            elif one.device not in switches:
                home[one.device] = other.device
                hairpin_us[one.device] += link.latency_us
    functions: dict[Node, list[float]] = defaultdict(list)
    layers = {hop.function: layer for layer, hop in enumerate(wanted.hops)}
    for offer in fabric.offers:
        price = offer.cost_per_gbps * gbps + offer.cost_fixed + LATENCY_COST_PER_US * offer.latency_us
        price += LATENCY_COST_PER_US * hairpin_us[offer.device]
        functions[layers[offer.function], home[offer.device]].append(price)
    return links, functions


def _timed(work: Callable[[], float]) -> tuple[float, float]:
    """The answer, and the processor time that it took."""
    began = time.process_time()
    return work(), time.process_time() - began
