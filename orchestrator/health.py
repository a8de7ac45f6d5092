# SPDX-License-Identifier: Apache-2.0
"""Two questions of a load balancer: is this process alive, may it get traffic. No login, no detail.

The broker is not asked: no request needs it.
"""

from __future__ import annotations

import logging

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache

from orchestrator.errors import problem

logger = logging.getLogger(__name__)


@never_cache
def live(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return JsonResponse({"status": "ok"})


@never_cache
def ready(request: HttpRequest) -> HttpResponse:
    """The database answers and its schema is this program's."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        logger.warning("not ready: the database does not answer", exc_info=True)
        return problem(503, "database-unavailable", "The database does not answer.")
    if missing:
        detail = f"{len(missing)} migrations are not applied. Fix: manage.py migrate"
        return problem(503, "migrations-missing", detail)
    return JsonResponse({"status": "ok"})
