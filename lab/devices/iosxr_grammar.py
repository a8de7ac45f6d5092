# SPDX-License-Identifier: Apache-2.0
"""The command line of the emulated IOS-XR: which statements exist, and how the box prints them.

Sources: A = Cisco IOS XR IP Addresses and Services Command Reference (ASR 9000), access list, ARP and IPv6
neighbour chapters; B = xrdocs, NCS 5500 ABF article, and Cisco 8000 PBR guide; C = Cisco IOS XR Routing
Command Reference, static routes; D = Cisco IOS XR Interface and Hardware Command Reference; E = Cisco IOS XR
MPLS Layer 3 VPN Command Reference, `vrf`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from lab.devices.tree import Rule, Tree

NAME = r"[A-Za-z0-9_.:-]{1,64}"
IF = r"[A-Z][A-Za-z-]+\d[\d/]*(?:\.\d{1,10})?"
V4 = r"\d{1,3}(?:\.\d{1,3}){3}"
V6 = r"[0-9a-f:]+"
PORTS = r"(?: (?:eq|neq|lt|gt) [a-z0-9-]+| range [a-z0-9-]+ [a-z0-9-]+)?"
SRC4 = rf"(?:any|host {V4}|{V4}/\d{{1,2}}|{V4} {V4})"
SRC6 = rf"(?:any|host {V6}|{V6}/\d{{1,3}})"
HOP = rf"(?: vrf {NAME})?(?: track {NAME})?"
PROTOCOL = r"(?:ipv4|ipv6|tcp|udp|sctp|icmp|icmpv6|ospf|igmp|gre|\d{1,3})"
MAC = r"[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}"
ABF = re.compile(r"^\d+ deny .*nexthop")


def _rule(pattern: str, source: str, opens: str = "", same: Callable[[str], str] | None = None) -> Rule:
    return Rule(re.compile(pattern), source, opens, same or (lambda line: line))


def _first(count: int) -> Callable[[str], str]:
    """The statement is known by its first words: a new value replaces the old one."""
    return lambda line: " ".join(line.split()[:count])


def _aces(family: int, prefix: str, address: str) -> tuple[Rule, ...]:
    hop = rf"(?:{HOP} ipv{family} {address}| vrf {NAME})"
    return (
        _rule(
            rf"\d{{1,10}} permit {PROTOCOL} {prefix}{PORTS} {prefix}{PORTS}(?: dscp [a-z0-9]+)?"
            rf"(?: nexthop1{hop}(?: nexthop2{hop})?(?: nexthop3{hop})?)?(?: log)?",
            "A permit; B nexthop1 [vrf V] [track T] ipv4 A, or vrf V alone (VRF-select)",
            same=_first(1),
        ),
        _rule(
            rf"\d{{1,10}} deny {PROTOCOL} {prefix}{PORTS} {prefix}{PORTS}(?: dscp [a-z0-9]+)?(?: log)?",
            "A deny; B: a next hop only with permit",
            same=_first(1),
        ),
        _rule(r"\d{1,10} remark .{1,255}", "A remark", same=_first(1)),
    )


FAMILY = _rule(r"address-family ipv[46] unicast", "E address-family", "vrf-af")
GRAMMAR: dict[str, tuple[Rule, ...]] = {
    "": (
        _rule(rf"hostname {NAME}", "D hostname", same=_first(1)),
        _rule(rf"vrf {NAME}", "E vrf", "vrf"),
        _rule(rf"ipv4 access-list {NAME}", "A ipv4 access-list", "acl4"),
        _rule(rf"ipv6 access-list {NAME}", "A ipv6 access-list", "acl6"),
        _rule(rf"arp vrf {NAME} {V4} {MAC} ARPA", "A arp", same=_first(4)),
        _rule(rf"ipv6 neighbor {V6} {IF} {MAC}", "A ipv6 neighbor", same=_first(4)),
        _rule(rf"track {NAME}", "B track", "track"),
        _rule(rf"policy-map type pbr {NAME}", "B policy-map type pbr", "policy"),
        _rule(rf"interface {IF}", "D interface", "interface"),
        _rule(r"router static", "C router static", "static"),
    ),
    "vrf": (
        _rule(r"description .{1,244}", "E description (VRF)", same=_first(1)),
        FAMILY,
        _rule(rf"fallback-vrf {NAME}", "E fallback-vrf", same=_first(1)),
    ),
    "vrf-af": (_rule(r"maximum prefix \d+", "E maximum prefix", same=_first(2)),),
    "acl4": _aces(4, SRC4, V4),
    "acl6": _aces(6, SRC6, V6),
    "track": (_rule(r"type rtr \d+ reachability", "B track type rtr", same=_first(2)),),
    "policy": (),
    "interface": (
        _rule(r"description .{1,244}", "D description", same=_first(1)),
        _rule(rf"vrf {NAME}", "E vrf (interface)", same=_first(1)),
        _rule(rf"ipv4 address {V4} {V4}", "A ipv4 address", same=_first(2)),
        _rule(rf"ipv6 address {V6}/\d{{1,3}}", "A ipv6 address"),
        _rule(r"encapsulation dot1q \d{1,4}", "D encapsulation dot1q", same=_first(2)),
        _rule(rf"ipv4 access-group {NAME} ingress", "A ipv4 access-group", same=lambda _: "ipv4 access-group ingress"),
        _rule(rf"ipv6 access-group {NAME} ingress", "A ipv6 access-group", same=lambda _: "ipv6 access-group ingress"),
        _rule(rf"service-policy type pbr input {NAME}", "B service-policy type pbr", same=_first(4)),
        _rule(r"mtu \d+", "D mtu", same=_first(1)),
        _rule(r"shutdown", "D shutdown"),
    ),
    "static": (
        _rule(rf"vrf {NAME}", "C vrf (static)", "static-vrf"),
        _rule(r"address-family ipv[46] unicast", "C address-family", "static-af"),
    ),
    "static-vrf": (_rule(r"address-family ipv[46] unicast", "C address-family", "static-af"),),
    "static-af": (
        _rule(
            rf"(?:{V4}/\d{{1,2}}|{V6}/\d{{1,3}})(?: vrf {NAME})?(?: (?:{IF}|Null0))?(?: (?:{V4}|{V6}))?(?: \d{{1,3}})?",
            "C static route: prefix [vrf V] [interface] [address] [distance]; fully specified; floating",
        ),
    ),
}  # fmt: skip
# As `show running-config` sorts what is at the top.
BLOCKS = ("interface", "vrf", "ipv4 access-list", "ipv6 access-list", "router")
RANKS = ("hostname", "vrf", "arp", "ipv4", "ipv6", "track", "policy-map", "interface", "router")


def order(mode: str, line: str) -> object:
    """Where a line stands: by number in a list, by kind at the top, else where it was put."""
    words = line.split()
    if mode in ("acl4", "acl6"):
        return int(words[0])
    if mode == "interface":
        return next((i for i, rule in enumerate(GRAMMAR[mode]) if rule.pattern.fullmatch(line)), 0)
    rank = (RANKS.index(words[0]), line) if mode == "" and words[0] in RANKS else (0, "")
    return rank if mode == "" else 0


def typed(line: str) -> str:
    """A line as the parser stores it: keywords in the case that the box likes, addresses in their short form."""
    words = line.split()
    at = 1 if words[:1] == ["no"] else 0
    if words[at : at + 1] == ["arp"]:
        words[-1] = words[-1].upper()
    six = re.compile(r"[0-9a-f]*:[0-9a-f:]*:[0-9a-f]*")
    return " ".join(str(ipaddress.ip_address(word)) if six.fullmatch(word) else word for word in words)


TCP_NAMES = {"80": "www", "22": "ssh", "179": "bgp", "53": "domain"}


def printed(line: str, quirks: frozenset[str]) -> str:
    """The same line as some releases print it: `wildcards` instead of prefixes, `names` of ports and DSCPs."""
    if not re.match(r"\d+ (permit|deny) ", line):
        return line
    if "wildcards" in quirks:
        line = re.sub(rf"({V4})/(\d+)", _wildcard, line)
    if "names" in quirks:
        if " tcp " in line:
            line = re.sub(r"\b(eq|range) (\d+)\b", lambda one: f"{one[1]} {TCP_NAMES.get(one[2], one[2])}", line)
        line = line.replace(" dscp 46", " dscp ef").replace(" dscp 0", " dscp default")
    return line


def _wildcard(found: re.Match[str]) -> str:
    network = ipaddress.IPv4Network(f"{found[1]}/{found[2]}", strict=False)
    return f"{network.network_address} {network.hostmask}"


def text(tree: Tree, quirks: frozenset[str] = frozenset(), depth: int = 0) -> Iterator[str]:
    """`show running-config`: a space for each level, `!` after each block."""
    for line, inside in tree.lines.items():
        yield f"{' ' * depth}{printed(line, quirks)}"
        if inside.lines or (depth == 0 and line.startswith(BLOCKS)):
            yield from text(inside, quirks, depth + 1)
            yield f"{' ' * depth}!"


def difference(old: Tree, new: Tree, quirks: frozenset[str], depth: int = 0) -> Iterator[str]:
    """`show configuration commit changes diff`: a column for the mark, the lines around a change for where it is."""
    for line in [*old.lines, *(one for one in new.lines if one not in old.lines)]:
        before, after = old.lines.get(line), new.lines.get(line)
        shown = f"  {' ' * depth}{printed(line, quirks)}"
        if before is None or after is None:
            yield ("-" if after is None else "+") + shown
            empty = Tree()
            yield from difference(before or empty, after or empty, quirks, depth + 1)
        else:
            inside = list(difference(before, after, quirks, depth + 1))
            if inside:
                yield f"#{shown}"
                yield from inside
                yield f"   {' ' * depth}!"
