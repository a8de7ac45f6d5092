# SPDX-License-Identifier: Apache-2.0
"""The devices of a simulation: fakes that misbehave on demand, and whatever they ever held is handed to the oracle.

Wraps the registered drivers; knows nothing of the engine's logic. A worker's points lie before and after each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

from django.db import connection

from drivers import fake, registry
from drivers.base import ConfirmingSession, Driver, Observation, Session, Target
from drivers.state import DeviceState
from tests.simulation.workers import Crew, Worker

LIMITS = {
    "VIADUCT_DEVICE_THREADS": 1,
    "VIADUCT_DRAIN_BOUND_S": 0.0,
    "VIADUCT_LEASE_WAIT_S": 0.0,
    "VIADUCT_SOAK_S": 4.0,
    "VIADUCT_PROBE_S": 2.0,
}
# Read by the database's clock, as the lease itself is.
UNDER_LEASE = """
SELECT (SELECT lease.holder FROM chains_lease AS lease JOIN chains_device AS device ON device.id = lease.device_id
         WHERE device.name = %s AND lease.expires_at > clock_timestamp()),
       EXISTS (SELECT 1 FROM chains_freeze
                WHERE lifted_at IS NULL AND created_at < clock_timestamp() - make_interval(secs => %s))
"""
STOPS_WITHIN_S = 5.0
# With these the device holds what no plan promised: nobody's packets are judged until it is put right.
ODD = frozenset({"swallows_error"})


@dataclass
class Outside:
    """All devices of one schedule. is_calm: from now on no push may be in vain.

    on_state: (device, before, after) of a write by the engine; on_own: of what a hand did (the last is True), or
    the device by itself.
    """

    crew: Crew
    on_read: Callable[[str, DeviceState], None]
    on_state: Callable[[str, DeviceState, DeviceState], None]
    on_own: Callable[[str, DeviceState, DeviceState, bool], None]
    pushes: list[tuple[str, str]] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    vain: list[str] = field(default_factory=list)
    is_calm: bool = False

    @property
    def worker(self) -> Worker:
        assert self.crew.current is not None, "a device is called by nobody"
        return self.crew.current

    def check_writer(self, device: str) -> None:
        """Nobody writes but who holds the device's lease at this moment."""
        worker = self.worker
        with self.crew.own(), connection.cursor() as cursor:
            cursor.execute(UNDER_LEASE, [device, STOPS_WITHIN_S])
            ((holder, is_frozen),) = cursor.fetchall()
        if is_frozen:
            self.frozen.append(f"{device}: written by {worker.name} while everything is frozen")
        if self.crew.holders.get(holder) != (worker.number, worker.attempt):
            self.overlaps.append(f"{device}: written by {worker.name} without a lease")

    @contextmanager
    def watched(self, device: str, *, is_own: bool = False) -> Iterator[None]:
        """Whatever becomes of the device meanwhile is told; so is a fault that strikes."""
        with fake.box(device) as box:
            before, counts = box.state, dict(box.faults.counts)
        try:
            yield
        finally:
            with fake.box(device) as box:
                struck = {name for name, left in counts.items() if box.faults.counts.get(name, 0) < left}
                after = box.state
            for name in struck:
                self.crew.shown[name] += 1
            if after != before:
                with self.crew.own():
                    if is_own or struck & ODD:
                        self.on_own(device, before, after, not is_own)
                    else:
                        self.on_state(device, before, after)

    def pass_time(self) -> None:
        """Devices whose patience is over take back what nobody confirmed."""
        now_s = self.crew.clock.time()
        for device, box in list(fake._memory.items()):
            if box.pending is not None and box.pending.deadline_s <= now_s:
                self.crew.shown["timer fired"] += 1
                before = box.state
                box.wake(now_s)
                if box.state != before:
                    self.on_own(device, before, box.state, False)

    @contextmanager
    def by_hand(self, device: str, *, is_hand: bool = True) -> Iterator[fake.Box]:
        """Whatever is done there is nobody's plan."""
        with fake.box(device) as box:
            before = box.state
            yield box
            if box.state != before:
                self.on_own(device, before, box.state, is_hand)

    @contextmanager
    def written(self, device: str, native: str) -> Iterator[None]:
        """A write. No other worker goes on right before it: between the last question and the write nothing can be
        closed but by the device.
        """
        self.worker.touch()
        assert not connection.in_atomic_block, "a transaction is open while a device is written"
        self.check_writer(device)
        if native:
            self.pushes.append((device, native))
        with fake.box(device) as box:
            before = box.state
        with self.watched(device):
            yield
        with fake.box(device) as box:
            if self.is_calm and native and box.state == before:
                self.vain.append(device)
        self.worker.point()


@dataclass(frozen=True, slots=True)
class BadSession:
    """A fake device's session, and the points around its calls."""

    inner: Session
    device: str
    outside: Outside

    def read(self) -> Observation:
        self.outside.worker.point()
        with self.outside.watched(self.device):
            observation = self.inner.read()
        self.outside.on_read(self.device, observation.state)
        self.outside.worker.point()
        return observation

    def validate(self, native: str) -> None:
        self.outside.worker.point()
        with self.outside.watched(self.device):
            self.inner.validate(native)
        self.outside.worker.point()

    def push(self, native: str) -> None:
        with self.outside.written(self.device, native):
            self.inner.push(native)

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        with self.outside.written(self.device, native):
            cast(ConfirmingSession, self.inner).commit(native, label, revert_in_s)

    def confirm(self, label: str) -> None:
        with self.outside.written(self.device, ""):
            cast(ConfirmingSession, self.inner).confirm(label)

    def cancel(self, label: str) -> None:
        with self.outside.written(self.device, ""):
            cast(ConfirmingSession, self.inner).cancel(label)


def _bad(driver: Driver, outside: Outside) -> Driver:
    @contextmanager
    def open_session(target: Target, timeout_s: float) -> Iterator[BadSession]:
        manager = driver.open(target, timeout_s)
        with outside.watched(target.name):
            session = manager.__enter__()
        try:
            yield BadSession(session, target.name, outside)
        finally:
            with outside.watched(target.name, is_own=True):
                manager.__exit__(None, None, None)

    return replace(driver, open=open_session)


@contextmanager
def installed(outside: Outside) -> Iterator[None]:
    """Every session of this process goes through `outside`; devices are told the simulated time."""
    drivers, clock, sleep = registry.DRIVERS, fake.clock, fake.sleep
    registry.DRIVERS = MappingProxyType({name: _bad(driver, outside) for name, driver in drivers.items()})
    fake.clock, fake.sleep = outside.crew.clock.time, outside.crew.clock.sleep
    try:
        yield
    finally:
        registry.DRIVERS, fake.clock, fake.sleep = drivers, clock, sleep
