# SPDX-License-Identifier: Apache-2.0
"""The difference between two device states, the same for every device family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from drivers.state import DeviceState, Item, Key


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One item to write. before is None for create, after is None for delete."""

    key: Key
    before: Item | None
    after: Item | None

    @property
    def action(self) -> Action:
        if self.before is None:
            return Action.CREATE
        return Action.DELETE if self.after is None else Action.UPDATE

    @property
    def item(self) -> Item:
        """The item that is written, or deleted."""
        item = self.before if self.after is None else self.after
        assert item is not None, "a change has a before or an after"
        return item

    def reversed(self) -> Change:
        """The change that undoes this one."""
        return Change(self.key, before=self.after, after=self.before)


def diff(before: Mapping[Key, Item], after: Mapping[Key, Item]) -> tuple[Change, ...]:
    """What turns `before` into `after`, in key order; empty when they are equal."""
    keys = sorted(before.keys() | after.keys())
    return tuple(
        Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    )


def patch(state: Mapping[Key, Item], changes: tuple[Change, ...]) -> DeviceState:
    """The state after the changes. Errors: ValueError if a change does not start from this state."""
    items = dict(state)
    for change in changes:
        if items.get(change.key) != change.before:
            raise ValueError(f"{change.key}: the state is not what the change starts from")
        if change.after is None:
            del items[change.key]
        else:
            items[change.key] = change.after
    return DeviceState(items)
