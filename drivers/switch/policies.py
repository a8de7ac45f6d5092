# SPDX-License-Identifier: Apache-2.0
"""What a family of route maps renders, and what it reads: the text of a change, and a running configuration.

Called by the IOS and NX-OS families. Pure. The text has every line that is sent (`typed`): what the device holds
follows from the items (`stock_of`), or, where something of ours is damaged, from what was read (`Target.residue`).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress

from drivers.base import SHADOWS, Target, Unsupported
from drivers.box import Reading
from drivers.diff import Change
from drivers.state import DeviceState, Filter, Item, Key, NextHop, Redirect, Steering
from drivers.switch import typed
from drivers.switch.aces import STEP, parse_ace
from drivers.switch.entries import Raw, raw_entries
from drivers.switch.flows import torn
from drivers.switch.generations import Order, list_name, parts_of, wanted
from drivers.switch.generations import map_name as said_name
from drivers.switch.routemaps import (
    ATTACH,
    FAMILY,
    MAP,
    WORD,
    Stock,
    Words,
    collect,
    crossings_of,
    list_base,
    precedes,
    same,
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
from drivers.switch.ways import entry_stanzas, probes, set_lines

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._-]*")


# --- writing ----------------------------------------------------------------------------------


def render(changes: tuple[Change, ...], target: Target, words: Words) -> str:
    """Errors: Unsupported."""
    if not changes:
        return ""
    for name in (*(port.interface or port.name for port in target.ports.values()), *target.vrfs):
        if not NAME.fullmatch(name):
            raise Unsupported(f"{target.name}: {name!r} is no name of an interface or a VRF")
    held = {**{one.key: one.before for one in changes if one.before is not None}, **target.held}
    before = {key: item for key, item in held.items() if item != torn(key.kind)}
    after = {key: item for key, item in before.items() if key not in {change.key for change in changes}}
    after |= {change.key: change.after for change in changes if change.after is not None}
    actual = _read_again(target, words) if target.residue else stock_of(DeviceState(before), target, words)
    spots = {spot for one in changes for item in (one.before, one.after) if item for spot in _spots(item)}
    keys = tuple(sorted(change.key for change in changes))
    order, vrfs = _order(keys, tables_of(DeviceState(after), target, has_standby=True), spots, target, words)
    return typed.write(actual, parts_of(actual, order, target, words), vrfs, target, words)


def stock_of(state: Mapping[Key, Item], target: Target, words: Words) -> Stock:
    """All of ours on a device that holds just this. Errors: Unsupported."""
    tables = tables_of(DeviceState(state), target, has_standby=True)
    order, _ = _order(tuple(state), tables, set(tables.crossings), target, words)
    return wanted(Stock({}, {}), order, target, words)


def _read_again(target: Target, words: Words) -> Stock:
    return collect(split(target.residue), target, words)


def _spots(item: Item) -> Iterator[Place]:
    if isinstance(item, Steering):
        yield item.ingress, item.tag
    if isinstance(item, Redirect | Filter):
        yield item.next.port, item.next.tag
        if item.standby is not None:
            yield item.standby.port, item.standby.tag


def _key(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None


def _order(
    keys: tuple[Key, ...], after: Tables, spots: Container[Place], target: Target, words: Words
) -> tuple[Order, dict[str, str]]:
    """What these keys become, and in which VRF interfaces must be for that. spots: crossings to say. Unsupported."""
    stanzas: dict[str, Stanza] = {}
    vrfs: dict[str, str] = {}
    attached: dict[tuple[str, int], str] = {}
    crossings = {place: one for place, one in after.crossings.items() if place in spots}
    for crossing in crossings.values():
        stanzas |= {same(one.header): one for one in words.crossing(target, crossing)}
    for place, found in after.entries.items():
        new = [entry for entry in found if _key(entry.name) in set(keys)]
        if not new:
            continue
        new += [entry for entry in found if entry.name.startswith(f"{CLOSED}-")]
        stanzas |= probes(tuple(new), target, words)
        vrf = _vrf_of(place, tuple(new), after.crossings, target)
        if vrf is not None:
            ins = [] if place[1] else [place]
            hops = (hop for e in new if e.action is Action.REDIRECT for hop in (e.hop, e.standby) if hop)
            outs = [(hop.port, 0) for hop in hops if hop.port and not hop.tag]
            vrfs |= {interface(target, one): vrf for one in (*ins, *outs)}
        for family in (4, 6):
            name = f"{table_name(place)}-v{family}"
            ours = [entry for entry in new if entry.family == family]
            for at, entry in enumerate(ours, 1):
                for one in entry_stanzas(entry, name, entry.name, STEP * at, target, words):
                    stanzas[same(one.header)] = one
            if ours:
                attached[interface(target, place), family] = name
    return Order(keys, Stock(stanzas, attached)), vrfs


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
        is_named = raws is not None and said_name(place, base[1], raws) == map_name
        if not whole or not is_there or len(whole) < len(made) or not is_named:
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
    if not raw.aces or raw.list_name != list_name(raw.name, raw.aces):
        return None
    found = [parse_ace(words.style, line, raw.family) for line in raw.aces]
    matches = tuple(one[1] for one in found if one)
    if [one[0] for one in found if one] != [STEP * at for at in range(1, len(raw.aces) + 1)]:
        return None
    if raw.action == "deny":
        return Entry(raw.name, Action.ROUTE, matches, NextHop(vrf=vrf)) if not raw.sets else None
    if raw.sets == (words.null,):
        return Entry(raw.name, Action.DROP, matches)
    said = (hop for line in raw.sets for hop in [words.hop.fullmatch(line)] if hop)
    addresses = [address.lower() for hop in said for address in hop.group("address", "other") if address]
    hops = [hop_at(target, address, vrf, crossings) for address in addresses]
    if not 1 <= len(hops) <= 2 or hops[0] is None or hops[-1] is None:
        return None
    for standby in (hops[1],) if len(hops) == 2 else (None, NextHop(vrf=vrf)):
        entry = Entry(raw.name, Action.REDIRECT, matches, hops[0], standby)
        with suppress(Unsupported):
            if set_lines(entry, target, words) == raw.sets:
                return entry
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
    residue = _residue(stock, state, target, words)
    attached = _attached(stanzas, stock, target)
    if residue and not any(item == torn(key.kind) for key, item in state.items()):
        attached += tuple(f"{line}: ours, and nothing needs it or it is not as we write it; remove it" for line in
                          _litter(stock, state, target, words))
    return Reading(state, attached, len(stock.strangers), missing, residue)


def _residue(stock: Stock, state: DeviceState, target: Target, words: Words) -> str:
    """Ours as it stands, if it is not what these items are written as."""
    if not _litter(stock, state, target, words):
        return ""
    attached = [
        Stanza(f"interface {name}", (f"{WORD[family]} policy route-map {said}",))
        for (name, family), said in sorted(stock.attached.items())
    ]
    return "".join(one.text() for one in _in_pieces((*stock.blocks.values(), *attached)))


def _in_pieces(stanzas: Iterable[Stanza]) -> tuple[Stanza, ...]:
    """A crossing is said in several: itself, and its attach lines."""
    found: dict[str, Stanza] = {}
    for one in stanzas:
        held = found.get(one.header, Stanza(one.header))
        found[one.header] = Stanza(one.header, held.lines + one.lines)
    return tuple(found.values())


def _litter(stock: Stock, state: DeviceState, target: Target, words: Words) -> tuple[str, ...]:
    """What is there and should not be just so, or is not there and should be."""
    whole = {key: item for key, item in state.items() if item != torn(key.kind)}
    try:
        meant = stock_of(whole, target, words)
    except Unsupported:
        return ("what is there",)
    keys = meant.blocks.keys() | stock.blocks.keys()
    found = [key for key in sorted(keys) if meant.blocks.get(key) != stock.blocks.get(key)]
    return tuple(found) or (("an attach line",) if meant.attached != stock.attached else ())


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
