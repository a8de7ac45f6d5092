# SPDX-License-Identifier: Apache-2.0
"""Workers that run one at a time and pass a baton: threads with a database connection each.

A worker may give the baton back at a point only: before and after a call of a device, before and after an outermost
statement or transaction; never inside a transaction, as it would hold rows. Who goes on is drawn by the
schedule, so one seed replays exactly. A killed worker never runs again: its transaction is rolled back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connection
from psycopg.pq import TransactionStatus

from chains.engine import kept, sessions, sweep
from tests.simulation.clock import SEARCH, Clock

# What a transaction that is being rolled back still says when its worker is dead: PostgreSQL would do it alone.
ROLLING_BACK = ("SAVEPOINT", "ROLLBACK", "RELEASE")
STUCK_S = 60.0


class Died(BaseException):
    """kill -9: nothing in the product may catch it."""


@dataclass(slots=True)
class Fate:
    """What was drawn for one piece of work. Counted down at every touch of the outside; 0: never.

    dies_in: then it is killed. cut_in: then its connection to the database is lost, at a statement or a COMMIT.
    """

    dies_in: int = 0
    cut_in: int = 0


@dataclass
class Worker:
    """One worker process. burst: how many points it may still pass before it gives the baton back."""

    crew: Crew
    number: int
    name: str = ""
    work: Callable[[], object] | None = None
    fate: Fate = field(default_factory=Fate)
    burst: int = 0
    wakes_s: float = 0.0
    is_dead: bool = False
    is_cut: bool = False
    is_own: bool = False
    committed: bool = False
    wrote: set[str] = field(default_factory=set)
    attempt: int = 0
    sessions: kept.Kept = field(init=False)
    _told_s: float = -1.0
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = self._no_sessions()
        self._thread = threading.Thread(target=self._run, name=f"worker-{self.number}", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return self.work is not None

    def forget_sessions(self) -> None:
        """Its connections to devices end with it."""
        self.sessions.close_idle(0)
        self.sessions = self._no_sessions()

    def _no_sessions(self) -> kept.Kept:
        return kept.Kept(lambda: self.crew.clock.now_s)

    def step(self, burst: int) -> None:
        """Called by the schedule: go on until `burst` points were passed or the work has ended."""
        self.burst = burst
        self.crew.current = self
        self._go.release()
        if not self.crew.back.acquire(timeout=STUCK_S):
            raise AssertionError(f"worker {self.number} does not give the baton back: {self.name}")
        self.crew.current = None

    def end(self) -> None:
        self.work = None
        self._go.release()
        self._thread.join()

    # --- in the worker's own thread ---------------------------------------------------------------

    def _run(self) -> None:
        connection.execute_wrappers.append(self._statement)
        self._hook()
        while True:
            self._go.acquire()
            if self.work is None:
                connection.close()
                return
            try:
                self.work()
            except Died:
                self.crew.shown["died"] += 1
            except BaseException as error:  # noqa: BLE001  the schedule judges it
                self.crew.on_error(self, error)
            self._clean()
            self.work = None
            self.crew.back.release()

    def _clean(self) -> None:
        """As a task's end does: a lost connection is not used again; a dead worker's is rolled back."""
        raw = connection.connection
        if self.is_cut or raw is not None and raw.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
        if self.is_dead or self.is_cut:
            self.forget_sessions()
        self.is_dead = self.is_cut = False
        self.fate = Fate()

    def touch(self, *, can_be_cut: bool = False) -> None:
        """Errors: Died, now or if it is dead already (its clean-up never happens); OperationalError."""
        if self.is_dead:
            raise Died
        fate = self.fate
        if fate.dies_in:
            fate.dies_in -= 1
            if not fate.dies_in:
                self.is_dead = True
                raise Died
        if fate.cut_in:
            fate.cut_in = max(1, fate.cut_in - 1)
            if fate.cut_in == 1 and can_be_cut:
                self._cut()

    def _cut(self) -> None:
        self.fate.cut_in = 0
        self.is_cut = True
        self.crew.shown["database lost"] += 1
        if connection.connection is not None:
            connection.connection.close()
        raise OperationalError("server closed the connection unexpectedly")

    def point(self, *, can_be_cut: bool = False) -> None:
        """Here another worker may go on."""
        if not self.is_dead:
            self.burst -= 1
            if self.burst <= 0:
                self._pass_baton()
        self.touch(can_be_cut=can_be_cut)

    def sleep(self, seconds: float) -> None:
        """The others go on meanwhile, and time passes."""
        assert not connection.in_atomic_block, "a transaction is open while the engine sleeps"
        self.touch()
        self.wakes_s = self.crew.clock.now_s + seconds
        self._pass_baton()
        self.touch()

    def _pass_baton(self) -> None:
        self.crew.back.release()
        self._go.acquire()

    def _tell(self) -> None:
        """The database's clock is set to the simulated one. Only outside a transaction: there it stands still."""
        now_s = self.crew.clock.now_s
        raw = connection.connection
        if raw is None or raw.closed or self._told_s == now_s:
            return
        self._told_s = now_s
        raw.execute(f"SET simulated.now = '{self.crew.clock.now().isoformat()}'")

    def _statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Django's wrapper of every statement."""
        if self.is_own:
            return execute(sql, params, many, context)
        if connection.in_atomic_block:
            if not sql.startswith(ROLLING_BACK):
                self.touch(can_be_cut=True)
                self._note(sql, params)
            return execute(sql, params, many, context)
        self.point(can_be_cut=True)
        self._tell()
        self._note(sql, params)
        return execute(sql, params, many, context)

    def _note(self, sql: str, params: Any) -> None:
        if sql.startswith('UPDATE "chains_'):
            self.wrote.add(sql.split('"', 2)[1])
        elif "INSERT INTO chains_lease" in sql:
            self.crew.holders[params["holder"]] = (self.number, self.attempt)

    def _hook(self) -> None:
        """Where a transaction begins and where it commits; what Django says there passes no wrapper."""
        set_autocommit, commit, connect = connection.set_autocommit, connection.commit, connection.connect

        def begin(autocommit: bool, **kwargs: Any) -> None:
            if not autocommit and not self.is_own:
                self.point()
                connection.ensure_connection()
                self._tell()
                self.wrote.clear()
            set_autocommit(autocommit, **kwargs)
            if autocommit and self.committed:
                self.committed = False
                with self.crew.own():
                    self.crew.on_commit(self.wrote)

        def committed() -> None:
            if not self.is_own:
                try:
                    self.touch(can_be_cut=True)
                except Died:
                    connection.connection.rollback()
                    raise
            commit()
            self.committed = True
            if not self.is_own:
                self.touch(can_be_cut=True)  # it is in the database; whoever asked for it is never told

        def connected() -> None:
            connect()
            self._told_s = -1.0
            connection.connection.execute(SEARCH)
            self._tell()

        connection.set_autocommit = begin
        connection.commit = committed
        connection.connect = connected


