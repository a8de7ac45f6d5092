# SPDX-License-Identifier: Apache-2.0
"""One change: how far it got, step by step, and its log. The progress part is fetched anew while it runs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from chains import selectors
from chains.services.actor import Actor
from frontend.access import page, show

ENDED = frozenset({"succeeded", "reverted", "failed"})
LOG_LINES = 1000


@page
def change(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    return show(request, actor, "change", state_of(selectors.change_get(actor, id)))


@page
def progress(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    return show(request, actor, "parts/change_progress", state_of(selectors.change_get(actor, id)))


def state_of(row: Any) -> dict[str, Any]:
    steps = list(row.steps.all())
    return {
        "change": row,
        "steps": steps,
        "done": sum(step.status == "done" for step in steps),
        "events": list(selectors.events_after(row, 0)[:LOG_LINES]),
        "is_live": row.status not in ENDED,
    }
