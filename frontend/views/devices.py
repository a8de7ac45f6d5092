# SPDX-License-Identifier: Apache-2.0
"""Devices: the list, and one device with what it should hold against what it was read to hold. Operators only."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from chains import selectors
from chains.errors import NotFound
from chains.services.actor import Actor
from frontend.access import operators, parameter, show
from frontend.items import rows_of
from frontend.paging import page_of

CONDITIONS = ("in_sync", "drifted", "unreachable", "unknown", "left_alone")
KINDS = ("switch", "appliance", "host", "external")


@operators
def device_list(request: HttpRequest, actor: Actor) -> HttpResponse:
    rows = selectors.device_list(actor)
    total = rows.count()
    q, condition, kind = (parameter(request, name) for name in ("q", "condition", "kind"))
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(management__icontains=q))
    if condition == "unknown":
        rows = rows.filter(Q(status=None) | Q(status__condition=condition))
    elif condition == "left_alone":
        rows = rows.exclude(status__closed_until=None)
    elif condition in CONDITIONS:
        rows = rows.filter(status__condition=condition)
    if kind in KINDS:
        rows = rows.filter(kind=kind)
    context = {"q": q, "condition": condition, "kind": kind, "total": total}
    context |= {"conditions": CONDITIONS, "kinds": KINDS}
    return show(request, actor, "device_list", context | page_of(request, rows))


@operators
def device(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    row = None if "\0" in name else selectors.device_list(actor).filter(name=name).first()
    if row is None:
        raise NotFound(f"There is no device {name}.")
    view = selectors.device_view(actor, row.pk)
    items = rows_of(view.items, is_read=view.is_read)
    context = {
        "device": view.device,
        "status": view.status,
        "items": items,
        "states": sorted(Counter(item.state for item in items).items()),
        "ports": _ports(view.device, view.status.links_up if view.status else {}),
        "offers": view.device.offers.select_related("function", "instance"),
        "findings": selectors.finding_list(actor).filter(device=row, closed_at=None),
    }
    template = "parts/device_now" if request.htmx else "device"
    return show(request, actor, template, context | page_of(request, items))


def _ports(device: Any, links_up: dict[str, bool]) -> list[dict[str, Any]]:
    """Every port with its link's state as last read: up, down or unknown."""
    words = {True: "up", False: "down", None: "unknown"}
    return [{"port": port, "link": words[links_up.get(port.name)]} for port in device.ports.all()]
