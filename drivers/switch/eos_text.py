# SPDX-License-Identifier: Apache-2.0
"""Tables as EOS objects, and the commands between two sets of objects. Pure.

Called by `drivers.switch.eos`. Two styles, by the setting `steering`: `pbr` (EOS User Manual, "Traffic Management":
class maps and policy maps of type pbr; no deny line may stand in their access lists) and `traffic-policy` (in
`eos_traffic`). An object is replaced whole: the session that holds it is atomic, the device computes what differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from drivers.base import Target, Unsupported
from drivers.switch.eos_blocks import Block, block, permit
from drivers.switch.eos_traffic import traffic_objects
from drivers.switch.tables import (
    CLOSED,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    address_of,
    crossing_addresses,
    interface,
    parse_name,
    table_name,
    vrf_there,
)

MARK = "Viaduct"
# A comment in a native text, which the device never sees: in which VRF an interface must be.
VRF = "! vrf "
DEFAULT_VRF = "default"
ATTACH = {"pbr": "service-policy type pbr input", "traffic-policy": "traffic-policy input"}

# (the lines around it, its own line) -> the object
Objects = Mapping[tuple[tuple[str, ...], str], Block]


def style(target: Target) -> str:
    """`pbr` or `traffic-policy`. Errors: Unsupported."""
    found = target.settings.get("steering") or "pbr"
    if found not in ATTACH:
        raise Unsupported(f"{target.name}: setting `steering` is {found!r}; it is pbr or traffic-policy")
    return found


def attach_line(target: Target, place: Place) -> str:
    return f"{ATTACH[style(target)]} {table_name(place)}"


def is_our_name(name: str) -> bool:
    return parse_name(name) is not None or name in (f"{CLOSED}-4", f"{CLOSED}-6")


# --- tables -> objects ------------------------------------------------------------------------


def objects_of(tables: Tables, target: Target) -> Objects:
    """Everything of ours on the device. Errors: Unsupported."""
    found: dict[tuple[tuple[str, ...], str], Block] = {}
    make = _pbr_objects if style(target) == "pbr" else traffic_objects
    for place, entries in tables.entries.items():
        for outside, one in make(place, entries, target):
            found[outside, one.line] = one
        line = attach_line(target, place)
        found[(f"interface {interface(target, place)}",), line] = block(line)
    for place, crossing in tables.crossings.items():
        for one in _crossing(place, crossing, target):
            found[(), one.line] = one
    return found


def _pbr_objects(
    place: Place, entries: Iterable[Entry], target: Target
) -> Iterator[tuple[tuple[str, ...], Block]]:
    classes = []
    for number, entry in enumerate(entries, start=1):
        kind = "ipv6" if entry.family == 6 else "ip"
        lines = [
            f"{10 * order} {permit(match, target.name)}" for order, match in enumerate(entry.matches, start=2)
        ]
        yield (), block(f"{kind} access-list {entry.name}", f"10 remark {MARK}", *lines)
        yield (
            (),
            block(f"class-map type pbr match-any {entry.name}", f"10 match {kind} access-group {entry.name}"),
        )
        classes.append(block(f"{10 * number} class {entry.name}", *_pbr_action(entry, target)))
    yield (), block(f"policy-map type pbr {table_name(place)}", *classes)


def _pbr_action(entry: Entry, target: Target) -> tuple[str, ...]:
    """No action is the device's own forwarding. An unresolved next hop drops."""
    if entry.action is Action.DROP:
        return ("drop",)
    if entry.action is Action.ROUTE:
        return ()
    return (f"set nexthop {address_of(target, entry.hop, entry.family)}",)


