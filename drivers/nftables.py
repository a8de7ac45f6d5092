# SPDX-License-Identifier: Apache-2.0
"""nftables text for the table `inet viaduct`, shared by the drivers of appliances and hosts.

The text depends on the changes only and can be sent twice: what it adds it empties first, and what it
deletes it adds first. `nft -f` makes it one kernel transaction. It never reads a device.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from drivers.diff import Change
from drivers.nat import Block
from drivers.nftables_objects import (
    BOTH_FAMILIES,
    CLAIM_BIT,
    Chain,
    Line,
    Object,
    Realm,
    Sources,
    base,
    name_of,
    names_of,
    objects_of,
    sources,
)
from drivers.state import ANY_PORT, Key, NatPool, Ports

TABLE = "inet viaduct"
VERDICTS = {
    "mark accept": f"meta mark set meta mark | {CLAIM_BIT:#x} accept",
    "unmark": f"meta mark set meta mark & {0xFFFFFFFF ^ CLAIM_BIT:#x}",
    "unmark accept": f"meta mark set meta mark & {0xFFFFFFFF ^ CLAIM_BIT:#x} accept",
}
FAMILY_NAMES = {4: "ipv4", 6: "ipv6", BOTH_FAMILIES: "{ ipv4, ipv6 }"}
PROTOCOL_NAMES = {"icmpv6": "ipv6-icmp"}
MOST_SOURCES = 65535
MAP_SHAPE = " { type ipv4_addr : interval ipv4_addr . inet_service; flags interval; }"


def render_base(realm: Realm) -> str:
    """The script that makes the table with nothing but its base: on an appliance it closes the box."""
    return "\n".join(_base_lines(realm)) + "\n"


def render(changes: tuple[Change, ...], realm: Realm, interfaces: Mapping[str, str]) -> str:
    """One `nft -f` script for the changes, "" for none. Errors: Unsupported.

    interfaces: port name -> Linux interface name, where they differ.
    """
    if not changes:
        return ""
    lines = list(_base_lines(realm))
    ordered = sorted(changes, key=lambda change: change.key)
    for change in ordered:
        if change.after is None:
            lines += _removed(change, realm)
    for change in ordered:
        if change.after is not None:
            for value in objects_of(change.key, change.after, realm, interfaces):
                lines += _added(value)
    return "\n".join(lines) + "\n"


def _base_lines(realm: Realm) -> list[str]:
    return [f"add table {TABLE}", *(text for value in base(realm) for text in _added(value))]


def _added(value: Object) -> list[str]:
    name = f"{TABLE} {value.name}"
    if isinstance(value, Chain):
        hook = (
            f" {{ type {value.type} hook {value.hook} priority {value.priority}; policy {value.policy}; }}"
            if value.hook
            else ""
        )
        rules = (f"add rule {name} {line_text(line)}" for line in value.lines)
        return [f"add chain {name}{hook}", f"flush chain {name}", *rules]
    if isinstance(value, Sources):
        return [f"add set {name}{_shape(value)}"]
    made = f"add map {name}{MAP_SHAPE}"
    return [made] if value.is_given else [made, f"flush map {name}", *_elements("add", name, value.elements)]


def _shape(value: Sources) -> str:
    kept = f"flags dynamic,timeout; timeout {value.timeout_s}s;" if value.timeout_s else "flags dynamic;"
    return f" {{ type ipv4_addr; size {MOST_SOURCES}; {kept} }}"


def _elements(verb: str, name: str, blocks: Iterable[Block]) -> list[str]:
    told = ((one.subscriber, f"{one.public} . {one.first_port}-{one.last_port}") for one in blocks)
    return [f"{verb} element {name} {{ {subscriber} : {public} }}" for subscriber, public in told]


def render_given(key: Key, realm: Realm, taken: tuple[Block, ...], given: tuple[Block, ...]) -> str:
    """The script that takes blocks of a pool away and gives others, in one transaction."""
    name = f"{TABLE} {name_of(key)}_blocks"
    return "\n".join([*_base_lines(realm), *_elements("delete", name, taken), *_elements("add", name, given)]) + "\n"


def _removed(change: Change, realm: Realm) -> list[str]:
    """Adding before deleting makes the text hold for an item that is already gone, or in pieces."""
    lines, before = [], change.before
    blocks = before.blocks if isinstance(before, NatPool) else 0
    names = names_of(change.key, realm, blocks)
    shapes = {value.name: _shape(value) for value in sources(name_of(change.key), blocks)} if blocks else {}
    for kind, name in names:
        shape = MAP_SHAPE if kind == "map" else shapes.get(name, "")
        lines.append(f"add {kind} {TABLE} {name}{shape}")
        lines.append(f"flush {kind} {TABLE} {name}")
    return lines + [f"delete {kind} {TABLE} {name}" for kind, name in names]


def line_text(line: Line) -> str:
    """One rule as nft takes it."""
    terms = []
    if line.iif:
        terms.append(f'iifname "{line.iif}"')
    if line.oif:
        terms.append(f'oifname "{line.oif}"')
    terms += _address_terms(line)
    terms += _protocol_terms(line)
    terms += _flow_terms(line)
    if line.has_counter:
        terms.append("counter")
    if line.verdict.startswith("snat "):
        terms.append(f"snat ip to ip saddr map @{line.verdict.removeprefix('snat ')}")
    elif line.verdict:
        terms.append(VERDICTS.get(line.verdict, line.verdict))
    return " ".join(terms)


def _flow_terms(line: Line) -> list[str]:
    """What connection tracking, marks and sets say; sets come last: what does not match leaves no trace in them."""
    terms = []
    if line.state:
        terms.append(f"ct state {line.state}")
    if line.direction:
        terms.append(f"ct direction {line.direction}")
    if line.reply_to:
        terms.append(f"ct reply ip daddr {_address(line.reply_to)}")
    if line.absent_from:
        terms.append(f"ip saddr != @{line.absent_from}")
    if line.counted:
        terms.append(f"add @{line.counted[0]} {{ ip saddr ct count over {line.counted[1]} }}")
    if line.is_claimed:
        terms.append(f"meta mark & {CLAIM_BIT:#x} == {CLAIM_BIT:#x}")
    if line.update:
        terms.append(f"update @{line.update} {{ ip saddr }}")
    return terms


def _address_terms(line: Line) -> list[str]:
    if not (line.source or line.destination or line.dscp >= 0):
        return [f"meta nfproto {FAMILY_NAMES[line.family]}"] if line.family else []
    header = "ip6" if line.family == 6 else "ip"
    terms = []
    if line.source:
        terms.append(f"{header} saddr {_address(line.source)}")
    if line.destination:
        terms.append(f"{header} daddr {_address(line.destination)}")
    if line.dscp >= 0:
        terms.append(f"{header} dscp {line.dscp}")
    return terms


def _protocol_terms(line: Line) -> list[str]:
    names = [PROTOCOL_NAMES.get(name, name) for name in line.protocols]
    if len(names) > 1:
        return [f"meta l4proto {{ {', '.join(names)} }}"]
    ports = (("sport", line.source_ports), ("dport", line.destination_ports))
    terms = [f"{names[0]} {side} {_range(given)}" for side, given in ports if given != ANY_PORT]
    if names and not terms:
        terms.append(f"meta l4proto {names[0]}")
    return terms


def _address(prefix: str) -> str:
    network = ipaddress.ip_network(prefix)
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else prefix


def _range(ports: Ports) -> str:
    low, high = ports
    return str(low) if low == high else f"{low}-{high}"
