# SPDX-License-Identifier: Apache-2.0
"""Our group's lines, read back into Tables and items.

Called by `drivers.switch.junos`. Pure. A line that `junos_text` could never write is Rejected. Lines that it could
write, but that together are not what the items found would be written as, make the items of that port and tag torn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.base import Rejected, Target, Unsupported
from drivers.state import ANY_PORT, ANYWHERE, DeviceState, Item, Key, Match, NextHop, Pass, Ports, Steering
from drivers.switch.flows import torn
from drivers.switch.junos_text import HALVES, NEIGHBOURS, OPEN, PROTOCOLS, instance_name, text_of
from drivers.switch.tables import (
    ANY_MAC,
    CLOSED,
    KINDS,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    hop_at,
    items_of,
    parse_name,
    parse_table_name,
    tables_of,
    vrf_here,
)

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_ADDRESS = r"[0-9a-f:.]+"
_PLACE = r"[a-z0-9][a-z0-9-]*-\d{1,4}"
_IFNAME = r"[a-z]+[0-9/:-]*"
_TERM = re.compile(
    r"firewall family inet(?P<six>6?) filter (?P<filter>SI-t-[a-z0-9-]+)-(?P<family>[46]) term "
    rf"(?P<term>{_NAME}) (?P<said>(?P<part>from|then) .+)"
)
_FROM = re.compile(
    r"from (?:(?:source|destination)-address [0-9a-f:.]+/\d{1,3}|(?:protocol|next-header) [a-z0-9]+"
    r"|(?:source|destination)-port \d{1,5}(?:-\d{1,5})?|(?:dscp|traffic-class|icmp-type) \d{1,3})"
)
_THEN = re.compile(rf"then (?:count {_NAME}|accept|discard|routing-instance SI-h-{_PLACE})")
_MACRO = re.compile(
    rf"firewall family inet6? filter (?P<filter>SI-t-[a-z0-9-]+)-[46] apply-macro viaduct vrf (?P<vrf>{_NAME})"
)
_UNIT = re.compile(rf"interfaces (?P<name>{_IFNAME}) unit (?P<unit>\d{{1,4}}) (?P<said>.+)")
_IN_UNIT = re.compile(
    rf"description SI-crossing|vlan-id \d{{1,4}}|family inet6? filter input-list SI-t-[a-z0-9-]+"
    rf"|family inet6? address {_ADDRESS}/\d{{1,3}}(?: (?:arp|ndp) {_ADDRESS} mac (?P<mac>[0-9a-f:]{{17}}))?"
)
_ATTACHED = re.compile(rf"routing-instances (?P<vrf>{_NAME}) interface (?P<name>{_IFNAME})\.(?P<unit>\d{{1,4}})")
_POLICY = re.compile(rf"policy-options policy-statement SI-h-(?P<place>{_PLACE}) (?P<said>.+)")
_IN_POLICY = re.compile(
    rf"term connected from instance (?P<vrf>{_NAME})|term connected from protocol direct"
    rf"|term connected from interface {_IFNAME}\.\d{{1,4}}|term connected then accept|then reject"
)
_INSTANCE = re.compile(rf"routing-instances SI-h-(?P<place>{_PLACE}) (?P<said>.+)")
_IN_INSTANCE = re.compile(
    rf"instance-type forwarding|routing-options instance-import SI-h-{_PLACE}"
    rf"|routing-options(?: rib SI-h-{_PLACE}\.inet6\.0)? static route (?P<prefix>{_ADDRESS}/\d{{1,3}}) "
    rf"(?:next-hop (?P<hop>{_ADDRESS})|discard)"
)
# What a delete leaves behind. An empty term takes every packet, so it counts where it stands.
_EMPTY = re.compile(
    rf"firewall family inet6? filter (?P<filter>SI-t-[a-z0-9-]+)-[46](?: term {_NAME}(?: from| then)?)?"
    rf"|interfaces (?P<name>{_IFNAME})(?: unit (?P<unit>\d{{1,4}}))?(?: family inet6?)?(?: filter)?"
    rf"|policy-options policy-statement SI-h-(?P<policy>{_PLACE})(?: term connected(?: from| then)?)?"
    rf"|routing-instances (?:SI-h-(?P<instance>{_PLACE})(?: \S+)*|{_NAME})"
)
NOWHERE: Place = ("", 0)
_SPOKEN = {said: name for name, said in PROTOCOLS.items()}

VrfOf = Callable[[Place], str]


@dataclass(slots=True)
class Raw:
    """What the lines say, before anything is made of it."""

    terms: dict[tuple[Place, int], dict[str, list[str]]] = field(default_factory=dict)
    crossings: dict[Place, str] = field(default_factory=dict)
    vrfs: dict[Place, str] = field(default_factory=dict)
    meant: dict[Place, str] = field(default_factory=dict)
    instances: dict[Place, str] = field(default_factory=dict)
    hops: dict[tuple[Place, int], str] = field(default_factory=dict)
    at: dict[Place, list[str]] = field(default_factory=dict)


def read(lines: Sequence[str], target: Target, vrf_of: VrfOf | None = None) -> DeviceState:
    """The items that these lines (of our group, without the marker) realise.

    vrf_of: the VRF, as the device calls it, of an untagged port; None: as the filter itself says it (native text).
    Errors: Rejected, naming the line.
    """
    raw = _raw(lines, target)
    known = vrf_of or (lambda place: raw.meant.get(place, ""))
    tables = _tables(raw, target, known)
    state = items_of(tables, target)
    sound = DeviceState({key: item for key, item in state.items() if item != torn(key.kind)})
    try:
        wanted = _by_place(text_of(tables_of(sound, target), target), target)
    except Unsupported:
        return DeviceState({key: torn(key.kind) for key in state})
    actual = {place: _canonical(found) for place, found in raw.at.items()}
    bad = {place for place in actual.keys() | wanted.keys() if actual.get(place) != wanted.get(place)}
    return DeviceState({key: torn(key.kind) if _touches(item, bad) else item for key, item in state.items()})


def _touches(item: Item, places: set[Place]) -> bool:
    if not isinstance(item, Steering) or (item.ingress, item.tag) in places:
        return True
    return not isinstance(item, Pass) and hasattr(item, "next") and (item.next.port, item.next.tag) in places


def _by_place(lines: Iterable[str], target: Target) -> dict[Place, tuple[list[str], list[str]]]:
    return {place: _canonical(found) for place, found in _raw(lines, target).at.items()}


def _canonical(lines: list[str]) -> tuple[list[str], list[str]]:
    """The device prints statements in an order of its own, but terms in ours."""
    terms = [found[0] for line in lines if (found := re.match(r"firewall .* filter \S+ term \S+", line))]
    return sorted(lines), sorted(dict.fromkeys(terms), key=lambda term: term.partition(" term ")[0])


# --- lines -> what they say -------------------------------------------------------------------


def _raw(lines: Iterable[str], target: Target) -> Raw:
    raw = Raw()
    ports = {port.interface or port.name: name for name, port in target.ports.items()}
    for line in lines:
        place = _hear(line, raw, ports)
        if place is None:
            raise Rejected(f"{target.name}: {line[:200]!r} is in our configuration group, but nobody here writes it")
        raw.at.setdefault(place, []).append(line)
    return raw


def _hear(line: str, raw: Raw, ports: Mapping[str, str]) -> Place | None:
    """The place that the line belongs to; None if it is none of ours."""
    if found := _TERM.fullmatch(line):
        place, form = parse_table_name(found["filter"]), _FROM if found["part"] == "from" else _THEN
        family = int(found["family"])
        if place is None or (family == 6) != bool(found["six"]) or not form.fullmatch(found["said"]):
            return None
        raw.terms.setdefault((place, family), {}).setdefault(found["term"], []).append(found["said"])
        return place
    if found := _MACRO.fullmatch(line):
        place = parse_table_name(found["filter"])
        if place is not None:
            raw.meant[place] = "" if found["vrf"] == "master" else found["vrf"]
        return place
    if found := _POLICY.fullmatch(line):
        said, place = _IN_POLICY.fullmatch(found["said"]), _place(found["place"])
        if said and said["vrf"]:
            raw.instances[place] = "" if said["vrf"] == "master" else said["vrf"]
        return place if said else None
    if found := _INSTANCE.fullmatch(line):
        said, place = _IN_INSTANCE.fullmatch(found["said"]), _place(found["place"])
        if said and said["hop"]:
            family = 6 if ":" in said["prefix"] else 4
            if said["prefix"] == HALVES[family][0]:
                raw.hops[(place, family)] = said["hop"]
        return place if said else None
    return _hear_interface(line, raw, ports)


def _hear_interface(line: str, raw: Raw, ports: Mapping[str, str]) -> Place | None:
    if found := _UNIT.fullmatch(line):
        said = _IN_UNIT.fullmatch(found["said"])
        place = (ports.get(found["name"], f"?{found['name']}"), int(found["unit"]))
        if said and place[1]:
            raw.crossings[place] = said["mac"] or raw.crossings.get(place, "")
        return place if said else None
    if found := _ATTACHED.fullmatch(line):
        place = (ports.get(found["name"], f"?{found['name']}"), int(found["unit"]))
        raw.vrfs[place] = found["vrf"]
        return place
    found = _EMPTY.fullmatch(line)
    return _hear_empty(found, ports) if found else None


def _hear_empty(found: re.Match[str], ports: Mapping[str, str]) -> Place:
    if found["filter"]:
        return parse_table_name(found["filter"]) or NOWHERE
    if found["unit"]:
        return ports.get(found["name"], NOWHERE[0]), int(found["unit"])
    named = found["policy"] or found["instance"]
    return _place(named) if named else NOWHERE


def _place(text: str) -> Place:
    port, _, tag = text.rpartition("-")
    return port, int(tag)


# --- what they say -> tables ------------------------------------------------------------------


def _tables(raw: Raw, target: Target, vrf_of: VrfOf) -> Tables:
    crossings = {
        place: Crossing(*place, vrf_here(target, raw.vrfs.get(place, "")), mac)
        for place, mac in sorted(raw.crossings.items())
        if place[0] in target.ports
    }
    broken: list[Key] = []
    entries: dict[Place, tuple[Entry, ...]] = {}
    for place in sorted({place for place, _ in raw.terms}):
        there = raw.vrfs.get(place, "") if place[1] else vrf_of(place)
        by_family: list[list[Entry]] = []
        for family in (4, 6):
            terms = raw.terms.get((place, family), {})
            found = [_entry(name, said, family, there, raw, target, crossings) for name, said in _grouped(terms)]
            by_family.append([entry for entry in found if isinstance(entry, Entry)])
            broken += [key for key in found if isinstance(key, Key)]
        if place[0] in target.ports:
            entries[place] = _merged(*by_family)
        else:
            named = (parse_name(entry.name) for side in by_family for entry in side)
            broken += [one[0] for one in named if one is not None]
    return Tables(entries, crossings, tuple(broken))


def _grouped(terms: Mapping[str, list[str]]) -> list[tuple[str, list[list[str]]]]:
    """Terms NAME, NAME_1, NAME_2 are one entry."""
    found: list[tuple[str, list[list[str]]]] = []
    for term, said in terms.items():
        name, _, number = term.partition("_")
        if number and found and found[-1][0] == name:
            found[-1][1].append(said)
        else:
            found.append((name, [said]))
    return [one for one in found if one[0] not in (OPEN, NEIGHBOURS)]


def _entry(
    name: str,
    terms: list[list[str]],
    family: int,
    vrf: str,
    raw: Raw,
    target: Target,
    crossings: Mapping[Place, Crossing],
) -> Entry | Key | None:
    """The entry, or the key of one that is damaged; None if not even that is known."""
    parsed = parse_name(name)
    broken = parsed[0] if parsed else None
    if broken is None and name not in (f"{CLOSED}-4", f"{CLOSED}-6"):
        return None
    then = [said.removeprefix("then ") for lines in terms for said in lines if said.startswith("then ")]
    actions = {said for said in then if not said.startswith("count ")}
    matches = tuple(match for match in (_match(lines, family) for lines in terms) if match is not None)
    if len(actions) != 1 or len(matches) != len(terms):
        return broken
    action = actions.pop()
    if action == "discard":
        return Entry(name, Action.DROP, matches)
    if action == "accept":
        return Entry(name, Action.ROUTE, matches, NextHop(vrf=vrf_here(target, vrf)))
    place = _place(action.removeprefix("routing-instance SI-h-"))
    address = raw.hops.get((place, family))
    if address is None or place not in raw.instances or place[0] not in target.ports:
        return broken
    hop = hop_at(target, address, vrf_here(target, raw.instances[place]), crossings)
    if hop is None or (hop.port, hop.tag) != place:
        return broken
    return Entry(name, Action.REDIRECT, matches, hop)


def _match(lines: list[str], family: int) -> Match | None:
    said = [line.split(" ")[1:] for line in lines if line.startswith("from ")]
    found = {keyword: value for keyword, value in said}
    if len(found) != len(said):
        return None
    protocol = found.get("protocol" if family == 4 else "next-header", "")
    try:
        return Match(
            found.get("source-address", ANYWHERE[family]),
            found.get("destination-address", ANYWHERE[family]),
            _SPOKEN[protocol] if protocol else "",
            _ports(found.get("source-port", "")),
            _ports(found.get("destination-port", "")),
            int(found.get("dscp" if family == 4 else "traffic-class", "-1")),
        )
    except (ValueError, KeyError):
        return None


def _ports(text: str) -> Ports:
    low, _, high = text.partition("-")
    return (int(low), int(high or low)) if text else ANY_PORT


def _merged(four: list[Entry], six: list[Entry]) -> tuple[Entry, ...]:
    """Two filters as one table: each keeps its own order; between them `decisive` says which entry is first."""
    found: list[Entry] = []
    while four and six:
        found.append((four if _rank(four[0]) < _rank(six[0]) else six).pop(0))
    return (*found, *four, *six)


def _rank(entry: Entry) -> tuple[int, int, str, tuple[object, ...]]:
    parsed = parse_name(entry.name)
    if parsed is None:
        return 1, 0, "", (entry.name,)
    key, precedence, part = parsed
    order = {"p": 0, "r": 1, "f": 1, "g": 2}
    letter = next(letter for letter, kind in KINDS.items() if kind is key.kind)
    return 0, -precedence, str(order[letter]), (key, part)


__all__ = ["ANY_MAC", "instance_name", "read"]
