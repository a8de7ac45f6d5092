# SPDX-License-Identifier: Apache-2.0
"""The configuration that an emulated Junos box starts with, as set commands; an SRX has zones and static routes."""

from __future__ import annotations

# Two routed ports in a VRF, ready for sub-interfaces; on an SRX two zones.
STARTUP = """
set system host-name {name}
set interfaces ge-0/0/1 flexible-vlan-tagging
set interfaces ge-0/0/1 native-vlan-id 1
set interfaces ge-0/0/1 unit 0 vlan-id 1
set interfaces ge-0/0/1 unit 0 family inet address 10.1.1.1/24
set interfaces ge-0/0/1 unit 0 family inet6 address 2001:db8:1:1::1/64
set interfaces ge-0/0/2 flexible-vlan-tagging
set interfaces ge-0/0/2 native-vlan-id 1
set interfaces ge-0/0/2 unit 0 vlan-id 1
set interfaces ge-0/0/2 unit 0 family inet address 192.0.2.1/24
set interfaces ge-0/0/2 unit 0 family inet6 address 2001:db8:2::1/64
"""
IN_VRF = """
set routing-instances blue instance-type virtual-router
set routing-instances blue interface ge-0/0/1.0
set routing-instances blue interface ge-0/0/2.0
"""
IN_ZONES = """
set security zones security-zone trust interfaces ge-0/0/1.0
set security zones security-zone untrust interfaces ge-0/0/2.0
set routing-options static route 10.0.0.0/8 next-hop 10.1.1.254
set routing-options static route 0.0.0.0/0 next-hop 192.0.2.9
set routing-options rib inet6.0 static route 2001:db8::/32 next-hop 2001:db8:1:1::fe
set routing-options rib inet6.0 static route ::/0 next-hop 2001:db8:2::9
"""


def startup_of(name: str, is_secure: bool) -> str:
    return (STARTUP + (IN_ZONES if is_secure else IN_VRF)).format(name=name)
