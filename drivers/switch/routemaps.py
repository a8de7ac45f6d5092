# SPDX-License-Identifier: Apache-2.0
"""Policy-based routing by route maps, as Cisco's platforms have it: `Tables` to stanzas, and stanzas to `Tables`.

Called by the IOS and NX-OS families, which give their `Words`. Pure. A place has one route map for each address family
(SI-t-PORT-TAG-v4), each of its entries one access list (the entry's own name). Both carry three letters that stand for
what they hold (`entries.letters`): another content is another name, so a new one can be complete before the attach line
moves to it, and a plan can say every name before anybody asks the device. See `generations`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from drivers.base import PortInfo, Rejected, Target, Unsupported
from drivers.state import Key, Kind
from drivers.switch.aces import Style, parse_ace, plain
from drivers.switch.stanzas import Stanza
from drivers.switch.tables import (
    CLOSED,
    FIRST_TAG,
    LAST_TAG,
    Crossing,
    Place,
    crossing_addresses,
    interface,
    parse_name,
    parse_table_name,
    vrf_here,
)

MARK = "SI crossing"
TABLE = re.compile(r"(?P<table>SI-t-[a-z0-9][a-z0-9-]*-\d{1,4})-v(?P<family>[46])(?:-(?P<letters>[a-z]{3}))?")
LIST = re.compile(r"(?P<entry>SI-(?:c\d\w*(?:-\d{1,4})?|closed-[46]))(?:-(?P<letters>[a-z]{3}))?")
MAP = re.compile(r"route-map (?P<name>\S+) (?P<action>permit|deny) (?P<number>\d+)")
STATISTICS = re.compile(r"route-map (?P<name>\S+) pbr-statistics")
MATCH = re.compile(r"match (?P<family>ip|ipv6) address (?P<name>\S+)")
ATTACH = re.compile(r"(?P<family>ip|ipv6) policy route-map (?P<name>\S+)")
SLA = re.compile(r"ip sla (?P<number>\d+)")
SCHEDULE = re.compile(r"ip sla schedule (?P<number>\d+) .*")
TRACK = re.compile(r"track (?P<number>\d+) ip sla (?P<sla>\d+) reachability")
MAC = re.compile(r" (?P<mac>[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4})\b")
FAMILY = {"ip": 4, "ipv6": 6}
WORD = {4: "ip", 6: "ipv6"}

Ways = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A platform's own. lists: the header of an access list, by family. vrf: the word before an interface's VRF.

    redirect(ways, family, is_open): the `set` lines; ways: (address, track, 0 for none) in their order; is_open: the
    device's own forwarding is the last of them. hop: matches a `set` line with `address`, and perhaps `other`.
    crossing, probe: their stanzas. known: the lines that may stand in a crossing or a probe. neighbour: a stanza that
    says who is at a crossing's far end, where that is no line of the interface. sla, track: base of the numbers.
    counts: a route map counts only if a line of its own says so. has_ghosts: a sub-interface that was removed and comes
    again holds what it held. last: how a file must end.
    """

    style: Style
    lists: Mapping[int, str]
    vrf: str
    null: str
    redirect: Callable[[Ways, int, bool], tuple[str, ...]]
    hop: re.Pattern[str]
    sets: re.Pattern[str]
    crossing: Callable[[Target, Crossing], tuple[Stanza, ...]]
    probe: Callable[[PortInfo, str, str, int, int], tuple[Stanza, ...]]
    known: re.Pattern[str]
    order: tuple[str, ...]
    sla: int
    track: int
    most_track: int
    counts: bool = False
    has_ghosts: bool = False
    last: str = ""
    neighbour: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))


@dataclass(frozen=True, slots=True)
class Stock:
    """Ours as text. blocks: by `same`. attached: (interface, family) -> route map. vrfs: of the target's interfaces.

    strangers: stanzas of the kinds that we use, of others.
    """

    blocks: Mapping[str, Stanza]
    attached: Mapping[tuple[str, int], str]
    vrfs: Mapping[str, str] = field(default_factory=dict)
    strangers: tuple[Stanza, ...] = ()


# --- names ------------------------------------------------------------------------------------


def list_base(name: str) -> str | None:
    """The entry's name, of an access list's; None if it is not ours."""
    found = LIST.fullmatch(name)
    if found is None or not (found["entry"].startswith(f"{CLOSED}-") or parse_name(found["entry"])):
        return None
    return found["entry"]


def table_base(name: str) -> tuple[Place, int] | None:
    """Place and family, of a route map's name."""
    found = TABLE.fullmatch(name)
    place = parse_table_name(found["table"]) if found else None
    return (place, int(found["family"])) if found and place else None


