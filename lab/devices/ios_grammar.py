# SPDX-License-Identifier: Apache-2.0
"""Statements of IOS-XE that the emulated device knows, each with its source, and how the device prints them.

Sources: ACL = IP Addressing Services Command Reference, `ip access-list`, `permit (IP)`; ACL6 = IPv6 Command Reference,
`ipv6 access-list`, `permit (IPv6)`; PBR = IP Routing: Protocol-Independent Command Reference, `route-map`,
`set ip next-hop verify-availability`, `set interface`; PBR6 = Catalyst 4500 Software Configuration Guide IOS XE 3.6.0E,
Configuring PBR, IPv6; SLA = IP SLAs Command Reference; EOT = Enhanced Object Tracking, `track ip sla` (numbers 1 to
1000 since 15.1(3)T); VRF = `vrf definition`, `vrf forwarding`; ARC = Configuration Fundamentals Command Reference,
archive.
"""

from __future__ import annotations

import re

from lab.devices.tree import Grammar, Rule

V4 = r"\d+\.\d+\.\d+\.\d+"
V6 = r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*"
MAC = r"[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}"
NAME = r"[A-Za-z0-9_./-]+"
PORT = r"(?:(?:eq \d+|range \d+ \d+) )?"
A4 = rf"(?:any|host {V4}|{V4} {V4})"
A6 = rf"(?:any|host {V6}|{V6}/\d+)"
END = r"(?: (?:eq \d+|range \d+ \d+))?(?: dscp \d+)?"


def rule(pattern: str, source: str, opens: str = "", same: str = "") -> Rule:
    """same: a pattern whose match at the beginning says which statement it is."""
    if not same:
        return Rule(re.compile(pattern), source, opens)
    head = re.compile(same)

    def which(line: str) -> str:
        found = head.match(line)
        return found.group(0) if found else line

    return Rule(re.compile(pattern), source, opens, which)


GRAMMAR: Grammar = {
    "": (
        rule(rf"hostname {NAME}", "CF hostname", same="hostname"),
        rule(r"ip scp server enable", "SSH: ip scp server enable"),
        rule(r"file prompt quiet", "CF file prompt", same="file prompt"),
        rule(r"ipv6 unicast-routing", "IPv6: ipv6 unicast-routing"),
        rule(r"archive", "ARC", "archive"),
        rule(rf"username {NAME} privilege 15 secret \d \S+", "SEC username", same=rf"username {NAME}"),
        rule(rf"vrf definition {NAME}", "VRF", "vrf"),
        rule(rf"interface {NAME}", "IF interface", "interface"),
        rule(rf"ip access-list extended {NAME}", "ACL", "acl4"),
        rule(rf"ipv6 access-list {NAME}", "ACL6", "acl6"),
        rule(rf"route-map {NAME} (?:permit|deny) \d+", "PBR route-map", "map"),
        rule(r"ip sla \d+", "SLA ip sla", "sla"),
        rule(r"ip sla schedule \d+ life forever start-time now", "SLA ip sla schedule", same=r"ip sla schedule \d+"),
        rule(r"track (?:1000|[1-9]\d{0,2}) ip sla \d+ reachability", "EOT", "track", same=r"track \d+"),
        rule(rf"arp (?:vrf {NAME} )?{V4} {MAC} ARPA", "IP ADDR arp (global)", same=rf"arp (?:vrf {NAME} )?{V4}"),
        rule(rf"ipv6 neighbor {V6} {NAME} {MAC}", "IPv6 ipv6 neighbor", same=rf"ipv6 neighbor {V6} {NAME}"),
        rule(rf"ip route (?:vrf {NAME} )?{V4} {V4} (?:{V4}|Null0)", "RT ip route"),
        rule(r"ntp server \S+", "NTP ntp server"),
    ),
    "archive": (rule(r"path \S+", "ARC path", same="path"),),
    "vrf": (rule(r"rd \S+", "VRF rd", same="rd"), rule(r"address-family ipv[46]", "VRF address-family", "af")),
    "af": (rule(r"exit-address-family", "VRF"),),
    "interface": (
        rule(r"description .+", "IF description", same="description"),
        rule(r"encapsulation dot1Q \d+", "LAN encapsulation dot1Q", same="encapsulation"),
        rule(rf"vrf forwarding {NAME}", "VRF vrf forwarding", same="vrf forwarding"),
        rule(rf"ip address {V4} {V4}", "IP ADDR ip address", same="ip address"),
        rule(rf"ipv6 address {V6}/\d+", "IPv6 ipv6 address"),
        rule(rf"ip policy route-map {NAME}", "PBR ip policy route-map", same="ip policy route-map"),
        rule(rf"ipv6 policy route-map {NAME}", "PBR6 ipv6 policy route-map", same="ipv6 policy route-map"),
        rule(rf"ip access-group {NAME} (?:in|out)", "ACL ip access-group"),
        rule(r"mtu \d+", "IF mtu", same="mtu"),
        rule(r"shutdown", "IF shutdown"),
    ),
    "acl4": (
        rule(rf"\d+ (?:permit|deny) (?:ip|tcp|udp|icmp) {A4} {PORT}{A4}{END}", "ACL permit", same=r"\d+"),
        rule(r"\d+ remark .+", "ACL remark", same=r"\d+"),
    ),
    "acl6": (
        rule(rf"sequence \d+ (?:permit|deny) (?:ipv6|tcp|udp|icmp) {A6} {PORT}{A6}{END}", "ACL6 permit",
             same=r"sequence \d+"),
    ),
    "map": (
        rule(r"description .+", "PBR route-map description", same="description"),
        rule(rf"match ip address {NAME}", "PBR match ip address"),
        rule(rf"match ipv6 address {NAME}", "PBR6 match ipv6 address"),
        rule(rf"set ip next-hop verify-availability {V4} \d+ track \d+", "PBR set ip next-hop verify-availability"),
        rule(rf"set ip next-hop {V4}(?: {V4})*", "PBR set ip next-hop"),
        rule(rf"set ipv6 next-hop {V6}(?: {V6})*", "PBR6 set ipv6 next-hop"),
        rule(r"set interface Null0", "PBR set interface"),
    ),
    "sla": (rule(rf"icmp-echo {V4}(?: source-interface {NAME})?", "SLA icmp-echo", "echo", same="icmp-echo"),),
    "echo": (
        rule(rf"vrf {NAME}", "SLA vrf", same="vrf"),
        rule(r"tag \S+", "SLA tag", same="tag"),
        rule(r"frequency \d+", "SLA frequency", same="frequency"),
    ),
    "track": (rule(r"delay down \d+ up \d+", "EOT delay", same="delay"),),
}  # fmt: skip

