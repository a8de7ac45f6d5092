# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of a change on a device with route maps, found before anything is touched.

Called by the IOS and NX-OS families. Pure. Each reason is one line with the cause and the fix.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from drivers.base import Target, Unsupported
from drivers.state import Key
from drivers.switch.policies import Order
from drivers.switch.routemaps import (
    ATTACH,
    FAMILY,
    MAP,
    MATCH,
    SLA,
    TRACK,
    Stock,
    Words,
    collect,
    crossing_place,
    list_base,
    table_base,
    track_of,
)
from drivers.switch.stanzas import Stanza
from drivers.switch.tables import (
    FIRST_TAG,
    LAST_TAG,
    Action,
    crossing_addresses,
    interface,
    parse_name,
    table_name,
)

ROUTE_MAP = re.compile(r"route-map (\S+)(?: (?:permit|deny) \d+)?")
INTERFACE = re.compile(r"interface (\S+)")
ADDRESS = re.compile(r"ip(?:v6)? address ([0-9A-Fa-f.:]+)(?:[ /]\S+)?")
DESCRIPTION = re.compile(r"description (.+)")
NUMBER = re.compile(r"(?:ip sla(?: schedule)?|track) (?P<number>\d+)(?: .*)?")
EPBR = re.compile(r"epbr (?:ip|ipv6) policy (?P<name>\S+)(?: reverse)?")


def claims(stanzas: tuple[Stanza, ...], order: Order, target: Target, words: Words) -> tuple[str, ...]:
    """Errors: Rejected as `collect`."""
    stock = collect(stanzas, target, words)
    by_header = {one.header: one for one in stanzas}
    return tuple(
        dict.fromkeys(
            (
                *_interfaces(by_header, order, stock, target, words),
                *_taken(by_header, order, stock, words),
                *_unmarked(stock, order),
            )
        )
    )


def _interfaces(
    by_header: Mapping[str, Stanza], order: Order, stock: Stock, target: Target, words: Words
) -> Iterator[str]:
    for place, entries in order.tables.entries.items():
        name = interface(target, place)
        yield from _policies(by_header.get(f"interface {name}"), name)
        if not place[1]:
            yield from _there(by_header, target, place[0])
            if name in order.vrfs:
                yield from _vrf(name, stock.vrfs.get(name, ""), order.vrfs[name], words)
        for entry in entries:
            if entry.action is Action.REDIRECT and not entry.hop.tag:
                out = interface(target, (entry.hop.port, 0))
                yield from _vrf(out, stock.vrfs.get(out, ""), order.vrfs.get(name, ""), words)
    for block in order.stock.blocks.values():
        made = crossing_place(block.header, target)
        if made is not None:
            yield from _there(by_header, target, made[0])
            yield from _crossing(by_header, block, stock, words)


def _there(by_header: Mapping[str, Stanza], target: Target, port: str) -> Iterator[str]:
    name = interface(target, (port, 0))
    if f"interface {name}" not in by_header:
        yield f"there is no interface {name}; correct `interface` of port {port} in the fabric file"


def _crossing(by_header: Mapping[str, Stanza], block: Stanza, stock: Stock, words: Words) -> Iterator[str]:
    if block.header in by_header and block.header not in stock.blocks:
        yield f"{block.header} is there and not ours: remove it, or keep its tag out of the range of stage tags"
    vrf = next((line.removeprefix(words.vrf) for line in block.lines if line.startswith(words.vrf)), "")
    if vrf and not {f"vrf definition {vrf}", f"vrf context {vrf}"} & by_header.keys():
        word = "context" if "member" in words.vrf else "definition"
        yield f"there is no VRF {vrf}; add `vrf {word} {vrf}`"


def _policies(stanza: Stanza | None, name: str) -> Iterator[str]:
    """An interface takes one policy for each family: an operator's stays."""
    for line in stanza.lines if stanza else ():
        found, epbr = ATTACH.fullmatch(line), EPBR.fullmatch(line)
        if found and table_base(found["name"]) is None:
            yield f"interface {name} has a policy of somebody else; to let us in: `no {line}`"
        if epbr:
            yield f"interface {name} belongs to ePBR, which takes no other policy; to let us in: `no {line}`"