def precedes(name: str) -> tuple[int, int, int, Key | None, int]:
    """Sorts entries' names as `drivers.state.decisive` sorts their items; closed doors come last."""
    found = parse_name(name)
    if found is None:
        return (1, 0, 0, None, int(name[-1] == "6"))
    key, precedence, part = found
    rank = 2 if key.kind is Kind.PASS else 0 if key.kind is Kind.GUARD else 1
    return (0, -precedence, -rank, key, part)


def same(header: str) -> str:
    """Two stanzas with equal `same` replace each other."""
    for pattern, said in ((MAP, "route-map {name} {number}"), (SCHEDULE, "ip sla schedule {number}")):
        found = pattern.fullmatch(header)
        if found:
            return said.format(**found.groupdict())
    found = TRACK.fullmatch(header)
    if found:
        return f"track {found['number']}"
    return re.sub(r" [0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}( ARPA)?$", "", header, flags=re.IGNORECASE)


def track_of(port: PortInfo, target: Target, words: Words) -> tuple[int, int]:
    """Numbers of a port's IP SLA operation and track. Settings `slas` and `tracks` say where ours begin.

    Errors: Unsupported beyond what the platform takes.
    """
    sla = int(target.settings.get("slas", words.sla)) + port.number
    track = int(target.settings.get("tracks", words.track)) + port.number
    if port.number < 1 or track > words.most_track:
        raise Unsupported(
            f"{target.name}: port {port.name} has number {port.number}; track {track} is outside 1 to "
            f"{words.most_track}: give the device a lower start in its setting `tracks`"
        )
    return sla, track


def numbers_of(target: Target, words: Words) -> set[int]:
    """Of our IP SLA operations and tracks."""
    found: set[int] = set()
    for port in target.ports.values():
        with suppress(Unsupported):
            found |= set(track_of(port, target, words))
    return found


# --- tables -> stanzas ------------------------------------------------------------------------


def crossing_place(header: str, target: Target) -> Place | None:
    """Of a sub-interface in the range of stage tags."""
    name, _, tag = header.removeprefix("interface ").rpartition(".")
    if not header.startswith("interface ") or not tag.isdecimal() or not FIRST_TAG <= int(tag) <= LAST_TAG:
        return None
    return next(
        ((port.name, int(tag)) for port in target.ports.values() if (port.interface or port.name) == name),
        None,
    )


# --- stanzas -> ours --------------------------------------------------------------------------


def collect(stanzas: tuple[Stanza, ...], target: Target, words: Words) -> Stock:
    """Ours among a configuration's stanzas. Errors: Rejected for a line inside them that nobody here writes."""
    blocks: dict[str, Stanza] = {}
    attached: dict[tuple[str, int], str] = {}
    vrfs: dict[str, str] = {}
    strangers: list[Stanza] = []
    interfaces = {port.interface or port.name for port in target.ports.values()}
    marked = (one for one in stanzas if any(line.strip().startswith("tag SI-") for line in one.lines))
    slas = {_number(SLA, one.header) for one in marked} - {-1}
    slas |= {_number(SLA, one.header) for one in stanzas if _is_half_a_probe(one, target, words)}
    for stanza in stanzas:
        name = stanza.header.removeprefix("interface ")
        place = crossing_place(stanza.header, target)
        is_begun = all(line == "no ip address" for line in stanza.lines)
        has_mark = any(line.startswith(f"description {MARK}") for line in stanza.lines)
        is_crossing = place is not None and (is_begun or has_mark)
        if is_crossing or name in interfaces:
            vrfs[name] = next(
                (line.rpartition(" ")[2] for line in stanza.lines if line.startswith(words.vrf)), ""
            )
            attached |= _attached(name, stanza)
        if is_crossing:
            stanza = Stanza(stanza.header, tuple(line for line in stanza.lines if not _is_attach(line)))
        if is_crossing or _is_ours(stanza, target, words, slas):
            one = arranged(stanza, target, words)
            blocks[same(one.header)] = one
        elif place is not None or stanza.header.startswith(
            (*words.lists.values(), "route-map ", "ip sla ", "track ")
        ):
            strangers.append(stanza)
    return Stock(blocks, attached, vrfs, tuple(strangers))


def _is_half_a_probe(stanza: Stanza, target: Target, words: Words) -> bool:
    """An operation under a number of ours that was cut off before its mark: nothing in it is anybody else's."""
    number = _number(SLA, stanza.header)
    for port in target.ports.values():
        with suppress(Unsupported):
            if number == track_of(port, target, words)[0]:
                ours = {f"icmp-echo {text.partition('/')[0]}" for text in port.peer_addresses}
                return all(line in ours or line.startswith(" vrf ") for line in stanza.lines)
    return False


def _attached(name: str, stanza: Stanza) -> dict[tuple[str, int], str]:
    found = (ATTACH.fullmatch(line) for line in stanza.lines)
    return {(name, FAMILY[one["family"]]): one["name"] for one in found if one and table_base(one["name"])}


