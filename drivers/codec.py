# SPDX-License-Identifier: Apache-2.0
"""Device states as plain JSON values and back, for the database, the agent's protocol and fixtures.

Strict both ways: an unknown field, kind or type is a ValueError, never skipped. A field of OPTIONAL is left out while
it says nothing, so that what was stored before there was such a field reads the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from drivers.state import ITEM_OF_KIND, DeviceState, Item, Key, Match, NextHop, Rule, Verdict

Json = dict[str, Any]
_NAMES: dict[type[Any], tuple[str, ...]] = {}
OPTIONAL: Json = {"standby": None, "copies": (), "blocks": 0}


def state_to_json(state: Mapping[Key, Item]) -> dict[str, Json]:
    """{str(key): item as an object}, in key order."""
    return {str(key): item_to_json(state[key]) for key in sorted(state)}


def state_from_json(data: Mapping[str, Any]) -> DeviceState:
    """Inverse of `state_to_json`. Errors: ValueError."""
    items: dict[Key, Item] = {}
    for text, value in data.items():
        key = Key.parse(text)
        items[key] = item_from_json(key, value)
    return DeviceState(items)


def item_to_json(item: Item) -> Json:
    """All fields by name; matches and next hops as nested objects, port ranges as pairs."""
    return _object(item)


def names_of(kind: type[Any]) -> tuple[str, ...]:
    """A dataclass' fields, in order: looked up once, as there are few kinds and very many items."""
    found = _NAMES.get(kind)
    if found is None:
        found = _NAMES[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return found


def _object(value: Any) -> Json:
    fields = {name: getattr(value, name) for name in names_of(type(value))}
    return {name: _value(held) for name, held in fields.items() if name not in OPTIONAL or held}


def _value(value: Any) -> Any:
    """As `dataclasses.asdict` has it, without its copies: nothing in an item can be changed."""
    if type(value) in (str, int):
        return value
    if isinstance(value, tuple):
        return tuple(_value(held) for held in value)
    return _object(value) if dataclasses.is_dataclass(value) else value


def item_from_json(key: Key, value: Any) -> Item:
    """The item that `key.kind` names. Errors: ValueError."""
    fields = _fields(ITEM_OF_KIND[key.kind], value)
    for name in ("match", "traffic"):
        if name in fields:
            fields[name] = match_from_json(fields[name])
    if "next" in fields:
        fields["next"] = _next_hop(fields["next"])
        fields["standby"] = None if fields["standby"] is None else _next_hop(fields["standby"])
        fields["copies"] = tuple(_next_hop(copy) for copy in fields["copies"])
    if "rules" in fields:
        fields["rules"] = tuple(_rule(rule) for rule in fields["rules"])
    if "default" in fields:
        fields["default"] = Verdict(fields["default"])
    if "patterns" in fields:
        fields["patterns"] = tuple(str(pattern) for pattern in fields["patterns"])
    return ITEM_OF_KIND[key.kind](**fields)


def match_from_json(value: Any) -> Match:
    """Errors: ValueError."""
    fields = _fields(Match, value)
    for name in ("source_ports", "destination_ports"):
        low, high = fields[name]
        fields[name] = (int(low), int(high))
    return Match(**fields)


def _next_hop(value: Any) -> NextHop:
    return NextHop(**_fields(NextHop, value))


def _rule(value: Any) -> Rule:
    fields = _fields(Rule, value)
    return Rule(verdict=Verdict(fields["verdict"]), match=match_from_json(fields["match"]))


def _fields(kind: type[Any], value: Any) -> Json:
    names = names_of(kind)
    extra = {name: held for name, held in OPTIONAL.items() if name in names}
    if not isinstance(value, Mapping) or {**extra, **value}.keys() != set(names):
        given = sorted(value) if isinstance(value, Mapping) else value
        raise ValueError(f"{kind.__name__} needs exactly {sorted(names)}, not {given}")
    return {**extra, **value}
