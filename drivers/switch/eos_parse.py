# SPDX-License-Identifier: Apache-2.0
"""A running EOS configuration as tables: what of it is ours, what is damaged, who else is there. Pure.

Called by `drivers.switch.eos`. A statement inside an object of ours that this module does not know is Rejected; one
that it knows, but that we did not write, makes the items concerned torn, so that they are written anew.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from drivers.base import SHADOWS, Rejected, Target
from drivers.box import Reading
from drivers.state import ANYWHERE, Key, Match, NextHop
from drivers.switch.eos_blocks import Block, blocks_of, match_of
from drivers.switch.eos_text import ATTACH, MARK, attach_line, is_our_name, style
from drivers.switch.eos_traffic import LAST, SECTION, groups_of, part_of, read_match
from drivers.switch.tables import (
    CLOSED,
    FIRST_TAG,
    LAST_TAG,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    crossing_addresses,
    hop_at,
    interface,
    items_of,
    parse_name,
    parse_table_name,
    table_name,
    vrf_here,
)

_ACL = re.compile(r"(?P<kind>ip|ipv6) access-list (?P<name>\S+)")
_CLASS = re.compile(r"class-map type pbr match-any (?P<name>\S+)")
_POLICY = re.compile(r"policy-map type pbr (?P<name>\S+)")
_TRAFFIC = re.compile(r"traffic-policy (?P<name>\S+)")
_GROUP = re.compile(r"nexthop-group (?P<name>\S+) type \S+")
ATTACHED = re.compile(r"(?:service-policy type pbr input|traffic-policy input) (?P<name>\S+)")
_INTERFACE = re.compile(r"interface (?P<name>\S+)")
_CROSSING = re.compile(
    rf"(?:description {MARK}|encapsulation dot1q vlan \d+|vrf \S+|ip address \S+|ipv6 address \S+"
    r"|service-policy type pbr input \S+|traffic-policy input \S+|no shutdown)"
)
_SET = re.compile(r"set nexthop (?P<address>[0-9a-fA-F.:]+)")
# What an operator could write there: known, not ours.
_KNOWN_ACTIONS = re.compile(
    r"drop|no drop|set (?:nexthop|nexthop-group|ttl) .+|police .+|count.*|redirect .+|log.*"
)
_KNOWN_LINES = re.compile(r"(?:\d+ )?(?:permit|deny|remark|counters|statistics|match|size|entry|fec) ?.*")
_MAC = re.compile(r"[0-9a-f:.]+")


@dataclass(frozen=True, slots=True)
class Found:
    """A policy of ours as it stands. entries: name, action, next hop's address, matches; torn: keys damaged in it."""

    name: str
    entries: tuple[tuple[str, Action, str, tuple[Match, ...]], ...]
    torn: frozenset[Key] = frozenset()
    strangers: tuple[str, ...] = ()

    def keys(self) -> frozenset[Key]:
        return frozenset(key for name, *_ in self.entries if (key := key_of(name)) is not None) | self.torn


@dataclass(frozen=True, slots=True)
class Device:
    """The parts of a configuration that matter, by name."""

    blocks: tuple[Block, ...]
    interfaces: Mapping[str, Block] = field(default_factory=dict)
    acls: Mapping[tuple[str, int], Block] = field(default_factory=dict)
    classes: Mapping[str, Block] = field(default_factory=dict)
    policies: Mapping[str, Block] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


def key_of(name: str) -> Key | None:
    """Of the name of an entry, or of one of its matches."""
    found = parse_name(part_of(name)[0])
    return found[0] if found else None


def device_of(running: str, target: Target) -> Device:
    blocks = blocks_of(running)
    sections = [inner for one in blocks if one.line == SECTION for inner in one.inside]
    policies = (_POLICY, blocks) if style(target) == "pbr" else (_TRAFFIC, sections)
    acls = {}
    for one in blocks:
        if found := _ACL.fullmatch(one.line):
            acls[found["name"], 6 if found["kind"] == "ipv6" else 4] = one
    return Device(
        blocks=blocks,
        interfaces=dict(_named(_INTERFACE, blocks)),
        acls=acls,
        classes=dict(_named(_CLASS, blocks)),
        policies=dict(_named(*policies)),
        groups=groups_of(blocks),
    )


