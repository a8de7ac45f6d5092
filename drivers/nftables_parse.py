# SPDX-License-Identifier: Apache-2.0
"""`nft -j list table inet viaduct` back into items and counters.

Called by whoever reads a Linux box. An item whose objects are known but not whole, or hold what `nftables` never
writes, reads as DAMAGED, so that the difference to what is wanted is an update (or a deletion), which writes it
anew. Whole objects of others (chains, maps, sets) are told as `attached`: whoever writes must refuse to, then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from drivers.base import Counter, Demand, Observation, Rejected, Unsupported
from drivers.nat import Block
from drivers.nftables_lines import line_from_json
from drivers.nftables_objects import (
    Blocks,
    Chain,
    Line,
    Object,
    Realm,
    Sources,
    arms_of,
    base,
    key_of,
    match_of,
    name_of,
    objects_of,
    rule_of,
)
from drivers.state import DeviceState, Item, Key, Kind, Match, NatPool, RuleSet, Signatures, Verdict

DAMAGED = "damaged"
_IMPLIED_FAMILY: Mapping[tuple[str, ...], int] = {("icmp",): 4, ("icmpv6",): 6}
_NOTHING = Match("0.0.0.0/32", "0.0.0.0/32")
DAMAGED_ITEMS: Mapping[Kind, Item] = {
    Kind.RULESET: RuleSet(_NOTHING, (), Verdict.DENY, DAMAGED, DAMAGED),
    Kind.NATPOOL: NatPool(_NOTHING, "0.0.0.0/32", 1, DAMAGED, DAMAGED),
    Kind.SIGNATURES: Signatures(_NOTHING, (), DAMAGED, DAMAGED),
}

# The verdict of a line that says nothing we know.
UNKNOWN = "unknown"


def parse(text: str, realm: Realm, interfaces: Mapping[str, str]) -> Observation:
    """The items and counters of a listing; "" (there is no such table) is an empty device.

    interfaces: port name -> Linux interface name. Errors: Rejected.
    """
    objects, strangers = objects_from_json(text)
    is_closed = _has_base(objects, realm)
    for value in base(realm):
        objects.pop(value.name, None)
    grouped: dict[Key, dict[str, Object]] = {}
    for name, value in objects.items():
        found = key_of(name)
        if found is None or found[0].kind not in DAMAGED_ITEMS:
            strangers.append(_told(value))
            continue
        grouped.setdefault(found[0], {})[found[1]] = value
    items: dict[Key, Item] = {}
    counters: dict[Key, Counter] = {}
    for key, parts in grouped.items():
        item = _item(key, parts, realm, interfaces)
        is_whole = is_closed and item is not None and _is_whole(key, item, parts, realm, interfaces)
        items[key] = item if is_whole and item is not None else DAMAGED_ITEMS[key.kind]
        counters[key] = _counter(parts.values())
    strangers.sort()
    return Observation(DeviceState(items), counters, foreign=len(strangers), attached=tuple(strangers))


def _told(value: Object) -> str:
    """A stranger's chain or map, in nft's words."""
    if isinstance(value, Blocks):
        return f"map inet viaduct {value.name}"
    if isinstance(value, Sources):
        return f"set inet viaduct {value.name}"
    hook = f" {{ type {value.type} hook {value.hook} priority {value.priority}; }}" if value.hook else ""
    return f"chain inet viaduct {value.name}{hook}, {len(value.lines)} rules"


def has_base(text: str, realm: Realm) -> bool:
    """Does the listing hold the base of the realm, as it should be? Errors: Rejected."""
    return _has_base(objects_from_json(text)[0], realm)


def _has_base(objects: Mapping[str, Object], realm: Realm) -> bool:
    return all(objects.get(value.name) == normal(value) for value in base(realm))


def objects_from_json(text: str) -> tuple[dict[str, Object], list[str]]:
    """Chains and maps by name, lines in order; what is of another kind, in nft's words. Errors: Rejected."""
    objects: dict[str, Object] = {}
    strangers: list[str] = []
    lines: dict[str, list[Line]] = {}
    for entry in _entries(text):
        kind, value = next(iter(entry.items()))
        if kind in ("metainfo", "table"):
            continue
        if kind == "chain":
            objects[value["name"]] = _chain(value)
        elif kind == "map":
            if key_of(value["name"]) is None:
                objects[value["name"]] = Blocks(value["name"], ())  # a stranger's: whatever it holds
            else:
                objects[value["name"]] = _blocks(value)
        elif kind == "set" and _is_of_a_pool(value):
            objects[value["name"]] = _sources(value)
        elif kind == "rule":
            lines.setdefault(value["chain"], []).append(_line(value))
        else:
            strangers.append(f"{kind} inet viaduct {_name(kind, value)}")
    for name, found in lines.items():
        chain = objects[name]
        if isinstance(chain, Chain):
            objects[name] = replace(chain, lines=tuple(found))
    return objects, strangers


def _name(kind: str, value: Any) -> str:
    """Of a set, a quota and the like. Errors: Rejected."""
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        raise Rejected(f"table inet viaduct holds a {kind}, which Viaduct never writes; remove it")
    return name


def _line(value: Mapping[str, Any]) -> Line:
    """A rule that Viaduct never writes was put in by hand: what it is in is damaged, and gets written anew."""
    try:
        return line_from_json(value)
    except Rejected:
        return Line(UNKNOWN)


def normal(value: Object) -> Object:
    """The object as a listing shows it: nft leaves out a family that the protocol implies."""
    if not isinstance(value, Chain):
        return value
    return replace(value, lines=tuple(_normal_line(line) for line in value.lines))


