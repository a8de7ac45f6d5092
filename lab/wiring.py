# SPDX-License-Identifier: Apache-2.0
"""Cables and addresses, as lines for `ip -batch`: what the lab's namespaces hold before Viaduct comes.

Pure text, called by `lab.network`. Management and data never meet inside a box: packets from a data
port are routed by a table that knows data ports only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from hashlib import blake2s

from drivers.nftables_objects import CLAIM_BIT
from lab.fabric import GATEWAY_MAC, MANAGEMENT_PORT, Device, End, Fabric, Link

# Next hops of a function's two arms: never seen on a wire, only their permanent MAC counts.
NEXT_HOP = {4: "169.254.0.1", 6: "fe80::1"}
# Probes through a function in the lab: from, to (RFC 2544, nobody else's here) and the UDP port.
ASKS, ASKED, ASKED_PORT = "198.18.0.1", "198.18.1.1", 3503
FIRST_TABLE = 1001
LAST_RESORT = 4294967294  # the largest metric: taken only when the interface of the other route is down


def switch_interface(end: End) -> str:
    """The interface of a switch port in the switches' namespace (at most 15 characters)."""
    name = f"{end.device}-{end.port}"
    return name if len(name) <= 15 else f"{name[:8]}-{blake2s(name.encode(), digest_size=3).hexdigest()}"


def interface(fabric: Fabric, end: End) -> str:
    is_switch = fabric.devices[end.device].is_bridge
    return switch_interface(end) if is_switch else end.port


def bridge_name(number: int) -> str:
    """The management network's bridge. Whoever makes it owns 10.250.<number>.0/24."""
    return f"vdlab{number}"


def management_lines(fabric: Fabric, number: int, spaces: dict[str, str]) -> Iterator[str]:
    """One cable from the bridge into every namespace that is managed. spaces: device -> namespace.

    Ports are isolated: a box reaches the bridge's own address, not the other boxes'.
    """
    bridge = bridge_name(number)
    for namespace, device in managed(fabric, spaces).items():
        port = management_port(number, device)
        yield f"link add name {port} type veth peer name {MANAGEMENT_PORT} netns {namespace}"
        yield f"link set dev {port} addrgenmode none master {bridge}"
        yield f"link set dev {port} type bridge_slave isolated on"
        yield f"link set dev {port} up"


def managed(fabric: Fabric, spaces: dict[str, str]) -> dict[str, Device]:
    """Namespace -> the device that names its management cable (switches share one)."""
    found: dict[str, Device] = {}
    for device in fabric.devices.values():
        if device.management:
            found.setdefault(spaces[device.name], device)
    return found


def management_port(number: int, device: Device) -> str:
    return f"vdl{number}-{device.management.rsplit('.', 1)[1]}"


def cable_lines(fabric: Fabric, spaces: dict[str, str]) -> Iterator[str]:
    for link in fabric.links:
        if is_patch(fabric, link):
            continue
        a, b = (_end(fabric, end, spaces, link) for end in (link.a, link.b))
        yield f"link add {a} type veth peer {b}"


def is_patch(fabric: Fabric, link: Link) -> bool:
    """Cables between switches are patch ports: on a veth there, TCP with segmentation offload dies."""
    return all(fabric.devices[end.device].is_bridge for end in (link.a, link.b))


def _end(fabric: Fabric, end: End, spaces: dict[str, str], link: Link) -> str:
    device = fabric.devices[end.device]
    mac = "" if device.is_bridge else device.ports[end.port].mac
    text = f"name {interface(fabric, end)} netns {spaces[end.device]} mtu {link.mtu_bytes}"
    return f"{text} address {mac}" if mac else text


def switch_lines(fabric: Fabric) -> Iterator[str]:
    """The switches' common namespace: all ports up, all management addresses on one interface."""
    yield "link set dev lo up"
    yield f"link set dev {MANAGEMENT_PORT} up"
    for switch in fabric.switches:
        yield f"addr replace {switch.management}/24 dev {MANAGEMENT_PORT}"
        for port in switch.ports:
            peer = fabric.peer(End(switch.name, port))
            if peer is not None and not fabric.devices[peer.device].is_bridge:
                yield f"link set dev {switch_interface(End(switch.name, port))} up"


def box_sysctls(device: Device, *, forwards: bool = False) -> Iterator[tuple[str, str]]:
    """(name below /proc/sys/net, value) for whatever has a namespace of its own. A box with functions forwards."""
    yield "ipv4/conf/all/rp_filter", "0"
    yield "ipv4/conf/all/send_redirects", "0"
    yield "ipv6/conf/all/accept_ra", "0"
    if device.arms:  # a connection that comes back to a firewall that knew it before goes on: docs/devices.md
        yield "netfilter/nf_conntrack_tcp_be_liberal", "1"
    does = "1" if forwards or device.arms else "0"
    yield "ipv4/ip_forward", does
    yield "ipv6/conf/all/forwarding", does
    for port in device.ports:
        yield f"ipv4/conf/{port}/rp_filter", "0"
        yield f"ipv4/conf/{port}/send_redirects", "0"
        yield f"ipv6/conf/{port}/accept_ra", "0"
        yield f"ipv6/conf/{port}/accept_dad", "0"
        yield f"ipv6/conf/{port}/router_solicitations", "0"
    if bridges(device):
        yield "bridge/bridge-nf-call-iptables", "1"
        yield "bridge/bridge-nf-call-ip6tables", "1"
    if device.management:
        yield f"ipv4/conf/{MANAGEMENT_PORT}/forwarding", "0"
        yield f"ipv6/conf/{MANAGEMENT_PORT}/disable_ipv6", "1"


