# SPDX-License-Identifier: Apache-2.0
"""Simulated time: one number that the engine's Python and the database's functions both tell.

Moved by the schedule alone. In the database a schema before pg_catalog answers `now()`, `clock_timestamp()` and
`random()` from a setting of the connection; the workers set it before they ask (see `workers`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType

from django.db import connection
from django.utils import timezone

EPOCH = datetime(2030, 1, 7, tzinfo=UTC)  # a Monday
TOLD = ("chains.", "drivers.fake")
FUNCTIONS = """
CREATE SCHEMA IF NOT EXISTS simulated;
CREATE OR REPLACE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
  $$ SELECT current_setting('simulated.now')::timestamptz $$;
CREATE OR REPLACE FUNCTION simulated.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
  $$ SELECT current_setting('simulated.now')::timestamptz $$;
CREATE OR REPLACE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS
  $$ SELECT current_setting('simulated.now')::timestamptz $$;
CREATE OR REPLACE FUNCTION simulated.random() RETURNS double precision LANGUAGE sql IMMUTABLE AS
  $$ SELECT 0.5::double precision $$;
"""
SEARCH = "SET search_path = simulated, public, pg_catalog"


@dataclass
class Clock:
    """Stands in for the module `time`. on_sleep: who sleeps lets the others go on."""

    now_s: float = 0.0
    on_sleep: Callable[[float], None] = lambda seconds: None

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return EPOCH.timestamp() + self.now_s

    def sleep(self, seconds: float) -> None:
        self.on_sleep(seconds)

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now_s)


@contextmanager
def told_by(clock: Clock) -> Iterator[None]:
    """Whatever the product asks for the time, in Python, is answered by `clock`."""
    told: list[ModuleType] = [
        module
        for name, module in sys.modules.items()
        if name.startswith(TOLD) and vars(module).get("time") is time
    ]
    real_now = timezone.now
    for module in told:
        module.time = clock  # type: ignore[attr-defined]
    timezone.now = clock.now
    try:
        yield
    finally:
        timezone.now = real_now
        for module in told:
            module.time = time  # type: ignore[attr-defined]


def install_functions() -> None:
    """The database's part, once for a database."""
    with connection.cursor() as cursor:
        cursor.execute(FUNCTIONS)
