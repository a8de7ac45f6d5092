# SPDX-License-Identifier: Apache-2.0
"""Sets of packets as boxes: one interval per header field. Exact, so proofs need no samples.

Header space analysis (Kazemian, Varghese, McKeown, NSDI 2012) with intervals instead of wildcards:
our matches are prefixes and port ranges, which are intervals.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from functools import lru_cache

from drivers.state import Match

Interval = tuple[int, int]
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
NAMES = {number: name for name, number in PROTOCOLS.items()}
FIELDS = ("source", "destination", "protocol", "source_ports", "destination_ports", "dscp")
ANY_PROTOCOL: Interval = (0, 255)
ANY_DSCP: Interval = (0, 63)


@dataclass(frozen=True, slots=True)
class Packets:
    """All packets of `family` whose fields lie in the intervals (both ends included)."""

    family: int
    source: Interval
    destination: Interval
    protocol: Interval
    source_ports: Interval
    destination_ports: Interval
    dscp: Interval

    def intersect(self, other: Packets) -> Packets | None:
        """What is in both, or None."""
        if self is other:
            return self
        # Written out, and addresses first: most pairs that are asked about part there.
        (a, b), (c, d) = self.source, other.source
        (e, f), (g, h) = self.destination, other.destination
        if a > d or c > b or e > h or g > f or self.family != other.family:
            return None
        found = [(max(a, c), min(b, d)), (max(e, g), min(f, h))]
        for (low, high), (other_low, other_high) in (
            (self.protocol, other.protocol),
            (self.source_ports, other.source_ports),
            (self.destination_ports, other.destination_ports),
            (self.dscp, other.dscp),
        ):
            low, high = max(low, other_low), min(high, other_high)
            if low > high:
                return None
            found.append((low, high))
        return Packets(self.family, *found)

    def minus(self, other: Packets) -> tuple[Packets, ...]:
        """What is here and not in `other`, as disjoint boxes (at most two for each field)."""
        both = self.intersect(other)
        if both is None:
            return (self,)
        if both == self:
            return ()
        parts = []
        rest = self
        for name in FIELDS:
            (low, high), (cut_low, cut_high) = getattr(rest, name), getattr(other, name)
            if low < cut_low:
                parts.append(_narrowed(rest, name, (low, cut_low - 1)))
            if high > cut_high:
                parts.append(_narrowed(rest, name, (cut_high + 1, high)))
            rest = _narrowed(rest, name, (max(low, cut_low), min(high, cut_high)))
        return tuple(parts)

    def reversed(self) -> Packets:
        """The replies."""
        return replace(
            self,
            source=self.destination,
            destination=self.source,
            source_ports=self.destination_ports,
            destination_ports=self.source_ports,
        )

    def witness(self) -> str:
        """One member, as a person would write it."""
        address = ipaddress.IPv4Address if self.family == 4 else ipaddress.IPv6Address
        protocol = NAMES.get(self.protocol[0], NAMES.get(self.protocol[1], str(self.protocol[0])))
        if self.protocol == ANY_PROTOCOL:
            protocol = "tcp"
        source, destination = address(self.source[0]), address(self.destination[0])
        if protocol not in ("tcp", "udp", "sctp"):
            return f"{protocol} {source} -> {destination}"
        return (
            f"{protocol} {_with_port(source, self.source_ports[0])} -> "
            f"{_with_port(destination, self.destination_ports[0])}"
        )


def _narrowed(box: Packets, name: str, to: Interval) -> Packets:
    return Packets(box.family, *(to if field == name else getattr(box, field) for field in FIELDS))


def _with_port(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


@lru_cache(maxsize=65536)
def interval(prefix: str) -> Interval:
    """First and last address of a prefix, as integers."""
    network = ipaddress.ip_network(prefix)
    return int(network.network_address), int(network.broadcast_address)


@lru_cache(maxsize=65536)
def packets(match: Match) -> Packets:
    """The packets that a match means."""
    number = PROTOCOLS.get(match.protocol)
    return Packets(
        family=match.family,
        source=interval(match.source),
        destination=interval(match.destination),
        protocol=ANY_PROTOCOL if number is None else (number, number),
        source_ports=match.source_ports,
        destination_ports=match.destination_ports,
        dscp=ANY_DSCP if match.dscp < 0 else (match.dscp, match.dscp),
    )


def without(box: Packets, holes: tuple[Packets, ...]) -> tuple[Packets, ...]:
    """`box` less all of `holes`, as disjoint boxes."""
    parts: tuple[Packets, ...] = (box,)
    for hole in holes:
        parts = tuple(piece for part in parts for piece in part.minus(hole))
    return parts


def overlaps(one: Match, other: Match) -> bool:
    """Is there a packet that both match?"""
    return packets(one).intersect(packets(other)) is not None
