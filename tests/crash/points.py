# SPDX-License-Identifier: Apache-2.0
"""Labelled points before and after every I/O of one process: device calls, and writes that PostgreSQL keeps.

Installed in a child process that is about to work; at the point that it is told the child sends itself SIGKILL.
A kill inside a transaction leaves the same world as one before its COMMIT: so the points of a transaction are
those around its COMMIT. Nothing here knows what the engine does.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from django.db import connection

from drivers import registry
from drivers.base import Driver, Observation, Rejected, Session, Target

# What leaves no trace in the database: not a write.
READS = re.compile(r"\s*(SELECT|SAVEPOINT|RELEASE|ROLLBACK|SET|SHOW|LISTEN|NOTIFY|DECLARE|FETCH|CLOSE)\b", re.I)
TABLE = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)", re.I)


@dataclass
class Points:
    """log: a file that gets one line a point, so that whoever outlives this process knows how far it came.

    kill_at: the point (1 is the first) at which this process dies; 0: it lives. refuses: bytes that a device
    turns down.
    """

    log: Path
    kill_at: int = 0
    refuses: frozenset[str] = frozenset()
    passed: int = 0
    _written: list[str] = field(default_factory=list)

    def at(self, label: str) -> None:
        self.passed += 1
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{label}\n")
        if self.passed == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, what: str, work: Callable[[], Any]) -> Any:
        """An error is an answer: the point after it is there as well."""
        self.at(f"before {what}")
        try:
            return work()
        finally:
            self.at(f"after {what}")

    def statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Every statement of Django's connection (`execute_wrapper`)."""
        if READS.match(sql) and "pg_notify" not in sql:
            return execute(sql, params, many, context)
        found = TABLE.search(sql)
        what = found[1].removeprefix("chains_") if found else sql.split()[0]
        if connection.in_atomic_block:
            self._written.append(what)
            return execute(sql, params, many, context)
        return self.around(f"write of {what}", lambda: execute(sql, params, many, context))

    def committed(self, commit: Callable[[], None]) -> None:
        written, self._written = list(dict.fromkeys(self._written)), []
        if written:
            self.around(f"commit of {', '.join(written)}", commit)
        else:
            commit()

    def rolled_back(self, rollback: Callable[[], None]) -> None:
        self._written = []
        rollback()


@dataclass(frozen=True, slots=True)
class PointedSession:
    """Every call of a session, labelled."""

    inner: Any
    device: str
    points: Points

    def read(self) -> Observation:
        observation: Observation = self._call("read", self.inner.read)
        return observation

    def validate(self, native: str) -> None:
        self._call("validate", lambda: self.inner.validate(native))

    def push(self, native: str) -> None:
        self._call("push", lambda: self._take(native, self.inner.push))

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        self._call("commit", lambda: self._take(native, self.inner.commit, label, revert_in_s))

    def confirm(self, label: str) -> None:
        self._call("confirm", lambda: self.inner.confirm(label))

    def cancel(self, label: str) -> None:
        self._call("cancel", lambda: self.inner.cancel(label))

    def _call(self, what: str, work: Callable[[], Any]) -> Any:
        return self.points.around(f"{what} {self.device}", work)

    def _take(self, native: str, take: Callable[..., None], *rest: object) -> None:
        if native in self.points.refuses:
            raise Rejected(f"{self.device}: % Table full")
        take(native, *rest)


def _pointed(driver: Driver, points: Points) -> Driver:
    @contextmanager
    def open_session(target: Target, timeout_s: float) -> Iterator[Session]:
        manager = driver.open(target, timeout_s)
        inner = points.around(f"open {target.name}", manager.__enter__)
        try:
            yield PointedSession(inner, target.name, points)
        finally:
            manager.__exit__(None, None, None)

    return replace(driver, open=open_session)


@contextmanager
def installed(points: Points) -> Iterator[None]:
    """Every session and every statement of this process's first thread passes the points."""
    drivers, commit, rollback = registry.DRIVERS, connection._commit, connection._rollback
    registry.DRIVERS = MappingProxyType({name: _pointed(driver, points) for name, driver in drivers.items()})
    connection._commit = lambda: points.committed(commit)
    connection._rollback = lambda: points.rolled_back(rollback)
    try:
        with connection.execute_wrapper(points.statement):
            yield
    finally:
        registry.DRIVERS = drivers
        del connection._commit, connection._rollback
