# SPDX-License-Identifier: Apache-2.0
"""What a running NX-OS configuration says about packets, as a `plane.Plane`.

Read from the emulated device's own tree, by NX-OS's words and not by our names: what our driver wrote wrongly goes
wrong here. Policy-based routing only (Nexus 9000 Unicast Routing Configuration Guide, "Configuring Policy-Based
Routing"): the entries of the interface's route map in order, the first whose list permits a packet decides; `deny` and
no `set` are the device's own forwarding. Of several next hops the first that can be reached is taken. When all are gone
the packet goes the device's own way, unless a line says `drop-on-fail`. Packets are counted for each entry of a route
map that has `pbr-statistics`. A list that is named and not there matches everything: what a wrong order of removal
would meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from drivers.state import ANYWHERE, Match
from lab.devices.list_entries import match_of
from lab.devices.plane import Clause, Fate, Interface, Plane
from lab.devices.tree import Tree

FAMILIES = {4: "ip", 6: "ipv6"}
HOP = re.compile(
    r"set ip(?:v6)? next-hop (?:verify-availability )?(?P<addresses>\S*[.:]\S*(?: \S*[.:]\S*)*)"
    r"(?: track \d+)?(?P<words>.*)"
)


def plane_of(tree: Tree) -> Plane:
    interfaces: dict[str, Interface] = {}
    neighbours: dict[tuple[str, str], str] = {}
    routes = list(_routes("", tree))
    for line, inside in tree.lines.items():
        words = line.split()
        if words[:2] == ["vrf", "context"]:
            routes += _routes(words[2], inside)
        elif words[0] == "interface":
            found = interfaces[words[1]] = _interface(words[1], inside, tree)
            for said in (one.split() for one in inside.lines):
                if said[:2] in (["ip", "arp"], ["ipv6", "neighbor"]):
                    neighbours[found.vrf, said[2]] = bytes.fromhex(said[3].replace(".", "")).hex(":")
    return Plane(interfaces, neighbours, tuple(routes))


def _routes(vrf: str, tree: Tree) -> Iterator[tuple[str, str, str]]:
    for words in (line.split() for line in tree.lines):
        if words[:2] in (["ip", "route"], ["ipv6", "route"]) and words[3] != "Null0":
            yield vrf, words[2], words[3]


def _interface(name: str, inside: Tree, tree: Tree) -> Interface:
    parent, _, sub = name.partition(".")
    vrf, addresses, vlan, maps = "", [], 0, {}
    for words in (line.split() for line in inside.lines):
        if words[:2] == ["vrf", "member"]:
            vrf = words[2]
        elif words[:2] in (["ip", "address"], ["ipv6", "address"]):
            addresses.append(words[2])
        elif words[0] == "encapsulation":
            vlan = int(words[-1])
        elif words[1:3] == ["policy", "route-map"]:
            maps[words[0]] = words[3]
    policy = tuple(
        clause
        for family, word in FAMILIES.items()
        if word in maps
        for clause in _policy(maps[word], family, tree)
    )
    is_up = "no shutdown" in inside.lines
    return Interface(name, vrf, tuple(addresses), parent if sub else "", vlan, is_up, policy)


def _policy(name: str, family: int, tree: Tree) -> Iterator[Clause]:
    """The device keeps the entries in the order of their numbers."""
    for line, inside in tree.lines.items():
        found = re.fullmatch(rf"route-map {re.escape(name)} (permit|deny) (\d+)", line)
        if found is None:
            continue
        label = f"{name} {found[2]}" if f"route-map {name} pbr-statistics" in tree.lines else ""
        for match in _matches(inside, family, tree):
            yield replace(_clause(match, () if found[1] == "deny" else tuple(inside.lines)), label=label)


def _matches(entry: Tree, family: int, tree: Tree) -> Iterator[Match]:
    head = f"match {FAMILIES[family]} address "
    for name in (line.removeprefix(head) for line in entry.lines if line.startswith(head)):
        held = tree.at(f"{FAMILIES[family]} access-list {name}")
        if held is None:
            yield Match(ANYWHERE[family], ANYWHERE[family])
            continue
        for words in (line.split() for line in held.lines):
            if words[1] == "permit":
                protocol = "icmpv6" if (words[2], family) == ("icmp", 6) else words[2]
                yield match_of([protocol, *words[3:]], family)


def _clause(match: Match, lines: tuple[str, ...]) -> Clause:
    if "set interface null0" in lines:
        return Clause(match, Fate.DROP)
    hops = [found for line in lines if (found := HOP.fullmatch(line))]
    if not hops:
        return Clause(match, Fate.ROUTE)
    first, *others = [address for hop in hops for address in hop["addresses"].split()]
    is_open = not any("drop-on-fail" in hop["words"] for hop in hops)
    return Clause(match, Fate.NEXT, first, is_open, tuple(others))
