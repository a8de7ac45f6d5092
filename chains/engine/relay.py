# SPDX-License-Identifier: Apache-2.0
"""Carries bells from the outbox to the broker the moment their transaction commits (LISTEN/NOTIFY).

A convenience for latency: with the relay, the broker or both gone, every worker's sweep answers the bells.
Started by `manage.py relay`; several may run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import Error as DatabaseError
from django.db import connection, transaction
from kombu.exceptions import OperationalError as BrokerError

from chains.engine import claims
from chains.services import record

log = logging.getLogger(__name__)
Ring = Callable[[str, int], None]
BATCH = 100
LOOK_AGAIN_S = 5.0
PAUSE_S = 1.0


def carry_bells(ring: Ring) -> int:
    """Ring what is due and mark it, in one transaction: if the broker fails, nothing is marked. Errors: BrokerError."""
    total = 0
    while True:
        with transaction.atomic():
            due = claims.bells_claim(BATCH, 0.0)
            for topic, ref in due:
                ring(topic, ref)
        total += len(due)
        if len(due) < BATCH:
            return total


def run(ring: Ring, is_over: Callable[[], bool] = lambda: False) -> None:
    """Until `is_over`. Trouble with the database or the broker is waited out."""
    while not is_over():
        try:
            _listen(ring, is_over)
        except (DatabaseError, BrokerError) as error:
            log.warning("relay: %s; trying again", type(error).__name__)
            connection.close()
            time.sleep(PAUSE_S)


def _listen(ring: Ring, is_over: Callable[[], bool]) -> None:
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {record.CHANNEL}")
    while not is_over():
        carry_bells(ring)
        with connection.wrap_database_errors:
            # Returns at the first notification, or after a while: one that came in between is not missed.
            for _ in connection.connection.notifies(timeout=LOOK_AGAIN_S, stop_after=1):
                pass
