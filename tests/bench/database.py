# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL for one benchmark run, with several databases in it that can be switched between.

DATABASE_URL is ignored on purpose: a benchmark never writes into a database that somebody uses.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.services import postgres
from orchestrator.services.places import state_folder
from orchestrator.services.processes import ProcessGroup

_TEMPLATE = postgres.DATABASE


@contextmanager
def private() -> Iterator[None]:
    """Django is set up with an empty schema; at the end server and files are gone."""
    state_folder().mkdir(parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix="bench-", dir=state_folder()))
    state.chmod(0o755)  # as root the server runs as nobody, and must be able to reach its folder
    try:
        os.environ["VIADUCT_STATE"] = str(state)
        os.environ["DATABASE_URL"] = postgres.start_postgres(state, is_fast=True, environ={})
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
        yield
    finally:
        _close()
        ProcessGroup(state).stop_all()
        postgres.remove(state)
        shutil.rmtree(state, ignore_errors=True)


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


def _close() -> None:
    from django.core.exceptions import ImproperlyConfigured

    try:
        from django.db import connections

        connections.close_all()
    except ImproperlyConfigured:
        return  # the server did not start, so Django was not set up
