# SPDX-License-Identifier: Apache-2.0
"""Planning's frozen values as plain JSON, with the names of their fields, and the hash over what will be sent.

Used by the planner (out) and reconcile (changes back in). Pure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from drivers.codec import item_from_json, item_to_json, names_of, state_to_json
from drivers.diff import Change
from drivers.state import DeviceState, Key

# No kinds of these: an Enum that is text is more than text.
AS_IT_IS = frozenset((str, int, float, bool, type(None)))


def plain(value: Any) -> Any:
    """Dataclasses become objects, tuples arrays, sets sorted arrays, keys and enums their text."""
    if type(value) in AS_IT_IS:
        return value
    if isinstance(value, DeviceState):
        return plain(state_to_json(value))
    if isinstance(value, Change):
        return change_to_json(value)
    if isinstance(value, Key):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in names_of(type(value))}
    if isinstance(value, Mapping):
        return {str(key): plain(held) for key, held in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(held) for held in value)
    if isinstance(value, tuple | list):
        return [plain(held) for held in value]
    return value


def change_to_json(change: Change) -> dict[str, Any]:
    return {
        "key": str(change.key),
        "action": change.action.value,
        "before": None if change.before is None else plain_item(change.before),
        "after": None if change.after is None else plain_item(change.after),
    }


def change_from_json(data: Mapping[str, Any]) -> Change:
    """Inverse of `change_to_json`. Errors: ValueError, KeyError."""
    key = Key.parse(data["key"])
    before, after = (None if data[side] is None else item_from_json(key, data[side]) for side in ("before", "after"))
    return Change(key, before, after)


def plain_item(item: Any) -> Any:
    """As JSON gives it back: tuples are arrays already."""
    return plain(item_to_json(item))


def digest(document: Any) -> str:
    """SHA-256, hexadecimal, over canonical JSON (sorted names, no spaces)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
