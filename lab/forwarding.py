# SPDX-License-Identifier: Apache-2.0
"""The operator's own forwarding on every switch, as OpenFlow text: plain routing per VRF, IPv4 and IPv6.

Called by `lab.switches`. Pure: a fabric in, flow lines out. Viaduct adds flows to table 0 above the
hook and never touches these, which carry the cookie 0x0b.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Iterator, Mapping

from lab.fabric import GATEWAY_MAC, Attachment, Device, End, Fabric

COOKIE = "0x0b"
BASE_TABLE = "1"
ROUTE_TABLE = "10"


def base_flows(fabric: Fabric, switch: Device) -> tuple[str, ...]:
    """One `ovs-ofctl add-flows` line for each flow of this switch. What no flow names is dropped."""
    base = switch.settings.get("base_table", BASE_TABLE)
    route = switch.settings.get("route_table", ROUTE_TABLE)
    lines = [f"table=0,priority=0,actions=resubmit(,{base})"]
    lines += _classification(fabric, switch, base, route)
    towards = uplinks(fabric, switch)
    for attachment in fabric.attachments:
        lines += _routes(fabric, switch, attachment, route, towards)
    return tuple(f"cookie={COOKIE},{line}" for line in lines)


def _classification(fabric: Fabric, switch: Device, base: str, route: str) -> Iterator[str]:
    """Which VRF a packet belongs to: by access port, or by VLAN between switches. Functions' ports: none."""
    for attachment in fabric.attachments:
        if attachment.port.device == switch.name:
            number = switch.ports[attachment.port.port].number
            tag = fabric.vrfs[attachment.vrf]
            yield (
                f"table={base},priority=100,in_port={number},vlan_tci=0x0000,"
                f"actions=load:{tag}->NXM_NX_REG0[],resubmit(,{route})"
            )
    for port in _switch_ports(fabric, switch):
        for tag in fabric.vrfs.values():
            yield (
                f"table={base},priority=100,in_port={switch.ports[port].number},dl_vlan={tag},"
                f"actions=pop_vlan,load:{tag}->NXM_NX_REG0[],resubmit(,{route})"
            )


def _routes(
    fabric: Fabric, switch: Device, attachment: Attachment, route: str, towards: Mapping[str, str]
) -> Iterator[str]:
    tag = fabric.vrfs[attachment.vrf]
    for prefix, mac in _destinations(fabric, attachment):
        network = ipaddress.ip_network(prefix)
        match = f"ip,nw_dst={network}" if network.version == 4 else f"ipv6,ipv6_dst={network}"
        head = f"table={route},priority={1000 + network.prefixlen},reg0={tag},{match},actions=dec_ttl,"
        if attachment.port.device == switch.name:
            number = switch.ports[attachment.port.port].number
            yield f"{head}set_field:{GATEWAY_MAC}->eth_src,set_field:{mac}->eth_dst,output:{number}"
        elif attachment.port.device in towards:
            number = switch.ports[towards[attachment.port.device]].number
            # Clearing the input port lets a packet leave by the cable it came from, as a router does.
            yield (
                f"{head}set_field:{GATEWAY_MAC}->eth_src,push_vlan:0x8100,"
                f"set_field:{4096 + tag}->vlan_vid,load:0->NXM_OF_IN_PORT[],output:{number}"
            )


def _destinations(fabric: Fabric, attachment: Attachment) -> Iterator[tuple[str, str]]:
    """(prefix, MAC) behind an attachment: a host's own addresses, or the whole prefix if it is external."""
    end = fabric.peer(attachment.port)
    if end is None:
        return
    device = fabric.devices[end.device]
    port = device.ports[end.port]
    for prefix in attachment.prefixes:
        network = ipaddress.ip_network(prefix)
        if device.kind == "external":
            yield str(network), port.mac
            continue
        for text in port.addresses:
            address = ipaddress.ip_interface(text).ip
            if address.version == network.version and address in network:
                yield str(ipaddress.ip_network(address)), port.mac


def _switch_ports(fabric: Fabric, switch: Device) -> Iterator[str]:
    """Ports that lead to other switches."""
    for port in switch.ports:
        peer = fabric.peer(End(switch.name, port))
        if peer is not None and fabric.devices[peer.device].kind == "switch":
            yield port


def uplinks(fabric: Fabric, switch: Device) -> Mapping[str, str]:
    """Other switch -> the port of this one that starts a shortest way there."""
    found: dict[str, str] = {}
    waiting: deque[tuple[str, str]] = deque([(switch.name, "")])
    while waiting:
        name, first = waiting.popleft()
        for port in _switch_ports(fabric, fabric.devices[name]):
            peer = fabric.peer(End(name, port))
            if peer is None or peer.device in found or peer.device == switch.name:
                continue
            found[peer.device] = first or port
            waiting.append((peer.device, first or port))
    return found