def _vrf(name: str, there: str, said: str, words: Words) -> Iterator[str]:
    if there != said:
        is_, be = (f"VRF {one}" if one else "the global table" for one in (there, said))
        fix = f"`{words.vrf}{said}`" if said else f"`no {words.vrf}{there}`"
        yield f"interface {name} is in {is_} and must be in {be}: {fix} there, or another VRF in the fabric file"


def _taken(by_header: Mapping[str, Stanza], order: Order, stock: Stock, words: Words) -> Iterator[str]:
    """Numbers of ours that somebody else uses."""
    for key, block in order.stock.blocks.items():
        sla, track = SLA.fullmatch(block.header), TRACK.fullmatch(block.header)
        if key in stock.blocks or not (sla or track):
            continue
        number = (sla or track)["number"]  # type: ignore[index]
        kind, setting = ("ip sla", "slas") if sla else ("track", "tracks")
        for header in by_header:
            if re.match(rf"{kind} {number}(?: |$)", header):
                yield f"`{header}` is not ours; remove it, or give the device another start in its setting `{setting}`"


def _unmarked(stock: Stock, order: Order) -> Iterator[str]:
    """A route map of one of our names in which no entry says that it is ours."""
    spots = {f"{table_name(place)}-v{family}" for place in order.tables.entries for family in FAMILY.values()}
    marked: dict[str, bool] = {}
    for stanza in stock.blocks.values():
        head = MAP.fullmatch(stanza.header)
        if head and head["name"].rpartition("-")[0] in spots:
            is_begun = not stanza.lines  # cut off before its mark, which comes first
            is_ours = is_begun or any(line.startswith("description SI-") for line in stanza.lines)
            marked[head["name"]] = marked.get(head["name"], False) or is_ours
    for name, is_marked in marked.items():
        if not is_marked:
            yield f"route-map {name} has our name and no mark of ours; to let us in: `no route-map {name}`"


# --- the device's own difference --------------------------------------------------------------


def is_said_by_us(line: str, target: Target, words: Words) -> bool:
    """May this command come from us, `no` before it or not?"""
    said = line.strip().removeprefix("no ").strip()
    named: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
        (MATCH, lambda found: list_base(found["name"]) is not None),
        (ATTACH, lambda found: table_base(found["name"]) is not None),
        (ROUTE_MAP, lambda found: table_base(found[1]) is not None),
        (
            INTERFACE,
            lambda found: (
                found[1].partition(".")[0] in {p.interface or p.name for p in target.ports.values()}
            ),
        ),
        (ADDRESS, lambda found: _is_in_crossings(found[1].lower(), target)),
        (NUMBER, lambda found: int(found["number"]) in _numbers(target, words)),
        (DESCRIPTION, lambda found: found[1].startswith("SI crossing ") or list_base(found[1]) is not None),
    )
    for pattern, is_ours in named:
        found = pattern.fullmatch(said)
        if found:
            return is_ours(found)
    for prefix in words.lists.values():
        if said.startswith(prefix):
            return list_base(said.removeprefix(prefix)) is not None
    # Lines of an access list: its header is judged above.
    is_ace = re.match(r"(?:(?:sequence )?\d+ )?permit ", said) is not None
    return is_ace or words.sets.fullmatch(said) is not None or words.known.fullmatch(said) is not None


def _numbers(target: Target, words: Words) -> set[int]:
    """Of our IP SLA operations and tracks."""
    found: set[int] = set()
    for port in target.ports.values():
        with suppress(Unsupported):
            found |= set(track_of(port, target, words))
    return found


def _is_in_crossings(address: str, target: Target) -> bool:
    found = int(ipaddress.ip_address(address))
    for port in target.ports.values():
        if port.number > 0:
            family = 6 if ":" in address else 4
            ends = [crossing_addresses(target, (port.name, tag), family)[0] for tag in (FIRST_TAG, LAST_TAG)]
            low, high = (int(ipaddress.ip_address(end)) for end in ends)
            if low <= found <= high:
                return True
    return False


def key_of(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None
