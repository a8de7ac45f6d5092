# SPDX-License-Identifier: Apache-2.0
"""Steering items as the tables of a switch that routes, in no vendor's words yet.

Called by the families that use NAPALM: they put a `Tables` into their syntax, and read one back. Pure.
A table belongs to an interface and VLAN where packets enter; its first entry that matches decides. Names carry
the item's key, so that what is ours is known on the device itself, and nothing else is ever touched.

A crossing is the sub-interface of one stage tag on a link between switches. It is ours: made, addressed from
our own prefix and removed with the items. The addresses mean something on this device only: the far one has a
static neighbour entry with the other end's MAC.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from drivers.base import Target, Unsupported
from drivers.narrow import normal
from drivers.state import (
    ANYWHERE,
    DeviceState,
    Direction,
    Filter,
    Guard,
    Item,
    Key,
    Kind,
    Match,
    NextHop,
    Pass,
    Redirect,
    Rule,
    Steering,
    Verdict,
    decisive,
)
from drivers.switch.crossings import SETTINGS, crossing_prefix
from drivers.switch.flows import torn

PREFIX = "SI-"
CLOSED = "SI-closed"
FIRST_TAG, LAST_TAG = 3000, 4094
TAGS = LAST_TAG - FIRST_TAG + 1
# What a crossing's far end is called if it takes any address (a switch that matches on the tag alone).
ANY_MAC = "02:76:69:61:64:75"
LETTERS: Mapping[Kind, str] = {Kind.REDIRECT: "r", Kind.FILTER: "f", Kind.GUARD: "g", Kind.PASS: "p"}
KINDS = {letter: kind for kind, letter in LETTERS.items()}
NAME = re.compile(
    r"SI-c(?P<chain>\d{1,8})r(?P<revision>\d{1,4})(?P<direction>[fr])(?P<stage>\d{1,2})"
    r"(?P<kind>[rfgp])(?P<index>\d{1,4})p(?P<precedence>\d{1,2})(?:-(?P<part>\d{1,4}))?"
)
MAX_PORT_NAME = 24

Place = tuple[str, int]


class Action(StrEnum):
    REDIRECT = "redirect"
    ROUTE = "route"  # the device's own forwarding, in the VRF where the packet came in
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Entry:
    """matches: of one family; one is enough. hop, standby: of a redirect; a VRF alone is its own forwarding."""

    name: str
    action: Action
    matches: tuple[Match, ...]
    hop: NextHop = field(default_factory=NextHop)
    standby: NextHop | None = None

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.matches[0].family


@dataclass(frozen=True, slots=True)
class Crossing:
    """A sub-interface of ours. mac: of the far end, ANY_MAC if it does not matter."""

    port: str
    tag: int
    vrf: str
    mac: str = ANY_MAC


@dataclass(frozen=True, slots=True)
class Tables:
    """entries: by where packets enter, in order. crossings: by port and tag. torn: keys of damaged items.

    A table at a crossing ends with two closed doors (CLOSED-4, CLOSED-6): what no item means is dropped there.
    """

    entries: Mapping[Place, tuple[Entry, ...]] = field(default_factory=dict)
    crossings: Mapping[Place, Crossing] = field(default_factory=dict)
    torn: tuple[Key, ...] = ()


# --- names ------------------------------------------------------------------------------------


def entry_name(key: Key, precedence: int, part: int | None = None) -> str:
    """At most 40 of [A-Za-z0-9-]: an object name on every platform."""
    letter = LETTERS[key.kind]
    name = f"{PREFIX}c{key.chain}r{key.revision}{key.direction}{key.stage}{letter}{key.index}p{precedence}"
    return name if part is None else f"{name}-{part}"


def parse_name(name: str) -> tuple[Key, int, int] | None:
    """Key, precedence and part (0 if it has none); None if it is not the name of an item's entry."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    try:
        key = Key(
            int(found["chain"]),
            int(found["revision"]),
            Direction(found["direction"]),
            int(found["stage"]),
            KINDS[found["kind"]],
            int(found["index"]),
        )
    except ValueError:
        return None
    return key, int(found["precedence"]), int(found["part"] or 0)


