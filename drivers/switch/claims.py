# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of a change on a device with route maps, found before anything is touched.

Called by the IOS and NX-OS families. Pure. Each reason is one line with the cause and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from drivers.base import Target
from drivers.state import Key
from drivers.switch.routemaps import (
    ATTACH,
    MAP,
    SLA,
    TRACK,
    Stock,
    Words,
    collect,
    crossing_place,
    table_base,
)
from drivers.switch.stanzas import Stanza
from drivers.switch.tables import interface, parse_name
from drivers.switch.typed import Text, applied

EPBR = re.compile(r"epbr (?:ip|ipv6) policy (?P<name>\S+)(?: reverse)?")


def claims(stanzas: tuple[Stanza, ...], text: Text, target: Target, words: Words) -> tuple[str, ...]:
    """Errors: Rejected as `collect`."""
    stock = collect(stanzas, target, words)
    by_header = {one.header: one for one in stanzas}
    new = brought(text, target, words)
    found = (
        *_interfaces(by_header, text, new, stock, target, words),
        *_taken(by_header, new, stock),
        *_unmarked(stock, new),
    )
    return tuple(dict.fromkeys(found))


def brought(text: Text, target: Target, words: Words) -> Stock:
    """What a text leaves on a device that holds nothing."""
    stock = Stock({}, {})
    for part in text.parts:
        stock = applied(stock, part, target, words)
    return stock


def _interfaces(
    by_header: Mapping[str, Stanza], text: Text, new: Stock, stock: Stock, target: Target, words: Words
) -> Iterator[str]:
    ports = {port.interface or port.name: port.name for port in target.ports.values()}
    for name, _ in sorted(new.attached):
        yield from _policies(by_header.get(f"interface {name}"), name)
        if name in ports:
            yield from _there(by_header, target, ports[name])
    for name, vrf in sorted(text.vrfs.items()):
        yield from _vrf(name, stock.vrfs.get(name, ""), vrf, words)
    for block in new.blocks.values():
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


def _taken(by_header: Mapping[str, Stanza], new: Stock, stock: Stock) -> Iterator[str]:
    """Numbers of ours that somebody else uses."""
    for key, block in new.blocks.items():
        sla, track = SLA.fullmatch(block.header), TRACK.fullmatch(block.header)
        if key in stock.blocks or not (sla or track):
            continue
        number = (sla or track)["number"]  # type: ignore[index]
        kind, setting = ("ip sla", "slas") if sla else ("track", "tracks")
        for header in by_header:
            if re.match(rf"{kind} {number}(?: |$)", header):
                yield f"`{header}` is not ours; remove it, or give the device another start in its setting `{setting}`"


def _unmarked(stock: Stock, new: Stock) -> Iterator[str]:
    """A route map at a place of the change's in which no entry says that it is ours."""
    names = (head["name"] for one in new.blocks.values() for head in [MAP.fullmatch(one.header)] if head)
    spots = {table_base(name) for name in names}
    marked: dict[str, bool] = {}
    for stanza in stock.blocks.values():
        head = MAP.fullmatch(stanza.header)
        if head and table_base(head["name"]) in spots:
            is_begun = not stanza.lines  # cut off before its mark, which comes first
            is_ours = is_begun or any(line.startswith("description SI-") for line in stanza.lines)
            marked[head["name"]] = marked.get(head["name"], False) or is_ours
    for name, is_marked in marked.items():
        if not is_marked:
            yield f"route-map {name} has our name and no mark of ours; to let us in: `no route-map {name}`"


def key_of(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None
