# SPDX-License-Identifier: Apache-2.0
"""The statements of EOS that the emulated one knows, each with its manual, and how EOS prints them.

Anything else is refused. UM: Arista EOS User Manual, by chapter. AVD: expected configurations of aristanetworks/avd.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from drivers.switch.eos_blocks import DSCP_NAMES, PORT_NAMES
from lab.devices.tree import Editor, Rule, Tree

_PORTS_BY_NUMBER = {number: name for name, number in reversed(PORT_NAMES.items())}
_DSCPS_BY_NUMBER = {number: name for name, number in DSCP_NAMES.items()}

UM_ACL = 'UM "ACLs and Route Maps"'
UM_PBR = 'UM "Traffic Management", policy-based routing; AVD pbr-policy-maps'
UM_PORTS = 'UM "Ethernet Ports", subinterfaces'
OC = "openconfig/public ocpf-match-action; AVD traffic-policies"

_WORD, _V4, _V6, _MAC = r"[!-~]+", r"\d+\.\d+\.\d+\.\d+", r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]+", r"[0-9a-fA-F.:]+"
_PORT = r"(?: (?:(?:eq|gt|lt|neq) [\w-]+|range [\w-]+ [\w-]+))?"
_TAIL = r"(?: established)?(?: fragments)?(?: tracked)?(?: dscp \w+)?(?: ttl \w+ \d+)?(?: log)?"


def _ace(address: str, every: str) -> str:
    where = rf"(?:any|host {address}|{address}/\d+)"
    return rf"(?:permit|deny) (?:{every}|tcp|udp|icmp|icmpv6|ospf|\d+) {where}{_PORT} {where}{_PORT}{_TAIL}"


def _rule(pattern: str, source: str, opens: str = "", same: Callable[[str], str] | None = None) -> Rule:
    return Rule(re.compile(pattern), source, opens, same or (lambda line: line))


def _first(words: int) -> Callable[[str], str]:
    """Another value of the same setting takes the place of the first."""
    return lambda line: " ".join(line.split()[:words])


def _but_last(words: int) -> Callable[[str], str]:
    return lambda line: " ".join(line.split()[:-words])


_ATTACH = (
    _rule(rf"service-policy type pbr input {_WORD}", UM_PBR, same=_first(4)),
    _rule(rf"traffic-policy input {_WORD}", OC, same=_first(2)),
)

GRAMMAR = {
    "": (
        _rule(rf"hostname {_WORD}", 'UM "Switch Administration"', same=_first(1)),
        _rule(rf"vrf instance {_WORD}", 'UM "VRF"', opens="vrf"),
        _rule(r"interface (?:Ethernet|Port-Channel|Vlan|Loopback|Management)\d[\d/]*(?:\.\d+)?", UM_PORTS, "interface"),
        _rule(rf"ip routing(?: vrf {_WORD})?", 'UM "IPv4"'),
        _rule(rf"ipv6 unicast-routing(?: vrf {_WORD})?", 'UM "IPv6"'),
        _rule(rf"ip route(?: vrf {_WORD})? {_V4}/\d+ (?:{_V4}|Null0)", 'UM "IPv4"'),
        _rule(rf"ipv6 route(?: vrf {_WORD})? {_V6}/\d+ (?:{_V6}|Null0)", 'UM "IPv6"'),
        _rule(rf"arp(?: vrf {_WORD})? {_V4} {_MAC} arpa", 'UM "IPv4", arp', same=_but_last(2)),
        _rule(rf"ipv6 neighbor(?: vrf {_WORD})? {_V6} {_WORD} {_MAC}", 'UM "IPv6", ipv6 neighbor', same=_but_last(1)),
        _rule(rf"ip access-list {_WORD}", UM_ACL, opens="acl"),
        _rule(rf"ipv6 access-list {_WORD}", UM_ACL, opens="acl6"),
        _rule(rf"class-map type pbr match-any {_WORD}", UM_PBR, opens="class-map"),
        _rule(rf"policy-map type pbr {_WORD}", UM_PBR, opens="policy-map"),
        _rule(rf"nexthop-group {_WORD} type ip", 'UM "Nexthop Groups"; ' + OC, opens="group"),
        _rule(r"traffic-policies", OC, opens="policies"),
        _rule(r"hardware tcam", 'UM "TCAM profiles"', opens="tcam"),
        _rule(r"router bgp \d+", 'UM "BGP"', opens="bgp"),
        _rule(r"switchport default mode (?:routed|access)", 'UM "VLANs"; AVD', same=_first(3)),
        _rule(r"management api http-commands", 'UM "Command-Line Interface", eAPI', opens="api"),
        _rule(rf"username {_WORD} .+", 'UM "Security"', same=_first(2)),
        _rule(r"banner motd", 'UM "Switch Administration"'),
    ),
    "vrf": (_rule(rf"rd {_WORD}", 'UM "VRF"', same=_first(1)),),
    "interface": (
        _rule(r"description .+", UM_PORTS, same=_first(1)),
        _rule(r"switchport", UM_PORTS),
        _rule(r"shutdown", UM_PORTS),
        _rule(r"mtu \d+", UM_PORTS, same=_first(1)),
        _rule(r"encapsulation dot1q vlan \d+", UM_PORTS, same=_first(2)),
        _rule(rf"vrf {_WORD}", 'UM "VRF"', same=_first(1)),
        _rule(rf"ip address {_V4}/\d+", 'UM "IPv4"', same=_first(2)),
        _rule(r"ipv6 enable", 'UM "IPv6"'),
        _rule(rf"ipv6 address {_V6}/\d+", 'UM "IPv6"'),
        _rule(rf"ip access-group {_WORD} in", UM_ACL, same=_first(2)),
        *_ATTACH,
    ),
    "acl": (
        _rule(r"\d+ remark .+", UM_ACL, same=_first(1)),
        _rule(rf"\d+ {_ace(_V4, 'ip')}", UM_ACL, same=_first(1)),
        _rule(r"counters per-entry", UM_ACL),
    ),
    "acl6": (
        _rule(r"\d+ remark .+", UM_ACL, same=_first(1)),
        _rule(rf"\d+ {_ace(_V6, 'ipv6')}", UM_ACL, same=_first(1)),
        _rule(r"counters per-entry", UM_ACL),
    ),
    "class-map": (_rule(rf"\d+ match (?:ip|ipv6) access-group {_WORD}", UM_PBR, same=_first(1)),),
    "policy-map": (_rule(rf"\d+ class {_WORD}", UM_PBR, opens="class", same=_first(1)),),
    "class": (
        _rule(r"drop", UM_PBR),
        _rule(rf"set nexthop (?:recursive )?(?:(?:{_V4}|{_V6}) ?)+", UM_PBR, same=_first(2)),
        _rule(rf"set nexthop-group {_WORD}", UM_PBR, same=_first(2)),
    ),
    "group": (
        _rule(r"size \d+", OC, same=_first(1)),
        _rule(rf"entry \d+ nexthop (?:{_V4}|{_V6})", OC, same=_first(2)),
    ),
    "policies": (_rule(rf"traffic-policy {_WORD}", OC, opens="policy"),),
    "policy": (_rule(rf"match {_WORD} ipv[46]", OC, opens="match"),),
    "match": (
        _rule(rf"(?:source|destination) prefix (?:(?:{_V4}|{_V6})/\d+ ?)+", OC, same=_first(2)),
        _rule(r"protocol \w+(?: source port [\d,-]+)?(?: destination port [\d,-]+)?", OC, same=_first(2)),
        _rule(r"dscp \d+", OC, same=_first(1)),
        _rule(r"actions", OC, opens="actions"),
    ),
    "actions": (
        _rule(r"count", OC),
        _rule(r"drop", OC),
        _rule(r"log", OC),
        _rule(rf"redirect next-hop group {_WORD}", OC, same=_first(1)),
    ),
    "tcam": (
        _rule(rf"profile {_WORD}", 'UM "TCAM profiles"', opens="profile"),
        _rule(rf"system profile {_WORD}", 'UM "TCAM profiles"', same=_first(2)),
    ),
    "profile": (_rule(r"feature .+", 'UM "TCAM profiles"'),),
    "bgp": (
        _rule(rf"neighbor {_WORD} remote-as \d+", 'UM "BGP"', same=_first(3)),
        _rule(rf"router-id {_V4}", 'UM "BGP"', same=_first(1)),
    ),
    "api": (_rule(r"shutdown", 'UM "Command-Line Interface", eAPI'),),
}  # fmt: skip

SECTIONS = (
    "management", "hostname", "username", "hardware", "switchport", "vrf", "interface", "class-map", "policy-map",
    "nexthop-group", "ip access-list", "ipv6 access-list", "ip routing", "ip route", "ipv6 unicast-routing",
    "ipv6 route", "arp", "ipv6 neighbor", "router", "traffic-policies", "banner",
)  # fmt: skip
INSIDE = (
    "description", "mtu", "no switchport", "switchport", "shutdown", "encapsulation", "vrf", "ip ", "ipv6 ", "service",
)  # fmt: skip


def natural(line: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.findall(r"\d+|\D+", line)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


def order(mode: str, line: str) -> object:
    """Where EOS prints a line among those of its mode."""
    if mode == "":
        rank = next((index for index, head in enumerate(SECTIONS) if line.startswith(head)), len(SECTIONS))
        return rank, natural(line)
    if mode == "interface":
        return next((index for index, head in enumerate(INSIDE) if line.startswith(head)), len(INSIDE)), ()
    if mode in ("acl", "acl6", "policy-map", "class-map"):
        head = line.split()[0]
        return (int(head) if head.isdigit() else 0), ()
    if mode == "policies":
        return 0, natural(line)
    if mode == "policy":
        return line.startswith(("match ipv4-all-default", "match ipv6-all-default")), ()
    return 0, ()


def shown(tree: Tree) -> Tree:
    """What is printed of it: a section that became empty is not (UM is silent; not verified on a box)."""
    hidden = ("traffic-policies", "hardware tcam")
    return Tree({line: inside for line, inside in tree.lines.items() if inside.lines or line not in hidden})


class Console(Editor):
    """EOS configuration mode: falls through to the modes around it, prints what was typed in its own way."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, GRAMMAR, order=order)

    def _add(self, mode: str, rule: Rule, line: str, tree: Tree) -> None:
        if mode in ("acl", "acl6"):
            line = printed(line)
        if mode == "interface" and line == "switchport":
            tree.lines.pop("no switchport", None)
            return
        if mode == "interface" and line.startswith("vrf ") and line not in tree.lines:
            for held in [held for held in tree.lines if held.startswith(("ip address", "ipv6 address"))]:
                del tree.lines[held]  # UM "VRF": moving an interface takes its addresses away
        super()._add(mode, rule, line, tree)
        if mode == "policies" and line.startswith("traffic-policy "):
            inside = tree.lines[line].lines
            for name in ("match ipv4-all-default ipv4", "match ipv6-all-default ipv6"):
                inside.setdefault(name, Tree())

    def _remove(self, rule: Rule, body: str, tree: Tree) -> None:
        if body == "switchport":
            tree.lines["no switchport"] = Tree()
            return
        super()._remove(rule, body, tree)


def printed(line: str) -> str:
    """A line of an access list as EOS prints it: names for ports and DSCPs, `any`, `host`."""
    words = line.split()
    if "remark" in words[:2]:
        return line
    for index, word in enumerate(words):
        if word in ("0.0.0.0/0", "::/0"):
            words[index] = "any"
        elif word.endswith("/32") and "." in word or word.endswith("/128"):
            words[index] = f"host {word.partition('/')[0]}"
        elif index and words[index - 1] in ("eq", "range") or index > 1 and words[index - 2] == "range":
            words[index] = _PORTS_BY_NUMBER.get(int(word), word) if word.isdigit() else word
        elif index and words[index - 1] == "dscp" and word.isdigit():
            words[index] = _DSCPS_BY_NUMBER.get(int(word), word)
    return " ".join(words)
