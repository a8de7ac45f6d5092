# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL for one benchmark run, with several databases in it that can be switched between.

DATABASE_URL is ignored on purpose: a benchmark never writes into a database that somebody uses.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dj_database_url

from orchestrator.services import postgres
from orchestrator.services.places import ServiceError, state_folder
from orchestrator.services.processes import ProcessGroup

_TEMPLATE = postgres.DATABASE


@contextmanager
def private() -> Iterator[None]:
    """Django is set up with an empty schema; at the end server and files are gone. One after the other only."""
    with state() as folder, _environment(VIADUCT_STATE=str(folder)):
        url = postgres.start_postgres(folder, is_fast=True, environ={})
        with _environment(DATABASE_URL=url):
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
            import django
            from django.core.management import call_command
            from django.db import connection

            django.setup()
            try:
                # The settings are read once a process: another benchmark may have read them for its own server.
                connection.settings_dict.update(dj_database_url.parse(url))
                call_command("migrate", interactive=False, verbosity=0)
                yield
            finally:
                connection.close()


def run(work: Callable[[], int]) -> int:
    """A command that works in such a database; what it answers is the exit status. SIGTERM ends it in good order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the private database is stopped
    try:
        with private():
            return work()
    except ServiceError as error:
        print(f"run: {error}", file=sys.stderr)
        return 1


@contextmanager
def state() -> Iterator[Path]:
    """A state folder of its own; at the end what runs in it is stopped, and it is gone."""
    state_folder().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=state_folder()))
    folder.chmod(0o755)  # as root the server runs as nobody, and must be able to reach its folder
    try:
        yield folder
    finally:
        ProcessGroup(folder).stop_all()
        postgres.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def switch(name: str) -> None:
    """All queries from now on go to the database `name`."""
    from django.db import connection

    connection.close()
    connection.settings_dict["NAME"] = name


def copy(name: str) -> None:
    """A new database `name` with all that the first one holds."""
    import psycopg
    from django.db import connection

    switch(_TEMPLATE)
    settings = connection.settings_dict
    with psycopg.connect(
        host=settings["HOST"], user=settings["USER"], dbname="postgres", autocommit=True
    ) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')


@contextmanager
def without(*names: str) -> Iterator[None]:
    """The environment without these variables."""
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


class Counter:
    """For `connection.execute_wrapper`: counts queries and keeps none, as some are large."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Callable[..., Any], *query: Any) -> Any:
        self.count += 1
        return execute(*query)