class _KeptOfCurrent:
    """Kept sessions belong to a process: each worker has its own."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __getattr__(self, name: str) -> Any:
        assert self._crew.current is not None
        return getattr(self._crew.current.sessions, name)


class Crew:
    """All workers. shown: faults that really hit. holders: of leases, by whom they were taken."""

    def __init__(self, workers: int = 3) -> None:
        self.clock = Clock()
        self.shown: Counter[str] = Counter()
        self.holders: dict[str, tuple[int, int]] = {}
        self.back = threading.Semaphore(0)
        self.current: Worker | None = None
        self.on_commit: Callable[[set[str]], None] = lambda tables: None
        self.on_error: Callable[[Worker, BaseException], None] = lambda worker, error: None
        self._attempts = 0
        self.workers = [Worker(self, number) for number in range(workers)]

    def begin(self, clock: Clock) -> None:
        """A new schedule: nobody remembers the last one."""
        assert not self.busy()
        self.clock, self.shown, self.holders, self._attempts = clock, Counter(), {}, 0
        clock.on_sleep = self._sleep
        for worker in self.workers:
            worker.wakes_s, worker._told_s = 0.0, -1.0

    def _sleep(self, seconds: float) -> None:
        assert self.current is not None, "nobody may sleep here"
        self.current.sleep(seconds)

    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.is_busy]

    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.is_busy]

    def give(self, worker: Worker, name: str, work: Callable[[], object], fate: Fate) -> None:
        """It begins with its next step."""
        self._attempts += 1
        worker.name, worker.work, worker.fate, worker.attempt = name, work, fate, self._attempts

    @contextmanager
    def own(self) -> Iterator[None]:
        """The simulator's own questions: nobody dies of them, nobody else goes on."""
        worker = self.current
        if worker is None:
            yield
            return
        before, worker.is_own = worker.is_own, True
        try:
            yield
        finally:
            worker.is_own = before

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While a schedule is played."""
        of_process, of_worker = kept.KEPT, _KeptOfCurrent(self)
        for module in (sessions, sweep):
            vars(module)["KEPT"] = of_worker
        try:
            yield
        finally:
            for worker in self.workers:
                worker.forget_sessions()
            for module in (sessions, sweep):
                vars(module)["KEPT"] = of_process

    def end(self) -> None:
        for worker in self.workers:
            worker.end()
