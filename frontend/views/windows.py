# SPDX-License-Identifier: Apache-2.0
"""Change windows on the pages, for operators: the list with what opens next, and one form to make or change one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from chains import selectors
from chains.errors import Problem
from chains.selectors.windows import opening_of
from chains.services import windows
from chains.services.actor import Actor
from frontend.access import operators, show
from frontend.paging import page_of

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NEW: Mapping[str, Any] = {"weekdays": [5, 6], "opens_at": "02:00", "minutes": 120, "timezone": "UTC"}


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in the inputs, and what is wrong with it, by input."""

    values: Mapping[str, Any]
    errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@operators
def window_list(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Also makes one."""
    if request.method != "POST":
        return _shown(request, actor, Form(NEW))
    data = _data(request)
    try:
        windows.window_create(actor=actor, data=data)
    except Problem as problem:
        return _shown(request, actor, _refused(data, problem), status=422)
    messages.success(request, f"The window {data['name']} holds from now on.")
    return redirect("ui:window-list")


@operators
def window(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    row = selectors.window_get(actor, id)
    if request.method != "POST":
        return _shown(request, actor, Form(windows.window_data(row)), row)
    data = _data(request)
    try:
        windows.window_update(actor=actor, window=row, data=data)
    except Problem as problem:
        return _shown(request, actor, _refused(data, problem), row, status=422)
    messages.success(request, f"The window {data['name']} holds as it is now; what waits is looked at again.")
    return redirect("ui:window-list")


@require_POST
@operators
def window_delete(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    row = selectors.window_get(actor, id)
    windows.window_delete(actor=actor, window=row)
    messages.success(request, f"The window {row.name} is gone; what waited for it is looked at again.")
    return redirect("ui:window-list")


def _shown(request: HttpRequest, actor: Actor, form: Form, edited: Any = None, status: int = 200) -> HttpResponse:
    found = page_of(request, selectors.window_list(actor))
    for_all = list(selectors.window_list(actor).filter(tenant=None, site=None))
    context = {
        "form": form,
        "edited": edited,
        "windows": [_line(row) for row in found["rows"]],
        "days": list(enumerate(DAYS)),
        "tenant_names": list(selectors.tenant_list(actor).values_list("name", flat=True)),
        "site_names": list(selectors.site_list(actor).values_list("name", flat=True)),
        "zones": windows.timezones(),
        "next": opening_of(for_all, timezone.now()) if for_all else None,
    }
    return show(request, actor, "window_list", context | found, status=status)


def _line(row: Any) -> dict[str, Any]:
    days = [DAYS[day][:3] for day in row.weekdays]
    every = "every day" if len(days) == 7 else ", ".join(days)
    hours, minutes = divmod(row.minutes, 60)
    long = " ".join(text for text in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if text)
    return {"row": row, "days": every, "long": long, "next": opening_of([row], timezone.now())}


def _data(request: HttpRequest) -> dict[str, Any]:
    """The inputs as the service takes them; what is no number stays text, which it refuses by name."""
    names = ("name", "tenant", "site", "opens_at", "minutes", "timezone")
    given: dict[str, Any] = {name: request.POST.get(name, "").strip() for name in names}
    given["weekdays"] = [_number(day) for day in request.POST.getlist("weekdays")]
    given["minutes"] = _number(given["minutes"])
    return given | {name: given[name] or None for name in ("tenant", "site")}


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _refused(data: Mapping[str, Any], problem: Problem) -> Form:
    errors: dict[str, tuple[str, ...]] = {}
    for error in problem.errors:
        name = error.field.partition(".")[0]
        errors[name] = (*errors.get(name, ()), error.detail)
    return Form(data, errors or {"": (problem.detail,)})
