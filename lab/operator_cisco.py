# SPDX-License-Identifier: Apache-2.0
"""What the operator has configured on an NX-OS switch of the lab, in its words: see `operator`.

Nexus 9000 guides: Interfaces ("Subinterfaces"), Unicast Routing ("IPv4", "IPv6", "Static Routing", "VRFs").
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.fabric import Device, Fabric
from lab.operator import Leg, legs, routes


def nxos_lines(fabric: Fabric, router: Device) -> Iterator[str]:
    used = legs(fabric, router)
    yield from ("version 10.4(3) Bios:version 07.69", f"hostname {router.name}")
    yield from ("feature nxapi", "feature pbr", "feature sla sender")
    yield "hardware access-list tcam region ing-pbr 512"
    there = routes(fabric, router)
    for vrf in sorted({leg.vrf for leg in used if leg.vrf}):
        yield f"vrf context {vrf}"
        yield from (f"{_kind(one.prefix)} route {one.prefix} {one.via}" for one in there if one.vrf == vrf)
    for port in router.ports.values():
        yield from (f"interface {port.interface}", "no switchport", "no shutdown")
    for leg in used:
        yield from _interface(leg)


def _interface(leg: Leg) -> Iterator[str]:
    yield f"interface {leg.name}"
    if leg.tag:
        yield f"encapsulation dot1q {leg.tag}"
    if leg.vrf:
        yield f"vrf member {leg.vrf}"
    for address in leg.addresses:
        yield f"{_kind(address)} address {address}"
    for address, mac in leg.far:
        dotted = ".".join(mac.replace(":", "")[at : at + 4] for at in (0, 4, 8))
        yield f"ipv6 neighbor {address} {dotted}" if ":" in address else f"ip arp {address} {dotted}"
    yield "no shutdown"


def _kind(address: str) -> str:
    return "ipv6" if ":" in address else "ip"
