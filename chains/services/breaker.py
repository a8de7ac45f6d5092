# SPDX-License-Identifier: Apache-2.0
"""A circuit breaker for each device: how often it failed in a row, and until when it is left alone.

Called by the engine through `services.record`. On the database's clock, each device with a random share of its own,
so that devices that fail together are not asked again together.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection

from chains.services.statuses import statuses_open

# Between half of the period and one and a half.
OPEN_UNTIL = "clock_timestamp() + make_interval(secs => %(open_s)s * (0.5 + random()))"
# More than `most` cannot be told from more than that: the column stays in its range.
FAILED = f"""
WITH failed AS (
  SELECT id, LEAST(failures + %(more)s, 1000) AS failures, {OPEN_UNTIL} AS until
    FROM chains_devicestatus WHERE device_id = ANY(%(devices)s) ORDER BY id FOR UPDATE
)
UPDATE chains_devicestatus AS row
   SET failures = failed.failures,
       closed_until = CASE WHEN failed.failures >= %(most)s THEN failed.until ELSE row.closed_until END,
       due_at = CASE WHEN failed.failures >= %(most)s THEN failed.until ELSE row.due_at END
  FROM failed WHERE row.id = failed.id
"""


ANSWERED = """
WITH answered AS (
  SELECT id, closed_until FROM chains_devicestatus
   WHERE device_id = ANY(%(devices)s) AND (failures > 0 OR closed_until IS NOT NULL) ORDER BY id FOR UPDATE
)
UPDATE chains_devicestatus AS row SET failures = 0, closed_until = NULL
  FROM answered WHERE row.id = answered.id RETURNING answered.closed_until IS NOT NULL
"""


def reading_begins(device_ids: Collection[int], most: int, open_s: float) -> None:
    """Counted before it is made: a reading that no worker survives counts as a failure. An answer takes it back.

    The one that would be the last failure opens the breaker at once: nobody else tries meanwhile.
    """
    _failed(device_ids, most, open_s, more=1)


def device_failed(device_ids: Collection[int], most: int, open_s: float, *, was_counted: bool) -> None:
    """They did not answer. After `most` failures in a row the breaker opens (again) for about `open_s`.

    was_counted: by `reading_begins`.
    """
    _failed(device_ids, most, open_s, more=0 if was_counted else 1)


def device_answered(device_ids: Collection[int]) -> bool:
    """The breaker is closed. True if one was open."""
    with connection.cursor() as cursor:
        cursor.execute(ANSWERED, {"devices": sorted(device_ids)})
        return any(was_open for (was_open,) in cursor.fetchall())


def _failed(device_ids: Collection[int], most: int, open_s: float, *, more: int) -> None:
    if not device_ids:
        return
    statuses_open(device_ids)
    values = {"devices": sorted(device_ids), "most": most, "open_s": open_s, "more": more}
    with connection.cursor() as cursor:
        cursor.execute(FAILED, values)
