# SPDX-License-Identifier: Apache-2.0
"""Flows of others in a table of ours that would take packets which an item of ours means.

Called by `drivers.switch.openvswitch`. Pure. A field that is not known here narrows a stranger's flow in a way that
nobody can tell, so it is taken to overlap: a finding too many is better than one too few.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from drivers.base import SHADOWS
from drivers.packets import PROTOCOLS
from drivers.switch.openflow_text import DEFAULT_PRIORITY, UNTAGGED, Flow, key_of

# How ovs-ofctl names what a flow is about -> (family or 0, protocol number or -1).
_NAMES: Mapping[str, tuple[int, int]] = {
    "ip": (4, -1),
    "ipv6": (6, -1),
    **{name: (4, PROTOCOLS[name]) for name in ("icmp", "tcp", "udp", "sctp")},
    **{f"{name}6": (6, PROTOCOLS[name]) for name in ("tcp", "udp", "sctp")},
    "icmp6": (6, PROTOCOLS["icmpv6"]),
    "arp": (1, -1),
    "rarp": (1, -1),
    "mpls": (1, -1),
    "mplsm": (1, -1),
}
_ANY_TAG = "0x0000/0x0000"
# OpenFlow 1.0 writes "untagged" so.
NO_VLAN = 0xFFFF
MAX_SHOWN = 160


def attached(strangers: Sequence[str], ours: Sequence[Flow]) -> tuple[str, ...]:
    """One line for each stranger's flow (as dumped) that stands before, or beside, a flow of ours."""
    by_port: dict[int, list[Flow]] = {}
    for flow in ours:
        by_port.setdefault(flow.port, []).append(flow)
    lowest = min((flow.priority for flow in ours), default=0)
    found = []
    for line in strangers:
        fields = _fields(line)
        priority = int(fields.get("priority", DEFAULT_PRIORITY))
        if not ours or priority < lowest:
            continue
        taken = max(_taken(fields, priority, by_port), key=lambda flow: flow.priority, default=None)
        if taken is not None:
            found.append(f"{SHADOWS}{key_of(taken.cookie)}: {_shown(line)}")
    return tuple(found)


def _taken(fields: Mapping[str, str], priority: int, by_port: Mapping[int, list[Flow]]) -> Iterator[Flow]:
    port = fields.get("in_port", "")
    flows = by_port.get(int(port), []) if port.isdigit() else [flow for held in by_port.values() for flow in held]
    if port and not port.isdigit():  # LOCAL and the like: no port of ours
        return
    for flow in flows:
        # Which of two flows of one priority wins is undefined (OpenFlow 1.4 section 5.3).
        if priority >= flow.priority and _overlap(fields, flow):
            yield flow


def _overlap(fields: Mapping[str, str], flow: Flow) -> bool:
    try:
        return all(check(fields, flow) for check in _CHECKS)
    except ValueError:
        return True  # written in a way that we do not read


def _about(fields: Mapping[str, str], flow: Flow) -> bool:
    match, number = flow.match, PROTOCOLS.get(flow.match.protocol, -1)
    for name in fields.keys() & _NAMES.keys():
        family, protocol = _NAMES[name]
        protocol = int(fields.get("nw_proto", protocol))
        if family != match.family or (protocol >= 0 and number >= 0 and protocol != number):
            return False
    return True


def _tag(fields: Mapping[str, str], flow: Flow) -> bool:
    if "dl_vlan" in fields:
        tag = int(fields["dl_vlan"], 0)
        return (0 if tag == NO_VLAN else tag) == flow.tag
    given = fields.get("vlan_tci", _ANY_TAG)
    if given == UNTAGGED:
        return flow.tag == 0
    value, _, mask = given.partition("/")
    if "/" not in given and int(value, 0) == 0:
        return flow.tag == 0
    wanted, bits = int(value, 0), int(mask or "0xffff", 0) & 0x1FFF
    return (wanted ^ (0x1000 | flow.tag if flow.tag else 0)) & bits == 0


def _addresses(fields: Mapping[str, str], flow: Flow) -> bool:
    header = "nw" if flow.match.family == 4 else "ipv6"
    ends = ((f"{header}_src", flow.match.source), (f"{header}_dst", flow.match.destination))
    return all(name not in fields or _meet(fields[name], prefix) for name, prefix in ends)


@lru_cache(maxsize=4096)
def _meet(one: str, other: str) -> bool:
    """Errors: ValueError for a mask that is no prefix."""
    return ipaddress.ip_network(one, strict=False).overlaps(ipaddress.ip_network(other))


def _ports(fields: Mapping[str, str], flow: Flow) -> bool:
    for names, (low, high) in (
        (("tp_src", "tcp_src", "udp_src", "sctp_src"), flow.match.source_ports),
        (("tp_dst", "tcp_dst", "udp_dst", "sctp_dst"), flow.match.destination_ports),
    ):
        for name in names:
            value, _, mask = fields.get(name, "0/0").partition("/")
            bits = int(mask or "0xffff", 0)
            # Ours are aligned blocks: they and a masked value meet if they agree where both care.
            if (int(value, 0) ^ low) & bits & ~(high - low) & 0xFFFF:
                return False
    return True


_CHECKS: tuple[Callable[[Mapping[str, str], Flow], bool], ...] = (_about, _tag, _addresses, _ports)


def _fields(line: str) -> dict[str, str]:
    head, _, _ = line.partition(" actions=")
    parts = (part.strip().partition("=") for part in head.split(","))
    return {name: value for name, _, value in parts}


def _shown(line: str) -> str:
    """Without what moves from one reading to the next."""
    head, _, actions = line.strip().partition(" actions=")
    volatile = ("duration", "n_packets", "n_bytes", "idle_age", "hard_age")
    kept = [part.strip() for part in head.split(",") if part.strip().partition("=")[0] not in volatile]
    return f"{','.join(kept)} actions={actions}"[:MAX_SHOWN]
