# SPDX-License-Identifier: Apache-2.0
"""A tap between the engine and the drivers: what was sent, and what dies at which point.

It wraps the registered drivers (a driver is a value); the devices behind it stay as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

import pytest

from drivers import registry
from drivers.base import ConfirmingSession, Driver, Observation, Rejected, Session, Target


class Died(BaseException):
    """kill -9: nothing in the engine may catch it."""


@dataclass
class Tap:
    """pushes: (device, bytes) in the order of arrival. refuses: bytes that a device turns down.

    at: called before a push, ("push", device, n), and after it, ("pushed", device, n); after a reading or a
    validation, ("read", device, -1) or ("validated", device, -1).
    """

    pushes: list[tuple[str, str]] = field(default_factory=list)
    at: Callable[[str, str, int], None] = lambda moment, device, number: None
    refuses: frozenset[str] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class TappedSession:
    inner: Session
    device: str
    tap: Tap

    def read(self) -> Observation:
        observation = self.inner.read()
        with self.tap.lock:
            self.tap.at("read", self.device, -1)
        return observation

    def validate(self, native: str) -> None:
        self.inner.validate(native)
        with self.tap.lock:
            self.tap.at("validated", self.device, -1)

    def push(self, native: str) -> None:
        self._send(native, lambda: self.inner.push(native))

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        """For the tap a push like any other."""
        confirming = cast(ConfirmingSession, self.inner)
        self._send(native, lambda: confirming.commit(native, label, revert_in_s))

    def _send(self, native: str, send: Callable[[], None]) -> None:
        with self.tap.lock:
            number = len(self.tap.pushes)
            self.tap.at("push", self.device, number)
            self.tap.pushes.append((self.device, native))
            if native in self.tap.refuses:
                raise Rejected(f"{self.device}: % Table full")
            send()
            self.tap.at("pushed", self.device, number)

    def confirm(self, label: str) -> None:
        cast(ConfirmingSession, self.inner).confirm(label)
        with self.tap.lock:
            self.tap.at("confirmed", self.device, -1)

    def cancel(self, label: str) -> None:
        cast(ConfirmingSession, self.inner).cancel(label)
        with self.tap.lock:
            self.tap.at("cancelled", self.device, -1)


def tapped(driver: Driver, tap: Tap) -> Driver:
    @contextmanager
    def open_session(target: Target, timeout_s: float) -> Iterator[TappedSession]:
        with driver.open(target, timeout_s) as session:
            yield TappedSession(session, target.name, tap)

    return replace(driver, open=open_session)


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> Tap:
    made = Tap()
    drivers = {name: tapped(driver, made) for name, driver in registry.DRIVERS.items()}
    monkeypatch.setattr(registry, "DRIVERS", MappingProxyType(drivers))
    return made
