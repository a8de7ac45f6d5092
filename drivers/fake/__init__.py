# SPDX-License-Identifier: Apache-2.0
"""Devices in memory that behave: they hold items, refuse, time out, lie and drift on demand.

For fabrics without hardware and for tests; they pass the same contract suite as real drivers. Native text is one
JSON change a line. The families whose names end in -confirming take a commit back that nobody confirms.

Settings of a target:

* `address`: `127.0.0.1:PORT` of a `drivers.fake.server`, behind which the device lives; `store` is the server's then.
* `store`: a folder in which devices live as files, so that several processes see the same device; without it they
  live in this process.
* `quirks`: what is always wrong with the device, as words: names of `Faults`, those that are no flags with their
  value (`"hidden_pending delay_s=0.5"`). What a test sets in `box(...).faults` comes on top.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from drivers.base import LINES, Capabilities, Driver, Fails, Limit, Rejected, Session, Target
from drivers.fake.device import Box, Event, Faults, Pending, standing
from drivers.fake.remote import connected
from drivers.fake.session import ConfirmingFakeSession, FakeSession
from drivers.fake.store import stored
from drivers.fake.text import parse, render
from drivers.state import DeviceState, Kind

__all__ = [
    "APPLIANCE",
    "CONFIRMING_APPLIANCE",
    "CONFIRMING_SWITCH",
    "HOST",
    "STEERING",
    "SWITCH",
    "Box",
    "Event",
    "FAMILIES",
    "Faults",
    "Pending",
    "box",
    "clock",
    "local_session",
    "parse",
    "render",
    "reset",
    "sleep",
]
STEERING = frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS})
FUNCTIONS = frozenset({Kind.RULESET, Kind.SIGNATURES, Kind.NATPOOL})

# Assign another one (`fake.clock = ...`) to make time pass. The wall clock, so that several processes agree.
clock: Callable[[], float] = time.time
# Likewise: how a slow device lets time pass.
sleep: Callable[[float], None] = time.sleep
_memory: dict[str, Box] = {}
_locks: dict[str, threading.RLock] = {}


@contextmanager
def box(name: str, store: str = "") -> Iterator[Box]:
    """The device called `name`, made empty if it was never seen; what the block changes is kept.

    A commit whose time is over is taken back before the block sees the device.
    """
    if store:
        with stored(name, store, clock) as held:
            yield held
        return
    held = _memory.setdefault(name, Box())
    held.wake(clock())
    yield held


def reset() -> None:
    """Forget every device of this process."""
    _memory.clear()


@contextmanager
def _alone(name: str, store: str) -> Iterator[Box]:
    """`box`, for sessions: one of this process at a time. A test that holds the box does not shut them out."""
    with _locks.setdefault(name, threading.RLock()), box(name, store) as held:
        yield held


@dataclass(frozen=True, slots=True)
class Family:
    """What a fake's name stands for."""

    kinds: frozenset[Kind]
    tags: frozenset[str] = frozenset()
    is_confirming: bool = False


FAMILIES: Mapping[str, Family] = {
    "fake-switch": Family(STEERING, frozenset({"vlan"})),
    "fake-appliance": Family(FUNCTIONS),
    "fake-host": Family(frozenset({Kind.RULESET})),
    "fake-switch-confirming": Family(STEERING, frozenset({"vlan"}), is_confirming=True),
    "fake-appliance-confirming": Family(FUNCTIONS, is_confirming=True),
}


def local_session(family: str, target: Target, timeout_s: float) -> FakeSession:
    """With a device of this process or store. Nothing is asked of it yet. Errors: Rejected."""
    if family not in FAMILIES:
        raise Rejected(f"{family[:80]!r} is no fake; fakes: {', '.join(FAMILIES)}")
    kinds, quirks = FAMILIES[family].kinds, standing(target.settings.get("quirks", ""))
    kind = ConfirmingFakeSession if FAMILIES[family].is_confirming else FakeSession
    return kind(target, kinds, timeout_s, _alone, lambda seconds: sleep(seconds), quirks)


@contextmanager
def _open(family: str, target: Target, timeout_s: float) -> Iterator[Session]:
    if target.settings.get("address"):
        is_confirming = FAMILIES[family].is_confirming
        with connected(target, family, timeout_s, is_confirming=is_confirming) as far:
            yield far
        return
    near = local_session(family, target, timeout_s)
    near.reach()
    try:
        yield near
    finally:
        near.close()


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`."""
    return {LINES: sum(len(getattr(item, "rules", ())) + 1 for item in state.values())}


def _driver(name: str) -> Driver:
    family = FAMILIES[name]
    return Driver(
        name=name,
        caps=Capabilities(
            kinds=family.kinds,
            is_atomic=True,
            has_confirmed_commit=family.is_confirming,
            tags=family.tags,
            has_standby=bool(family.tags),
            gives_blocks=Kind.NATPOOL in family.kinds,
            has_copies=bool(family.tags),
            buckets=frozenset({"prefix"} if family.tags else ()),
            when_dead=Fails.DROP if family.tags else Fails.NONE,
            limits=(Limit(LINES, None, "rules, and the line that decides about the rest"),),
        ),
        entries=entries,
        render=lambda changes, target: render(changes, target, kinds=family.kinds),
        open=lambda target, timeout_s: _open(name, target, timeout_s),
    )


SWITCH = _driver("fake-switch")
APPLIANCE = _driver("fake-appliance")
HOST = _driver("fake-host")
CONFIRMING_SWITCH = _driver("fake-switch-confirming")
CONFIRMING_APPLIANCE = _driver("fake-appliance-confirming")
