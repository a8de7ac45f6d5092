# SPDX-License-Identifier: Apache-2.0
"""`?dry_run=true`: a write is judged and answered as always, and then nothing of it is kept.

Called by `manners.views` for every write. That is all a write does here: rows; what devices hold follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http.response import HttpResponseBase

from chains.api.manners.lists import Filter
from chains.api.manners.moment import in_transaction

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
DRY_RUN = Filter("dry_run", kind="flag", description="Answer as if it were done, and do nothing.")
Handler = Callable[..., HttpResponseBase]


def trial(handler: Handler, *, is_one_moment: bool = False) -> Handler:
    """The handler, with everything it wrote taken back. Errors: the handler's own, as when it is meant.

    Addresses and tags of what is not there are left out of the reply; so is what only waits for a commit.
    """

    def run(request: Any, *names: Any, **values: Any) -> HttpResponseBase:
        def judged() -> HttpResponseBase:
            response = handler(request, *names, **values)
            transaction.set_rollback(True)
            return response

        response = in_transaction(judged, is_one_moment=is_one_moment)
        for name in ("Location", "ETag"):
            response.headers.pop(name, None)
        return response

    return run