def _is_attach(line: str) -> bool:
    found = ATTACH.fullmatch(line)
    return found is not None and table_base(found["name"]) is not None


def _number(pattern: re.Pattern[str], header: str) -> int:
    found = pattern.fullmatch(header)
    return int(found["number"]) if found else -1


def _is_ours(stanza: Stanza, target: Target, words: Words, slas: set[int]) -> bool:
    header = stanza.header
    found = MAP.fullmatch(header) or STATISTICS.fullmatch(header)
    if found:
        return table_base(found["name"]) is not None
    for prefix in words.lists.values():
        if header.startswith(prefix):
            return list_base(header.removeprefix(prefix)) is not None
    track = TRACK.fullmatch(header)
    if track:
        return int(track["sla"]) in slas
    if _number(SLA, header) in slas or _number(SCHEDULE, header) in slas:
        return True
    return words.neighbour.fullmatch(header) is not None and far_place(header, target, words) is not None


def far_place(header: str, target: Target, words: Words) -> Place | None:
    """Of the crossing whose far end a neighbour's stanza names."""
    found = words.neighbour.fullmatch(header)
    if found is None:
        return None
    address = ipaddress.ip_address(next(one for one in found.groupdict().values() if one).lower())
    for port in target.ports.values():
        if port.number < 1:
            continue
        first = ipaddress.ip_address(crossing_addresses(target, (port.name, FIRST_TAG), address.version)[1])
        tag, is_near = divmod(int(address) - int(first), 2)
        if not is_near and FIRST_TAG <= tag + FIRST_TAG <= LAST_TAG and first.version == address.version:
            return port.name, tag + FIRST_TAG
    return None


def arranged(stanza: Stanza, target: Target, words: Words) -> Stanza:
    """In the order and spelling in which we write it. Errors: Rejected."""
    header = stanza.header
    for family, prefix in words.lists.items():
        if header.startswith(prefix):
            lines = tuple(plain(words.style, line, family) for line in stanza.lines)
            strange = next((line for line in lines if parse_ace(words.style, line, family) is None), None)
            break
    else:
        lines = tuple(lower(line) for line in stanza.lines)
        if MAP.fullmatch(header):
            lines = tuple(sorted(lines, key=lambda line: ("dms".find(line[:1]) + 4) % 4))
            strange = next((line for line in lines if not _is_map_line(line, words)), None)
        else:
            header = lower(header)
            lines = tuple(line for line in lines if line != "no ip address")
            lines = in_order(lines, words)
            strange = next(
                (line for line in (header, *lines) if not words.known.fullmatch(line.strip())), None
            )
    if strange is not None:
        raise Rejected(
            f"{target.name}: inside our {stanza.header!r} stands {strange.strip()!r}, which nobody here writes"
        )
    return Stanza(header, lines)


def in_order(lines: Iterable[str], words: Words) -> tuple[str, ...]:
    """Of a crossing or a probe, as we write them."""
    rank = {word: at for at, word in enumerate(words.order)}
    return tuple(
        sorted(lines, key=lambda line: next((rank[w] for w in rank if line.strip().startswith(w)), 99))
    )


def lower(line: str) -> str:
    """IPv6 addresses are printed in capitals by some."""
    return " ".join(word.lower() if word.count(":") > 1 else word for word in line.split(" "))


def _is_map_line(line: str, words: Words) -> bool:
    found = MATCH.fullmatch(line)
    if found:
        return list_base(found["name"]) is not None
    if line.startswith("description "):
        return list_base(line.removeprefix("description ")) is not None
    return words.sets.fullmatch(line) is not None


# --- ours -> tables ---------------------------------------------------------------------------


def crossings_of(stock: Stock, target: Target, words: Words) -> dict[Place, Crossing]:
    """Those that are whole."""
    found: dict[Place, Crossing] = {}
    for stanza in stock.blocks.values():
        place = crossing_place(stanza.header, target)
        if place is None:
            continue
        vrf = vrf_here(target, stock.vrfs.get(interface(target, place), ""))
        mine = {key: one for key, one in stock.blocks.items() if place_of_block(one, target, words) == place}
        macs = {
            match["mac"]
            for one in mine.values()
            for line in (one.header, *one.lines)
            for match in [MAC.search(line)]
            if match
        }
        for mac in {_long(one) for one in macs} or {""}:
            crossing = Crossing(*place, vrf, mac)
            if {same(one.header): one for one in words.crossing(target, crossing)} == mine:
                found[place] = crossing
    return found


def place_of_block(stanza: Stanza, target: Target, words: Words) -> Place | None:
    return crossing_place(stanza.header, target) or far_place(stanza.header, target, words)


def short_mac(mac: str) -> str:
    """0276.6961.6475"""
    digits = mac.replace(":", "")
    return ".".join(digits[at : at + 4] for at in (0, 4, 8))


def _long(mac: str) -> str:
    digits = mac.replace(".", "").lower()
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