def table_name(place: Place) -> str:
    """Of the policy at an interface."""
    return f"{PREFIX}t-{place[0]}-{place[1]}"


def parse_table_name(name: str) -> Place | None:
    found = re.fullmatch(r"SI-t-([a-z0-9][a-z0-9-]*)-(\d{1,4})", name)
    return (found[1], int(found[2])) if found else None


def interface(target: Target, place: Place) -> str:
    """The device's own name of the port, or of its sub-interface. Errors: Unsupported."""
    port = target.ports.get(place[0])
    if port is None:
        raise Unsupported(f"{target.name}: there is no port {place[0]!r} in the fabric file")
    name = port.interface or port.name
    return f"{name}.{place[1]}" if place[1] else name


def vrf_there(target: Target, vrf: str) -> str:
    """What the device calls the VRF: the same, or "" for its global table (setting `global_vrf` says which it is)."""
    return "" if vrf == target.settings.get("global_vrf", "") else vrf


def vrf_here(target: Target, name: str) -> str:
    """Inverse of `vrf_there`."""
    return name or target.settings.get("global_vrf", "")


# --- addresses --------------------------------------------------------------------------------


def crossing_addresses(target: Target, place: Place, family: int) -> tuple[str, str]:
    """Ours and the far end's, two addresses of one /31 or /127. Errors: Unsupported."""
    setting = SETTINGS[family]
    prefix = crossing_prefix(target, family)
    number = target.ports[place[0]].number
    index = (number - 1) * TAGS + place[1] - FIRST_TAG
    if not FIRST_TAG <= place[1] <= LAST_TAG:
        raise Unsupported(f"{target.name}: {place[1]} is no stage tag ({FIRST_TAG} to {LAST_TAG})")
    if number < 1 or 2 * index + 1 >= prefix.num_addresses:
        most = prefix.num_addresses // 2 // TAGS
        raise Unsupported(
            f"{target.name}: port {place[0]} has number {number}; crossings in {prefix} take ports 1 to {most}; "
            f"give the device a larger prefix in its setting `{setting}`"
        )
    return str(prefix[2 * index]), str(prefix[2 * index + 1])


def address_of(target: Target, hop: NextHop, family: int) -> str:
    """The next hop's address. Errors: Unsupported if the fabric file does not give it."""
    if hop.tag:
        return crossing_addresses(target, (hop.port, hop.tag), family)[1]
    port = target.ports.get(hop.port)
    found = next((text for text in port.peer_addresses if (":" in text) == (family == 6)), "") if port else ""
    if port is None or not found:
        raise Unsupported(
            f"{target.name}: what is behind port {hop.port} has no IPv{family} address in the fabric file; a switch "
            "that routes needs it as the next hop"
        )
    if hop.mac != port.peer_mac:
        raise Unsupported(f"{target.name}: behind port {hop.port} is MAC {port.peer_mac!r}, not {hop.mac!r}")
    return str(ipaddress.ip_interface(found).ip)


def hop_at(target: Target, address: str, vrf: str, crossings: Mapping[Place, Crossing]) -> NextHop | None:
    """Inverse of `address_of`; None if it is nobody's that we know."""
    family = 6 if ":" in address else 4
    for place, crossing in crossings.items():
        if crossing_addresses(target, place, family)[1] == address:
            mac = "" if crossing.mac == ANY_MAC else crossing.mac
            return NextHop(place[0], place[1], mac, vrf)
    for name, port in target.ports.items():
        if any(str(ipaddress.ip_interface(text).ip) == address for text in port.peer_addresses):
            return NextHop(name, 0, port.peer_mac, vrf)
    return None


# --- items -> tables --------------------------------------------------------------------------


