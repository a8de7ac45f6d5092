# SPDX-License-Identifier: Apache-2.0
"""From what a device holds to what it should hold, in an order that keeps every packet's door closed.

Called by `policies`, for devices that take a configuration line by line. Pure. Nothing that packets meet is edited: a
changed access list or route map is built beside the old one under a name of its own, the attach line moves in one
command, the old one goes last. What the change does not name is carried over as it stands. Access lists, whose names
say whose they are, come first and go last: whatever is left half-way is known by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from drivers.base import Target, Unsupported
from drivers.state import Key
from drivers.switch.aces import STEP
from drivers.switch.entries import Raw, letters, raw_entries
from drivers.switch.routemaps import (
    MAC,
    MAP,
    SCHEDULE,
    SLA,
    STATISTICS,
    TRACK,
    WORD,
    Stock,
    Words,
    crossing_place,
    in_order,
    list_base,
    place_of_block,
    precedes,
    same,
    table_base,
)
from drivers.switch.stanzas import Stanza
from drivers.switch.tables import Place, crossing_addresses, interface, parse_name, table_name

Spot = tuple[Place, int]


@dataclass(frozen=True, slots=True)
class Order:
    """A change. forget: keys whose entries go. stock: what comes instead, under names without letters."""

    forget: tuple[Key, ...]
    stock: Stock


def parts_of(actual: Stock, order: Order, target: Target, words: Words) -> tuple[tuple[str, ...], ...]:
    """The lines of the change, in parts: what a part has built is read back before the next one is sent.

    Where something in force was altered by hand under its own name, that is replaced under another one first.
    Errors: Unsupported.
    """
    ends = [wanted(actual, order, target, words)]
    if _is_taken(actual, ends[0], words):
        beside = wanted(actual, order, target, words, attempt=1)
        if _is_taken(actual, beside, words):
            raise Unsupported(f"{target.name}: what is altered there has every name of its own; remove it by hand")
        ends = [beside, wanted(beside, order, target, words)]
    found = []
    for end in ends:
        half = built(actual, end, words)
        found += [steps(actual, half, words), steps(half, end, words)]
        actual = end
    return tuple(part for part in found if part)


def _is_taken(actual: Stock, goal: Stock, words: Words) -> bool:
    """Would something that packets meet be edited?"""
    for name in sorted(set(actual.attached.values())):
        here, there = _map_of(actual, name), _map_of(goal, name)
        if there and here != there:
            return True
        lists = [line.split()[-1] for one in here.values() for line in one.lines if line.startswith("match ")]
        for prefix in words.lists.values():
            keys = [f"{prefix}{one}" for one in lists]
            if any(k in goal.blocks and actual.blocks.get(k, goal.blocks[k]) != goal.blocks[k] for k in keys):
                return True
    return False


def _map_of(stock: Stock, name: str) -> dict[str, Stanza]:
    return {key: one for key, one in stock.blocks.items() if key.startswith(f"route-map {name} ")}


def wanted(actual: Stock, order: Order, target: Target, words: Words, attempt: int = 0) -> Stock:
    """What the device should hold when the change is made. attempt: see `letters`."""
    forget = set(order.forget)
    held = _held(actual, words)
    new = _held(order.stock, words)
    touched = {place for place, _ in new} | {
        place for (place, _), raws in held.items() if any(_key(raw.name) in forget for raw in raws)
    }
    lists: dict[Spot, list[Raw]] = {}
    for place in sorted(touched):
        for family in (4, 6):
            fresh = new.get((place, family), ())
            names = {raw.name for raw in fresh}
            old = held.get((place, family), ())
            kept = [raw for raw in old if _key(raw.name) not in forget and raw.name not in names]
            lists[place, family] = sorted([*kept, *fresh], key=lambda raw: precedes(raw.name))
        if not any(parse_name(raw.name) for family in (4, 6) for raw in lists[place, family]):
            lists[place, 4], lists[place, 6] = [], []
    return _stock(actual, order, lists, target, words, attempt)


def _held(stock: Stock, words: Words) -> dict[Spot, tuple[Raw, ...]]:
    """The entries that are in force. Of a route map with an entry that nobody can name, those that are ours."""
    found: dict[Spot, tuple[Raw, ...]] = {}
    for name in sorted(set(stock.attached.values())):
        base = table_base(name)
        if base is not None:
            found[base] = raw_entries(stock, name, words) or ()
    return found


def _key(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None


def _stock(
    actual: Stock, order: Order, lists: Mapping[Spot, list[Raw]], target: Target, words: Words, attempt: int
) -> Stock:
    blocks: dict[str, Stanza] = {}
    attached = {
        spot: name for spot, name in actual.attached.items() if table_base(name) and _spot(name) not in lists
    }
    for (place, family), raws in sorted(lists.items()):
        if not raws:
            continue
        said: list[Raw] = []
        for raw in raws:
            name, access = _named(raw, actual, words, attempt)
            blocks |= access
            said.append(Raw(raw.name, raw.family, raw.action, raw.sets, name, raw.aces))
        map_name, entries = _policy(place, family, said, attempt)
        blocks |= entries
        if words.counts:
            counted = Stanza(f"route-map {map_name} pbr-statistics")
            blocks[counted.header] = counted
        attached[interface(target, place), family] = map_name
    forget = set(order.forget)
    for key, stanza in actual.blocks.items():
        if _stays(stanza, attached, lists, forget):
            blocks.setdefault(key, stanza)
    _keep_lists(actual, blocks, words)
    _keep_crossings(actual, order, blocks, attached, target, words)
    _keep_probes(actual, order, blocks)
    return Stock(blocks, attached, actual.vrfs, ())


def _spot(map_name: str) -> Spot:
    found = table_base(map_name)
    assert found is not None, "ours only"
    return found


def _named(raw: Raw, actual: Stock, words: Words, attempt: int) -> tuple[str, dict[str, Stanza]]:
    """The access list's name on the device, and its stanza: what is carried over as it stands, or what is new."""
    prefix = words.lists[raw.family]
    if list_base(raw.list_name) != raw.list_name:
        held = actual.blocks.get(f"{prefix}{raw.list_name}")
        return raw.list_name, {held.header: held} if held else {}
    assert raw.aces is not None, "a rendered entry has its list"
    name = list_name(raw.name, raw.aces, attempt)
    return name, {f"{prefix}{name}": Stanza(f"{prefix}{name}", raw.aces)}


