# SPDX-License-Identifier: Apache-2.0
"""Tables in the words of Cisco IOS-XR: access lists whose lines forward (ABF), sub-interfaces, one VRF per next hop.

Called by `drivers.switch.iosxr`. Pure: the same tables give the same objects, byte for byte.

An ABF line whose next hops are all down is routed as if it were not there: past the function. So no line names a next
hop. Each names a VRF of ours (VRF-select: `nexthop1 vrf V` alone), which holds a default route to the next hop and a
default route to Null0 behind it, and nothing else: what cannot go there is dropped by the routing table.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from drivers.base import Target, Unsupported
from drivers.state import ANY_PORT, ANYWHERE, Match, NextHop, Ports
from drivers.switch.counted import by_family, matched
from drivers.switch.tables import (
    ANY_MAC,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    address_of,
    crossing_addresses,
    interface,
    table_name,
    vrf_there,
)

LOCAL, REST = "SI-local", "SI-rest"
REST_SEQUENCE, LAST_SEQUENCE = 65000, 64990
MOST_LINES = LAST_SEQUENCE // 10
MARK = "description SI"
# What only routers and neighbours say to each other is nobody's traffic and never leaves the link.
LINK_LOCAL = {4: (("ipv4", "224.0.0.0/24"),), 6: (("icmpv6", "fe80::/10"), ("icmpv6", "ff02::/16"))}
FLOATING = 254
PORT = re.compile(r"[a-z0-9][a-z0-9-]*")
INTERFACE = re.compile(r"[A-Z][A-Za-z-]{1,30}\d{1,5}(?:/\d{1,3}){0,4}")
VRF = re.compile(r"(?!SI-)[A-Za-z0-9][A-Za-z0-9_.:-]{0,31}")
HOP = re.compile(r"SI-([a-z0-9][a-z0-9-]*)-(0|3\d{3}|40\d{2})")
ATTACH = re.compile(r"(ipv[46]) access-group (\S+) ingress")
NUMBERS = {(4, "icmpv6"): "58", (6, "icmp"): "1"}


@dataclass(frozen=True, slots=True)
class Objects:
    """Ours on a device, by the line that opens each, with the lines inside. attached: (interface, its line).

    routes: the inside of a next hop's VRF under `router static`, by VRF.
    """

    vrfs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    neighbours: tuple[str, ...] = ()
    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attached: tuple[tuple[str, str], ...] = ()
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def objects_of(tables: Tables, target: Target) -> Objects:
    """Errors: Unsupported, if this platform cannot say it."""
    check_names(target)
    hops = _hops(tables, target)
    lists: dict[str, tuple[str, ...]] = {}
    attached: list[tuple[str, str]] = []
    inside: dict[Place, list[str]] = {place: [] for place in tables.crossings}
    for place, entries in tables.entries.items():
        for family in (4, 6):
            lines = access_list(place, [one for one in entries if one.family == family], family, target)
            if not lines:
                continue
            name = list_name(place, family)
            lists[f"ipv{family} access-list {name}"] = lines
            attach = f"ipv{family} access-group {name} ingress"
            if place[1]:
                inside[place].append(attach)
            else:
                attached.append((interface(target, place), attach))
    return Objects(
        vrfs={f"vrf {name}": vrf_lines() for name in sorted({hop_name(hop) for hop, _ in hops})},
        lists=dict(sorted(lists.items())),
        neighbours=tuple(sorted(line for one in tables.crossings.values() for line in neighbours(one, target))),
        interfaces={
            f"interface {interface(target, place)}": (*crossing_lines(one, target), *inside[place])
            for place, one in tables.crossings.items()
        },
        attached=tuple(sorted(attached)),
        routes=_routes(hops, target),
    )


def check_names(target: Target) -> None:
    """Names come from the fabric file and go into commands. Errors: Unsupported for one that is no name on XR."""
    for port in target.ports.values():
        name = port.interface or port.name
        if PORT.fullmatch(port.name) is None or INTERFACE.fullmatch(name) is None:
            raise Unsupported(
                f"{target.name}: port {port.name!r} has interface {name!r}, which is no interface of IOS-XR; "
                "give the device's own name, as GigabitEthernet0/0/0/1, in the fabric file"
            )
    for name in target.vrfs:
        if VRF.fullmatch(name) is None:
            raise Unsupported(f"{target.name}: {name!r} cannot be the name of a VRF on IOS-XR")


# --- access lists -----------------------------------------------------------------------------


def list_name(place: Place, family: int) -> str:
    return f"{table_name(place)}-{family}"


def access_list(place: Place, entries: list[Entry], family: int, target: Target) -> tuple[str, ...]:
    """Its lines, numbered; () if there is nothing to say. A list at an untagged place lets the rest through."""
    if not entries:
        return ()
    body: list[str] = []
    if not place[1]:
        body += [f"remark {LOCAL}", *local_lines(place, family, target)]
    for entry in entries:
        said = f" vrf {vrf_name(target, entry.hop.vrf)}" if entry.action is Action.ROUTE and entry.hop.vrf else ""
        body.append(f"remark {entry.name}{said}")
        body += (ace(entry, match, target) for match in entry.matches)
    numbered = [f"{10 * number} {line}" for number, line in enumerate(body, start=1)]
    if 10 * len(numbered) > LAST_SEQUENCE:
        said = f"{list_name(place, family)} would have {len(numbered)} lines; {MOST_LINES} fit"
        raise Unsupported(f"{target.name}: {said}")
    if not place[1]:
        numbered += [f"{REST_SEQUENCE - 1} remark {REST}", f"{REST_SEQUENCE} permit ipv{family} any any"]
    return tuple(numbered)


def size_of(place: Place, entries: tuple[Entry, ...], target: Target) -> tuple[int, int]:
    """See `drivers.switch.counted`: lines that match, and the lines of the longer list, remarks too."""
    lines, longest = 0, 0
    for family, some in by_family(entries).items():
        local = [] if place[1] else local_lines(place, family, target)
        lines += matched(some) + len(local) + (0 if place[1] else 1)
        longest = max(longest, matched(some) + len(some) + (0 if place[1] else len(local) + 1))
    return lines, longest


def local_lines(place: Place, family: int, target: Target) -> list[str]:
    """What is for the router itself: ABF would take it away (neighbour discovery, the gateway's own addresses)."""
    addresses = (ipaddress.ip_interface(text).ip for text in target.ports[place[0]].addresses)
    own = [(f"ipv{family}", f"{one}/{one.max_prefixlen}") for one in addresses if one.version == family]
    return [f"permit {protocol} any {prefix_text(to)}" for protocol, to in (*LINK_LOCAL[family], *own)]


def ace(entry: Entry, match: Match, target: Target) -> str:
    """One line without its number."""
    if match.protocol == "sctp" and (match.source_ports, match.destination_ports) != (ANY_PORT, ANY_PORT):
        raise Unsupported(f"{target.name}: {entry.name} matches ports of SCTP, which IOS-XR access lists do not")
    protocol = NUMBERS.get((match.family, match.protocol), match.protocol) or f"ipv{match.family}"
    words = [
        "deny" if entry.action is Action.DROP else "permit",
        protocol,
        prefix_text(match.source),
        ports_text(match.source_ports),
        prefix_text(match.destination),
        ports_text(match.destination_ports),
        f"dscp {match.dscp}" if match.dscp >= 0 else "",
        f"nexthop1 vrf {hop_name(entry.hop)}" if entry.action is Action.REDIRECT else "",
    ]
    return " ".join(word for word in words if word)


def prefix_text(prefix: str) -> str:
    """As XR prints it."""
    if prefix in ANYWHERE.values():
        return "any"
    address, _, length = prefix.partition("/")
    return f"host {address}" if length == ("128" if ":" in prefix else "32") else prefix


def ports_text(ports: Ports) -> str:
    if ports == ANY_PORT:
        return ""
    return f"eq {ports[0]}" if ports[0] == ports[1] else f"range {ports[0]} {ports[1]}"


# --- next hops and crossings ------------------------------------------------------------------


def vrf_name(target: Target, vrf: str) -> str:
    """The device's word for it; its global table is called `default`."""
    return vrf_there(target, vrf) or "default"


def hop_name(hop: NextHop) -> str:
    """Of the VRF in which everything goes to this next hop. At most 32 characters, which XR allows."""
    return f"SI-{hop.port}-{hop.tag}"


def vrf_lines() -> tuple[str, ...]:
    return (MARK, "address-family ipv4 unicast", "address-family ipv6 unicast")


def _hops(tables: Tables, target: Target) -> list[tuple[NextHop, int]]:
    """Every next hop that a line uses, with the family."""
    found = {
        (entry.hop, entry.family)
        for entries in tables.entries.values()
        for entry in entries
        if entry.action is Action.REDIRECT
    }
    names: dict[str, NextHop] = {}
    for hop, _ in found:
        if names.setdefault(hop_name(hop), hop) != hop:
            raise Unsupported(f"{target.name}: two items want what is behind {hop.port} in two VRFs")
    return sorted(found, key=lambda one: (hop_name(one[0]), one[1]))


def _routes(hops: Iterable[tuple[NextHop, int]], target: Target) -> dict[str, tuple[str, ...]]:
    routes: dict[str, list[str]] = {}
    for hop, family in hops:
        routes.setdefault(hop_name(hop), []).extend(route_lines(hop, family, target))
    return {name: tuple(lines) for name, lines in routes.items()}


def route_lines(hop: NextHop, family: int, target: Target) -> tuple[str, ...]:
    """All that one family's routing table of a next hop's VRF holds. Errors: Unsupported."""
    there = f"{interface(target, (hop.port, hop.tag))} {address_of(target, hop, family)}"
    return (
        f"address-family ipv{family} unicast",
        f" {ANYWHERE[family]} vrf {vrf_name(target, hop.vrf)} {there}",
        f" {ANYWHERE[family]} Null0 {FLOATING}",
    )


def crossing_lines(crossing: Crossing, target: Target) -> tuple[str, ...]:
    """Inside the sub-interface, without its access lists."""
    place = (crossing.port, crossing.tag)
    vrf = vrf_there(target, crossing.vrf)
    (four, _), (six, _) = (crossing_addresses(target, place, family) for family in (4, 6))
    return (
        f"{MARK} {crossing.port} {crossing.tag}",
        *([f"vrf {vrf}"] if vrf else []),
        f"ipv4 address {four} 255.255.255.254",
        f"ipv6 address {six}/127",
        f"encapsulation dot1q {crossing.tag}",
    )


def neighbours(crossing: Crossing, target: Target) -> Iterator[str]:
    """The far end, which knows nothing of our addresses: its MAC is told once and for all."""
    place = (crossing.port, crossing.tag)
    digits = (crossing.mac or ANY_MAC).replace(":", "")
    mac = ".".join(digits[i : i + 4] for i in (0, 4, 8))
    yield f"arp vrf {vrf_name(target, crossing.vrf)} {crossing_addresses(target, place, 4)[1]} {mac} ARPA"
    yield f"ipv6 neighbor {crossing_addresses(target, place, 6)[1]} {interface(target, place)} {mac}"
