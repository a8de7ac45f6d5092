# SPDX-License-Identifier: Apache-2.0
"""Change windows: when changes may begin. Operators only; called by the API and the pages.

Every write makes what waits due now: the engine judges it anew by the windows as they are then.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import time
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from chains.errors import Conflict, FieldError, NotFound
from chains.models import Change, ChangeWindow, Outbox, Site, Tenant
from chains.models.tenancy import NAME
from chains.selectors.usage import UNDER_WAY
from chains.services.actor import Actor, require_operator
from chains.services.reading import Fields, invalid, shown
from chains.services.trail import audit, bell

FIELDS = ("name", "tenant", "site", "weekdays", "opens_at", "minutes", "timezone")
CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
MAX_MINUTES = 10_080  # a week
MAX_WINDOWS = 500


@transaction.atomic
def window_create(*, actor: Actor, data: Mapping[str, Any]) -> ChangeWindow:
    """data: name, tenant and site by name (None: all), weekdays (0 is Monday), opens_at "HH:MM", minutes, timezone.

    Errors: Forbidden, Invalid, Conflict if the name is taken or there are too many.
    """
    require_operator(actor)
    if ChangeWindow.objects.count() >= MAX_WINDOWS:
        raise Conflict(f"There are {MAX_WINDOWS} windows already. Fix: one window can have several days.")
    row = _written(ChangeWindow(), {"tenant": None, "site": None, "timezone": "UTC", **data})
    _left_behind(actor, "window.create", row, {"after": window_data(row)})
    return row


@transaction.atomic
def window_update(*, actor: Actor, window: ChangeWindow, data: Mapping[str, Any]) -> ChangeWindow:
    """data: as above, in whole or in part. Errors: as above, NotFound."""
    require_operator(actor)
    row = _locked(window)
    before = window_data(row)
    row = _written(row, {**before, **data})
    if window_data(row) != before:
        _left_behind(actor, "window.update", row, {"before": before, "after": window_data(row)})
    return row


@transaction.atomic
def window_delete(*, actor: Actor, window: ChangeWindow) -> None:
    """Errors: Forbidden, NotFound."""
    require_operator(actor)
    row = _locked(window)
    before = window_data(row)
    row.delete()
    _left_behind(actor, "window.delete", row, {"before": before})


def window_data(row: ChangeWindow) -> dict[str, Any]:
    """As `window_create` takes it."""
    return {
        "name": row.name,
        "tenant": row.tenant.name if row.tenant else None,
        "site": row.site.name if row.site else None,
        "weekdays": list(row.weekdays),
        "opens_at": row.opens_at.strftime("%H:%M"),
        "minutes": row.minutes,
        "timezone": row.timezone,
    }


@cache
def timezones() -> tuple[str, ...]:
    """The names that this machine knows."""
    return tuple(sorted(available_timezones()))


def _locked(window: ChangeWindow) -> ChangeWindow:
    rows = ChangeWindow.objects.select_for_update(of=("self",)).select_related("tenant", "site")
    row = rows.filter(pk=window.pk).first()
    if row is None:
        raise NotFound("Not found.")
    return row


def _written(row: ChangeWindow, data: Mapping[str, Any]) -> ChangeWindow:
    errors: list[FieldError] = []
    fields = Fields(data, "", errors, FIELDS)
    row.name = fields.text("name", longest=63)
    if row.name:
        try:
            NAME(row.name)
        except ValidationError as error:
            fields.fail("name", "invalid", error.messages[0])
    row.tenant = _named(fields, "tenant", Tenant)
    row.site = _named(fields, "site", Site)
    row.weekdays = _weekdays(fields)
    clock = fields.text("opens_at", longest=5)
    if clock and not CLOCK.fullmatch(clock):
        fields.fail("opens_at", "invalid", f'must be a time such as "02:00", not {shown(clock)}')
    row.minutes = fields.integer("minutes", 1, MAX_MINUTES, default=0)
    row.timezone = fields.text("timezone", longest=63)
    if row.timezone and row.timezone not in timezones():
        close = difflib.get_close_matches(row.timezone, timezones(), 1)
        hint = f"did you mean {close[0]}?" if close else "there are UTC, Europe/Berlin and others"
        fields.fail("timezone", "unknown", f"there is no time zone {shown(row.timezone)}; {hint}")
    if errors:
        raise invalid(errors)
    row.opens_at = time.fromisoformat(clock)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        detail = f"there is already a window {row.name}"
        raise Conflict(detail, code="name-taken", errors=(FieldError("name", "name-taken", detail),)) from None
    return row


def _named(fields: Fields, name: str, kind: type[Any]) -> Any:
    """The tenant or site of this name; None for all."""
    value = fields.raw(name)
    if value is None:
        return None
    found = kind.objects.filter(name=value).first() if isinstance(value, str) and value.isprintable() else None
    if found is None:
        fields.fail(name, "unknown", f"there is no {name} {shown(value)}; null is all of them")
    return found


def _weekdays(fields: Fields) -> list[int]:
    days = []
    for path, day in fields.entries("weekdays", 1, 7):
        if isinstance(day, bool) or not isinstance(day, int) or not 0 <= day <= 6:
            fields.fail(path, "invalid", f"must be 0 (Monday) to 6 (Sunday), not {shown(day)}")
        elif day in days:
            fields.fail(path, "invalid", f"{day} is there twice")
        else:
            days.append(day)
    return sorted(days)


def _left_behind(actor: Actor, action: str, row: ChangeWindow, detail: Mapping[str, Any]) -> None:
    audit(actor, action, f"window {row.name}", tenant=row.tenant, detail=detail)
    waiting = Change.objects.filter(status__in=UNDER_WAY, due_at__gt=Now()).exclude(waits="")
    for change_id in list(waiting.order_by("pk").values_list("pk", flat=True)):
        bell(Outbox.Topic.CHANGE, change_id)
    waiting.update(due_at=Now())