def tables_of(state: DeviceState, target: Target, *, has_standby: bool = False) -> Tables:
    """Errors: Unsupported, if the device cannot hold it. has_standby: as its capabilities say."""
    pairs: dict[Place, list[tuple[Key, Steering]]] = {}
    crossings: dict[Place, Crossing] = {}
    broken: list[Key] = []
    for key, item in state.items():
        if not isinstance(item, Steering):
            raise Unsupported(f"{target.name}: a switch cannot hold {key}")
        if item == torn(key.kind):
            broken.append(key)
            continue
        _require_plain(key, item, target, has_standby)
        interface(target, (item.ingress, item.tag))
        if len(item.ingress) > MAX_PORT_NAME:
            raise Unsupported(f"{target.name}: port name {item.ingress} is longer than {MAX_PORT_NAME}")
        pairs.setdefault((item.ingress, item.tag), []).append((key, item))
        for crossing in _crossings(key, item):
            _add(crossings, crossing, target)
    _require_vrfs(pairs, crossings, target)
    entries = {
        place: (*(entry for pair in sorted(found, key=decisive) for entry in _entries(*pair, target)), *_closed(place))
        for place, found in sorted(pairs.items())
    }
    return Tables(entries, dict(sorted(crossings.items())), tuple(broken))


def _require_plain(key: Key, item: Steering, target: Target, has_standby: bool) -> None:
    """Errors: Unsupported, for what an entry would leave out."""
    if getattr(item, "standby", None) is not None and not has_standby:
        raise Unsupported(f"{target.name}: a {target.driver} switch has no standby for the next hop of {key}")
    if getattr(item, "copies", ()):
        raise Unsupported(f"{target.name}: a {target.driver} switch sends no copies of what {key} redirects")


def _require_vrfs(
    pairs: Mapping[Place, list[tuple[Key, Steering]]], crossings: Mapping[Place, Crossing], target: Target
) -> None:
    """Errors: Unsupported, where a packet would be routed in a VRF that nothing names: it would be the global one."""
    for place, crossing in crossings.items():
        exempt = [key for key, item in pairs.get(place, ()) if isinstance(item, Pass)]
        if exempt and not crossing.vrf:
            raise Unsupported(
                f"{target.name}: nothing says in which VRF packets enter {interface(target, place)}, and {exempt[0]} "
                "leaves them to its routing; an exemption at a stage tag needs a redirect beside it"
            )


def _crossings(key: Key, item: Steering) -> Iterator[Crossing]:
    vrf = item.next.vrf if isinstance(item, Redirect | Filter) else ""
    if item.tag:
        yield Crossing(item.ingress, item.tag, vrf, "")
    for hop in (item.next, item.standby) if isinstance(item, Redirect | Filter) else ():
        if hop and hop.port and hop.tag:
            yield Crossing(hop.port, hop.tag, vrf, hop.mac or ANY_MAC)


def _add(crossings: dict[Place, Crossing], new: Crossing, target: Target) -> None:
    """A crossing is one for both directions: each says a part of it. "" is not said yet."""
    place = (new.port, new.tag)
    interface(target, place)
    old = crossings.get(place, new)
    if (old.vrf and new.vrf and old.vrf != new.vrf) or (old.mac and new.mac and old.mac != new.mac):
        raise Unsupported(f"{target.name}: two items want {interface(target, place)} in two ways")
    crossing_addresses(target, place, 4)
    crossings[place] = Crossing(new.port, new.tag, old.vrf or new.vrf, old.mac or new.mac)


def _entries(key: Key, item: Steering, target: Target) -> Iterator[Entry]:
    name = entry_name(key, item.precedence)
    if isinstance(item, Guard):
        yield Entry(name, Action.DROP, (item.match,))
    elif isinstance(item, Pass):
        yield Entry(name, Action.ROUTE, (item.match,))
    elif isinstance(item, Redirect):
        yield _handed(name, (item.match,), item, target)
    else:
        if normal(item) != item:
            raise Unsupported(f"{target.name}: the filter {key} is not in normal form")
        runs: list[tuple[Verdict, list[Match]]] = []
        for rule in item.rules:
            if not runs or runs[-1][0] is not rule.verdict:
                runs.append((rule.verdict, []))
            runs[-1][1].append(rule.match)
        runs.append((item.default, [item.match]))
        for part, (verdict, matches) in enumerate(runs):
            said = entry_name(key, item.precedence, part)
            if verdict is Verdict.DENY:
                yield Entry(said, Action.DROP, tuple(matches))
            else:
                yield _handed(said, tuple(matches), item, target)