def list_name(entry: str, aces: Iterable[str], attempt: int = 0) -> str:
    return f"{entry}-{letters(aces, attempt)}"


def map_name(place: Place, family: int, raws: Iterable[Raw], attempt: int = 0) -> str:
    """raws: with their access lists' names on the device."""
    said = (line for one in _entries("", raws).values() for line in (one.header, *one.lines))
    return f"{table_name(place)}-v{family}-{letters(said, attempt)}"


def _policy(place: Place, family: int, raws: list[Raw], attempt: int) -> tuple[str, dict[str, Stanza]]:
    name = map_name(place, family, raws, attempt)
    return name, _entries(name, raws)


def _entries(name: str, raws: Iterable[Raw]) -> dict[str, Stanza]:
    found = {}
    for at, raw in enumerate(raws, 1):
        header = f"route-map {name} {raw.action} {STEP * at}"
        lines = (f"description {raw.name}", f"match {WORD[raw.family]} address {raw.list_name}", *raw.sets)
        found[same(header)] = Stanza(header, lines)
    return found


def _stays(
    stanza: Stanza, attached: Mapping[tuple[str, int], str], lists: Mapping[Spot, list[Raw]], forget: set[Key]
) -> bool:
    """Is it a part of a route map that the change leaves alone?"""
    head = MAP.fullmatch(stanza.header) or STATISTICS.fullmatch(stanza.header)
    if head is None:
        return False
    if head["name"] in attached.values():
        return _spot(head["name"]) not in lists
    return _spot(head["name"]) not in lists and not any(
        _key(line.removeprefix("description ")) in forget for line in stanza.lines
    )


