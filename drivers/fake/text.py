# SPDX-License-Identifier: Apache-2.0
"""The fakes' native text: one change a line, items as canonical JSON. Pure; called by driver and session."""

from __future__ import annotations

import json

from drivers.base import Rejected, Target, Unsupported
from drivers.codec import item_from_json, item_to_json
from drivers.diff import Change
from drivers.state import DeviceState, Item, Key, Kind, slot

SYMBOLS = {"create": "+", "update": "~", "delete": "-"}


def render(changes: tuple[Change, ...], target: Target, *, kinds: frozenset[Kind]) -> str:
    """`+ KEY ITEM`, `- KEY ITEM` or `~ KEY ITEM -> ITEM`, items as canonical JSON."""
    lines = []
    for change in sorted(changes, key=lambda change: (change.after is not None, change.key)):
        if change.key.kind not in kinds:
            raise Unsupported(f"{target.name}: driver {target.driver} cannot hold a {change.key.kind}")
        parts = [_text(item) for item in (change.before, change.after) if item is not None]
        lines.append(f"{SYMBOLS[change.action]} {change.key} {' -> '.join(parts)}\n")
    return "".join(lines)


def parse(native: str, kinds: frozenset[Kind]) -> tuple[Change, ...]:
    """Inverse of `render`. Errors: Rejected."""
    changes = []
    for line in native.splitlines():
        try:
            symbol, name, rest = line.split(" ", 2)
            key = Key.parse(name)
            items = [item_from_json(key, json.loads(part)) for part in rest.split(" -> ")]
            before, after = {"+": (None, *items), "-": (*items, None), "~": items}[symbol]
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected(f"% Invalid input: {line[:80]!r}") from error
        if key.kind not in kinds:
            raise Rejected(f"% Unknown command for this device: {key.kind}")
        changes.append(Change(key, before, after))
    return tuple(changes)


def applied(state: DeviceState, changes: tuple[Change, ...]) -> DeviceState:
    """As a switch would take it: a create in a taken slot replaces what is there, a repeat is harmless."""
    items: dict[Key, Item] = dict(state)
    for change in changes:
        items.pop(change.key, None)
        if change.after is None:
            continue
        taken = [key for key, item in items.items() if slot(item) == slot(change.after)]
        for key in taken:
            del items[key]
        items[change.key] = change.after
    return DeviceState(items)


def _text(item: Item) -> str:
    return json.dumps(item_to_json(item), sort_keys=True, separators=(",", ":"))
