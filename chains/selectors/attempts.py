# SPDX-License-Identifier: Apache-2.0
"""Who is being attempted, who may be, and which devices are left alone. Read by the engine and by `services.attempts`.

A change is being attempted from its claim until it says why it waits, or until its claim ends: a worker that was
killed stops counting by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, Q
from django.db.models.functions import Now

from chains.models import Change, DeviceStatus, Plan, Site, Step
from chains.selectors.usage import HALVES, UNDER_WAY

Status = Change.Status
# What devices may hold of a change.
STARTED = (Step.Status.SENT, Step.Status.DONE, Step.Status.FAILED)
# How the text of a change ends that waits for others to end.
ITS_TURN = "being worked on"


def in_flight() -> Q:
    """Changes that are being attempted at this moment."""
    return Q(status__in=HALVES, waits="", due_at__gt=Now())


def is_half_way(change: Change) -> bool:
    """May devices hold something that is neither the old nor the new?"""
    if change.decided_at is not None or change.status == Status.REVERTING:
        return True
    return change.steps.filter(status__in=STARTED).exists()


def cap_reached(change: Change) -> str:
    """Why the change may not begin now: too many of its tenant, or at a site of its devices, are attempted; else "".

    An urgent change passes the tenant's cap. What devices hold half of passes both: to leave it so would be worse.
    """
    if is_half_way(change):
        return ""
    tenant, others = change.plan.tenant, Change.objects.filter(in_flight()).exclude(pk=change.pk)
    if not change.is_urgent:
        count = others.filter(plan__tenant=tenant).count()
        if count >= tenant.changes_at_once:
            return f"{count} changes of tenant {tenant.name} are {ITS_TURN}"
    sites = Site.objects.filter(devices__plan_steps__plan=change.plan_id)
    name, most = "plan__steps__device__site__name", "plan__steps__device__site__changes_at_once"
    busy = others.filter(plan__steps__device__site__in=sites).order_by().values_list(name, most)
    for site, at_once, count in busy.annotate(Count("pk", distinct=True)):
        if count >= at_once:
            return f"{count} changes at site {site} are {ITS_TURN}"
    return ""


def closed_devices(names: Iterable[str]) -> dict[str, datetime]:
    """Devices that no change may open a session to, and until when at least, by name.

    After that time a reading tries first; where none is made (a device that is switched off) the change does.
    """
    rows = DeviceStatus.objects.filter(device__name__in=list(names), closed_until__isnull=False)
    rows = rows.filter(Q(device__is_enabled=True) | Q(closed_until__gt=Now()))
    return {name: until for name, until in rows.values_list("device__name", "closed_until") if until is not None}


def parked_half_way(chain_id: int | None) -> Change | None:
    """The chain's parked change that devices hold a part of: nothing else is done with the chain before its end."""
    parked = Change.objects.filter(plan__chain=chain_id, status=Status.FAILED).exclude(plan__chain=None)
    parked = parked.filter(Q(decided_at__isnull=False) | Q(steps__status__in=STARTED))
    return parked.order_by("-id").first()


def latest_of(plan: Plan) -> Change | None:
    """The last change of the plan's chain."""
    return Change.objects.filter(plan__chain=plan.chain_id).exclude(plan__chain=None).order_by("-id").first()


def others_wait(but: int, limit: int) -> list[int]:
    """Of each tenant the oldest change that waits for its turn, at most `limit`. but: not this one."""
    rows = Change.objects.filter(status__in=UNDER_WAY, waits__endswith=ITS_TURN).exclude(pk=but)
    rows = rows.order_by("plan__tenant_id", "-is_urgent", "pk").distinct("plan__tenant_id")
    return list(rows.values_list("pk", flat=True)[:limit])
