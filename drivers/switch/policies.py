# SPDX-License-Identifier: Apache-2.0
"""What a family of route maps renders, and what it reads: the text of a change, and a running configuration.

Called by the IOS and NX-OS families. Pure. A change names the items that it forgets, and then, in the device's own
words, whole access lists, the entries of route maps, sub-interfaces and probes: everything but the generation letters.
`generations` merges that with what the device holds. Entries of other chains at the same interface are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drivers.base import SHADOWS, Rejected, Target, Unsupported
from drivers.box import Reading
from drivers.diff import Change
from drivers.state import DeviceState, Item, Key, NextHop
from drivers.switch.aces import STEP, parse_ace
from drivers.switch.entries import Raw, raw_entries
from drivers.switch.routemaps import (
    ATTACH,
    FAMILY,
    MAP,
    WORD,
    Stock,
    Words,
    collect,
    crossings_of,
    entry_stanzas,
    list_base,
    precedes,
    probes,
    set_lines,
    table_base,
)
from drivers.switch.stanzas import Stanza, split
from drivers.switch.tables import (
    CLOSED,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    hop_at,
    interface,
    items_of,
    parse_name,
    table_name,
    tables_of,
    vrf_here,
    vrf_there,
)

FORGET = re.compile(r"! forget (?P<key>\S+)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._-]*")
VRF = re.compile(r"! interface (?P<name>\S+) is in vrf (?P<vrf>\S+)")


@dataclass(frozen=True, slots=True)
class Order:
    """A change, parsed. tables: the new entries only, with the crossings that they need. vrfs: by interface."""

    forget: tuple[Key, ...]
    tables: Tables
    stock: Stock

    @property
    def vrfs(self) -> Mapping[str, str]:
        return self.stock.vrfs


# --- writing ----------------------------------------------------------------------------------


def render(changes: tuple[Change, ...], target: Target, words: Words) -> str:
    """Errors: Unsupported."""
    if not changes:
        return ""
    for name in (*(port.interface or port.name for port in target.ports.values()), *target.vrfs):
        if not NAME.fullmatch(name):
            raise Unsupported(f"{target.name}: {name!r} is no name of an interface or a VRF")
    items: dict[Key, Item] = dict(target.held)
    for change in changes:
        items.pop(change.key, None)
        if change.after is not None:
            items[change.key] = change.after
    after = tables_of(DeviceState(items), target)
    keys = {change.key for change in changes}
    entries: dict[Place, tuple[Entry, ...]] = {}
    for place, found in after.entries.items():
        new = tuple(entry for entry in found if _key(entry.name) in keys)
        if new:
            entries[place] = new + tuple(entry for entry in found if entry.name.startswith(f"{CLOSED}-"))
    places = set(entries) | {
        (e.hop.port, e.hop.tag) for found in entries.values() for e in found if e.hop.tag
    }
    crossings = {place: one for place, one in after.crossings.items() if place in places}
    return write(tuple(sorted(keys)), Tables(entries, crossings), target, words)


def _key(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None


def write(forget: tuple[Key, ...], tables: Tables, target: Target, words: Words) -> str:
    """Errors: Unsupported."""
    head = [f"! forget {key}\n" for key in forget]
    stanzas = {
        one.header: one for crossing in tables.crossings.values() for one in words.crossing(target, crossing)
    }
    every = tuple(entry for found in tables.entries.values() for entry in found)
    stanzas |= {one.header: one for one in probes(every, target, words).values()}
    lists: dict[str, Stanza] = {}
    maps: list[Stanza] = []
    for place, found in tables.entries.items():
        vrf = _vrf_of(place, found, tables.crossings, target)
        if vrf is not None and not place[1]:
            head.append(f"! interface {interface(target, place)} is in vrf {vrf or 'default'}\n")
        attached = []
        for family in (4, 6):
            name = f"{table_name(place)}-v{family}"
            ours = [entry for entry in found if entry.family == family]
            for at, entry in enumerate(ours, 1):
                access, said = entry_stanzas(entry, name, entry.name, STEP * at, target, words)
                lists[access.header] = access
                maps.append(said)
            if ours:
                attached.append(f"{WORD[family]} policy route-map {name}")
        maps.append(Stanza(f"interface {interface(target, place)}", tuple(attached)))
    body = (*stanzas.values(), *lists.values(), *maps)
    return "".join((*head, *(stanza.text() for stanza in body)))


def _vrf_of(
    place: Place, entries: tuple[Entry, ...], crossings: Mapping[Place, Crossing], target: Target
) -> str | None:
    """In which VRF packets must enter there, in the device's words; None if nothing says it. Errors: Unsupported."""
    found = {entry.hop.vrf for entry in entries if entry.hop.vrf}
    if place in crossings and crossings[place].vrf:
        found.add(crossings[place].vrf)
    if not all(NAME.fullmatch(name) for name in found):
        raise Unsupported(f"{target.name}: {sorted(found)!r} is no name of a VRF")
    if len(found) > 1:
        said = ", ".join(sorted(found))
        raise Unsupported(
            f"{target.name}: packets that enter {interface(target, place)} would be in two VRFs: {said}"
        )
    return vrf_there(target, found.pop()) if found else None


