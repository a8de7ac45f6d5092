# SPDX-License-Identifier: Apache-2.0
"""What an accepted EOS configuration says about packets, as a `plane.Plane`.

Read from the emulated device's own tree, by EOS's words and not by our names: what our driver wrote wrongly goes wrong
here. Policy-based routing only (EOS User Manual, "Traffic Management"): the first class whose access list permits a
packet decides; a class without an action, or none, is the device's own forwarding; an unresolved next hop drops.
"""

from __future__ import annotations

from collections.abc import Iterator

from drivers.state import Match
from lab.devices.list_entries import match_of
from lab.devices.plane import Clause, Fate, Interface, Plane
from lab.devices.tree import Tree

ATTACHED = "service-policy type pbr input "


def plane_of(tree: Tree) -> Plane:
    interfaces = {}
    neighbours: dict[tuple[str, str], str] = {}
    routes: list[tuple[str, str, str]] = []
    for line, inside in tree.lines.items():
        words = line.split()
        if words[0] == "interface":
            interfaces[words[1]] = _interface(words[1], inside, tree)
        elif words[0] == "arp":
            vrf, rest = _vrf(words[1:])
            neighbours[vrf, rest[0]] = _mac(rest[1])
        elif words[:2] == ["ipv6", "neighbor"]:
            vrf, rest = _vrf(words[2:])
            neighbours[vrf, rest[0]] = _mac(rest[2])
        elif words[:2] in (["ip", "route"], ["ipv6", "route"]):
            vrf, rest = _vrf(words[2:])
            routes.append((vrf, rest[0], rest[1]))
    return Plane(interfaces, neighbours, tuple(routes))


def _mac(text: str) -> str:
    """However EOS prints it: 0200.0000.7709 or with colons."""
    return bytes.fromhex(text.replace(".", "").replace(":", "")).hex(":")


def _vrf(words: list[str]) -> tuple[str, list[str]]:
    return (words[1], words[2:]) if words[0] == "vrf" else ("", words)


def _interface(name: str, inside: Tree, tree: Tree) -> Interface:
    parent, _, sub = name.partition(".")
    vrf, addresses, vlan, policy = "", [], 0, ""
    for line in inside.lines:
        words = line.split()
        if words[0] == "vrf":
            vrf = words[1]
        elif words[:2] in (["ip", "address"], ["ipv6", "address"]):
            addresses.append(words[2])
        elif words[0] == "encapsulation":
            vlan = int(words[-1])
        elif line.startswith(ATTACHED):
            policy = line.removeprefix(ATTACHED)
    return Interface(
        name=name,
        vrf=vrf,
        addresses=tuple(addresses),
        parent=parent if sub else "",
        vlan=vlan,
        is_up="shutdown" not in inside.lines,
        policy=tuple(_policy(policy, tree)) if policy else (),
    )


def _policy(name: str, tree: Tree) -> Iterator[Clause]:
    held = tree.lines.get(f"policy-map type pbr {name}", Tree())
    for line, actions in held.lines.items():
        for match in _class(line.split()[-1], tree):
            yield from _clauses(match, tuple(actions.lines))


def _clauses(match: Match, actions: tuple[str, ...]) -> Iterator[Clause]:
    action = actions[0].split() if actions else []
    if action[:2] == ["set", "nexthop"]:
        address = next(word for word in action[2:] if word != "recursive")
        yield Clause(match, Fate.NEXT, address)
    else:
        yield Clause(match, Fate.DROP if action == ["drop"] else Fate.ROUTE)


def _class(name: str, tree: Tree) -> Iterator[Match]:
    for line in tree.lines.get(f"class-map type pbr match-any {name}", Tree()).lines:
        kind, acl = line.split()[2], line.split()[4]
        for rule in tree.lines.get(f"{kind} access-list {acl}", Tree()).lines:
            words = rule.split()
            if words[1] == "permit":
                yield match_of(words[2:], 4 if kind == "ip" else 6)