def _keep_lists(actual: Stock, blocks: dict[str, Stanza], words: Words) -> None:
    """Those that a route map names."""
    for stanza in list(blocks.values()):
        if not MAP.fullmatch(stanza.header):
            continue
        for line in stanza.lines:
            for family, word in WORD.items():
                key = f"{words.lists[family]}{line.removeprefix(f'match {word} address ')}"
                if line.startswith(f"match {word} address ") and key in actual.blocks:
                    blocks.setdefault(key, actual.blocks[key])


def _said(blocks: Mapping[str, Stanza], pattern: str) -> set[str]:
    """What the `set` lines of all route maps say there."""
    lines = (line for stanza in blocks.values() if MAP.fullmatch(stanza.header) for line in stanza.lines)
    return {found[1].lower() for line in lines for found in re.finditer(pattern, line)}


def _keep_crossings(
    actual: Stock,
    order: Order,
    blocks: dict[str, Stanza],
    attached: Mapping[tuple[str, int], str],
    target: Target,
    words: Words,
) -> None:
    """Where packets enter, and where a next hop is."""
    given = {place_of_block(one, target, words) for one in order.stock.blocks.values()} - {None}
    every = {**actual.blocks, **order.stock.blocks}
    hops = _said(blocks, r"set ip(?:v6)? next-hop (?:verify-availability )?([0-9A-Fa-f.:]+)")
    hops |= _said(blocks, r"set ip(?:v6)? next-hop [0-9A-Fa-f.:]+ ([0-9A-Fa-f.:]+)")
    interfaces = {name for name, _ in attached}
    for place in {crossing_place(one.header, target) for one in every.values()} - {None}:
        assert place is not None
        far = {crossing_addresses(target, place, family)[1] for family in (4, 6)}
        if not far & hops and interface(target, place) not in interfaces:
            continue
        source = order.stock.blocks if place in given else actual.blocks
        blocks |= {key: one for key, one in source.items() if place_of_block(one, target, words) == place}


def _keep_probes(actual: Stock, order: Order, blocks: dict[str, Stanza]) -> None:
    """Those that an entry asks, with the operations that they ask."""
    numbers = _said(blocks, r" track (\d+)")
    for source in (actual.blocks, order.stock.blocks):
        slas = {}
        for key, stanza in source.items():
            track = TRACK.fullmatch(stanza.header)
            if track and track["number"] in numbers:
                blocks[key] = stanza
                slas[track["sla"]] = True
        for key, stanza in source.items():
            found = SLA.fullmatch(stanza.header) or SCHEDULE.fullmatch(stanza.header)
            if found and found["number"] in slas:
                blocks[key] = stanza


# --- steps ------------------------------------------------------------------------------------

KINDS = (
    r"(?:ip|ipv6) access-list ",
    r"ip sla \d",
    r"ip sla schedule ",
    r"track ",
    r"route-map ",
    r"interface ",
    r"(?:arp|ipv6 neighbor) ",
)


def _rank(stanza: Stanza) -> tuple[int, list[tuple[int, str]]]:
    kind = next(at for at, pattern in enumerate(KINDS) if re.match(pattern, stanza.header))
    words = re.split(r"(\d+)", stanza.header)
    return kind, [(int(word), "") if word.isdecimal() else (-1, word) for word in words]


def built(actual: Stock, goal: Stock, words: Words) -> Stock:
    """Half-way: everything new is there beside everything old, and no packet of an interface of others meets it yet."""
    blocks = {**actual.blocks, **goal.blocks}
    made: set[str] = set()
    for key, new in goal.blocks.items():
        if new.header.startswith("interface "):
            old = actual.blocks.get(key)
            blocks[key] = new if old is None else _with_neighbours(old, new, words)
            made |= set() if old else {new.header.removeprefix("interface ")}
    fresh = {spot: name for spot, name in goal.attached.items() if spot[0] in made}
    return Stock(blocks, {**fresh, **actual.attached}, actual.vrfs, ())