def _named(pattern: re.Pattern[str], blocks: tuple[Block, ...] | list[Block]) -> Iterator[tuple[str, Block]]:
    for one in blocks:
        if found := pattern.fullmatch(one.line):
            yield found["name"], one


def vrf_of(device: Device, name: str) -> str:
    """Of an interface, in the device's words; "" for the default one."""
    lines = device.interfaces[name].lines() if name in device.interfaces else ()
    return next((line.removeprefix("vrf ") for line in lines if line.startswith("vrf ")), "")


def policy_at(device: Device, name: str) -> str:
    """What is attached to an interface; "" for nothing."""
    lines = device.interfaces[name].lines() if name in device.interfaces else ()
    return next((found["name"] for line in lines if (found := ATTACHED.fullmatch(line))), "")


# --- reading ----------------------------------------------------------------------------------


def read(running: str, target: Target) -> Reading:
    """Errors: Rejected."""
    device = device_of(running, target)
    _refuse_other_style(device, target)
    crossings = dict(_crossings(device, target))
    entries: dict[Place, tuple[Entry, ...]] = {}
    torn: set[Key] = set()
    attached: list[str] = list(_in_the_way(device, target))
    used: set[str] = set()
    for name, one in device.policies.items():
        place = parse_table_name(name)
        if place is None:
            continue
        found = _policy(device, one, name, target)
        used |= {raw[0] for raw in found.entries}
        attached += found.strangers
        table = _table(device, found, place, crossings, target)
        if table is None or found.torn or found.strangers:
            torn |= found.keys()
        else:
            entries[place] = table
    torn |= {key for name in _orphans(device, used) if (key := key_of(name)) is not None}
    state = items_of(Tables(entries, crossings, tuple(sorted(torn))), target)
    return Reading(state, tuple(attached), _foreign(device))


def _refuse_other_style(device: Device, target: Target) -> None:
    """Items that stand in the style which the setting does not say would be invisible. Errors: Rejected."""
    wanted = style(target)
    other = next(one for one in ATTACH if one != wanted)
    sections = [inner for one in device.blocks if one.line == SECTION for inner in one.inside]
    pattern, blocks = (_TRAFFIC, sections) if wanted == "pbr" else (_POLICY, list(device.blocks))
    ours = [name for name, _ in _named(pattern, blocks) if parse_table_name(name) is not None]
    if not ours:
        return
    attached = [f"`interface {name}` / `no {ATTACH[other]} {policy_at(device, name)}`" for name in device.interfaces
                if policy_at(device, name) in ours]
    inside = f"`{SECTION}` / `no traffic-policy {{}}`" if other == "traffic-policy" else "`no policy-map type pbr {}`"
    by_hand = ", ".join([*attached, *(inside.format(name) for name in ours)])
    raise Rejected(
        f"{target.name}: items of ours stand there in the style {other}, and its setting `steering` says {wanted}: set "
        f"`steering: {other}` again, remove the chains there, then change it; or by hand: {by_hand}"
    )


def _table(
    device: Device, found: Found, place: Place, crossings: Mapping[Place, Crossing], target: Target
) -> tuple[Entry, ...] | None:
    """None if it is not in force where its name says, or a next hop of it is nobody's."""
    if place[0] not in target.ports:
        return None
    where = interface(target, place)
    if policy_at(device, where) != found.name:
        return None
    vrf = vrf_here(target, vrf_of(device, where))
    entries = []
    for name, action, address, matches in found.entries:
        hop: NextHop | None = NextHop(vrf=vrf) if action is Action.ROUTE else NextHop()
        if action is Action.REDIRECT:
            hop = hop_at(target, address, vrf, crossings)
        if hop is None:
            return None
        entries.append(Entry(name, action, matches, hop))
    return tuple(entries)


