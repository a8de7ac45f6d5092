# SPDX-License-Identifier: Apache-2.0
"""Statements of NX-OS that the emulated device knows, each with its source, and how the device prints them.

Sources: PBR = Nexus 9000 Unicast Routing Configuration Guide 10.5, Configuring Policy-Based Routing (also 7000); ACL =
Security Configuration Guide, Configuring IP ACLs; SLA = IP SLAs Configuration Guide; EOT = Unicast guide, Configuring
Object Tracking (object numbers 1 to 500); IF = Interfaces Configuration Guide, subinterfaces; TCAM = ACL TCAM region
sizes; EPBR = ePBR Configuration Guide 9.3 to 10.5; FUND = Fundamentals.
"""

from __future__ import annotations

import re

from lab.devices.ios_grammar import A6, DSCP_NAMES, MAC, NAME, PORT_NAMES, V4, V6, rule
from lab.devices.tree import Grammar

A4 = rf"(?:any|{V4}/\d+)"
PORT = r"(?:(?:eq \d+|range \d+ \d+) )?"
END = r"(?: (?:eq \d+|range \d+ \d+))?(?: dscp \d+)?"
HOP = r"(?: load-share)?(?: force-order)?(?: drop-on-fail)?"
# UNI "Configuring Static Routing": in the VRF's own context, or outside for the default one.
ROUTES = (
    rule(rf"ip route {V4}/\d+ (?:{V4}|Null0)", "UNI ip route"),
    rule(rf"ipv6 route {V6}/\d+ (?:{V6}|Null0)", "UNI ipv6 route"),
)

GRAMMAR: Grammar = {
    "": (
        rule(r"version \S+.*", "FUND version", same="version"),
        rule(rf"hostname {NAME}", "FUND hostname", same="hostname"),
        rule(r"feature (?:pbr|sla sender|nxapi|epbr|interface-vlan)", "PBR, SLA, EPBR: feature"),
        rule(
            r"hardware access-list tcam region \S+ \d+", "TCAM", same=r"hardware access-list tcam region \S+"
        ),
        rule(rf"username {NAME} password 5 \S+ role network-admin", "SEC username", same=rf"username {NAME}"),
        rule(rf"vrf context {NAME}", "UNI vrf context", "vrf"),
        rule(rf"interface {NAME}", "IF interface", "interface"),
        rule(rf"ip access-list {NAME}", "ACL", "acl4"),
        rule(rf"ipv6 access-list {NAME}", "ACL", "acl6"),
        rule(rf"route-map {NAME} (?:permit|deny) \d+", "PBR route-map", "map"),
        rule(rf"route-map {NAME} pbr-statistics", "PBR pbr-statistics; Batfish CiscoNxos_route_map"),
        rule(r"ip sla \d+", "SLA ip sla", "sla"),
        rule(
            r"ip sla schedule \d+ life forever start-time now",
            "SLA ip sla schedule",
            same=r"ip sla schedule \d+",
        ),
        rule(r"track (?:500|[1-4]?\d{1,2}) ip sla \d+ reachability", "EOT", same=r"track \d+"),
        *ROUTES,
        rule(r"ntp server \S+", "SYS ntp server"),
        rule(rf"epbr service {NAME}", "EPBR", "epbr"),
    ),
    "vrf": (rule(r"rd \S+", "UNI rd", same="rd"), *ROUTES),
    "epbr": (rule(rf"service-end-point ip {V4}", "EPBR service-end-point"),),
    "interface": (
        rule(r"description .+", "IF description", same="description"),
        rule(r"no switchport", "IF no switchport"),
        rule(r"encapsulation dot1q \d+", "IF encapsulation dot1q", same="encapsulation"),
        rule(rf"vrf member {NAME}", "UNI vrf member", same="vrf member"),
        rule(rf"ip address {V4}/\d+", "UNI ip address", same="ip address"),
        rule(rf"ipv6 address {V6}/\d+", "UNI ipv6 address"),
        rule(rf"ip arp {V4} {MAC}", "UNI ip arp", same=rf"ip arp {V4}"),
        rule(rf"ipv6 neighbor {V6} {MAC}", "UNI ipv6 neighbor", same=rf"ipv6 neighbor {V6}"),
        rule(rf"ip policy route-map {NAME}", "PBR ip policy route-map", same="ip policy route-map"),
        rule(rf"ipv6 policy route-map {NAME}", "PBR ipv6 policy route-map", same="ipv6 policy route-map"),
        rule(rf"epbr ip policy {NAME}(?: reverse)?", "EPBR ip policy"),
        rule(r"mtu \d+", "IF mtu", same="mtu"),
        rule(r"shutdown", "IF shutdown"),
    ),
    "acl4": (
        rule(rf"\d+ (?:permit|deny) (?:ip|tcp|udp|icmp) {A4} {PORT}{A4}{END}", "ACL permit", same=r"\d+"),
        rule(r"\d+ remark .+", "ACL remark", same=r"\d+"),
    ),
    "acl6": (
        rule(rf"\d+ (?:permit|deny) (?:ipv6|tcp|udp|icmp) {A6} {PORT}{A6}{END}", "ACL permit", same=r"\d+"),
    ),
    "map": (
        rule(r"description .+", "PBR description", same="description"),
        rule(rf"match ip address {NAME}", "PBR match ip address", same="match ip address"),
        rule(rf"match ipv6 address {NAME}", "PBR match ipv6 address", same="match ipv6 address"),
        rule(
            rf"set ip next-hop verify-availability {V4} track \d+{HOP}",
            "PBR set ip next-hop verify-availability",
        ),
        rule(rf"set ip next-hop {V4}(?: {V4})*{HOP}", "PBR set ip next-hop"),
        rule(rf"set ipv6 next-hop {V6}(?: {V6})*{HOP}", "PBR set ipv6 next-hop"),
        rule(r"set interface null0", "PBR set interface"),
    ),
    "sla": (
        rule(rf"icmp-echo {V4}(?: source-interface {NAME})?", "SLA icmp-echo", "echo", same="icmp-echo"),
    ),
    "echo": (
        rule(rf"vrf {NAME}", "SLA vrf", same="vrf"),
        rule(r"tag \S+", "SLA tag", same="tag"),
        rule(r"frequency \d+", "SLA frequency", same="frequency"),
    ),
}

