# SPDX-License-Identifier: Apache-2.0
"""Sessions kept open between two pieces of work of one process: a login costs more than a reading.

Used by `sessions` alone. A kept session is nobody's while it is here, belongs to one driver and one target
(secret included), and is thrown away after a minute or on its first error. Never handed across a fork:
pool processes open their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

from drivers.base import Driver, DriverError, Session, Target

IDLE_S = 60.0


@dataclass(slots=True)
class Held:
    """An open session and what it was opened for."""

    driver: Driver
    target: Target
    manager: AbstractContextManager[Session]
    session: Session
    since: float = field(default_factory=time.monotonic)

    def close(self) -> None:
        """It may be broken already; what counts is read back through a new one."""
        with suppress(DriverError):
            self.manager.__exit__(None, None, None)


class Kept:
    """At most one idle session a device."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._clock = clock

    def take(self, driver: Driver, target: Target) -> Held | None:
        """One for exactly this driver and target. Another one of the device is closed: it was reconfigured."""
        with self._lock:
            held = self._idle.pop(target.name, None)
        if held is None:
            return None
        if held.driver is driver and held.target == target and self._clock() - held.since < IDLE_S:
            return held
        held.close()
        return None

    def give(self, held: Held) -> None:
        held.since = self._clock()
        with self._lock:
            before = self._idle.pop(held.target.name, None)
            self._idle[held.target.name] = held
        if before is not None:
            before.close()

    def forget(self, name: str) -> None:
        """Close the device's idle session: the next one is a new connection."""
        with self._lock:
            held = self._idle.pop(name, None)
        if held is not None:
            held.close()

    def close_idle(self, idle_s: float = IDLE_S) -> None:
        """Close what was not used for so long; 0 for all."""
        with self._lock:
            old = [name for name, held in self._idle.items() if self._clock() - held.since >= idle_s]
            closing = [self._idle.pop(name) for name in old]
        for held in closing:
            held.close()


KEPT = Kept()