def _crossings(device: Device, target: Target) -> Iterator[tuple[Place, Crossing]]:
    """Those that are whole."""
    names = {port.interface or port.name: port.name for port in target.ports.values()}
    for name, one in device.interfaces.items():
        parent, _, tag = name.rpartition(".")
        if parent not in names or not tag.isdigit() or not FIRST_TAG <= int(tag) <= LAST_TAG:
            continue
        if f"description {MARK}" not in one.lines():
            continue
        for line in one.lines():
            if not _CROSSING.fullmatch(line):
                raise Rejected(f"{target.name}: unknown line in {one.line}, which is ours: {line!r}")
        place = names[parent], int(tag)
        ours, far = zip(*(crossing_addresses(target, place, family) for family in (4, 6)), strict=True)
        wanted = {
            f"encapsulation dot1q vlan {tag}",
            f"ip address {ours[0]}/31",
            f"ipv6 address {ours[1]}/127",
        }
        macs = _neighbours(device, name, *far)
        if wanted <= {_address(line) for line in one.lines()} and len(macs) == 1:
            yield place, Crossing(*place, vrf_here(target, vrf_of(device, name)), macs.pop())


def _neighbours(device: Device, name: str, far: str, far6: str) -> set[str]:
    """The MACs that the two static neighbours have; "" for one that is not there."""
    vrf = vrf_of(device, name)
    there = f" vrf {vrf}" if vrf else ""
    macs = {4: "", 6: ""}
    for one in device.blocks:
        if one.line.startswith(f"arp{there} {far} "):
            macs[4] = _mac(one.line.removeprefix(f"arp{there} {far} ").removesuffix(" arpa"))
        elif one.line.startswith(f"ipv6 neighbor{there} {far6} {name} "):
            macs[6] = _mac(one.line.rpartition(" ")[2])
    return set(macs.values())


def _address(line: str) -> str:
    """The line with its address as `ipaddress` prints it."""
    head, _, text = line.rpartition(" ")
    if head not in ("ip address", "ipv6 address"):
        return line
    try:
        return f"{head} {ipaddress.ip_interface(text)}"
    except ValueError:
        return line


def _mac(text: str) -> str:
    """In colons, however the device prints it: 0200.0000.0001 or 02:00:00:00:00:01."""
    digits = text.lower().replace(":", "").replace(".", "")
    if not _MAC.fullmatch(text.lower()) or len(digits) != 12:
        return "?"
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def _policy(device: Device, one: Block, name: str, target: Target) -> Found:
    make = _pbr if style(target) == "pbr" else _traffic
    try:
        return make(device, one, name)
    except ValueError as error:
        raise Rejected(f"{target.name}: unknown line in {one.line}, which is ours: {error}") from error


def _pbr(device: Device, one: Block, name: str) -> Found:
    """Errors: ValueError with the line that no EOS writes there."""
    found = Found(name, ())
    for inner in one.inside:
        words = inner.line.split()
        if words[-2:-1] != ["class"]:
            if not re.fullmatch(r"\d+ match .+|\d+ .*", inner.line):
                raise ValueError(repr(inner.line))
            found = replace(found, strangers=(*found.strangers, f"{one.line}: {inner.line}"))
            continue
        named = words[-1]
        if not is_our_name(named):
            found = replace(found, strangers=(*found.strangers, f"{one.line}: {inner.line}"))
            continue
        matches = _class_matches(device, named)
        action, address, is_ours = _action(inner.lines())
        raw = (named, action, address, matches)
        found = replace(found, entries=(*found.entries, raw))
        if not matches or not is_ours:
            found = replace(found, torn=found.torn | {key for key in [key_of(named)] if key})
            if named.startswith(CLOSED):  # everybody's at this place
                found = replace(found, torn=found.keys())
    return found


def _action(lines: tuple[str, ...]) -> tuple[Action, str, bool]:
    """The action, a next hop's address, and whether we could have written it."""
    if lines == ("drop",):
        return Action.DROP, "", True
    if not lines:
        return Action.ROUTE, "", True
    for line in lines:
        if not _KNOWN_ACTIONS.fullmatch(line):
            raise ValueError(repr(line))
    found = _SET.fullmatch(lines[0])
    if found is None or len(lines) > 1:
        return Action.DROP, "", False
    return Action.REDIRECT, str(ipaddress.ip_address(found["address"])), True


