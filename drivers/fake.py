# SPDX-License-Identifier: Apache-2.0
"""Devices in memory that behave: they hold items, refuse, time out, lie and drift on demand.

For fabrics without hardware and for tests; they pass the same contract suite as real drivers.
Settings: `store` is a directory in which devices live as files, so that several processes see the
same device; without it they live in this process. Native text is one JSON change a line.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from drivers.base import Capabilities, Counter, Driver, Observation, Rejected, Target, Transient, Unsupported
from drivers.codec import item_from_json, item_to_json, state_from_json, state_to_json
from drivers.diff import Change
from drivers.state import DeviceState, Item, Key, Kind, slot

STEERING = frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS})
SYMBOLS = {"create": "+", "update": "~", "delete": "-"}


@dataclass
class Faults:
    """What goes wrong. Each stays until it is set back; texts are what the device would say."""

    is_unreachable: bool = False
    # Refuse the next pushes with this text.
    reject: str = ""
    # Take the push, then lose the connection before answering.
    loses_reply: bool = False
    # Answer "done" and hold the old state.
    is_silent: bool = False


@dataclass
class Box:
    """One device: what it holds of ours, what it holds of others, and its faults."""

    state: DeviceState = field(default_factory=DeviceState)
    foreign: list[str] = field(default_factory=list)
    links_down: list[str] = field(default_factory=list)
    counters: dict[str, list[int]] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)

    def dump(self) -> str:
        data = {
            "state": state_to_json(self.state),
            "foreign": self.foreign,
            "links_down": self.links_down,
            "counters": self.counters,
            "faults": asdict(self.faults),
        }
        return json.dumps(data, indent=1, sort_keys=True)

    @classmethod
    def load(cls, text: str) -> Box:
        data = json.loads(text)
        return cls(**{**data, "state": state_from_json(data["state"]), "faults": Faults(**data["faults"])})


_memory: dict[str, Box] = {}


@contextmanager
def box(name: str, store: str = "") -> Iterator[Box]:
    """The device called `name`, made empty if it was never seen; what the block changes is kept."""
    if not store:
        yield _memory.setdefault(name, Box())
        return
    path = Path(store) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        before = Box.load(text) if text else Box()
        yield before
        after = before.dump()
        if after != text:
            file.seek(0)
            file.truncate()
            file.write(after)


def reset() -> None:
    """Forget every device of this process."""
    _memory.clear()


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


@dataclass(frozen=True, slots=True)
class FakeSession:
    """A session that opens the box anew for every call, as a real device may change in between."""

    target: Target
    kinds: frozenset[Kind]

    def read(self) -> Observation:
        with self._box() as held:
            counters = {Key.parse(key): Counter(*values) for key, values in held.counters.items()}
            return Observation(
                state=held.state,
                counters={key: counters.get(key, Counter()) for key in held.state},
                links_up={port: port not in held.links_down for port in self.target.ports},
                foreign=len(held.foreign),
            )

    def validate(self, native: str) -> None:
        with self._box() as held:
            self._after(held, native)

    def push(self, native: str) -> None:
        with self._box() as held:
            after = self._after(held, native)
            if held.faults.reject:
                raise Rejected(f"{self.target.name}: {held.faults.reject}")
            if not held.faults.is_silent:
                held.state = after
            if held.faults.loses_reply:
                raise Transient(f"{self.target.name}: the connection was lost before the reply")

    def _after(self, held: Box, native: str) -> DeviceState:
        """As a switch would take it: a create in a taken slot replaces what is there, a repeat is harmless."""
        items: dict[Key, Item] = dict(held.state)
        for change in parse(native, self.kinds):
            items.pop(change.key, None)
            if change.after is None:
                continue
            taken = [key for key, item in items.items() if slot(item) == slot(change.after)]
            for key in taken:
                del items[key]
            items[change.key] = change.after
        return DeviceState(items)

    @contextmanager
    def _box(self) -> Iterator[Box]:
        with box(self.target.name, self.target.settings.get("store", "")) as held:
            if held.faults.is_unreachable:
                raise Transient(f"{self.target.name}: no answer from {self.target.management}")
            yield held


def _driver(name: str, kinds: frozenset[Kind], tags: frozenset[str] = frozenset()) -> Driver:
    @contextmanager
    def open_session(target: Target, timeout_s: float) -> Iterator[FakeSession]:
        session = FakeSession(target, kinds)
        session.read()
        yield session

    return Driver(
        name=name,
        caps=Capabilities(kinds=kinds, is_atomic=True, has_confirmed_commit=False, tags=tags),
        render=lambda changes, target: render(changes, target, kinds=kinds),
        open=open_session,
    )


def _text(item: Item) -> str:
    return json.dumps(item_to_json(item), sort_keys=True, separators=(",", ":"))


SWITCH = _driver("fake-switch", STEERING, frozenset({"vlan"}))
APPLIANCE = _driver("fake-appliance", frozenset({Kind.RULESET, Kind.SIGNATURES, Kind.NATPOOL}))
HOST = _driver("fake-host", frozenset({Kind.RULESET}))