# --- reading ----------------------------------------------------------------------------------


def parse(native: str, target: Target, words: Words) -> Order:
    """Inverse of `write`. Errors: Rejected."""
    forget: list[Key] = []
    vrfs: dict[str, str] = {}
    for line in native.splitlines():
        found, of = FORGET.fullmatch(line), VRF.fullmatch(line)
        try:
            if found:
                forget.append(Key.parse(found["key"]))
            elif of:
                vrfs[of["name"]] = "" if of["vrf"] == "default" else of["vrf"]
        except ValueError as error:
            raise Rejected(f"{target.name}: {error}") from None
    stock = _joined(collect(_in_pieces(native), target, words), vrfs)
    tables, damaged = tables_from(stock, target, words)
    if damaged:
        raise Rejected(f"{target.name}: the text is not what is rendered here")
    return Order(tuple(forget), tables, stock)


def _in_pieces(native: str) -> tuple[Stanza, ...]:
    """A crossing is said in two stanzas: itself, and later its attach lines."""
    found: dict[str, Stanza] = {}
    for one in split(native):
        if one.header in found:
            one = Stanza(one.header, found[one.header].lines + one.lines)
        found[one.header] = one
    return tuple(found.values())


def _joined(stock: Stock, vrfs: Mapping[str, str]) -> Stock:
    return Stock(
        stock.blocks,
        stock.attached,
        {**{name: vrf for name, vrf in stock.vrfs.items() if vrf}, **vrfs},
        stock.strangers,
    )


def check(native: str, target: Target, words: Words) -> None:
    """Errors: Rejected unless every line is one that `render` writes."""
    if not native:
        return
    order = parse(native, target, words)
    try:
        again = write(tuple(sorted(set(order.forget))), order.tables, target, words)
    except Unsupported as error:
        raise Rejected(str(error)) from error
    if order.stock.strangers or again != native:
        theirs, ours = native.splitlines(), again.splitlines()
        line = next(
            (one for one, other in zip(theirs, [*ours, *[""] * len(theirs)], strict=False) if one != other),
            "",
        )
        raise Rejected(f"{target.name}: line {line.strip()!r} is not what is rendered here")


def tables_from(stock: Stock, target: Target, words: Words) -> tuple[Tables, set[Key]]:
    """What the stanzas realise, and the keys of what is damaged, unattached or in a place that is not its own."""
    crossings = crossings_of(stock, target, words)
    damaged: set[Key] = set()
    entries: dict[Place, tuple[Entry, ...]] = {}
    used: set[str] = set()
    for (name, family), map_name in sorted(stock.attached.items()):
        base = table_base(map_name)
        assert base is not None, "collect takes ours only"
        place = base[0]
        raws = raw_entries(stock, map_name, words)
        vrf = vrf_here(target, stock.vrfs.get(name, ""))
        made = [_entry(raw, vrf, crossings, target, words) for raw in raws or ()]
        whole = [entry for entry in made if entry is not None]
        is_there = place[0] in target.ports and interface(target, place) == name and base[1] == family
        if not whole or not is_there or len(whole) < len(made) or raws is None:
            damaged |= _keys_in(stock, map_name)
        if is_there:
            used.add(map_name)
            entries[place] = entries.get(place, ()) + tuple(whole)
    for place, found in entries.items():
        by_family = [[precedes(e.name) for e in found if e.family == family] for family in (4, 6)]
        if all(ranks == sorted(ranks) for ranks in by_family):
            entries[place] = tuple(sorted(found, key=lambda entry: precedes(entry.name)))
    damaged |= _orphans(stock, used, words)
    return Tables(entries, crossings, tuple(sorted(damaged))), damaged


