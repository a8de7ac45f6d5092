# SPDX-License-Identifier: Apache-2.0
"""Tables in the words of Junos: filter-based forwarding, one statement a line, inside our configuration group.

Called by `drivers.switch.junos`. Pure. A table is a filter in the interface's `input-list`; a next hop is an instance
of type forwarding with two half-defaults to it and a default that discards: a next hop that is gone drops. The
instance learns the next hop's own subnet by `instance-import` from the VRF, so no statement of the VRF is touched.
Limits: an IPv6 protocol is matched by `next-header`, so behind extension headers it is not seen; a destination inside
the next hop's own subnet is reached directly; ACX takes no `count` beside `routing-instance`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from drivers.base import Target, Unsupported
from drivers.state import ANY_PORT, ANYWHERE, Match
from drivers.switch.counted import by_family, matched
from drivers.switch.tables import (
    ANY_MAC,
    CLOSED,
    Action,
    Entry,
    Place,
    Tables,
    address_of,
    crossing_addresses,
    interface,
    table_name,
    vrf_there,
)

OPEN = "SI-open"
# Routers and their neighbours find each other by ICMPv6, which a filter would redirect or drop with the rest. Only what
# is addressed to the link or to the interface itself: nothing that could pass through.
NEIGHBOURS = "SI-neighbours"
ON_LINK = ("fe80::/10", "ff02::/16")
DISCOVERY = (133, 134, 135, 136)
FAMILY = {4: "inet", 6: "inet6"}
HALVES = {4: ("0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/0"), 6: ("::/1", "8000::/1", "::/0")}
PROTOCOLS = {"tcp": "tcp", "udp": "udp", "sctp": "sctp", "icmp": "icmp", "icmpv6": "icmp6"}
IFNAME = re.compile(r"(?:ge|xe|et)-\d{1,2}/\d{1,2}/\d{1,3}(?::\d{1,2})?|ae\d{1,4}")
INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}")
PORT = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
DESCRIPTION = "SI-crossing"


@dataclass(slots=True)
class Hop:
    """A forwarding instance. addresses: by family."""

    vrf: str
    addresses: dict[int, str] = field(default_factory=dict)


def instance_name(place: Place) -> str:
    """Of the instance that hands packets to what is behind this port and tag."""
    return f"SI-h-{place[0]}-{place[1]}"


def unit_of(target: Target, place: Place) -> tuple[str, int]:
    """Interface and unit. Errors: Unsupported if Junos could not call an interface so."""
    name = interface(target, (place[0], 0))
    if not IFNAME.fullmatch(name) or not PORT.fullmatch(place[0]):
        raise Unsupported(f"{target.name}: port {place[0]!r} has interface {name!r}; Junos has ge-0/0/1, xe-, et-, ae0")
    return name, place[1]


def vrf_name(target: Target, vrf: str) -> str:
    """What the device calls it, "" for its own table. Errors: Unsupported."""
    found = vrf_there(target, vrf)
    if found and not INSTANCE.fullmatch(found):
        raise Unsupported(f"{target.name}: {found!r} cannot be a routing instance's name")
    return found


def text_of(tables: Tables, target: Target) -> tuple[str, ...]:
    """The lines of our group, in a fixed order. Errors: Unsupported."""
    tables = with_doors(tables)
    hops = _hops(tables, target)
    return (
        *_filters(tables, target),
        *_interfaces(tables, target),
        *_policies(hops, target),
        *_instances(tables, hops, target),
    )


def with_doors(tables: Tables) -> Tables:
    """A crossing that packets only leave by takes none in."""
    anywhere = {family: Match(prefix, prefix) for family, prefix in ANYWHERE.items()}
    doors = tuple(Entry(f"{CLOSED}-{family}", Action.DROP, (match,)) for family, match in sorted(anywhere.items()))
    entries = dict(sorted({**dict.fromkeys(tables.crossings, doors), **tables.entries}.items()))
    return replace(tables, entries=entries)


def size_of(place: Place, entries: tuple[Entry, ...], target: Target) -> tuple[int, int]:
    """Terms: see `drivers.switch.counted`."""
    sizes = {family: matched(some) for family, some in by_family(entries).items()}
    if not place[1]:  # what else may pass, and the neighbours' own
        sizes = {family: size + (2 if family == 6 else 1) for family, size in sizes.items()}
    return sum(sizes.values()), max(sizes.values())


def vrf_at(place: Place, entries: tuple[Entry, ...], target: Target) -> str | None:
    """The VRF that the entries mean; None if none says. Errors: Unsupported if two do."""
    found = {entry.hop.vrf for entry in entries if entry.hop.vrf}
    if len(found) > 1:
        raise Unsupported(f"{target.name}: packets at {place[0]} tag {place[1]} are meant for VRFs {sorted(found)}")
    return next(iter(found), None)


def _hops(tables: Tables, target: Target) -> dict[Place, Hop]:
    hops: dict[Place, Hop] = {}
    for entries in tables.entries.values():
        for entry in (one for one in entries if one.action is Action.REDIRECT):
            hop = hops.setdefault((entry.hop.port, entry.hop.tag), Hop(entry.hop.vrf))
            if hop.vrf != entry.hop.vrf:
                raise Unsupported(f"{target.name}: port {entry.hop.port} is in {hop.vrf} and in {entry.hop.vrf}")
            hop.addresses[entry.family] = address_of(target, entry.hop, entry.family)
    return dict(sorted(hops.items()))


# --- filters ----------------------------------------------------------------------------------


def families_at(place: Place, entries: tuple[Entry, ...]) -> list[int]:
    """Of which families the table has a filter."""
    return sorted({entry.family for entry in entries})


def filter_name(place: Place, family: int) -> str:
    return f"{table_name(place)}-{family}"


def _filters(tables: Tables, target: Target) -> Iterator[str]:
    for place, entries in tables.entries.items():
        for family in families_at(place, entries):
            root = f"firewall family {FAMILY[family]} filter {filter_name(place, family)}"
            if (vrf := vrf_at(place, entries, target)) is not None:
                yield f"{root} apply-macro viaduct vrf {vrf_name(target, vrf) or 'master'}"
            if family == 6 and not place[1]:
                yield from (f"{root} term {NEIGHBOURS} {line}" for line in _neighbours(target, place))
            for entry in (one for one in entries if one.family == family):
                for number, match in enumerate(entry.matches):
                    term = entry.name if not number else f"{entry.name}_{number}"
                    yield from (f"{root} term {term} from {one}" for one in _from(match))
                    yield f"{root} term {term} then count {entry.name}"
                    yield f"{root} term {term} then {_then(entry)}"
            if not place[1]:
                yield f"{root} term {OPEN} then accept"


def _neighbours(target: Target, place: Place) -> Iterator[str]:
    """RFC 4861, sections 4.1 to 4.4."""
    here = (ipaddress.ip_interface(text).ip for text in target.ports[place[0]].addresses)
    for prefix in (*ON_LINK, *(f"{one}/128" for one in here if one.version == 6)):
        yield f"from destination-address {prefix}"
    yield "from next-header icmp6"
    yield from (f"from icmp-type {number}" for number in DISCOVERY)
    yield "then accept"


def _from(match: Match) -> Iterator[str]:
    is_four = match.family == 4
    for keyword, prefix in (("source-address", match.source), ("destination-address", match.destination)):
        if not prefix.endswith("/0"):
            yield f"{keyword} {prefix}"
    if match.protocol:
        yield f"{'protocol' if is_four else 'next-header'} {PROTOCOLS[match.protocol]}"
    for keyword, (low, high) in (
        ("source-port", match.source_ports), ("destination-port", match.destination_ports),
    ):  # fmt: skip
        if (low, high) != ANY_PORT:
            yield f"{keyword} {low}" if low == high else f"{keyword} {low}-{high}"
    if match.dscp >= 0:
        yield f"{'dscp' if is_four else 'traffic-class'} {match.dscp}"


def _then(entry: Entry) -> str:
    if entry.action is Action.REDIRECT:
        return f"routing-instance {instance_name((entry.hop.port, entry.hop.tag))}"
    return "accept" if entry.action is Action.ROUTE else "discard"


# --- interfaces -------------------------------------------------------------------------------


def _interfaces(tables: Tables, target: Target) -> Iterator[str]:
    for place in sorted(tables.entries.keys() | tables.crossings.keys()):
        name, unit = unit_of(target, place)
        root = f"interfaces {name} unit {unit}"
        entries = tables.entries.get(place, ())
        crossing = tables.crossings.get(place)
        if crossing is not None:
            yield f"{root} description {DESCRIPTION}"
            yield f"{root} vlan-id {unit}"
        for family in FAMILY if crossing else families_at(place, entries):
            below = f"{root} family {FAMILY[family]}"
            if crossing is not None:
                ours, far = crossing_addresses(target, place, family)
                address = f"{below} address {ours}/{31 if family == 4 else 127}"
                neighbour = f" {'arp' if family == 4 else 'ndp'} {far} mac {crossing.mac}"
                yield address + (neighbour if crossing.mac else "")
            if entries:
                yield f"{below} filter input-list {filter_name(place, family)}"


# --- instances --------------------------------------------------------------------------------


def _policies(hops: Mapping[Place, Hop], target: Target) -> Iterator[str]:
    for place, hop in hops.items():
        root = f"policy-options policy-statement {instance_name(place)}"
        name, unit = unit_of(target, place)
        yield f"{root} term connected from instance {vrf_name(target, hop.vrf) or 'master'}"
        yield f"{root} term connected from protocol direct"
        yield f"{root} term connected from interface {name}.{unit}"
        yield f"{root} term connected then accept"
        yield f"{root} then reject"


def _instances(tables: Tables, hops: Mapping[Place, Hop], target: Target) -> Iterator[str]:
    for place, crossing in tables.crossings.items():
        name, unit = unit_of(target, place)
        if vrf := vrf_name(target, crossing.vrf):
            yield f"routing-instances {vrf} interface {name}.{unit}"
    for place, hop in hops.items():
        said = instance_name(place)
        root = f"routing-instances {said}"
        yield f"{root} instance-type forwarding"
        yield f"{root} routing-options instance-import {said}"
        for family, address in sorted(hop.addresses.items()):
            rib = "" if family == 4 else f" rib {said}.inet6.0"
            *halves, all_ = HALVES[family]
            for half in halves:
                yield f"{root} routing-options{rib} static route {half} next-hop {address}"
            yield f"{root} routing-options{rib} static route {all_} discard"


__all__ = ["ANY_MAC", "Hop", "filter_name", "instance_name", "text_of", "unit_of", "vrf_at", "vrf_name"]
