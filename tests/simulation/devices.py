# SPDX-License-Identifier: Apache-2.0
"""The points at which a simulated worker touches the outside: device sessions and database statements.

Wraps the registered drivers and Django's connection; knows nothing of the engine's logic. Here devices misbehave,
workers die or are paused past their leases, and everything that a device ever held is handed to the watcher.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from django.db import connection

from chains.engine import lease
from drivers import fake, registry
from drivers.base import Driver, Observation, Session, Target, Transient
from drivers.state import DeviceState

LIMITS = {
    "VIADUCT_DEVICE_THREADS": 1,
    "VIADUCT_DRAIN_BOUND_S": 0.0,
    "VIADUCT_LEASE_WAIT_S": 0.0,
    "VIADUCT_RETRY_FIRST_S": 0.0,
}
LEASE_TTL_S = 60.0
# What a transaction that is being rolled back still says when its worker is dead: PostgreSQL would do it alone.
ROLLING_BACK = ("SAVEPOINT", "ROLLBACK", "RELEASE")
UNDER_LEASE = """
SELECT lease.holder FROM chains_lease AS lease JOIN chains_device AS device ON device.id = lease.device_id
 WHERE device.name = %s AND lease.expires_at > clock_timestamp()
"""


class Died(BaseException):
    """kill -9: nothing in the engine may catch it."""


@dataclass
class Clock:
    """What the leases ask for the time of this machine. Sleeping is forbidden: it would hide a race."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"the engine sleeps {seconds} s in a simulation")


@dataclass
class Trouble:
    """kind: unreachable, refuses, loses_reply, silent. calls: how many more calls it spoils."""

    kind: str
    calls: int


@dataclass
class Outside:
    """One schedule's outside world. frames: the attempts under way; the last one runs, the others are paused.

    dies_in, pauses_in: after so many touches of the outside the worker dies, after so many device calls it is paused.
    """

    clock: Clock = field(default_factory=Clock)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    shown: Counter[str] = field(default_factory=Counter)
    reads: dict[str, DeviceState] = field(default_factory=dict)
    pushes: list[tuple[str, str]] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    holders: dict[str, int] = field(default_factory=dict)
    dies_in: int = 0
    pauses_in: int = 0
    on_pause: Callable[[], None] = lambda: None
    on_state: Callable[[str, DeviceState, DeviceState], None] = lambda device, before, after: None
    is_calm: bool = False
    vain: list[str] = field(default_factory=list)
    _dead: set[int] = field(default_factory=set)
    _frames_seen: int = 0
    _is_own: bool = False

    def run(self, work: Callable[[], object]) -> bool:
        """One worker's piece of work, with whatever was arranged for it. False if the worker died of it."""
        self._frames_seen += 1
        self.frames.append(self._frames_seen)
        try:
            work()
        except Died:
            self.shown["died"] += 1
            return False
        finally:
            self._dead.discard(self.frames.pop())
            self.dies_in = 0
        return True

    def touch(self) -> None:
        """Errors: Died, now or if this worker is dead already (its clean-up never happens)."""
        if not self.frames:
            return
        if self.frames[-1] in self._dead:
            raise Died
        if self.dies_in:
            self.dies_in -= 1
            if not self.dies_in:
                self._dead.add(self.frames[-1])
                raise Died

    def call(self) -> None:
        """A device call that is no push is about to be made, or was answered."""
        self.touch()
        if self.pauses_in:
            self.pauses_in -= 1
            if not self.pauses_in:
                self.shown["paused"] += 1
                self.on_pause()

    def statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """A wrapper of every statement (Django's `execute_wrapper`)."""
        if not self._is_own and not sql.startswith(ROLLING_BACK):
            self.touch()
            if "INSERT INTO chains_lease" in sql and self.frames:
                self.holders[params["holder"]] = self.frames[-1]
        return execute(sql, params, many, context)

    @contextmanager
    def own(self) -> Iterator[None]:
        """The simulator's own questions: no worker dies of them."""
        before, self._is_own = self._is_own, True
        try:
            yield
        finally:
            self._is_own = before

    def spoil(self, device: str, *kinds: str) -> bool:
        """Does a trouble of these kinds hit the device now?"""
        found = self.troubles.get(device)
        if found is None or found.kind not in kinds:
            return False
        found.calls -= 1
        if not found.calls:
            del self.troubles[device]
        self.shown[found.kind] += 1
        return True

    def check_writer(self, device: str) -> None:
        """Nobody writes but who holds the device's lease at this moment."""
        with self.own(), connection.cursor() as cursor:
            cursor.execute(UNDER_LEASE, [device])
            row = cursor.fetchone()
        if row is None or self.holders.get(row[0]) != self.frames[-1]:
            self.overlaps.append(f"{device}: written by attempt {self.frames[-1]} without a lease")


@dataclass(frozen=True, slots=True)
class BadSession:
    """A fake device's session, with the outside's troubles."""

    inner: Session
    device: str
    outside: Outside

    def read(self) -> Observation:
        self._reach()
        observation = self.inner.read()
        self.outside.reads[self.device] = observation.state
        self.outside.call()
        return observation

    def validate(self, native: str) -> None:
        self._reach()
        self.inner.validate(native)
        self.outside.call()

    def push(self, native: str) -> None:
        """No pause before it: between the last question and the write nothing can be closed but by the device."""
        outside = self.outside
        outside.touch()
        assert not connection.in_atomic_block, "a transaction is open while a device is written"
        outside.check_writer(self.device)
        outside.pushes.append((self.device, native))
        if outside.spoil(self.device, "unreachable"):
            raise Transient(f"{self.device}: no answer")
        with fake.box(self.device) as box:
            before = box.state
            box.faults = fake.Faults(
                reject="% Table full" if outside.spoil(self.device, "refuses") else "",
                loses_reply=outside.spoil(self.device, "loses_reply"),
                is_silent=outside.spoil(self.device, "silent"),
            )
            try:
                self.inner.push(native)
            finally:
                box.faults = fake.Faults()
                after = box.state
                if after != before:
                    with outside.own():
                        outside.on_state(self.device, before, after)
                elif outside.is_calm:
                    outside.vain.append(self.device)
        outside.call()

    def _reach(self) -> None:
        self.outside.call()
        if self.outside.spoil(self.device, "unreachable"):
            raise Transient(f"{self.device}: no answer")


def _bad(driver: Driver, outside: Outside) -> Driver:
    @contextmanager
    def open_session(target: Target, timeout_s: float) -> Iterator[BadSession]:
        with driver.open(target, timeout_s) as session:
            yield BadSession(session, target.name, outside)

    return replace(driver, open=open_session)


@contextmanager
def installed(outside: Outside) -> Iterator[None]:
    """Every session and every statement of this process goes through `outside`."""
    drivers, clock = registry.DRIVERS, lease.time
    bad = {name: _bad(driver, outside) for name, driver in drivers.items()}
    registry.DRIVERS = MappingProxyType(bad)
    lease.time = outside.clock  # type: ignore[assignment]
    try:
        with connection.execute_wrapper(outside.statement):
            yield
    finally:
        registry.DRIVERS, lease.time = drivers, clock
