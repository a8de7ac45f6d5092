# SPDX-License-Identifier: Apache-2.0
"""Change windows: rows for the API and the pages, values for the calendar, and those that a plan has to keep to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from django.db.models import Q, QuerySet

from chains.models import ChangeWindow, Plan, Site
from chains.planning.windows import NEVER, Window, opens
from chains.selectors.tenancy import Asker, one, operators_only


def window_list(actor: Asker) -> QuerySet[ChangeWindow]:
    """Errors: Forbidden."""
    operators_only(actor)
    return ChangeWindow.objects.select_related("tenant", "site")


def window_get(actor: Asker, key: Any) -> ChangeWindow:
    """Errors: Forbidden, NotFound."""
    return one(window_list(actor), key)


def windows_of(plan: Plan) -> tuple[Window, ...]:
    """Those of all changes, of the plan's tenant, and of the sites that it writes to. One query."""
    sites = Site.objects.filter(devices__plan_steps__plan=plan)
    rows = ChangeWindow.objects.filter(
        Q(tenant=None) | Q(tenant=plan.tenant_id), Q(site=None) | Q(site__in=sites.values("pk"))
    )
    return tuple(window_value(row) for row in rows.order_by("name"))


@dataclass(frozen=True, slots=True)
class Opening:
    """word: open, closed or never (also where this machine lacks the time zone). at: of the next one if closed."""

    word: str
    at: datetime | None = None


def opening_of(rows: Iterable[ChangeWindow], now: datetime) -> Opening:
    """Of these windows taken together."""
    try:
        at = opens([window_value(row) for row in rows], now)
    except ZoneInfoNotFoundError:
        return Opening("never")
    if at is None:
        return Opening("open")
    return Opening("never") if at == NEVER else Opening("closed", at)


def window_value(row: ChangeWindow) -> Window:
    """One of a tenant at a site is a scope of its own."""
    return Window(
        name=row.name,
        scope=f"tenant {row.tenant_id or 'all'}, site {row.site_id or 'all'}",
        weekdays=frozenset(row.weekdays),
        opens_at=row.opens_at,
        minutes=row.minutes,
        timezone=row.timezone,
    )