def _entry(
    raw: Raw, vrf: str, crossings: Mapping[Place, Crossing], target: Target, words: Words
) -> Entry | None:
    """None if it is not as we write it."""
    if raw.aces is None or not raw.aces or list_base(raw.list_name) != raw.name:
        return None
    found = [parse_ace(words.style, line, raw.family) for line in raw.aces]
    matches = tuple(one[1] for one in found if one)
    if [one[0] for one in found if one] != [STEP * at for at in range(1, len(raw.aces) + 1)]:
        return None
    if raw.action == "deny":
        return Entry(raw.name, Action.ROUTE, matches, NextHop(vrf=vrf)) if not raw.sets else None
    if raw.sets == (words.null,):
        return Entry(raw.name, Action.DROP, matches)
    address = next(
        (hop["address"].lower() for line in raw.sets for hop in [words.hop.fullmatch(line)] if hop), ""
    )
    hop = hop_at(target, address, vrf, crossings) if address else None
    if hop is None:
        return None
    entry = Entry(raw.name, Action.REDIRECT, matches, hop)
    try:
        return entry if set_lines(entry, target, words) == raw.sets else None
    except Unsupported:
        return None


def _keys_in(stock: Stock, map_name: str) -> set[Key]:
    found: set[Key] = set()
    for stanza in stock.blocks.values():
        head = MAP.fullmatch(stanza.header)
        if head and head["name"] == map_name:
            found |= {key for line in stanza.lines for key in [_key_in(line)] if key}
    return found


def _key_in(line: str) -> Key | None:
    name = list_base(line.rpartition(" ")[2])
    return _key(name) if name else None


def _orphans(stock: Stock, used: set[str], words: Words) -> set[Key]:
    """Of route maps that nothing is attached to, and of access lists that no route map of an interface names."""
    found: set[Key] = set()
    named: set[str] = set()
    for stanza in stock.blocks.values():
        head = MAP.fullmatch(stanza.header)
        if head and head["name"] in used:
            named |= {f"{words.lists[f]}{m[1]}" for line in stanza.lines for f, m in _matched(line)}
        elif head:
            found |= {key for line in stanza.lines for key in [_key_in(line)] if key}
    for stanza in stock.blocks.values():
        if stanza.header.startswith(tuple(words.lists.values())) and stanza.header not in named:
            key = _key_in(stanza.header)
            found |= {key} if key else set()
    return found


def _matched(line: str) -> Iterator[tuple[int, re.Match[str]]]:
    found = re.fullmatch(r"match (?:ip|ipv6) address (\S+)", line)
    if found:
        yield FAMILY[line.split()[1]], found


def reading(running: str, target: Target, words: Words, missing: tuple[str, ...]) -> Reading:
    """Errors: Rejected."""
    stanzas = split(running)
    stock = collect(stanzas, target, words)
    tables, damaged = tables_from(stock, target, words)
    state = DeviceState({**items_of(tables, target), **_torn(damaged, tables, target)})
    return Reading(state, _attached(stanzas, stock, target), len(stock.strangers), missing)


def _torn(damaged: set[Key], tables: Tables, target: Target) -> dict[Key, Item]:
    """A key that stands well somewhere and has a remnant elsewhere is torn too, so that the remnant goes."""
    return dict(items_of(Tables(torn=tuple(sorted(damaged))), target))


def _attached(stanzas: tuple[Stanza, ...], stock: Stock, target: Target) -> tuple[str, ...]:
    """Policies of others where one of ours should be."""
    bases = [
        table_base(head["name"])
        for one in stock.blocks.values()
        for head in [MAP.fullmatch(one.header)]
        if head
    ]
    wanted = {(interface(target, b[0]), b[1]) for b in bases if b and b[0][0] in target.ports}
    found = []
    for stanza in stanzas:
        for line in stanza.lines:
            said = ATTACH.fullmatch(line)
            place = (stanza.header.removeprefix("interface "), FAMILY[said["family"]]) if said else ("", 0)
            if said and place in wanted and place not in stock.attached:
                found.append(f"{SHADOWS}{place[0]} {line}")
    return tuple(found)