def _normal_line(line: Line) -> Line:
    has_address = line.source or line.destination or line.dscp >= 0
    is_implied = line.family and line.family == _IMPLIED_FAMILY.get(line.protocols)
    return replace(line, family=0) if is_implied and not has_address else line


def _entries(text: str) -> list[dict[str, Any]]:
    if not text.strip():
        return []
    try:
        entries = json.loads(text)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(f"nft did not answer in its JSON format: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(one, dict) and len(one) == 1 for one in entries):
        raise Rejected("nft did not answer in its JSON format")
    return entries


def _chain(value: Mapping[str, Any]) -> Chain:
    if "hook" not in value:
        return Chain(value["name"], ())
    return Chain(value["name"], (), value["hook"], value["type"], value["prio"], value["policy"])


def _blocks(value: Mapping[str, Any]) -> Blocks:
    try:
        elements = tuple(
            Block(subscriber, data["concat"][0], *_ends(data["concat"][1]))
            for subscriber, data in value.get("elem", [])
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Rejected(f"map {value['name']} of table inet viaduct holds unknown elements") from error
    return Blocks(value["name"], elements)


def _is_of_a_pool(value: Mapping[str, Any]) -> bool:
    found = key_of(value.get("name", ""))
    return found is not None and found[0].kind is Kind.NATPOOL


def _sources(value: Mapping[str, Any]) -> Sources:
    """One of another type than ours is damage: it is given a time that ours never have."""
    is_ours = value.get("type") == "ipv4_addr" and "stmt" not in value
    found = (one["elem"]["val"] if isinstance(one, Mapping) and "elem" in one else one for one in value.get("elem", []))
    elements = frozenset(one for one in found if isinstance(one, str))
    return Sources(value["name"], int(value.get("timeout", 0)) if is_ours else -1, elements)


def demands(text: str, realm: Realm, interfaces: Mapping[str, str]) -> dict[Key, Demand]:
    """Of every pool in the listing that is whole and gives its blocks on demand. Errors: Rejected."""
    pools = {key: item for key, item in parse(text, realm, interfaces).state.items() if isinstance(item, NatPool)}
    objects, _ = objects_from_json(text)
    found = {}
    for key, item in pools.items():
        if not item.blocks:
            continue
        name, wanted = name_of(key), dict[str, int]()
        for level in range(item.blocks + 1):
            wishes = objects[f"{name}_want{level}"]
            wanted.update({source: level for source in wishes.elements} if isinstance(wishes, Sources) else {})
        given, seen = objects[f"{name}_blocks"], objects[f"{name}_seen"]
        found[key] = Demand(
            item,
            given.elements if isinstance(given, Blocks) else (),
            wanted,
            seen.elements if isinstance(seen, Sources) else frozenset(),
        )
    return found


def _ends(value: Any) -> tuple[int, int]:
    low, high = value["range"] if isinstance(value, dict) else (value, value)
    return int(low), int(high)


def _item(key: Key, parts: Mapping[str, Object], realm: Realm, interfaces: Mapping[str, str]) -> Item | None:
    """What the parts seem to be; None if the telling lines are missing."""
    try:
        if key.kind is Kind.RULESET:
            return _rule_set(parts, realm, interfaces)
        if key.kind is Kind.NATPOOL:
            return _nat_pool(parts, interfaces)
    except (KeyError, IndexError, AttributeError, ValueError):
        return None
    return None


def _rule_set(parts: Mapping[str, Object], realm: Realm, interfaces: Mapping[str, str]) -> RuleSet:
    onward, rules = _lines(parts[""])[1], _lines(parts["rules"])
    traffic = _traffic(onward)
    return RuleSet(
        traffic,
        tuple(rule_of(line, traffic.family) for line in rules[:-1]),
        Verdict.DENY if rules[-1].verdict == "drop" else Verdict.PERMIT,
        *(("", "") if realm is Realm.HOST else arms_of(onward.iif, onward.oif, interfaces)),
    )


def _nat_pool(parts: Mapping[str, Object], interfaces: Mapping[str, str]) -> NatPool:
    there, pool = _lines(parts[""])[-3], _lines(parts[""])[-1]
    inside, outside = arms_of(there.iif, there.oif, interfaces)
    levels = [line.counted[1] for line in _lines(parts[""]) if line.counted]
    if levels:  # on demand
        return NatPool(_traffic(there), pool.destination, levels[0], inside, outside, len(levels))
    blocks = parts["blocks"]
    if not isinstance(blocks, Blocks):
        raise KeyError("blocks")
    first = blocks.elements[0]
    size = first.last_port - first.first_port + 1
    return NatPool(_traffic(there), pool.destination, size, inside, outside)


def _traffic(line: Line) -> Match:
    return match_of(line, line.family or _IMPLIED_FAMILY.get(line.protocols, 0))


def _lines(value: Object) -> tuple[Line, ...]:
    return value.lines if isinstance(value, Chain) else ()


def _is_whole(
    key: Key, item: Item, parts: Mapping[str, Object], realm: Realm, interfaces: Mapping[str, str]
) -> bool:
    """Does the device hold exactly the objects of this item?"""
    try:
        expected = objects_of(key, item, realm, interfaces)
    except Unsupported:
        return False
    held = dict(parts)
    if isinstance(item, NatPool) and item.blocks:  # who has which block is not the item's matter
        held["blocks"] = Blocks(held["blocks"].name, (), is_given=True)
    return {value.name: normal(value) for value in expected} == {value.name: value for value in held.values()}


def _counter(parts: Any) -> Counter:
    lines = [line for value in parts for line in _lines(value) if line.has_counter]
    passed = [line for line in lines if line.verdict != "drop"]
    return Counter(
        sum(line.packets for line in passed),
        sum(line.octets for line in passed),
        sum(line.packets for line in lines if line.verdict == "drop"),
    )
