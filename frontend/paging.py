# SPDX-License-Identifier: Apache-2.0
"""Pages of a list: numbered for what is filtered, by key for logs that only grow. Two queries, whatever the size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

SIZE = 50


def page_of(request: HttpRequest, rows: QuerySet[Any] | Sequence[Any]) -> dict[str, Any]:
    """{"rows": Page, "query": the other parameters, to be carried along}. A page that is not there is the last."""
    page = Paginator(rows, SIZE).get_page(request.GET.get("page"))
    return {"rows": page, "query": others(request, "page")}


def older(request: HttpRequest, rows: QuerySet[Any]) -> dict[str, Any]:
    """Newest first; `?before=ID` continues. {"rows": list, "next_before": id or None, "query": ...}."""
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    found = list(rows.order_by("-pk")[: SIZE + 1])
    last = found[SIZE - 1].pk if len(found) > SIZE else None
    return {"rows": found[:SIZE], "next_before": last, "query": others(request, "before")}


def others(request: HttpRequest, name: str) -> str:
    """The query string without one parameter, ready to be continued: "" or "q=web&"."""
    query = request.GET.copy()
    query.pop(name, None)
    return f"{query.urlencode()}&" if query else ""
