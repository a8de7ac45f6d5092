# SPDX-License-Identifier: Apache-2.0
"""A running configuration of IOS-XR as what is ours in it.

Called by `drivers.switch.iosxr`. Pure. Only blocks with our names and marks are ours. What they hold must be what
`iosxr_text` writes: a line that nobody here writes is an error, a known line in the wrong place a damaged item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from drivers.base import Rejected, Target, Unsupported
from drivers.box import Reading
from drivers.state import ANYWHERE, DeviceState, Item, Key, Match, NextHop, Steering
from drivers.switch.flows import torn
from drivers.switch.iosxr_text import (
    ATTACH,
    HOP,
    LOCAL,
    MARK,
    REST,
    crossing_lines,
    hop_name,
    list_name,
    local_lines,
    neighbours,
    route_lines,
    vrf_lines,
)
from drivers.switch.iosxr_words import Ace, Block, Strange, ace_of, blocks, numbered
from drivers.switch.tables import (
    ANY_MAC,
    CLOSED,
    FIRST_TAG,
    LAST_TAG,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    crossing_addresses,
    interface,
    items_of,
    parse_name,
    parse_table_name,
    vrf_here,
)

PENDING = "ipv4 access-list SI-pending"
LIST = re.compile(r"ipv([46]) access-list (\S+)")
REMARK = re.compile(r"remark (\S+)(?: vrf (\S+))?")
ROUTE = re.compile(r"0\.0\.0\.0/0 vrf (\S+) \S+ (\S+)|::/0 vrf (\S+) \S+ (\S+)")
FOREIGN = ("ipv4 access-list", "ipv6 access-list", "vrf ", "policy-map", "class-map", "route-policy")
TORN = -1


def torn_at(key: Key, place: Place) -> Item:
    """A damaged item of which at least the place is known, so that what is there can be taken away. Never wanted."""
    item = torn(key.kind)
    assert isinstance(item, Steering)
    return replace(item, ingress=place[0], tag=place[1], precedence=TORN)


@dataclass
class Running:
    """A configuration, sorted by what its blocks are."""

    lists: dict[tuple[Place, int], Block] = field(default_factory=dict)
    interfaces: dict[str, Block] = field(default_factory=dict)
    hops: dict[str, Block] = field(default_factory=dict)
    routes: dict[str, Block] = field(default_factory=dict)
    neighbours: set[str] = field(default_factory=set)
    macs: dict[str, str] = field(default_factory=dict)
    vrfs: set[str] = field(default_factory=set)
    strangers: dict[str, Block] = field(default_factory=dict)


def sorted_of(running: str) -> Running:
    """strangers: blocks with a name of ours and without our mark, by their first line."""
    found = Running()
    for block in blocks(running):
        if block.line == PENDING:
            continue
        if block.line.startswith("ipv") and LIST.fullmatch(block.line):
            _list(block, found)
        elif block.line.startswith("interface "):
            found.interfaces[block.line.removeprefix("interface ")] = block
        elif block.line.startswith("vrf "):
            _vrf(block, found)
        elif block.line.startswith(("arp vrf ", "ipv6 neighbor ")):
            _neighbour(block.line, found)
        elif block.line == "router static":
            inside = {one.line.removeprefix("vrf "): one for one in block.inside}
            found.routes |= {name: one for name, one in inside.items() if HOP.fullmatch(name)}
    return found


def _list(block: Block, found: Running) -> None:
    _, family, name = LIST.split(block.line)[:3]
    place = _place(name, int(family))
    if place is not None and any(" remark SI-" in one.line for one in block.inside):
        found.lists[place, int(family)] = block
    elif place is not None:
        found.strangers[block.line] = block


def _vrf(block: Block, found: Running) -> None:
    name = block.line.removeprefix("vrf ")
    found.vrfs.add(name)
    if HOP.fullmatch(name) is None:
        return
    if any(one.line == MARK for one in block.inside):
        found.hops[name] = block
    else:
        found.strangers[block.line] = block


def _neighbour(line: str, found: Running) -> None:
    """XR prints ARPA in capitals; some releases do not."""
    words = line.split()
    if words[0] == "arp":
        words[-1] = words[-1].upper()
    else:
        digits = words[-1].replace(".", "")
        found.macs[words[2]] = ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    found.neighbours.add(" ".join(words))


def _place(name: str, family: int) -> Place | None:
    return parse_table_name(name.removesuffix(f"-{family}")) if name.endswith(f"-{family}") else None


def read(running: str, target: Target) -> Reading:
    """Errors: Rejected, naming the line, for text inside our objects that nobody here writes."""
    found = sorted_of(running)
    crossings = dict(_crossings(found, target))
    state: dict[Key, Item] = {}
    left = [f"vrf {name}" for name in found.hops.keys() - {hop for one in found.lists.values() for hop in _used(one)}]
    for place in sorted({place for place, _ in found.lists}):
        lists = {family: found.lists[place, family] for family in (4, 6) if (place, family) in found.lists}
        made: dict[Key, Item] = {}
        is_good = {}
        for family, block in lists.items():
            try:
                entries = tuple(_entries(block, family, found, crossings, target))
            except Strange as error:
                said = f"{error} inside {block.line} is nothing that we write; remove it by hand"
                raise Rejected(f"{target.name}: {said}") from error
            is_good[family] = _is_in_force(place, family, found, target) and _is_framed(
                entries, place, family, found, crossings, target
            )
            for key, item in items_of(Tables({place: _closed(entries, place, family)}, crossings), target).items():
                is_whole = is_good[family] and item != torn(key.kind) and key not in state | made
                made[key] = item if is_whole else torn_at(key, place)
        # At a crossing each list closes a door for the other's items too: one that is open is an open place.
        if place[1] and list(is_good.values()) != [True, True]:
            made = {key: torn_at(key, place) for key in made}
        left += [block.line for block in lists.values() if not made]
        state |= made
    foreign = sum(_is_foreign(block) for block in blocks(running))
    attached = (*found.strangers, *sorted(f"left over: {one}" for one in left))
    return Reading(DeviceState(state), attached, foreign)


def _is_foreign(block: Block) -> bool:
    name = block.line.rsplit(" ", 1)[-1]
    return block.line.startswith(FOREIGN) and not name.startswith("SI-")


def _used(block: Block) -> Iterator[str]:
    for one in block.inside:
        found = re.search(r"nexthop1 vrf (\S+)", one.line)
        if found:
            yield found[1]


def _crossings(found: Running, target: Target) -> Iterator[tuple[Place, Crossing]]:
    """Those that are whole: the sub-interface as we write it, and the far end's MAC for both families."""
    for name, port in target.ports.items():
        own = port.interface or port.name
        for tag in (tag for tag in _tags(found.interfaces, own) if FIRST_TAG <= tag <= LAST_TAG):
            block = found.interfaces[f"{own}.{tag}"]
            lines = [one.line for one in block.inside]
            vrf = next((line.removeprefix("vrf ") for line in lines if line.startswith("vrf ")), "")
            mac = found.macs.get(crossing_addresses(target, (name, tag), 6)[1], "") if port.number else ""
            crossing = Crossing(name, tag, vrf_here(target, vrf), mac)
            is_told = bool(mac) and set(neighbours(crossing, target)) <= found.neighbours
            if is_told and _is_same(lines, crossing, target):
                yield (name, tag), crossing


