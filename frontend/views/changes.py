# SPDX-License-Identifier: Apache-2.0
"""One change: how far it got, step by step, and its log. The progress part is fetched anew while it runs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from chains import selectors
from chains.engine.planner import plan_chain
from chains.services import again
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


@require_POST
@page
def change_retry(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    again.change_retry(actor=actor, change=selectors.change_get(actor, id))
    messages.success(request, "It is tried again now.")
    return redirect("ui:change", id=id)


@require_POST
@page
def change_undo(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    force = request.POST.get("force") == "on"
    chain = again.change_undo(actor=actor, change=selectors.change_get(actor, id), force=force)
    plan = plan_chain(chain, actor.name)
    return redirect("ui:plan", id=plan.pk)


def state_of(row: Any) -> dict[str, Any]:
    steps = list(row.steps.all())
    return {
        "change": row,
        "steps": steps,
        "done": sum(step.status == "done" for step in steps),
        "events": list(selectors.events_after(row, 0)[:LOG_LINES]),
        "is_live": row.status not in ENDED,
        "is_parked": row.status == "failed",
        "can_retry": again.can_retry(row),
        "can_undo": again.can_undo(row),
    }
