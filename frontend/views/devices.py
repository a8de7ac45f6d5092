# SPDX-License-Identifier: Apache-2.0
"""Devices: the list, and one device with what it should hold against what it was read to hold. Operators only."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from chains import selectors
from chains.engine import orders
from chains.engine.limits import limits
from chains.errors import Conflict, NotFound
from chains.models import Device
from chains.services import logins, saving
from chains.services.actor import Actor
from frontend.access import operators, parameter, show
from frontend.items import rows_of
from frontend.paging import page_of

CONDITIONS = ("in_sync", "drifted", "unreachable", "unknown", "left_alone")
SHOWN_REASONS = 5
POLICIES = {"enforce": "is set right", "report": "is left, and said", "adopt": "is taken over where the proof allows"}
ORDERED = {
    "adopt": "Ordered: what the device holds is adopted by the chains as soon as it was read again.",
    "enforce": "Ordered: the device is made as wanted as soon as it was read again.",
}
KINDS = ("switch", "appliance", "host", "external")


@operators
def device_list(request: HttpRequest, actor: Actor) -> HttpResponse:
    rows = selectors.device_list(actor)
    total = rows.count()
    q, condition, kind = (parameter(request, name) for name in ("q", "condition", "kind"))
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(management__icontains=q))
    if condition == "left_alone":
        rows = rows.exclude(status__closed_until=None)
    elif condition in CONDITIONS:
        rows = rows.filter(condition_now=condition)
    if kind in KINDS:
        rows = rows.filter(kind=kind)
    context = {"q": q, "condition": condition, "kind": kind, "total": total}
    context |= {"conditions": CONDITIONS, "kinds": KINDS}
    return show(request, actor, "device_list", context | page_of(request, rows))


@operators
def device(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    row = _named(actor, name)
    view = selectors.device_view(actor, row.pk)
    findings = list(selectors.finding_list(actor).filter(device=row, closed_at=None))
    items = rows_of(view.items, is_read=view.is_read)
    context = {
        "device": view.device,
        "status": view.status,
        "items": items,
        "states": sorted(Counter(item.state for item in items).items()),
        "ports": _ports(view.device, view.status.links_up if view.status else {}),
        "offers": view.device.offers.select_related("function", "instance"),
        "findings": findings,
        "drift": next((finding for finding in findings if finding.code == "drift"), None),
        "unsaved": next((finding for finding in findings if finding.code == "not-saved"), None),
        "policy": view.device.drift or limits().drift,
        "policy_words": POLICIES,
        **_login(view.device),
    }
    template = "parts/device_now" if request.htmx else "device"
    return show(request, actor, template, context | page_of(request, items))


@require_POST
@operators
def device_order(request: HttpRequest, actor: Actor, name: str, what: str) -> HttpResponse:
    """Adopt or enforce, once; the answer is on the device's page."""
    row = _named(actor, name)
    try:
        orders.order(actor=actor, device=row, what=what)
    except Conflict as problem:
        messages.error(request, problem.detail)
        for error in problem.errors[1:SHOWN_REASONS]:
            messages.error(request, error.detail)
    else:
        messages.success(request, ORDERED[what])
    return redirect("ui:device", name=row.name)


@require_POST
@operators
def device_save(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """Ours into what the device starts with, once; the answer is on the device's page."""
    row = _named(actor, name)
    try:
        saving.save_order(actor=actor, device=row)
    except Conflict as problem:
        messages.error(request, problem.detail)
    else:
        messages.success(request, "Ordered: ours is saved as soon as the device was read again.")
    return redirect("ui:device", name=row.name)


@operators
def device_login(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """The panel alone, while somebody waits for it."""
    row = selectors.device_get(actor, _named(actor, name).pk)
    return show(request, actor, "parts/device_login", {"device": row, **_login(row)})


@require_POST
@operators
def device_test_login(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """A worker does it; the panel on the device's page tells what came of it."""
    try:
        logins.login_ask(actor=actor, device=_named(actor, name))
    except Conflict as problem:
        messages.error(request, problem.detail)
    return redirect(f"{reverse('ui:device', args=[name])}#h-login")


def _named(actor: Actor, name: str) -> Device:
    """Errors: NotFound."""
    row = None if "\0" in name else selectors.device_list(actor).filter(name=name).first()
    if row is None:
        raise NotFound(f"There is no device {name}.")
    return row


def _login(row: Device) -> dict[str, Any]:
    caps = selectors.caps_of(row)
    return {
        "login": getattr(row, "login_test", None),
        "verified": selectors.is_verified(row),
        "caps": caps,
        "caps_words": selectors.caps_words(caps),
    }


def _ports(device: Any, links_up: dict[str, bool]) -> list[dict[str, Any]]:
    """Every port with its link's state as last read: up, down or unknown."""
    words = {True: "up", False: "down", None: "unknown"}
    return [{"port": port, "link": words[links_up.get(port.name)]} for port in device.ports.all()]
