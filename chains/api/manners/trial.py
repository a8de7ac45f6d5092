# SPDX-License-Identifier: Apache-2.0
"""`?dry_run=true`: a write is judged and answered as always, and then nothing of it is kept.

Called by `manners.views` for every write. That is all a write does here: rows; what devices hold follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection, transaction
from django.http.response import HttpResponseBase

from chains.api.manners.lists import Filter

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
DRY_RUN = Filter("dry_run", kind="flag", description="Answer as if it were done, and do nothing.")
Handler = Callable[..., HttpResponseBase]


def trial(handler: Handler, *, is_one_moment: bool = False) -> Handler:
    """The handler, with everything it wrote taken back. Errors: the handler's own, as when it is meant.

    Addresses and tags of what is not there are left out of the reply; so is what only waits for a commit.
    """

    def run(request: Any, *names: Any, **values: Any) -> HttpResponseBase:
        is_outermost = not connection.in_atomic_block
        with transaction.atomic():
            if is_one_moment and is_outermost:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            response = handler(request, *names, **values)
            transaction.set_rollback(True)
        for name in ("Location", "ETag"):
            response.headers.pop(name, None)
        return response

    return run