ORDER = ("version", "hostname", "feature", "username", "ntp", "ip access-list", "ipv6 access-list", "hardware",
         "ip route", "ipv6 route", "ip sla", "track", "route-map", "vrf context", "epbr", "interface")  # fmt: skip


def place(mode: str, line: str) -> object:
    """Where a line stands among its mode's."""
    number = re.match(r"(\d+) ", line)
    if mode in ("acl4", "acl6") and number:
        return (0, "", int(number[1]))
    if mode != "":
        words = ("description", "match", "set", "no switchport", "encapsulation", "vrf", "ip policy", "ip address",
                 "ipv6 address", "ipv6 policy", "ip arp", "ipv6 neighbor", "epbr", "mtu", "no shutdown")  # fmt: skip
        return (next((at for at, word in enumerate(words) if line.startswith(word)), 99), "", 0)
    rank = next((at for at, word in enumerate(ORDER) if line.startswith(word)), len(ORDER))
    numbers = re.findall(r"\d+", line)
    if line.startswith("route-map"):
        return (rank, line.split()[1], -1 if line.endswith(" pbr-statistics") else int(numbers[-1]))
    if line.startswith("ip sla"):
        return (rank, "", int(numbers[0]) * 2 + ("schedule" in line))
    return (rank, "", 0)


def printed(line: str) -> str:
    """As `show running-config` has it: well-known ports and DSCP values by name."""
    indent, words = line[: len(line) - len(line.lstrip())], line.split()
    if "permit" not in words:
        return line
    named = next((PORT_NAMES[word] for word in words if word in PORT_NAMES), {})
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if (before in ("eq", "range") or (at > 1 and words[at - 2] == "range")) and word.isdecimal():
            words[at] = named.get(int(word), word)
        if before == "dscp":
            words[at] = DSCP_NAMES.get(int(word), word)
    return indent + " ".join(words)