def _is_same(lines: list[str], crossing: Crossing, target: Target) -> bool:
    ours = [f"access-group {list_name((crossing.port, crossing.tag), family)} ingress" for family in (4, 6)]
    rest = [line for line in lines if line.partition(" ")[2] not in ours]
    return sorted(rest) == sorted(crossing_lines(crossing, target))


def _tags(names: Iterable[str], own: str) -> list[int]:
    return sorted(int(name[len(own) + 1 :]) for name in names if re.fullmatch(rf"{re.escape(own)}\.\d{{1,4}}", name))


def _entries(
    block: Block, family: int, found: Running, crossings: dict[Place, Crossing], target: Target
) -> Iterator[Entry]:
    """In order, those of the frame too. Errors: Strange."""
    name, vrf, aces = "", "", list[Ace]()
    for _, text in numbered(block):
        said = REMARK.fullmatch(text)
        if said is None:
            if not name:
                raise Strange(text)
            aces.append(ace_of(text, family))
            continue
        if name:
            yield _entry(name, vrf, aces, family, found, crossings, target)
        name, vrf, aces = said[1], said[2] or "", []
        if not (name in (LOCAL, REST) or name.startswith(CLOSED) or parse_name(name)):
            raise Strange(text)
    yield _entry(name, vrf, aces, family, found, crossings, target)


