# SPDX-License-Identifier: Apache-2.0
"""One transaction for a write, if need be with reads as if at one moment; then again if another write got in between.

Called by `manners.once` and `manners.trial`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, connection, transaction

# PostgreSQL 15, appendix A: another transaction changed what this one had read.
SERIALIZATION_FAILURE = "40001"
TRIES = 10
T = TypeVar("T")


def in_transaction(work: Callable[[], T], *, is_one_moment: bool) -> T:
    """What `work` gives. It is called again after such a failure: nothing of the first time is left then.

    Errors: the work's own; OperationalError if others get in between TRIES times.
    """
    is_alone = is_one_moment and not connection.in_atomic_block
    for left in reversed(range(TRIES if is_alone else 1)):
        try:
            with transaction.atomic():
                if is_alone:
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                return work()
        except OperationalError as error:
            if not left or getattr(error.__cause__, "sqlstate", "") != SERIALIZATION_FAILURE:
                raise
    raise AssertionError("the last try gives or raises")