def _class_matches(device: Device, name: str) -> tuple[Match, ...]:
    """() if the class or its access list is not as we write it. Errors: ValueError."""
    lines = device.classes[name].lines() if name in device.classes else ()
    _known(lines)
    found = re.fullmatch(r"\d+ match (ip|ipv6) access-group (\S+)", lines[0]) if len(lines) == 1 else None
    if found is None or found[2] != name:
        return ()
    family = 6 if found[1] == "ipv6" else 4
    acl = device.acls.get((name, family))
    lines = acl.lines() if acl is not None else ()
    _known(lines)
    rules = [line.partition(" ")[2] for line in lines]
    if not rules or rules[0] != f"remark {MARK}":
        return ()
    try:
        return tuple(match_of(rule, family) for rule in rules[1:])
    except ValueError:
        return ()


def _known(lines: tuple[str, ...]) -> None:
    for line in lines:
        if not _KNOWN_LINES.fullmatch(line):
            raise ValueError(repr(line))


def _traffic(device: Device, one: Block, name: str) -> Found:
    """Errors: ValueError."""
    entries: dict[str, tuple[Action, str, tuple[Match, ...]]] = {}
    strangers: list[str] = []
    torn: set[Key] = set()
    for inner in one.inside:
        words = inner.line.split()
        if len(words) != 3 or words[0] != "match" or words[2] not in ("ipv4", "ipv6"):
            raise ValueError(repr(inner.line))
        match, actions = read_match(inner, int(words[2][3:]))
        if words[1] in LAST:
            family = LAST[words[1]]
            if "drop" in actions:
                entries[f"{CLOSED}-{family}"] = Action.DROP, "", (Match(ANYWHERE[family], ANYWHERE[family]),)
            continue
        named, part = part_of(words[1])
        if parse_name(named) is None:
            strangers.append(f"{one.line}: {inner.line}")
            continue
        action, address, is_ours = _traffic_action(device, named, actions)
        held = entries.get(named)
        matches = held[2] if held else ()
        if not is_ours or part != len(matches) or (held and held[:2] != (action, address)):
            torn |= {key for key in [key_of(named)] if key}
        entries[named] = action, address, (*matches, match)
    return Found(
        name, tuple((named, *raw) for named, raw in entries.items()), frozenset(torn), tuple(strangers)
    )


def _traffic_action(device: Device, name: str, actions: tuple[str, ...]) -> tuple[Action, str, bool]:
    for line in actions:
        if not _KNOWN_ACTIONS.fullmatch(line):
            raise ValueError(repr(line))
    rest = [line for line in actions if line != "count"]
    if not rest:
        return Action.ROUTE, "", True
    if rest == ["drop"]:
        return Action.DROP, "", True
    address = device.groups.get(name, "")
    is_ours = rest == [f"redirect next-hop group {name}"] and address != ""
    return Action.REDIRECT, address.lower(), is_ours


# --- others -----------------------------------------------------------------------------------


def _orphans(device: Device, used: set[str]) -> Iterator[str]:
    """Objects with our names that no policy of ours takes. Those without our mark are not ours, whatever their name."""
    for (name, _), one in device.acls.items():
        if name not in used and f"10 remark {MARK}" in one.lines():
            yield name
    for name in (*device.classes, *device.groups):
        if name not in used:
            yield name


def _in_the_way(device: Device, target: Target) -> Iterator[str]:
    """Policies of others where ours stand or would stand; ours where they have no business."""
    ours = {interface(target, (name, 0)): name for name in target.ports}
    for name, one in device.interfaces.items():
        policy = policy_at(device, name)
        place = parse_table_name(policy)
        if policy and place is None and name in ours and table_name((ours[name], 0)) in device.policies:
            yield f"{SHADOWS}{table_name((ours[name], 0))}: {one.line}: {policy}"
        is_home = place is not None and place[0] in target.ports and interface(target, place) == name
        if place is not None and not is_home:
            yield f"{one.line}: {attach_line(target, place)}"


def _foreign(device: Device) -> int:
    names = [*device.classes, *(name for name, _ in device.acls), *device.groups]
    policies = [name for name in device.policies if parse_table_name(name) is None]
    return len([name for name in names if not is_our_name(name)]) + len(policies)
