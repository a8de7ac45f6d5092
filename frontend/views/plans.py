# SPDX-License-Identifier: Apache-2.0
"""One plan: what would be done to which device, why, and what was shown; and the button that applies it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from chains import selectors
from chains.services import intent
from chains.services.actor import Actor
from frontend import chain_page, native, why
from frontend.access import page, show


@page
def plan(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    row = selectors.plan_get(actor, id)
    steps = [_step(step) for step in row.steps.all()]
    change = getattr(row, "change", None)
    chain = selectors.chain_get(actor, row.chain_id) if row.chain_id else None
    context = {
        "plan": row,
        "change": change,
        "can_apply": row.status == "ready" and change is None,
        "steps": steps,
        "drawings": chain_page.drawings(actor, row, chain, {}) if chain else [],
        "paths": row.path.get("paths", []),
        "devices": sorted(row.summary.get("devices", {}).items()),
        "tier_a": _of_tier(row, "A"),
        "tier_b": _of_tier(row, "B"),
        "is_empty": not any(step["native"] for step in steps),
        "reasons": why.reasons(row.placement),
        "cost_terms": why.terms_of(row.placement.get("cost_terms") or {}),
        "violations": row.proof.get("violations") or [],
        "claims": row.proof.get("claims") or [],
    }
    return show(request, actor, "plan", context)


@require_POST
@page
def plan_apply(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    row = selectors.plan_get(actor, id)
    change = intent.change_create(actor=actor, plan=row, request_id=actor.request_id)
    return redirect("ui:change", id=change.pk)


def _step(step: Any) -> dict[str, Any]:
    forward, reverse = native.lines(step.native), native.lines(step.reverse)
    return {
        "wave": step.wave,
        "phase": step.phase,
        "device": step.device.name if step.device else "",
        "native": forward,
        "reverse": reverse,
        "totals": native.totals(forward),
    }


def _of_tier(row: Any, tier: str) -> list[str]:
    return sorted(name for name, found in row.summary.get("tiers", {}).items() if found == tier)
