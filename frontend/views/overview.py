# SPDX-License-Identifier: Apache-2.0
"""What needs me now: open findings, changes under way, chains and devices that are not as they should be."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse

from chains import selectors
from chains.services.actor import Actor
from frontend.access import narrowed, page, show

SHOWN = 8
UNDER_WAY = ("pending", "running", "reverting")
TROUBLED_CHAINS = ("degraded", "error", "unknown")
TROUBLED_DEVICES = ("drifted", "unreachable")


@page
def overview(request: HttpRequest, actor: Actor) -> HttpResponse:
    chains = narrowed(request, actor, selectors.chain_list(actor), "tenant__name")
    changes = narrowed(request, actor, selectors.change_list(actor), "plan__tenant__name")
    findings = narrowed(request, actor, selectors.finding_list(actor), "chain__tenant__name").filter(closed_at=None)
    by_status = _counts(chains, "status")
    context: dict[str, Any] = {
        "chain_total": sum(by_status.values()),
        "ready": by_status.get("ready", 0),
        "troubled": sum(by_status.get(status, 0) for status in TROUBLED_CHAINS),
        "waiting": sum(by_status.get(status, 0) for status in ("draft", "pending", "applying")),
        "finding_total": findings.count(),
        "findings": findings[:SHOWN],
        "running": changes.filter(status__in=UNDER_WAY)[:SHOWN],
        "parked": _parked(changes)[:SHOWN],
        "recent": changes.exclude(status__in=UNDER_WAY)[:SHOWN],
        "troubled_chains": chains.filter(status__in=TROUBLED_CHAINS).prefetch_related(None)[:SHOWN],
    }
    if actor.is_operator:
        devices = selectors.device_list(actor)
        context |= {
            "device_counts": _counts(devices, "status__condition"),
            "troubled_devices": devices.filter(status__condition__in=TROUBLED_DEVICES)[:SHOWN],
        }
    name = "parts/overview_now" if request.htmx else "overview"
    return show(request, actor, name, context)


def _parked(changes: QuerySet[Any]) -> QuerySet[Any]:
    """Those that a person has to retry: not the ones that a later change has overtaken."""
    return changes.filter(status="failed", plan__findings__code="change-parked", plan__findings__closed_at=None)


def _counts(rows: QuerySet[Any], field: str) -> dict[str, int]:
    """How many rows have each value, in one query."""
    return dict(rows.order_by().values_list(field).annotate(Count("pk")))
