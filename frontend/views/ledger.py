# SPDX-License-Identifier: Apache-2.0
"""What was found and who did what."""

from __future__ import annotations

from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from chains import selectors
from chains.services.actor import Actor
from frontend.access import narrowed, page, parameter, show
from frontend.paging import older

SEVERITIES = ("critical", "warning", "info")


@page
def finding_list(request: HttpRequest, actor: Actor) -> HttpResponse:
    rows = narrowed(request, actor, selectors.finding_list(actor), "chain__tenant__name")
    state, severity = parameter(request, "state", "open"), parameter(request, "severity")
    if state != "all":
        rows = rows.filter(closed_at__isnull=state != "closed")
    if severity in SEVERITIES:
        rows = rows.filter(severity=severity)
    context = {"state": state, "severity": severity, "severities": SEVERITIES}
    return show(request, actor, "finding_list", context | older(request, rows))


@page
def audit_list(request: HttpRequest, actor: Actor) -> HttpResponse:
    rows = narrowed(request, actor, selectors.audit_list(actor), "tenant__name")
    q = parameter(request, "q")
    if q:
        rows = rows.filter(
            Q(actor__icontains=q) | Q(action__icontains=q) | Q(subject__icontains=q) | Q(request_id=q)
        )
    return show(request, actor, "audit_list", {"q": q} | older(request, rows))