def _crossing(place: Place, crossing: Crossing, target: Target) -> Iterator[Block]:
    """The sub-interface, and the static neighbours at its far end.

    Sources: EOS User Manual, "Ethernet Ports" (subinterfaces), "IPv4" (arp), "IPv6" (ipv6 neighbor).
    """
    name, vrf = interface(target, place), vrf_there(target, crossing.vrf)
    ours, far = zip(*(crossing_addresses(target, place, family) for family in (4, 6)), strict=True)
    yield block(
        f"interface {name}",
        f"description {MARK}",
        f"encapsulation dot1q vlan {place[1]}",
        *([f"vrf {vrf}"] if vrf else []),
        f"ip address {ours[0]}/31",
        f"ipv6 address {ours[1]}/127",
    )
    if crossing.mac:
        there = f" vrf {vrf}" if vrf else ""
        yield block(f"arp{there} {far[0]} {crossing.mac} arpa")
        yield block(f"ipv6 neighbor{there} {far[1]} {name} {crossing.mac}")


# --- objects -> commands ----------------------------------------------------------------------

_RANKS = tuple(
    re.compile(pattern)
    for pattern in (
        r"nexthop-group ",
        r"(ip|ipv6) access-list ",
        r"class-map ",
        r"(policy-map|traffic-policy SI-)",
        r"interface ",
        r"(arp|ipv6 neighbor) ",
        r"(service-policy|traffic-policy input) ",
    )
)


def _rank(named: tuple[tuple[str, ...], str]) -> tuple[int, tuple[str, ...], str]:
    """What is referred to comes before what refers to it."""
    outside, line = named
    return next(rank for rank, pattern in enumerate(_RANKS) if pattern.match(line)), outside, line


def commands(before: Objects, after: Objects, promises: Iterable[Block]) -> str:
    """The native text; "" for no difference. promises: what must be so, or nothing is sent (see VRF)."""
    anew = {named for named, one in after.items() if before.get(named) != one}
    # What stands inside an interface of ours that is made anew goes with the old one.
    anew |= {named for named in after if ((), "".join(named[0])) in anew}
    gone = [named for named in before if named not in after]
    lost = {line for _, line in gone}
    found: list[Block] = []
    for outside, line in sorted(gone, key=_rank, reverse=True):
        if "".join(outside) not in lost:
            found.append(_inside(outside, Block(f"no {line}")))
    if anew or gone:
        found.extend(promises)
    for outside, line in sorted(anew, key=_rank):
        one = after[outside, line]
        is_there = not line.startswith("interface ") or (outside, line) in before
        if one.inside and is_there:  # an access list or policy of this name may be left from a damaged item
            found.append(_inside(outside, Block(f"no {line}"), one))
        else:
            found.append(_inside(outside, one))
    return "".join(f"{line}\n" for one in _joined(found) for line in one.text())


def _inside(outside: tuple[str, ...], *inside: Block) -> Block:
    if not outside:
        return Block("", inside)
    return Block(outside[0], inside)


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """Neighbours inside one mode become one block; what is inside none stands alone."""
    last: Block | None = None
    for one in blocks:
        if last is not None and last.line == one.line and one.line:
            last = Block(last.line, last.inside + one.inside)
            continue
        if last is not None:
            yield from last.inside if not last.line else (last,)
        last = one
    if last is not None:
        yield from last.inside if not last.line else (last,)


def promises(tables: Tables, changed: Iterable[Place], target: Target) -> Iterator[Block]:
    """In which VRF the operator's interfaces must be for these tables. Errors: Unsupported if in two at once."""
    wanted: dict[str, str] = {}
    for place in changed:
        for entry in tables.entries.get(place, ()):
            ports = {place, (entry.hop.port, entry.hop.tag)}
            for name, tag in ports:
                if entry.hop.vrf and name and not tag:
                    line = f"interface {interface(target, (name, 0))}"
                    vrf = vrf_there(target, entry.hop.vrf) or DEFAULT_VRF
                    if wanted.setdefault(line, vrf) != vrf:
                        raise Unsupported(
                            f"{target.name}: {line} would have to be in VRF {wanted[line]} and in {vrf}"
                        )
    for line, vrf in sorted(wanted.items()):
        yield Block(line, (Block(f"{VRF}{vrf}"),))