# The order of `show running-config` (not that in which things were typed).
ORDER = (
    "hostname", "vrf definition", "ip scp", "file prompt", "archive", "username", "ipv6 unicast", "track", "interface",
    "ip route", "arp", "ip access-list", "ip sla", "ntp", "ipv6 neighbor", "route-map", "ipv6 access-list",
)  # fmt: skip
PORT_NAMES = {
    "tcp": {80: "www", 53: "domain", 25: "smtp", 179: "bgp", 23: "telnet"},
    "udp": {53: "domain", 123: "ntp"},
}
DSCP_NAMES = {0: "default", 46: "ef", **{8 * n: f"cs{n}" for n in range(1, 8)},
              **{8 * h + 2 * w: f"af{h}{w}" for h in range(1, 5) for w in range(1, 4)}}  # fmt: skip


def place(mode: str, line: str) -> object:
    """Where a line stands among its mode's."""
    number = re.match(r"(?:sequence )?(\d+) ", line)
    if mode in ("acl4", "acl6") and number:
        return (0, "", int(number[1]))
    if mode == "":
        rank = next((at for at, word in enumerate(ORDER) if line.startswith(word)), len(ORDER))
        numbers = re.findall(r"\d+", line)
        if line.startswith("route-map"):
            return (rank, line.split()[1], int(numbers[-1]))
        if line.startswith("ip sla"):
            return (rank, "", int(numbers[0]) * 2 + ("schedule" in line))
        return (rank, "", 0)
    rank = 0
    if mode == "map":
        rank = ("description", "match", "set").index(line.split()[0])
    elif mode == "interface":
        words = (
            "description",
            "encapsulation",
            "vrf",
            "ip address",
            "ip policy",
            "ipv6 address",
            "ipv6 policy",
        )
        rank = next((at for at, word in enumerate(words) if line.startswith(word)), 99)
    return (rank, "", 0)


def typed(line: str) -> str:
    """What the device makes of it: numbers for names, small letters in IPv6 addresses."""
    words = [word.lower() if word.count(":") > 1 else word for word in line.split()]
    names = {name: str(number) for named in PORT_NAMES.values() for number, name in named.items()}
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if before in ("eq", "range") or (at > 1 and words[at - 2] == "range"):
            words[at] = names.get(word, word)
        if before == "dscp":
            words[at] = next((str(number) for number, name in DSCP_NAMES.items() if name == word), word)
    return " ".join(words)


def printed(line: str) -> str:
    """As `show running-config` has it: well-known ports and DSCP values by name, IPv6 addresses in capitals."""
    indent = line[: len(line) - len(line.lstrip())]
    words = [word.upper() if word.count(":") > 1 and "/flash" not in word else word for word in line.split()]
    named = next((PORT_NAMES[word] for word in words if word in PORT_NAMES and "permit" in words), {})
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if (
            named
            and (before in ("eq", "range") or (at > 1 and words[at - 2] == "range"))
            and word.isdecimal()
        ):
            words[at] = named.get(int(word), word)
        if before == "dscp" and "permit" in words:
            words[at] = DSCP_NAMES.get(int(word), word)
    return indent + " ".join(words)
