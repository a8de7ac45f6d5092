# SPDX-License-Identifier: Apache-2.0
"""The devices of a simulation: fakes that misbehave on demand, and whatever they ever held is handed to the oracle.

Wraps the registered drivers; knows nothing of the engine's logic. A worker's points lie before and after each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from django.db import connection

from drivers import fake, registry
from drivers.base import Driver, Observation, Session, Target, Transient
from drivers.state import DeviceState
from tests.simulation.workers import Crew, Worker

LIMITS = {"VIADUCT_DEVICE_THREADS": 1, "VIADUCT_DRAIN_BOUND_S": 0.0, "VIADUCT_LEASE_WAIT_S": 0.0}
# Read by the database's clock, as the lease itself is.
UNDER_LEASE = """
SELECT lease.holder FROM chains_lease AS lease JOIN chains_device AS device ON device.id = lease.device_id
 WHERE device.name = %s AND lease.expires_at > clock_timestamp()
"""


@dataclass
class Trouble:
    """kind: unreachable, refuses, loses_reply, silent. calls: how many more calls it spoils."""

    kind: str
    calls: int


@dataclass
class Outside:
    """All devices of one schedule. is_calm: from now on no push may be in vain."""

    crew: Crew
    on_read: Callable[[str, DeviceState], None]
    on_state: Callable[[str, DeviceState, DeviceState], None]
    troubles: dict[str, Trouble] = field(default_factory=dict)
    pushes: list[tuple[str, str]] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    vain: list[str] = field(default_factory=list)
    is_calm: bool = False

    @property
    def worker(self) -> Worker:
        assert self.crew.current is not None, "a device is called by nobody"
        return self.crew.current

    def spoil(self, device: str, *kinds: str) -> bool:
        """Does a trouble of these kinds hit the device now?"""
        found = self.troubles.get(device)
        if found is None or found.kind not in kinds:
            return False
        found.calls -= 1
        if not found.calls:
            del self.troubles[device]
        self.crew.shown[found.kind] += 1
        return True

    def check_writer(self, device: str) -> None:
        """Nobody writes but who holds the device's lease at this moment."""
        worker = self.worker
        with self.crew.own(), connection.cursor() as cursor:
            cursor.execute(UNDER_LEASE, [device])
            row = cursor.fetchone()
        if row is None or self.crew.holders.get(row[0]) != (worker.number, worker.attempt):
            self.overlaps.append(f"{device}: written by {worker.name} without a lease")

    def reach(self, device: str) -> None:
        """Before a call that is no push. Errors: Transient."""
        self.worker.point()
        if self.spoil(device, "unreachable"):
            raise Transient(f"{device}: no answer")

    @contextmanager
    def written(self, device: str) -> Iterator[None]:
        """A write. No other worker goes on right before it: between the last question and the write nothing can be
        closed but by the device.
        """
        self.worker.touch()
        assert not connection.in_atomic_block, "a transaction is open while a device is written"
        self.check_writer(device)
        if self.spoil(device, "unreachable"):
            raise Transient(f"{device}: no answer")
        with fake.box(device) as box:
            before = box.state
            box.faults = fake.Faults(
                reject="% Table full" if self.spoil(device, "refuses") else "",
                loses_reply=self.spoil(device, "loses_reply"),
                is_silent=self.spoil(device, "silent"),
            )
            try:
                yield
            finally:
                box.faults = fake.Faults()
                if box.state != before:
                    with self.crew.own():
                        self.on_state(device, before, box.state)
                elif self.is_calm:
                    self.vain.append(device)
        self.worker.point()


@dataclass(frozen=True, slots=True)
class BadSession:
    """A fake device's session, with the outside's troubles."""

    inner: Session
    device: str
    outside: Outside

    def read(self) -> Observation:
        self.outside.reach(self.device)
        observation = self.inner.read()
        self.outside.on_read(self.device, observation.state)
        self.outside.worker.point()
        return observation

    def validate(self, native: str) -> None:
        self.outside.reach(self.device)
        self.inner.validate(native)
        self.outside.worker.point()

    def push(self, native: str) -> None:
        with self.outside.written(self.device):
            self.outside.pushes.append((self.device, native))
            self.inner.push(native)


def _bad(driver: Driver, outside: Outside) -> Driver:
    @contextmanager
    def open_session(target: Target, timeout_s: float) -> Iterator[BadSession]:
        with driver.open(target, timeout_s) as session:
            yield BadSession(session, target.name, outside)

    return replace(driver, open=open_session)


@contextmanager
def installed(outside: Outside) -> Iterator[None]:
    """Every session of this process goes through `outside`."""
    drivers = registry.DRIVERS
    registry.DRIVERS = MappingProxyType({name: _bad(driver, outside) for name, driver in drivers.items()})
    try:
        yield
    finally:
        registry.DRIVERS = drivers