def _handed(name: str, matches: tuple[Match, ...], item: Redirect | Filter, target: Target) -> Entry:
    hop, standby = item.next, item.standby
    if standby is not None and (standby == hop or standby.vrf != hop.vrf or not hop.port):
        raise Unsupported(f"{target.name}: {name} has a standby that is no other way out of the same VRF")
    if not hop.port:
        return Entry(name, Action.ROUTE, matches, hop)
    if not hop.vrf:
        raise Unsupported(f"{target.name}: {name} has a next hop without a VRF")
    for way in (hop, standby):
        if way and way.port:
            address_of(target, way, matches[0].family)
    return Entry(name, Action.REDIRECT, matches, hop, standby)


def _closed(place: Place) -> tuple[Entry, ...]:
    if not place[1]:
        return ()
    return tuple(
        Entry(f"{CLOSED}-{family}", Action.DROP, (Match(ANYWHERE[family], ANYWHERE[family]),)) for family in (4, 6)
    )


# --- tables -> items --------------------------------------------------------------------------


def items_of(tables: Tables, target: Target) -> DeviceState:
    """The items that the tables realise; `torn` for a key whose entries form none, or stand in the wrong order.

    An entry that routes has its table's VRF as `hop`, whatever its kind: that is all a device can tell.
    """
    items: dict[Key, Item] = {key: torn(key.kind) for key in tables.torn}
    for place, read in tables.entries.items():
        entries = tuple(_as_wanted(entry) for entry in read)
        groups: dict[Key, list[tuple[int, int, Entry]]] = {}
        for entry in entries:
            found = parse_name(entry.name)
            if found is not None:
                groups.setdefault(found[0], []).append((found[2], found[1], entry))
        made = {key: _item(key, place, group) for key, group in groups.items()}
        expected = _again(made, place, target)
        is_whole = expected is not None and expected == entries
        for key, item in made.items():
            is_twice = key in items
            items[key] = item if item is not None and is_whole and not is_twice else torn(key.kind)
    for place in tables.crossings.keys() | tables.entries.keys():
        if place[1] and place not in tables.crossings:
            held = {key: item for key, item in items.items() if isinstance(item, Steering)}
            items |= {key: torn(key.kind) for key, item in held.items() if (item.ingress, item.tag) == place}
    return DeviceState(items)


def _as_wanted(entry: Entry) -> Entry:
    found = parse_name(entry.name)
    is_pass = found is not None and found[0].kind is Kind.PASS
    return replace(entry, hop=NextHop()) if is_pass or entry.action is Action.DROP else entry


def _again(made: Mapping[Key, Item | None], place: Place, target: Target) -> tuple[Entry, ...] | None:
    """The table that these items would have; None if one of them is none."""
    pairs = [(key, item) for key, item in made.items() if isinstance(item, Steering)]
    if len(pairs) < len(made):
        return None
    try:
        found = [entry for pair in sorted(pairs, key=decisive) for entry in _entries(*pair, target)]
    except Unsupported:
        return None
    return (*found, *_closed(place))


def _item(key: Key, place: Place, group: list[tuple[int, int, Entry]]) -> Item | None:
    entries = [entry for _, _, entry in sorted(group, key=lambda one: one[0])]
    precedence, last = group[0][1], entries[-1]
    if len({one[1] for one in group}) != 1 or len(last.matches) != 1:
        return None
    ingress, tag, match, is_drop = *place, last.matches[0], last.action is Action.DROP
    if key.kind is Kind.FILTER:
        rules = tuple(Rule(_verdict(entry), one) for entry in entries[:-1] for one in entry.matches)
        ways = {(entry.hop, entry.standby) for entry in entries if entry.action is not Action.DROP}
        if len(ways) > 1:
            return None
        hop, standby = next(iter(ways), (NextHop(), None))
        return Filter(ingress, tag, match, hop, rules, _verdict(last), precedence, standby)
    if len(entries) != 1:
        return None
    if key.kind is Kind.GUARD:
        return Guard(ingress, tag, match, precedence) if is_drop else None
    if key.kind is Kind.PASS:
        return Pass(ingress, tag, match, precedence) if last.action is Action.ROUTE else None
    return None if is_drop else Redirect(ingress, tag, match, last.hop, precedence, last.standby)


def _verdict(entry: Entry) -> Verdict:
    return Verdict.DENY if entry.action is Action.DROP else Verdict.PERMIT
