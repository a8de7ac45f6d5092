# SPDX-License-Identifier: Apache-2.0
"""The keys of a fabric file: which entry has which fields, what they may hold, what they default to. Pure.

`read` turns text into a `document.Fabric`; what entries say of one another is then checked by `check`.
This table is the format's reference; lab/fabrics/demo.yaml is its example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from chains.fabric import nodes
from chains.fabric.document import (
    Attachment,
    Device,
    Entry,
    Fabric,
    Fault,
    Function,
    Link,
    Offer,
    Port,
    Price,
    Probe,
    Segment,
    Site,
    Tenant,
    Vrf,
)
from chains.fabric.nodes import Faults, Reader
from chains.planning import worth
from chains.references import FORMS, is_reference
from drivers.probe import ProbeKind

MAX_INTEGER = 2_147_483_647
KINDS = ("switch", "appliance", "host", "external")
REALMS = ("switch", "appliance", "host")
CAPABILITIES = ("stateless_filter", "stateful_filter", "ips", "nat", "tap")
MODES = ("two_arm", "one_arm", "transparent")

name = nodes.text(63, nodes.NAME, "a name: lower-case letters, digits and hyphens, 1 to 63")
port_name = nodes.text(63, nodes.PORT_NAME, "a port name: letters, digits and . _ / - inside, 1 to 63")
count = nodes.integer(0, MAX_INTEGER)
line = nodes.text(255)


@dataclass(frozen=True, slots=True)
class Key:
    """A key is required unless it is optional; then it takes its default from the entry's dataclass."""

    read: Reader
    is_required: bool = False


Keys = Mapping[str, Key]
E = TypeVar("E", bound=Entry)


def required(read: Reader) -> Key:
    return Key(read, is_required=True)


def many(keys: Keys, kind: type[Entry], label: str = "name") -> Reader:
    """A list of entries; in error paths each goes by its label, else by its place."""

    def read(node: Node, path: str, faults: Faults) -> tuple[Entry, ...]:
        found = []
        for index, member in enumerate(nodes.entries(node, path, faults)):
            value = entry(member, f"{path}[{_label(member, label) or index}]", keys, kind, faults)
            if value is not None:
                found.append(value)
        return tuple(found)

    return read


def entry(node: Node, path: str, keys: Keys, kind: type[E], faults: Faults) -> E | None:
    """One entry; None if it cannot be used, which then is a fault."""
    values: dict[str, Any] = {}
    lines = {"": node.start_mark.line + 1}
    given = set()
    for key, value in nodes.pairs(node, path, keys, faults):
        given.add(key)
        lines[key] = value.start_mark.line + 1
        read = keys[key].read(value, nodes.join(path, key), faults)
        if read is not None:
            values[key] = read
    if isinstance(node, MappingNode):
        missing = [key for key, spec in keys.items() if spec.is_required and key not in given]
        if missing:
            faults.add(node, path, f"needs {', '.join(missing)}")
    if any(spec.is_required and key not in values for key, spec in keys.items()):
        faults.dropped += 1
        return None
    return kind(**values, lines=lines)


def _label(node: Node, label: str) -> str:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == label and isinstance(value, ScalarNode):
                text = str(value.value)
                return text if text.isascii() and text.isprintable() and len(text) <= 63 else ""
    return ""


def text_or_empty(read: Reader) -> Reader:
    """ "" passes, everything else is read."""

    def read_text(node: Node, path: str, faults: Faults) -> object:
        if isinstance(node, ScalarNode) and nodes.tag_of(node) == "str" and node.value == "":
            return ""
        return read(node, path, faults)

    return read_text


def tenant_or_null(node: Node, path: str, faults: Faults) -> object:
    """null is the operator."""
    if isinstance(node, ScalarNode) and nodes.tag_of(node) == "null":
        return ""
    return name(node, path, faults)


def credential(node: Node, path: str, faults: Faults) -> str | None:
    """A reference. What is none may be the secret itself, so it is not repeated."""
    if isinstance(node, ScalarNode) and nodes.tag_of(node) == "str":
        value = str(node.value)
        if is_reference(value):
            return value
    faults.add(node, path, f"must be a reference, {FORMS}, or empty; never the secret itself")
    return None


def management_address(node: Node, path: str, faults: Faults) -> object:
    """An address or a host name, without a port."""
    return nodes.text(
        253, nodes.HOST_NAME if _is_host_name(node) else nodes.ADDRESS, "an address or a host name"
    )(node, path, faults)


def _is_host_name(node: Node) -> bool:
    return isinstance(node, ScalarNode) and ":" not in node.value


mac = nodes.text(17, nodes.MAC, 'a MAC address such as "02:00:00:01:01:01"')
# What devices call their ports: Ethernet1/1, ge-0/0/0.0, TenGigE0/0/0/0, swp1. Nothing that a command line reads.
interface = nodes.text(63, re.compile(r"[A-Za-z][A-Za-z0-9/.:_-]*"), 'an interface such as "Ethernet1/1"')
end = nodes.text(127, None)

