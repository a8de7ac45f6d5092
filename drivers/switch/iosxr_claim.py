# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of a text on an IOS-XR device, before anything of it is sent.

Called by `drivers.switch.iosxr`. Pure. Each reason says what to do about it, with the exact line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from drivers.base import Target
from drivers.switch.iosxr_parse import Running, attachments, sorted_of, vrf_of
from drivers.switch.iosxr_text import MARK, vrf_name
from drivers.switch.iosxr_words import Block, blocks
from drivers.switch.tables import vrf_here


def ports_of(target: Target) -> dict[str, str]:
    """The device's names of interfaces -> ours."""
    return {port.interface or name: name for name, port in target.ports.items()}



def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
    """Everything that must be cleared first, each with what to do."""
    found = sorted_of(running)
    wanted = blocks(native)
    reasons = [
        f"{one.line} is on the device without our mark; rename or remove it"
        for one in wanted
        if one.line in found.strangers
    ]
    for one in wanted:
        name = one.line.removeprefix("interface ")
        if name in ports_of(target):
            reasons += _in_the_way(name, one, found, wanted, target)
        elif one.line.startswith("interface ") and one.inside:
            reasons += _crossing_in_the_way(name, one, found)
    return tuple(dict.fromkeys(reasons))


def _in_the_way(name: str, wanted: Block, found: Running, native: list[Block], target: Target) -> Iterator[str]:
    """At an interface of the operator's to which a list is to be attached."""
    ours = list(attachments(wanted))
    if not ours:
        return
    block = found.interfaces.get(name)
    if block is None:
        yield f"interface {name} is not in the running configuration; configure its address and `no shutdown` first"
        return
    for family, theirs in attachments(block):
        if any(family == mine and theirs != own for mine, own in ours):
            yield (
                f"interface {name} has the access list {theirs} at its entrance, which ours would replace; move its "
                f"lines elsewhere and give `interface {name}` / `no ipv{family} access-group {theirs} ingress`"
            )
    for line in (one.line for one in block.inside if one.line.startswith("service-policy type pbr input ")):
        yield f"interface {name} forwards by a policy already; give `interface {name}` / `no {line}`"
    here = vrf_of(found, name, target)
    for vrf in sorted(_meant(native, {own for _, own in ours})):
        if vrf_here(target, "" if vrf == "default" else vrf) != here:
            now = vrf_name(target, here)
            yield f"interface {name} is in VRF {now}, not in {vrf}; give `interface {name}` / `vrf {vrf}`"


def _meant(native: list[Block], lists: set[str]) -> Iterator[str]:
    """The VRFs in which these lists' packets must come in: where they are routed, and where their next hops are."""
    routes = {one.line: one for block in native if block.line == "router static" for one in block.inside}
    for block in native:
        if not block.line.startswith("ipv") or block.line.split()[-1] not in lists:
            continue
        for one in block.inside:
            said = re.search(r"remark \S+ vrf (\S+)", one.line)
            if said:
                yield said[1]
            hop = re.search(r"nexthop1 (vrf \S+)", one.line)
            for text in routes[hop[1]].texts() if hop and hop[1] in routes else ():
                there = re.search(r" vrf (\S+) ", text)
                if there:
                    yield there[1]


def _crossing_in_the_way(name: str, wanted: Block, found: Running) -> Iterator[str]:
    """At a sub-interface that is to be ours."""
    block, tag = found.interfaces.get(name), name.rpartition(".")[2]
    if block is not None and not any(one.line.startswith(f"{MARK} ") for one in block.inside):
        yield f"interface {name} is the operator's; stage tag {tag} must be free: give `no interface {name}`"
    parent = name.rpartition(".")[0]
    for other, theirs in found.interfaces.items():
        is_sibling = other != name and other.rpartition(".")[0] == parent
        if is_sibling and any(one.line.startswith(f"encapsulation dot1q {tag}") for one in theirs.inside):
            yield f"interface {other} has VLAN {tag}, which is a stage tag; give it another"
    for line in (one.line for one in wanted.inside if one.line.startswith("vrf ")):
        vrf = line.removeprefix("vrf ")
        if vrf not in found.vrfs:
            yield f"VRF {vrf} is not on the device; give `{line}` with its address families"
