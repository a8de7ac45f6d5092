# SPDX-License-Identifier: Apache-2.0
"""Chains: the list, one chain with its path, and the buttons plan and delete."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from chains import selectors
from chains.engine.planner import plan_chain
from chains.engine.why import chain_why as why_now
from chains.services import intent
from chains.services.actor import Actor, require_editor
from frontend import chain_page, why
from frontend.access import narrowed, page, parameter, show
from frontend.paging import page_of

STATUSES = ("draft", "pending", "applying", "ready", "degraded", "error", "unknown")


@page
def chain_list(request: HttpRequest, actor: Actor) -> HttpResponse:
    rows = narrowed(request, actor, selectors.chain_list(actor), "tenant__name")
    total = rows.count()
    q, status = parameter(request, "q"), parameter(request, "status")
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(description__icontains=q))
    if status in STATUSES:
        rows = rows.filter(status_now=status)
    context = {"q": q, "status": status, "statuses": STATUSES, "total": total}
    return show(request, actor, "chain_list", context | page_of(request, rows))


@page
def chain(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    row = selectors.chain_get(actor, id)
    return show(request, actor, "chain", chain_page.whole(actor, row))


@page
def chain_live(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    """What moves on the chain's page: status, counters, changes under way. Fetched every few seconds."""
    row = selectors.chain_get(actor, id)
    return show(request, actor, "parts/chain_live", chain_page.moving(actor, row))


@page
def chain_why(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    """Why it would run where it would as things are now, and what would change that."""
    row = selectors.chain_get(actor, id)
    found = why_now(row)
    placement = found["placement"] or {}
    context = {
        "chain": row,
        "why": found,
        "reasons": why.reasons(placement),
        "flips": [(hop["position"], hop["function"], hop["flips"]) for hop in found["hops"]],
        "cost": placement.get("cost"),
        "cost_terms": why.terms_of(placement.get("cost_terms") or {}),
    }
    return show(request, actor, "chain_why", context)


@require_POST
@page
def chain_plan(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    row = selectors.chain_get(actor, id)
    require_editor(actor, row.tenant_id)
    plan = plan_chain(row, actor.name)
    return redirect("ui:plan", id=plan.pk)


@require_POST
@page
def chain_delete(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    row = selectors.chain_get(actor, id)
    change = intent.chain_delete(actor=actor, chain=row)
    if change is not None:
        return redirect("ui:change", id=change.pk)
    messages.success(request, f"Chain {row.name} is being deleted: its items leave every device first.")
    return redirect("ui:chain-list")