PORT: Keys = {
    "name": required(port_name),
    "number": Key(nodes.integer(0, 65279)),  # OpenFlow 1.0 section 5.2.1: above are reserved ports
    "mac": Key(text_or_empty(mac)),
    "interface": Key(text_or_empty(interface)),
    "vrf": Key(text_or_empty(name)),
    "addresses": Key(nodes.listed(nodes.interface)),
}
DEVICE: Keys = {
    "name": required(name),
    "site": required(name),
    "kind": required(nodes.choice(*KINDS)),
    "driver": Key(line),
    "management": Key(text_or_empty(management_address)),
    "credential": Key(credential),
    "settings": Key(nodes.settings),
    "is_enabled": Key(nodes.flag),
    "ports": Key(many(PORT, Port)),
}
LINK: Keys = {
    "a": required(end),
    "b": required(end),
    "capacity_mbps": required(nodes.integer(1, MAX_INTEGER)),
    "latency_us": required(count),
    "mtu_bytes": Key(nodes.integer(576, 65535)),
}
FUNCTION: Keys = {
    "name": required(name),
    "capability": required(nodes.choice(*CAPABILITIES)),
    "description": Key(line),
    "degraded_below": Key(nodes.integer(0, 100)),
    "down_below": Key(nodes.integer(0, 100)),
}
PROBE: Keys = {
    "kind": required(nodes.choice(*ProbeKind)),
    "by": Key(text_or_empty(name)),
    "destination": Key(text_or_empty(nodes.text(45))),
    "source": Key(text_or_empty(nodes.text(45))),
    "port": Key(nodes.integer(0, 65535)),
    "path": Key(nodes.text(201)),
    "interval_ms": Key(count),
    "timeout_ms": Key(count),
    "rise": Key(count),
    "fall": Key(count),
    "hold_down_ms": Key(count),
    "fails_over": Key(nodes.flag),
}
OFFER: Keys = {
    "device": required(name),
    "function": required(name),
    "realm": required(nodes.choice(*REALMS)),
    "inside": Key(text_or_empty(port_name)),
    "outside": Key(text_or_empty(port_name)),
    "mode": Key(nodes.choice(*MODES)),
    "capacity_mbps": Key(count),
    "measured_mbps": Key(count),
    "entries": Key(count),
    "latency_us": Key(count),
    "cost_per_gbps": Key(nodes.number),
    "cost_fixed": Key(nodes.number),
    "licence_per_gbps": Key(nodes.number),
    "cores_per_gbps": Key(nodes.number),
    "watts_per_gbps": Key(nodes.number),
    "measured_cores_per_gbps": Key(nodes.number),
    "measured_latency_us": Key(count),
    "is_shared": Key(nodes.flag),
    "is_enabled": Key(nodes.flag),
    "settings": Key(nodes.settings),
    "probes": Key(many(PROBE, Probe, "kind")),
    "is_last_resort": Key(nodes.flag),
}
PRICE: Keys = {"name": required(nodes.choice(*worth.NAMES)), "cost": required(nodes.number)}
ATTACHMENT: Keys = {"port": required(end), "prefixes": Key(nodes.listed(nodes.prefix))}
SEGMENT: Keys = {
    "tenant": required(tenant_or_null),
    "name": required(name),
    "vrf": required(name),
    "prefixes": required(nodes.listed(nodes.prefix)),
    "attachments": required(many(ATTACHMENT, Attachment, "port")),
    "mtu_bytes": Key(nodes.integer(576, 65535)),
}
BOUNDED: Keys = {
    "name": required(name),
    "needs_approval": Key(nodes.flag),
    "changes_at_once": Key(nodes.integer(1, 32_767)),
}
FABRIC: Keys = {
    "fabric": required(name),
    "management": Key(text_or_empty(nodes.prefix)),
    "sites": Key(many(BOUNDED, Site)),
    "vrfs": Key(many({"name": required(name), "tag": required(nodes.integer(1, 2999))}, Vrf)),
    "tenants": Key(many(BOUNDED, Tenant)),
    "devices": Key(many(DEVICE, Device)),
    "links": Key(many(LINK, Link, "a")),
    "functions": Key(many(FUNCTION, Function)),
    "prices": Key(many(PRICE, Price)),
    "offers": Key(many(OFFER, Offer, "device")),
    "segments": Key(many(SEGMENT, Segment)),
}


def read(text: str) -> tuple[Fabric | None, tuple[Fault, ...]]:
    """The document and every fault of form. None if an entry is unusable: checks between entries would mislead."""
    faults = Faults()
    if len(text) > nodes.MAX_OCTETS:
        return None, (Fault(0, "", f"is larger than {nodes.MAX_OCTETS} characters"),)
    root = nodes.compose(text, faults)
    fabric = None if root is None else entry(root, "", FABRIC, Fabric, faults)
    return cast(Fabric, fabric) if not faults.dropped else None, tuple(sorted(faults.found))
