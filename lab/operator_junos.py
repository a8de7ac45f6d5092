# SPDX-License-Identifier: Apache-2.0
"""What the operator has configured on a Junos switch of the lab, as set lines: see `operator`.

Juniper's guides: Interfaces Fundamentals ("Flexible VLAN Tagging", "Static ARP"), Routing Instances Overview.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.fabric import Device, End, Fabric
from lab.operator import Leg, legs, routes

NATIVE = 1  # the VLAN of untagged frames


def junos_lines(fabric: Fabric, router: Device) -> Iterator[str]:
    used = legs(fabric, router)
    yield f"set system host-name {router.name}"
    for port in router.ports.values():
        peer = fabric.peer(End(router.name, port.name))
        if peer is not None and fabric.devices[peer.device].kind == "switch":
            yield f"set interfaces {port.interface} flexible-vlan-tagging"
            yield f"set interfaces {port.interface} native-vlan-id {NATIVE}"
    for vrf in sorted({leg.vrf for leg in used if leg.vrf}):
        yield f"set routing-instances {vrf} instance-type virtual-router"
    for leg in used:
        yield from _unit(leg)
    for route in routes(fabric, router):
        options = f"set routing-instances {route.vrf} routing-options" if route.vrf else "set routing-options"
        rib = f" rib {route.vrf}.inet6.0".replace(" rib .", " rib ") if ":" in route.prefix else ""
        yield f"{options}{rib} static route {route.prefix} next-hop {route.via}"


def _unit(leg: Leg) -> Iterator[str]:
    name = leg.parent or leg.name
    unit = f"set interfaces {name} unit {leg.tag}"
    if leg.tag:
        yield f"{unit} vlan-id {leg.tag}"
    for address in leg.addresses:
        six = ":" in address
        held = f"{unit} family {'inet6' if six else 'inet'} address {address}"
        yield held
        for far, mac in leg.far:
            if (":" in far) == six:
                yield f"{held} {'ndp' if six else 'arp'} {far} mac {mac}"
    if leg.vrf:
        yield f"set routing-instances {leg.vrf} interface {name}.{leg.tag}"
