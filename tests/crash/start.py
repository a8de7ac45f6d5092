# SPDX-License-Identifier: Apache-2.0
"""One start that many deaths begin at: rows and devices, put back between two of them; and time that passes.

Time passes by moving every time that the rows and the devices hold into the past: leases, due times, timers and
whatever else is written down ends by that, whoever wrote it, and nobody sleeps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from django.apps import apps
from django.db import connection, transaction
from django.db.models import Field, Model

from drivers import fake
from drivers.state import DeviceState

COPY = "crash_start"
# Written for people, read by no worker.
LOGS = ("chains_changeevent", "chains_auditrow", "chains_devicewrite")
NUMBERED = "SELECT sequencename, last_value FROM pg_sequences WHERE sequencename LIKE 'chains_%'"


def tables() -> list[str]:
    return sorted(model._meta.db_table for model in _models())


def _models() -> list[type[Model]]:
    return list(apps.get_app_config("chains").get_models())


class Start:
    """Taken once the scenario stands; `again` brings it back, with everything as old as it was then."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._devices = files(store)
        self._taken_at = time.monotonic()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {COPY} CASCADE; CREATE SCHEMA {COPY}")
            for table in tables():
                cursor.execute(f"CREATE UNLOGGED TABLE {COPY}.{table} AS TABLE {table}")
        back = [f"DELETE FROM {table}; INSERT INTO {table} TABLE {COPY}.{table};" for table in tables()]
        with connection.cursor() as cursor:
            cursor.execute(NUMBERED)
            counters = [_set(name, last) for name, last in cursor.fetchall()]
        # Foreign keys hold in the copy as a whole; checked row by row the order of tables would matter.
        self._back = "SET LOCAL session_replication_role = replica;" + "".join((*back, *counters))

    def again(self) -> None:
        since_s = time.monotonic() - self._taken_at
        _Ahead.seconds = 0.0
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(self._back)
        for path in self._store.glob("*.json"):
            if path.name not in self._devices:
                path.unlink()
        for name, text in self._devices.items():
            (self._store / name).write_text(text)
        time_passes(-since_s)

    def drop(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {COPY} CASCADE")


class _Ahead:
    """How far the devices' clock is ahead of the wall clock."""

    seconds = 0.0


def files(store: Path) -> dict[str, str]:
    """Every device as it is, byte for byte."""
    return {path.name: path.read_text() for path in store.glob("*.json")}


def network(store: Path) -> Mapping[str, DeviceState]:
    """What the devices hold, asked at the devices; empty ones are left out."""
    found = {}
    for path in sorted(store.glob("*.json")):
        with fake.box(path.stem, str(store)) as box:
            if box.state:
                found[path.stem] = box.state
    return found


def devices_now(store: Path) -> str:
    """What all devices hold and what is pending there, but for when that ends."""
    parts = []
    for name, text in sorted(files(store).items()):
        held = json.loads(text)
        held.pop("history", None)
        if held.get("pending"):
            held["pending"].pop("deadline_s")
        parts.append(f"{name} {json.dumps(held)}")
    return "\n".join(parts)


def any_pending(store: Path) -> bool:
    """Does a device wait for a confirmation?"""
    return any(json.loads(text).get("pending") for text in files(store).values())


def time_passes(seconds: float) -> None:
    _Ahead.seconds += seconds
    fake.clock = lambda: time.time() + _Ahead.seconds
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica;" + _shift(seconds))


def rows_now(*, but: tuple[str, ...] = ()) -> str:
    """All rows, but for what differs between two equal worlds: when it was, how processes name themselves.

    but: tables to leave out.
    """
    parts = []
    for model in _models():
        if model._meta.db_table in but:
            continue
        columns = ", ".join(_shown(field) for field in model._meta.concrete_fields)
        table = model._meta.db_table
        parts.append(f"SELECT '{table}', string_agg(concat_ws('|', {columns}), E'\\n' ORDER BY id) FROM {table}")
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts))
        return "\n".join(f"{table}\n{text}" for table, text in cursor.fetchall() if text)


def _set(sequence: str, last: int | None) -> str:
    """Equal worlds have equal numbers."""
    return f"SELECT setval('{sequence}', {last or 1}, {last is not None});"


def _shown(field: Field) -> str:  # type: ignore[type-arg]
    if field.get_internal_type() == "DateTimeField":
        return f'"{field.column}" IS NULL'
    if field.get_internal_type() == "BinaryField":
        return f'length("{field.column}")'
    if field.column in ("holder", "request_id", "label"):
        return f"{field.column} = ''"
    return "''" if field.column == "epoch" else f'"{field.column}"'


def _shift(seconds: float) -> str:
    """Rows with no time in them are left as they are."""
    parts = []
    for model in _models():
        columns = [
            field.column for field in model._meta.concrete_fields if field.get_internal_type() == "DateTimeField"
        ]
        if columns:
            moved = ", ".join(f"{column} = {column} - interval '{seconds} s'" for column in columns)
            parts.append(f"UPDATE {model._meta.db_table} SET {moved};")
    return "".join(parts)
