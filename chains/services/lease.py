# SPDX-License-Identifier: Apache-2.0
"""One writer per device: lease rows with epochs, judged by the database's clock alone.

Called by the engine through `services.record`, outside any transaction of its own. Every function is one
statement whose outcome PostgreSQL decides; `clock_timestamp()` and not `now()`, which stands still while a
statement waits for a lock. A holder names one attempt (unique), so a restarted worker is somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from django.db import connection, transaction

TAKE = """
INSERT INTO chains_lease (device_id, holder, epoch, expires_at)
SELECT wanted, %(holder)s, 1, clock_timestamp() + make_interval(secs => %(ttl)s)
  FROM unnest(%(devices)s::bigint[]) AS wanted ORDER BY wanted
ON CONFLICT (device_id) DO UPDATE
   SET holder = EXCLUDED.holder, epoch = chains_lease.epoch + 1,
       expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
 WHERE chains_lease.expires_at IS NULL OR chains_lease.expires_at <= clock_timestamp()
RETURNING device_id, epoch
"""
# Rows are locked in one order, as TAKE does: two attempts with devices in common would dead-lock otherwise.
OURS = """
WITH ours AS (
  SELECT lease.device_id FROM chains_lease AS lease
    JOIN unnest(%(devices)s::bigint[], %(epochs)s::bigint[]) AS held (device_id, epoch)
      ON lease.device_id = held.device_id AND lease.epoch = held.epoch AND lease.holder = %(holder)s
   ORDER BY lease.device_id FOR UPDATE OF lease
)
UPDATE chains_lease AS lease SET expires_at = {expires_at} FROM ours WHERE lease.device_id = ours.device_id
"""
RENEW = f"""
{OURS.format(expires_at="clock_timestamp() + make_interval(secs => %(ttl)s)")}
   AND lease.expires_at > clock_timestamp()
"""
RELEASE = OURS.format(expires_at="NULL")


class _Busy(Exception):
    """Rolls back a partly taken set."""


def lease_take(devices: Iterable[int], holder: str, ttl_s: float) -> dict[int, int] | None:
    """All of the devices or none: epoch by device id, or None if another holds one of them."""
    wanted = sorted(set(devices))
    if not wanted:
        return {}
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(TAKE, {"devices": wanted, "holder": holder, "ttl": ttl_s})
            taken = dict(cursor.fetchall())
            if len(taken) < len(wanted):
                raise _Busy
            return taken
    except _Busy:
        return None


def lease_renew(epochs: Mapping[int, int], holder: str, ttl_s: float) -> bool:
    """Prolong all; False if one of them ended or was taken over: then nothing was prolonged, stop at once."""
    if not epochs:
        return True
    try:
        with transaction.atomic():
            if _execute(RENEW, epochs, holder, ttl_s) < len(epochs):
                raise _Busy
    except _Busy:
        return False
    return True


@contextmanager
def fenced(check: Callable[[], object]) -> Iterator[None]:
    """One transaction, in which the leases are proved to be held and nobody can take them over until it has ended.

    check: renews them, and raises if they were lost. What a change says of itself is written so: between a question
    and a write of its own another worker could take over.
    """
    with transaction.atomic():
        check()
        yield


def lease_release(epochs: Mapping[int, int], holder: str) -> None:
    """Give back what is still ours. The epoch stays, so that the next holder's is higher."""
    if epochs:
        _execute(RELEASE, epochs, holder)


def _execute(statement: str, epochs: Mapping[int, int], holder: str, ttl_s: float = 0.0) -> int:
    devices = sorted(epochs)
    values = {
        "devices": devices,
        "epochs": [epochs[device] for device in devices],
        "holder": holder,
        "ttl": ttl_s,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount
