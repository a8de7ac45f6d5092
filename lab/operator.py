# SPDX-License-Identifier: Apache-2.0
"""What the operator has configured on a router of the lab before Viaduct comes: addresses, VRFs, plain routing.

Pure: a fabric in, lines out, in the words of each family. Called by `lab.routers`. Between switches every VRF has its
own VLAN; at the far end everybody answers to the gateway's MAC.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from lab.fabric import GATEWAY_MAC, Device, End, Fabric
from lab.forwarding import uplinks


@dataclass(frozen=True, slots=True)
class Leg:
    """One interface of the router. far: addresses at the other end whose MAC is known for ever."""

    name: str
    vrf: str
    addresses: tuple[str, ...]
    parent: str = ""
    tag: int = 0
    far: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    vrf: str
    prefix: str
    via: str


def legs(fabric: Fabric, router: Device) -> tuple[Leg, ...]:
    """Untagged ports with addresses, and one sub-interface for each VRF on every cable to a switch."""
    return (*_ports(fabric, router), *_trunks(fabric, router))


def routes(fabric: Fabric, router: Device) -> tuple[Route, ...]:
    """To every prefix that lives behind another switch, in its own VRF."""
    towards, trunks = uplinks(fabric, router), {(leg.parent, leg.vrf): leg for leg in _trunks(fabric, router)}
    found = []
    for attachment in fabric.attachments:
        if attachment.port.device == router.name or attachment.port.device not in towards:
            continue
        port = router.ports[towards[attachment.port.device]].interface
        for prefix in attachment.prefixes:
            six = ":" in prefix
            via = next(far for far, _ in trunks[port, attachment.vrf].far if (":" in far) == six)
            found.append(Route(attachment.vrf, prefix, via))
    return tuple(found)


def _ports(fabric: Fabric, router: Device) -> Iterator[Leg]:
    vrfs = {attachment.port: attachment.vrf for attachment in fabric.attachments}
    for port in router.ports.values():
        if not port.addresses:
            continue
        end = End(router.name, port.name)
        peer = fabric.peer(end)
        far: list[tuple[str, str]] = []
        if peer is not None:
            other = fabric.devices[peer.device].ports[peer.port]
            far = [(str(ipaddress.ip_interface(text).ip), other.mac) for text in other.addresses if other.mac]
        yield Leg(port.interface, vrfs.get(end) or port.vrf, port.addresses, far=tuple(far))


def _trunks(fabric: Fabric, router: Device) -> Iterator[Leg]:
    """Addresses that mean something on this router only."""
    for port in router.ports.values():
        peer = fabric.peer(End(router.name, port.name))
        if peer is None or fabric.devices[peer.device].kind != "switch":
            continue
        for index, (vrf, tag) in enumerate(sorted(fabric.vrfs.items())):
            four = ipaddress.ip_address("169.254.0.0") + port.number * 256 + 2 * index
            six = ipaddress.ip_address("fd00:ba5e::") + port.number * 65536 + 2 * index
            yield Leg(
                name=f"{port.interface}.{tag}",
                vrf=vrf,
                addresses=(f"{four}/31", f"{six}/127"),
                parent=port.interface,
                tag=tag,
                far=((str(four + 1), GATEWAY_MAC), (str(six + 1), GATEWAY_MAC)),
            )


def eos_lines(fabric: Fabric, router: Device) -> Iterator[str]:
    """EOS User Manual: "VRF", "Ethernet Ports", "IPv4", "IPv6"."""
    used = legs(fabric, router)
    yield from (f"hostname {router.name}", "switchport default mode routed", "ip routing", "ipv6 unicast-routing")
    yield from ("hardware tcam", "profile viaduct", "feature pbr ip", "feature pbr ipv6", "exit")
    yield from ("system profile viaduct", "exit")
    for vrf in sorted({leg.vrf for leg in used if leg.vrf}):
        yield from (f"vrf instance {vrf}", f"ip routing vrf {vrf}", f"ipv6 unicast-routing vrf {vrf}")
    for port in router.ports.values():
        yield from (f"interface {port.interface}", "no switchport")
    for leg in used:
        yield from _eos_interface(leg)
    for leg in used:
        yield from _eos_neighbours(leg)
    for route in routes(fabric, router):
        yield f"{_kind(route.prefix)} route{_within(route.vrf)} {route.prefix} {route.via}"


def _eos_interface(leg: Leg) -> Iterator[str]:
    yield f"interface {leg.name}"
    if leg.tag:
        yield f"encapsulation dot1q vlan {leg.tag}"
    if leg.vrf:
        yield f"vrf {leg.vrf}"
    for address in leg.addresses:
        yield f"{_kind(address)} address {address}"


def _eos_neighbours(leg: Leg) -> Iterator[str]:
    for address, mac in leg.far:
        if ":" in address:
            yield f"ipv6 neighbor{_within(leg.vrf)} {address} {leg.name} {mac}"
        else:
            yield f"arp{_within(leg.vrf)} {address} {mac} arpa"


def _kind(address: str) -> str:
    return "ipv6" if ":" in address else "ip"


def _within(vrf: str) -> str:
    return f" vrf {vrf}" if vrf else ""


def linux_lines(fabric: Fabric, router: Device, family: int) -> Iterator[str]:
    """Lines for `ip -batch` of one family, for a router whose operator works with Linux itself. One VRF only."""
    vrf = router.settings.get("global_vrf", "")
    used = [leg for leg in legs(fabric, router) if leg.vrf == vrf]
    for leg in used:
        if leg.tag and family == 4:
            yield f"link add link {leg.parent} name {leg.name} type vlan id {leg.tag}"
            yield f"link set dev {leg.name} up"
        for address in leg.addresses:
            if _is_of(family, address):
                yield f"address add {address} dev {leg.name}{' nodad' if family == 6 else ''}"
        for far, mac in leg.far:
            if _is_of(family, far):
                yield f"neigh replace {far} lladdr {mac} dev {leg.name} nud permanent"
    for route in routes(fabric, router):
        if route.vrf == vrf and _is_of(family, route.prefix):
            yield f"route add {route.prefix} via {route.via}"


def _is_of(family: int, address: str) -> bool:
    return (":" in address) == (family == 6)