def _with_neighbours(old: Stanza, new: Stanza, words: Words) -> Stanza:
    """Who is at the far end of a crossing is known until the last route map that sends there is gone."""
    said = {same(line) for line in new.lines}
    kept = [line for line in old.lines if MAC.search(line) and same(line) not in said]
    return Stanza(new.header, in_order((*new.lines, *kept), words)) if kept else new


def steps(actual: Stock, goal: Stock, words: Words) -> tuple[str, ...]:
    """The lines that turn one into the other: build, move the attach lines, detach, remove.

    A crossing is never open without its policies: on it before it has an address, and it is shut before they go.
    """
    lines: list[str] = []
    added = [one for key, one in goal.blocks.items() if actual.blocks.get(key) != one]
    gone = [one for key, one in actual.blocks.items() if key not in goal.blocks]
    made = {one.header.removeprefix("interface ") for one in added if one.header.startswith("interface ")}
    made -= {name for name, _ in actual.attached.keys() - goal.attached.keys()}
    shut = {one.header.removeprefix("interface ") for one in gone if one.header.startswith("interface ")}
    for stanza in sorted(added, key=_rank):
        lines += _written(stanza, actual.blocks.get(same(stanza.header)), goal, words)
    for name in sorted({name for name, _ in (*goal.attached, *actual.attached)} - made):
        moved = list(_moved(name, actual, goal))
        if moved:
            lines += [f"interface {name}", *([" shutdown"] if name in shut else []), *moved]
    last = sorted(gone, key=lambda one: (STATISTICS.fullmatch(one.header) is not None, _rank(one)), reverse=True)
    lines += [f"no {short(stanza.header)}" for stanza in last]
    return tuple(lines)


def _moved(name: str, actual: Stock, goal: Stock) -> Iterator[str]:
    """The attach lines of an interface."""
    for family, word in WORD.items():
        old, new = actual.attached.get((name, family)), goal.attached.get((name, family))
        if new is not None and new != old:
            yield f" {word} policy route-map {new}"
        elif new is None and old is not None:
            yield f" no {word} policy route-map {old}"


def short(header: str) -> str:
    """What `no` takes: of a schedule and of a track, the number."""
    if SCHEDULE.fullmatch(header):
        return f"ip sla schedule {header.split()[3]}"
    return f"track {header.split()[1]}" if TRACK.fullmatch(header) else header


def _written(stanza: Stanza, old: Stanza | None, goal: Stock, words: Words) -> Iterator[str]:
    """Only a crossing, a probe and what is put back after a failure are ever written over what is there."""
    if SLA.fullmatch(stanza.header) and old is not None:
        yield f"no {stanza.header}"  # an operation that runs cannot be edited; its schedule goes with it
        yield from stanza.text().splitlines()
        schedule = goal.blocks.get(f"ip sla schedule {stanza.header.split()[2]}")
        yield from [schedule.header] if schedule else []
        return
    if old is not None and old.header != stanza.header and MAP.fullmatch(stanza.header):
        yield f"no {old.header}"
        old = None
    yield stanza.header
    there = old.lines if old is not None else ()
    yield from (f" no {line.strip()}" for line in there if line not in stanza.lines)
    if not stanza.header.startswith("interface "):
        yield from (f" {line}" for line in stanza.lines if line not in there)
        return
    name = stanza.header.removeprefix("interface ")
    policies = [
        f" {WORD[f]} policy route-map {said}" for (at, f), said in sorted(goal.attached.items()) if at == name
    ]
    lines = [f" {line}" for line in stanza.lines]
    at = next((at for at, line in enumerate(lines) if " address " in line), len(lines))
    if words.has_ghosts and not any(line.startswith(words.vrf) for line in stanza.lines):
        policies.append(f" no {words.vrf.strip()}")
    yield from (*lines[:at], *policies, *lines[at:], *([" no shutdown"] if words.has_ghosts else []))
