# SPDX-License-Identifier: Apache-2.0
"""Devices in memory that behave: they hold items, refuse, time out, lie and drift on demand.

For fabrics without hardware and for tests; they pass the same contract suite as real drivers. Native text is one
JSON change a line. The families whose names end in -confirming take a commit back that nobody confirms.

Settings of a target:

* `store`: a folder in which devices live as files, so that several processes see the same device; without it they
  live in this process.
* `quirks`: what is always wrong with the device, as words: names of `Faults`, those that are no flags with their
  value (`"hidden_pending delay_s=0.5"`). What a test sets in `box(...).faults` comes on top.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from drivers.base import Capabilities, Driver, Target
from drivers.fake.device import Box, Event, Faults, Pending, standing
from drivers.fake.session import ConfirmingFakeSession, FakeSession
from drivers.fake.store import stored
from drivers.fake.text import parse, render
from drivers.state import Kind

__all__ = [
    "APPLIANCE",
    "CONFIRMING_APPLIANCE",
    "CONFIRMING_SWITCH",
    "HOST",
    "STEERING",
    "SWITCH",
    "Box",
    "Event",
    "Faults",
    "Pending",
    "box",
    "clock",
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


def _driver(
    name: str, kinds: frozenset[Kind], tags: frozenset[str] = frozenset(), *, is_confirming: bool = False
) -> Driver:
    family = ConfirmingFakeSession if is_confirming else FakeSession

    @contextmanager
    def open_session(target: Target, timeout_s: float) -> Iterator[FakeSession]:
        quirks = standing(target.settings.get("quirks", ""))
        session = family(target, kinds, timeout_s, _alone, lambda seconds: sleep(seconds), quirks)
        session.reach()
        try:
            yield session
        finally:
            session.close()

    return Driver(
        name=name,
        caps=Capabilities(kinds=kinds, is_atomic=True, has_confirmed_commit=is_confirming, tags=tags),
        render=lambda changes, target: render(changes, target, kinds=kinds),
        open=open_session,
    )


SWITCH = _driver("fake-switch", STEERING, frozenset({"vlan"}))
APPLIANCE = _driver("fake-appliance", FUNCTIONS)
HOST = _driver("fake-host", frozenset({Kind.RULESET}))
CONFIRMING_SWITCH = _driver("fake-switch-confirming", STEERING, frozenset({"vlan"}), is_confirming=True)
CONFIRMING_APPLIANCE = _driver("fake-appliance-confirming", FUNCTIONS, is_confirming=True)
