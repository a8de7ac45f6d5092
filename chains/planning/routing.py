# SPDX-License-Identifier: Apache-2.0
"""Least-cost ways between switches, over links with room.

Called by placement, which asks for distances, and by plan, which asks for the way itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from chains.planning.types import Chain, Endpoint, Fabric, Link
from chains.planning.worth import DEFAULT

INFINITE = float("inf")
# Where the operator says nothing: cost units for 1 Gb/s over one link, and for a microsecond (a tie-break).
LINK_COST_PER_GBPS = DEFAULT.link_per_gbps
LATENCY_COST_PER_US = DEFAULT.latency_per_us


@dataclass(frozen=True, slots=True)
class Arc:
    """A link in one direction, between two switches."""

    start: Endpoint
    end: Endpoint
    latency_us: int
    free_mbps: int


@dataclass(frozen=True, slots=True)
class Distance:
    """From one switch to another: cost and latency of the least-cost way."""

    cost: float
    latency_us: int


@dataclass(slots=True)
class Graph:
    """Switches and the arcs between them. price(arc) = bandwidth + weighted latency; searches are remembered.

    latency_weight: raised to prefer fast ways when a latency budget binds.
    """

    arcs: Mapping[str, tuple[Arc, ...]]
    bandwidth_mbps: int
    latency_weight: float = LATENCY_COST_PER_US
    link_price: float = LINK_COST_PER_GBPS
    _found: dict[tuple[str, frozenset[Arc]], _Tree] = field(default_factory=dict)

    def cost(self, start: str, end: str, forbidden: frozenset[Arc] = frozenset()) -> float:
        """Of the least-cost way; infinite if there is none with room."""
        found = self._tree(start, forbidden).distances.get(end)
        return found.cost if found else INFINITE

    def way(self, start: str, end: str, forbidden: frozenset[Arc] = frozenset()) -> tuple[Arc, ...] | None:
        """The arcs of the least-cost way, () if start is end, None if there is none."""
        tree = self._tree(start, forbidden)
        if end not in tree.distances:
            return None
        found: list[Arc] = []
        while end != start:
            arc = tree.arrivals[end]
            found.append(arc)
            end = arc.start.device
        return tuple(reversed(found))

    def price(self, arc: Arc) -> float:
        return self.link_price * self.bandwidth_mbps / 1000 + self.latency_weight * arc.latency_us

    def _tree(self, start: str, forbidden: frozenset[Arc]) -> _Tree:
        if (start, forbidden) not in self._found:
            self._found[start, forbidden] = self._search(start, forbidden)
        return self._found[start, forbidden]

    def _search(self, start: str, forbidden: frozenset[Arc]) -> _Tree:
        """Dijkstra; ties by device name, so that equal input gives equal ways."""
        tree = _Tree({}, {})
        queue: list[tuple[float, int, str, int]] = [(0.0, 0, start, 0)]
        seen: list[Arc | None] = [None]
        while queue:
            cost, latency_us, device, index = heapq.heappop(queue)
            arrival = seen[index]
            if device in tree.distances:
                continue
            tree.distances[device] = Distance(cost, latency_us)
            if arrival is not None:
                tree.arrivals[device] = arrival
            for arc in self.arcs.get(device, ()):
                if arc.end.device not in tree.distances and arc not in forbidden:
                    step = (cost + self.price(arc), latency_us + arc.latency_us, arc.end.device, len(seen))
                    seen.append(arc)
                    heapq.heappush(queue, step)
        return tree


@dataclass(frozen=True, slots=True)
class _Tree:
    distances: dict[str, Distance]
    arrivals: dict[str, Arc]


def graph(fabric: Fabric, chain: Chain, latency_weight: float = LATENCY_COST_PER_US) -> Graph:
    """The arcs of enabled switches whose links are up, have room for the chain, and whose ends share a tag.

    On a link between switches the operator's base forwarding may carry the very same packets, so
    without a stage tag a redirect there could not tell them apart.
    """
    # Where a group shares the traffic a link may carry a part of it; what is too much is refused once it is shared.
    needed_mbps = -(-chain.bandwidth_mbps // max((hop.instances for hop in chain.hops), default=1))
    switches = {
        device.name
        for device in fabric.devices.values()
        if device.kind == "switch" and device.is_enabled and not device.doubt
    }
    arcs: dict[str, list[Arc]] = {name: [] for name in sorted(switches)}
    for link in fabric.links:
        if link.a.device in switches and link.b.device in switches and _shares_tag(fabric, link):
            if why_unfit(fabric, chain, link):
                continue
            for arc in _arcs(link):
                if arc.free_mbps >= needed_mbps:
                    arcs[arc.start.device].append(arc)
    ways = {name: tuple(found) for name, found in arcs.items()}
    return Graph(ways, needed_mbps, latency_weight, fabric.prices.link_per_gbps)


def why_unfit(fabric: Fabric, chain: Chain, link: Link) -> str:
    """Why no packet of the chain may go over the link, in words; "" if it may."""
    if not link.is_up:
        return "is down"
    needed = min(chain.source.mtu_bytes, chain.destination.mtu_bytes)
    tagged = ""
    if all(fabric.devices[end.device].kind == "switch" for end in (link.a, link.b)) and _is_untagged(fabric, link):
        # Elsewhere a stage tag takes the place of the VRF's (IEEE 802.1Q: four octets).
        needed, tagged = needed + 4, " and a stage tag"
    if link.mtu_bytes < needed:
        return f"carries {link.mtu_bytes} bytes, the chain's largest packets{tagged} are {needed}"
    return ""


def unfit_links(fabric: Fabric, chain: Chain) -> tuple[str, ...]:
    """Links between switches that are left out, each with the reason."""
    kinds = {name: device.kind for name, device in fabric.devices.items()}
    return tuple(
        f"{link.a.device}:{link.a.port} - {link.b.device}:{link.b.port} {why}"
        for link in fabric.links
        if kinds[link.a.device] == kinds[link.b.device] == "switch" and (why := why_unfit(fabric, chain, link))
    )


def cables(fabric: Fabric) -> Mapping[Endpoint, Link]:
    """Both ends of every link -> the link."""
    return {end: link for link in fabric.links for end in (link.a, link.b)}


def _is_untagged(fabric: Fabric, link: Link) -> bool:
    """Does it carry one VRF without a tag? A port that its operator put into a VRF does."""
    ports = (fabric.devices[end.device].ports.get(end.port) for end in (link.a, link.b))
    return any(port is not None and port.vrf for port in ports)


def _shares_tag(fabric: Fabric, link: Link) -> bool:
    caps = (fabric.devices[end.device].caps for end in (link.a, link.b))
    return all(cap is not None and "vlan" in cap.tags for cap in caps)


def peers(fabric: Fabric) -> Mapping[Endpoint, Endpoint]:
    """Each end of each link -> the other end."""
    found = {}
    for link in fabric.links:
        found[link.a], found[link.b] = link.b, link.a
    return found


def _arcs(link: Link) -> tuple[Arc, Arc]:
    """A chain crosses a link in one direction and its replies in the other: both need the room."""
    free_mbps = link.capacity_mbps - max(link.used_from_a_mbps, link.used_from_b_mbps)
    return (
        Arc(link.a, link.b, link.latency_us, free_mbps),
        Arc(link.b, link.a, link.latency_us, free_mbps),
    )