def _entry(
    name: str,
    vrf: str,
    aces: list[Ace],
    family: int,
    found: Running,
    crossings: dict[Place, Crossing],
    target: Target,
) -> Entry:
    """What is not whole has a next hop that nobody can want."""
    hops = {one.hop for one in aces}
    permits = {one.is_permit for one in aces}
    matches = tuple(one.match for one in aces)
    if len(hops) != 1 or len(permits) != 1:
        nothing = (Match(ANYWHERE[family], ANYWHERE[family]),)
        return Entry(name, Action.REDIRECT, matches or nothing, NextHop())
    if permits == {False}:
        return Entry(name, Action.DROP, matches)
    if hops == {""}:
        there = vrf_here(target, "" if vrf == "default" else vrf) if vrf else ""
        return Entry(name, Action.ROUTE, matches, NextHop(vrf=there))
    return Entry(name, Action.REDIRECT, matches, _hop(hops.pop(), family, found, crossings, target) or NextHop())


def _hop(
    name: str, family: int, found: Running, crossings: dict[Place, Crossing], target: Target
) -> NextHop | None:
    """What the VRF of that name leads to, if it leads there and to Null0 and nowhere else."""
    named, block, routes = HOP.fullmatch(name), found.hops.get(name), found.routes.get(name)
    if named is None or block is None or routes is None or sorted(block.texts()) != sorted(vrf_lines()):
        return None
    inside = next((one for one in routes.inside if one.line == f"address-family ipv{family} unicast"), None)
    texts = [one.line for one in inside.inside] if inside is not None else []
    said = next((route for text in texts if (route := ROUTE.fullmatch(text))), None)
    port, tag = named[1], int(named[2])
    crossing = crossings.get((port, tag))
    if inside is None or said is None or port not in target.ports or (tag and crossing is None):
        return None
    vrf = said[1] or said[3]
    mac = crossing.mac if crossing is not None else target.ports[port].peer_mac
    hop = NextHop(port, tag, "" if mac == ANY_MAC else mac, vrf_here(target, "" if vrf == "default" else vrf))
    try:
        wanted = route_lines(hop, family, target)
    except Unsupported:
        return None
    is_same = sorted((inside.line, *(f" {text}" for text in inside.texts()))) == sorted(wanted)
    return hop if is_same and hop_name(hop) == name else None


def _is_in_force(place: Place, family: int, found: Running, target: Target) -> bool:
    """Is the list where packets come in?"""
    try:
        block = found.interfaces.get(interface(target, place))
    except Unsupported:
        return False
    wanted = f"ipv{family} access-group {list_name(place, family)} ingress"
    return block is not None and any(one.line == wanted for one in block.inside)


def _is_framed(
    entries: tuple[Entry, ...],
    place: Place,
    family: int,
    found: Running,
    crossings: dict[Place, Crossing],
    target: Target,
) -> bool:
    """Are the fixed lines around the items as we write them, and do packets come in in the VRF that is meant?"""
    crossing = crossings.get(place)
    vrf = crossing.vrf if crossing is not None else vrf_of(found, interface(target, place), target)
    if any(one.hop.vrf not in ("", vrf) for one in entries):
        return False
    anything = (Match(ANYWHERE[family], ANYWHERE[family]),)
    if place[1]:
        return entries[-1:] == (Entry(f"{CLOSED}-{family}", Action.DROP, anything),)
    local = tuple(ace_of(line, family).match for line in local_lines(place, family, target))
    return len(entries) > 1 and (entries[0], entries[-1]) == (
        Entry(LOCAL, Action.ROUTE, local),
        Entry(REST, Action.ROUTE, anything),
    )


def _closed(entries: tuple[Entry, ...], place: Place, family: int) -> tuple[Entry, ...]:
    """As `Tables` has them: without the frame, with the other family's closed door, which that family's list shows."""
    body = [one for one in entries if one.name not in (LOCAL, REST)]
    if place[1]:
        other = 10 - family
        anything = (Match(ANYWHERE[other], ANYWHERE[other]),)
        door = Entry(f"{CLOSED}-{other}", Action.DROP, anything)
        body.insert(len(body) if other == 6 else max(len(body) - 1, 0), door)
    return tuple(body)


def vrf_of(running: Running, name: str, target: Target) -> str:
    """In which VRF an interface of the operator's is, in our words."""
    block = running.interfaces.get(name)
    lines = [one.line for one in block.inside] if block is not None else []
    return vrf_here(target, next((line.removeprefix("vrf ") for line in lines if line.startswith("vrf ")), ""))


def attachments(block: Block) -> Iterator[tuple[int, str]]:
    """(family, list) of the lists that stand at an interface's entrance."""
    for one in block.inside:
        found = ATTACH.fullmatch(one.line)
        if found:
            yield int(found[1][3]), found[2]
