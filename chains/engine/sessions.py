# SPDX-License-Identifier: Apache-2.0
"""Sessions to several devices at once, one thread a device at a time.

Used by reconcile and observe. Threads do device I/O only: the database belongs to the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

from chains import models, selectors
from chains.engine.credentials import resolve, without_secret
from chains.engine.kept import KEPT, Held
from chains.engine.limits import Limits
from chains.engine.vault import EMPTY, Vault, sealed_of
from drivers.base import DriverError, Observation, Session, Target, Transient
from drivers.registry import driver

T = TypeVar("T")
TICK_S = 2.0


def fleet_of(
    devices: Iterable[models.Device], given: Limits, while_waiting: Callable[[], None] = lambda: None
) -> Fleet:
    """For these rows. No session is opened and no secret read before the first use."""
    references = {device.name: device.credential for device in devices}
    return Fleet(
        selectors.targets_of(references),
        references,
        timeout_s=given.device_timeout_s,
        threads=given.device_threads,
        while_waiting=while_waiting,
        vault=sealed_of(references.values()),
    )


def read(session: Session) -> Observation:
    """For `Fleet.each`."""
    return session.read()


class Fleet:
    """Takes or opens a session on first use, drops it on the first error, keeps it for later work in the end.

    `targets` have no secret: it is resolved when a session is opened and goes nowhere else. vault: the encrypted
    rows that the references name; they are opened in the device's thread.
    `while_waiting` is called in the caller's thread every two seconds: that is where leases are renewed.
    With `threads` 1 all work is done in the caller's thread, one device after the other: the same in every run.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        references: Mapping[str, str],
        *,
        timeout_s: float,
        threads: int,
        while_waiting: Callable[[], None],
        vault: Vault = EMPTY,
    ) -> None:
        self.targets = targets
        self._references = references
        self._vault = vault
        self._secrets: dict[str, str] = {}
        self._timeout_s = timeout_s
        self._while_waiting = while_waiting
        self._open: dict[str, Held] = {}
        self._aside: list[Held] = []
        self._unreachable: dict[str, Transient] = {}
        self._left_alone: frozenset[str] = frozenset()
        self._at_work = 0
        self.heard: dict[str, bool] = {}
        workers = max(1, min(threads, len(targets)))
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="device") if threads > 1 else None

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            # Threads that have nothing to do end by themselves; a hundred of them need not be waited for.
            self._pool.shutdown(wait=self._at_work > 0)
        for held in self._open.values():
            if kind is None:
                KEPT.give(held)
            else:
                held.close()
        for held in self._aside:
            held.close()
        self._open.clear()
        self._aside.clear()

    def leave_alone(self, answers: Mapping[str, Transient]) -> None:
        """These are not asked: their answer is known, and is no new failure."""
        self._unreachable.update(answers)
        self._left_alone = frozenset(answers)

    def each(self, work: Mapping[str, Callable[[Session], T]], *, is_anew: bool = False) -> Answers[T]:
        """Run one function per device side by side. Errors of drivers are answers; any other error is raised.

        is_anew: through new connections. The old ones stay open until the end: some devices take a commit back
        when the session that made it closes.
        """
        if is_anew:
            self._aside.extend(held for name in work if (held := self._open.pop(name, None)) is not None)
            for name in work:
                KEPT.forget(name)
        return Answers(dict(sorted(self.arrivals(work))))

    def arrivals(self, work: Mapping[str, Callable[[Session], T]]) -> Iterator[tuple[str, T | DriverError]]:
        """The same, each answer as it comes in. A function may be run twice: it must begin with a reading."""
        if self._pool is None:
            for name, function in work.items():
                answer = self._hear(name, self._one(name, function))
                self._while_waiting()
                yield name, answer
            return
        futures: dict[Future[T | DriverError], str] = {
            self._pool.submit(self._one, name, function): name for name, function in work.items()
        }
        self._at_work += len(futures)
        done: SimpleQueue[Future[T | DriverError]] = SimpleQueue()
        for future in futures:
            future.add_done_callback(done.put)
        while futures:
            try:
                future = done.get(timeout=TICK_S)
            except Empty:
                self._while_waiting()
                continue
            self._at_work -= 1
            self._while_waiting()
            name = futures.pop(future)
            yield name, self._hear(name, future.result())

    def _hear(self, name: str, answer: T | DriverError) -> T | DriverError:
        """`heard`: did the device answer, whatever it said, when it was last asked?"""
        if name not in self._left_alone:
            self.heard[name] = not isinstance(answer, Transient)
        return answer

    def _one(self, name: str, function: Callable[[Session], T]) -> T | DriverError:
        try:
            session, is_kept = self._session(name)
            try:
                return function(session)
            except Transient:
                if not is_kept:
                    raise
            # The other end may have closed it meanwhile: that says nothing about the device.
            self._drop(name)
            return function(self._session(name)[0])
        except DriverError as error:
            self._drop(name)
            return without_secret(error, self._secrets.get(name, ""))

    def _session(self, name: str) -> tuple[Session, bool]:
        """The session, and whether it was opened by an earlier piece of work and not used in this one yet."""
        if name in self._unreachable:
            raise self._unreachable[name]
        if name in self._open:
            return self._open[name].session, False
        secret = self._secrets[name] = resolve(self._references[name], name, self._vault)
        target = replace(self.targets[name], secret=secret)
        family = driver(target.driver)
        held = KEPT.take(family, target)
        if held is not None:
            self._open[name] = held
            return held.session, True
        manager = family.open(target, self._timeout_s)
        try:
            self._open[name] = Held(family, target, manager, manager.__enter__())
        except Transient as error:
            # One attempt waits once for a silent device, however often it is asked for.
            self._unreachable[name] = error
            raise
        return self._open[name].session, False

    def _drop(self, name: str) -> None:
        held = self._open.pop(name, None)
        if held is not None:
            held.close()


class Answers(Generic[T]):
    """What each device answered: a value or an error."""

    def __init__(self, found: Mapping[str, T | DriverError]) -> None:
        self.errors: dict[str, DriverError] = {}
        self.values: dict[str, T] = {}
        for name, answer in found.items():
            if isinstance(answer, DriverError):
                self.errors[name] = answer
            else:
                self.values[name] = answer