def bridges(device: Device) -> dict[str, tuple[str, str]]:
    """Linux bridge -> its two legs, of a box that is a bump in the wire: the `linux` driver's setting `bridges`."""
    found = (word.split(":") for word in device.settings.get("bridges", "").split())
    return {name: (inside, outside) for name, inside, outside in found}


def bridge_lines(device: Device) -> Iterator[str]:
    """Made once; they outlive their ports' going down."""
    for name, legs in bridges(device).items():
        yield f"link add name {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        yield f"link set dev {name} addrgenmode none up"
        for leg in legs:
            yield f"link set dev {leg} master {name}"
            # Both directions carry the switch's MACs: what is learnt would be wrong.
            yield f"link set dev {leg} type bridge_slave learning off"


def rule_lines(device: Device, family: int) -> Iterator[str]:
    """Which table routes what: packets from data ports first, before even the box's own addresses."""
    yield "rule add pref 15 lookup local"
    yield "rule del pref 0"
    for table, port in enumerate(device.ports, FIRST_TABLE):
        yield f"rule add pref 10 iif {port} lookup {table}"
        for address in _addresses(device, port, family):
            yield f"rule add pref 20 from {address.ip} lookup {table + 100}"


def interface_lines(device: Device, family: int) -> Iterator[str]:
    """Interfaces, addresses, routes and neighbours of one family. May be repeated: a restart needs it."""
    if family == 4:
        yield "link set dev lo up"
        for port in device.ports:
            yield f"link set dev {port} addrgenmode none"
            yield f"link set dev {port} up"
        if device.management:
            yield f"link set dev {MANAGEMENT_PORT} up"
            yield f"addr replace {device.management}/24 dev {MANAGEMENT_PORT}"
    legs = {leg for pair in bridges(device).values() for leg in pair}
    other = {inside: outside for inside, outside in device.arms}
    other.update({outside: inside for inside, outside in device.arms})
    for table, port in enumerate(device.ports, FIRST_TABLE):
        yield f"route replace blackhole default table {table} metric {LAST_RESORT}"
        if port in other and port not in legs:
            yield f"neigh replace {NEXT_HOP[family]} lladdr {GATEWAY_MAC} dev {port} nud permanent"
            yield f"route replace default via {NEXT_HOP[family]} dev {other[port]} onlink table {table}"
        yield from _host_lines(device, port, table, family)


def _host_lines(device: Device, port: str, table: int, family: int) -> Iterator[str]:
    """A port with addresses: everything leaves through the gateway, whose MAC is known for ever."""
    for address in _addresses(device, port, family):
        gateway = next(address.network.hosts())
        yield f"addr replace {address} dev {port} noprefixroute{' nodad' if family == 6 else ''}"
        yield f"neigh replace {gateway} lladdr {GATEWAY_MAC} dev {port} nud permanent"
        yield f"route replace local {address.ip} dev {port} table {table}"
        yield f"route replace default via {gateway} dev {port} onlink table {table + 100}"
        yield f"route replace default via {gateway} dev {port} onlink"


def _addresses(
    device: Device, port: str, family: int
) -> Iterable[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    found = (ipaddress.ip_interface(text) for text in device.ports[port].addresses)
    return [address for address in found if address.version == family]


def closed_script(device: Device) -> str:
    """An appliance's own boot configuration: it forwards only what an item of Viaduct's has let pass (by a mark).

    And the packets of probes through it, which get that mark: a box must be known to live before it has an item.
    So a box that comes back without Viaduct's rules is shut, not a way past its function.
    """
    if not device.arms:
        return ""
    return f"""nft -f - <<'END'
add table inet boot
delete table inet boot
table inet boot {{
  chain closed {{
    type filter hook forward priority 5; policy drop;
    ip saddr {ASKS} ip daddr {ASKED} udp dport {ASKED_PORT} meta mark set meta mark | {CLAIM_BIT:#x} accept
    ip saddr {ASKED} ip daddr {ASKS} udp sport {ASKED_PORT} meta mark set meta mark | {CLAIM_BIT:#x} accept
    meta mark & {CLAIM_BIT:#x} != 0 accept
    ct state related meta l4proto {{ icmp, ipv6-icmp }} accept
  }}
}}
END"""


def boot_script(device: Device) -> str:
    """The shell script that a box runs in its namespace when it is built."""
    return "\n".join(
        (
            "set -e",
            *(f"echo {value} >/proc/sys/net/{name}" for name, value in box_sysctls(device)),
            _batch(4, (*bridge_lines(device), *rule_lines(device, 4), *interface_lines(device, 4))),
            _batch(6, (*rule_lines(device, 6), *interface_lines(device, 6))),
            closed_script(device),
        )
    )


def restart_script(device: Device) -> str:
    """What a box must do again after its ports were down: the kernel forgot routes and neighbours."""
    again = (_batch(4, interface_lines(device, 4)), _batch(6, interface_lines(device, 6)))
    return "\n".join(("set -e", closed_script(device), *again))


def _batch(family: int, lines: Iterable[str]) -> str:
    return "\n".join((f"ip -{family} -batch - <<'END'", *lines, "END"))
