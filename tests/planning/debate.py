# SPDX-License-Identifier: Apache-2.0
"""The old debate as fabrics: a filter in the switch or in a box, a firewall on every host or in ten appliances.

`python -m tests.planning.debate` prints the tables of docs/placement.md; test_debate compares them with the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from chains.planning.candidates import Context
from chains.planning.classes import count_matches
from chains.planning.placement import Solution, place
from chains.planning.routing import peers
from chains.planning.types import (
    Attachment,
    Chain,
    Classifier,
    Endpoint,
    Fabric,
    Prices,
    Realm,
    RulePolicy,
    Segment,
)
from drivers.state import Match, Rule, Verdict
from tests.planning.fabrics import SERVERS, Builder, chain, hop

HOSTS, APPLIANCES = 100, 10
# Cost units are euros a month. A core is what one of a server costs with its share of everything else.
PRICES = Prices(link_per_gbps=1.0, core=10.0, watt=0.1, entry=0.02, entry_scarcity=9.0)
FIREWALL = {"cost_per_gbps": 6.0, "licence_per_gbps": 9.0, "watts_per_gbps": 12.0, "cost_fixed": 150.0}
ON_HOST = {"cost_per_gbps": 0.0, "cores_per_gbps": 1.2, "watts_per_gbps": 10.0, "cost_fixed": 3.0, "latency_us": 5}
IN_ASIC = {"cost_per_gbps": 0.05, "watts_per_gbps": 0.1, "cost_fixed": 0.0, "latency_us": 1, "entries": 2000}
IN_BOX = {"cost_per_gbps": 1.0, "cores_per_gbps": 0.4, "watts_per_gbps": 4.0, "cost_fixed": 20.0, "latency_us": 30}


def fabric(used_entries: int = 0, prices: Prices = PRICES) -> Fabric:
    """Two leaves and a spine; a hundred hosts at one leaf, ten appliances at each."""
    builder = Builder()
    for name in ("leaf1", "leaf2", "spine1"):
        builder.device(name, "switch")
    for leaf in ("leaf1", "leaf2"):
        builder.link(f"{leaf}:spine1", f"spine1:{leaf}", 400_000)
    builder.device("a2", "host")
    builder.link("leaf2:a2", "a2:eth0", 400_000)
    for number in range(1, HOSTS + 1):
        builder.device(f"h{number}", "host")
        builder.link(f"leaf1:h{number}", f"h{number}:eth0", 25_000)
        builder.offer(f"h{number}", "ngfw", Realm.HOST, **ON_HOST)
    for number in range(1, APPLIANCES + 1):
        leaf = f"leaf{1 + number % 2}"
        builder.appliance(f"fw{number}", "ngfw", leaf, capacity_mbps=200_000, **FIREWALL)
    builder.appliance("box1", "filter", "leaf1", capacity_mbps=100_000, **IN_BOX)
    builder.offer("leaf1", "filter", Realm.SWITCH, is_shared=True, used_entries=used_entries, **IN_ASIC)
    return replace(builder.fabric(), prices=prices)


def firewalled(gbps: float) -> Chain:
    """All that a hundred hosts say to the servers."""
    ends = tuple(
        Attachment(Endpoint("leaf1", f"h{number}"), (f"10.10.1.{number}/32",), f"h{number}")
        for number in range(1, HOSTS + 1)
    )
    clients = Segment("clients", "a", ("10.10.1.0/24",), ends)
    return _chain("ngfw", gbps, source=clients)


def filtered(gbps: float, rules: int) -> Chain:
    """One match both ways, through a filter of so many rules."""
    policy = RulePolicy(
        tuple(
            Rule(Verdict.PERMIT, Match("0.0.0.0/0", "0.0.0.0/0", "tcp", destination_ports=(port, port)))
            for port in range(1, rules + 1)
        )
    )
    end = Attachment(Endpoint("leaf1", "h1"), ("10.10.1.0/24",), "h1")
    return _chain(hop(0, "filter", policy=policy), gbps, source=Segment("clients", "a", ("10.10.1.0/24",), (end,)))


def _chain(what: object, gbps: float, **fields: object) -> Chain:
    servers = replace(SERVERS, prefixes=("10.10.2.0/24",))
    values = {"destination": servers, "classifiers": (Classifier(4, "tcp"),), "bandwidth_mbps": round(1000 * gbps)}
    return chain(what, **{**values, **fields})  # type: ignore[arg-type]


def placed(wanted: Chain, where: Fabric) -> Solution:
    return place(Context(where, wanted, peers(where), count_matches(wanted)))


def costs(wanted: Chain, where: Fabric) -> dict[str, float]:
    """realm -> the whole chain's cost with the hop at its best place there."""
    found: dict[str, float] = {}
    hop_placed = placed(wanted, where).placement.hops[0]
    for candidate in (hop_placed.chosen, *hop_placed.rejected):
        if candidate and not candidate.excluded:
            found[str(candidate.realm)] = min(candidate.cost, found.get(str(candidate.realm), float("inf")))
    return found


def flip(wanted: Callable[[float], Chain], where: Fabric, low: float, high: float, step: float) -> float:
    """The least figure (a multiple of step) at which the realm chosen is not the one at `low`."""
    first = realm(wanted(low), where)
    lowest, highest = round(low / step), round(high / step)
    assert realm(wanted(high), where) != first, "it does not flip in between"
    while highest - lowest > 1:
        middle = (lowest + highest) // 2
        if realm(wanted(middle * step), where) == first:
            lowest = middle
        else:
            highest = middle
    return round(highest * step, 6)


def realm(wanted: Chain, where: Fabric) -> str:
    chosen = placed(wanted, where).placement.hops[0].chosen
    assert chosen is not None
    return str(chosen.realm)


def tables() -> Iterator[str]:
    """The rows of the page, in its order."""
    empty, full = fabric(), fabric(used_entries=1500)
    for where, told in ((empty, "empty"), (full, "three quarters full")):
        for rules in (10, 100, 200):
            yield _row(f"{rules}, table {told}", filtered(10, rules), where, "switch", "appliance")
    for gbps in (1, 10, 50, 100):
        yield _row(f"{gbps} Gb/s", firewalled(gbps), empty, "host", "appliance")
    yield f"rules at which an empty table loses: {flip(lambda n: filtered(10, int(n)), empty, 1, 900, 1):g}"
    yield f"the same, three quarters full: {flip(lambda n: filtered(10, int(n)), full, 1, 240, 1):g}"
    yield f"Gb/s from which hosts win: {flip(firewalled, empty, 1, 100, 0.1):g}"
    dear = fabric(prices=replace(PRICES, core=16.0))
    yield f"the same at 16 for a core: {_flip_or_never(dear)}"


def _flip_or_never(where: Fabric) -> str:
    if realm(firewalled(1), where) == realm(firewalled(190), where):
        return "never"
    return f"{flip(firewalled, where, 1, 190, 0.1):g}"


def _row(label: str, wanted: Chain, where: Fabric, one: str, other: str) -> str:
    found = costs(wanted, where)
    shown = [f"{found[name]:.2f}" if name in found else "no room" for name in (one, other)]
    return f"| {label} | {shown[0]} | {shown[1]} | {realm(wanted, where)} |"


if __name__ == "__main__":
    for line in tables():
        print(line)
