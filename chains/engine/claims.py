# SPDX-License-Identifier: Apache-2.0
"""Who works on what: rows that are due, claimed so that two sweeps do not take the same (SKIP LOCKED).

A claim is a short transaction that moves the row's due time; work that dies is due again by itself.
Called by the sweep, the relay and reconcile.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Window
from django.db.models.functions import Now, Random, RowNumber

from chains import models
from chains.selectors.attempts import in_flight
from chains.selectors.usage import UNDER_WAY
from chains.services import record

HURRIED = 16


def steps_open(change: models.Change) -> None:
    """A Step row for every step of the plan, where there is none yet. Twice is harmless."""
    held = {step.plan_step_id for step in change.steps.all()}
    missing = [models.Step(change=change, plan_step=row) for row in change.plan.steps.all() if row.pk not in held]
    if missing:
        models.Step.objects.bulk_create(missing, ignore_conflicts=True)


def changes_due(limit: int, *, is_sick: bool = False) -> list[int]:
    """Each tenant's in turn, its urgent ones and then its oldest first. Not claimed here: the attempt does that.

    is_sick: those that need a device that did not answer last time, and only those: others are not to wait for them.
    """
    due = models.Change.objects.filter(status__in=UNDER_WAY, due_at__lte=Now())
    row = models.PlanStep.objects.filter(_doubtful("device__status__"), plan=OuterRef("plan"))
    due = due.filter(Exists(row) if is_sick else ~Exists(row))
    turn = Window(RowNumber(), partition_by="plan__tenant", order_by=(F("is_urgent").desc(), F("pk").asc()))
    return list(due.annotate(turn=turn).order_by("turn", "pk").values_list("pk", flat=True)[:limit])


def turn_of(change_id: int) -> int:
    """Which change a bell for this one is answered by: of those that nobody has looked at yet, the oldest of one
    tenant, of each in turn by the bell's number. Each of them has a bell of its own, so none is lost by that.

    So the bells of a tenant with a thousand changes do not make another's wait. A tenant that has as many in work as
    it may is passed over. A change that is tried again has its bell for itself.
    """
    due = models.Change.objects.filter(status__in=UNDER_WAY, due_at__lte=Now())
    fresh = due.filter(status=models.Change.Status.PENDING, attempts=0, waits="")
    if due.filter(pk=change_id).exists() and not fresh.filter(pk=change_id).exists():
        return change_id
    fresh = fresh.order_by("plan__tenant_id", "-is_urgent", "pk")
    flying = models.Change.objects.filter(in_flight()).order_by().values_list("plan__tenant").annotate(Count("pk"))
    busy: dict[int, int] = dict(flying)
    heads = fresh.distinct("plan__tenant_id").values_list(
        "pk", "plan__tenant", "plan__tenant__changes_at_once", "is_urgent"
    )
    free = [pk for pk, tenant, most, is_urgent in heads if is_urgent or busy.get(tenant, 0) < most]
    return free[change_id % len(free)] if free else change_id


@transaction.atomic
def hurry(device: models.Device) -> None:
    """The device answers again: whatever waits for it is due now."""
    waiting = models.Change.objects.filter(status__in=UNDER_WAY, plan__steps__device=device, due_at__gt=Now())
    waiting = waiting.exclude(waits="").distinct()
    for change_id in list(waiting.order_by("pk").values_list("pk", flat=True)[:HURRIED]):
        record.bell(models.Outbox.Topic.CHANGE, change_id)
    models.Change.objects.filter(pk__in=waiting.values("pk")).update(due_at=Now())


def _doubtful(prefix: str = "") -> Q:
    """Statuses of devices that did not answer last time, or are left alone."""
    unreachable = models.DeviceStatus.Condition.UNREACHABLE
    return Q(**{f"{prefix}condition": unreachable}) | Q(**{f"{prefix}closed_until__isnull": False})


@transaction.atomic
def devices_claim(limit: int, again_s: float, *, is_silent: bool = False, is_alone: bool = False) -> list[int]:
    """Devices that are due for a reading; due again after `again_s`, spread by a fifth so that they do not bunch.

    is_silent: those that did not answer last time, and only those: the others are not to wait for them. One whose
    breaker is open is left alone until its time is over; then this reading is the one that tries.
    is_alone: those whose last reading nobody saw the end of; they are to be read one at a time.
    """
    programmed = models.Device.objects.filter(is_enabled=True).exclude(driver="")
    if not (is_silent or is_alone):
        models.DeviceStatus.objects.bulk_create(
            [models.DeviceStatus(device=device) for device in programmed.filter(status=None)], ignore_conflicts=True
        )
    due = models.DeviceStatus.objects.filter(Q(due_at=None) | Q(due_at__lte=Now()), device__in=programmed)
    due = due.filter(Q(closed_until=None) | Q(closed_until__lte=Now()))
    due = due.filter(_doubtful()) if is_silent else due.exclude(_doubtful())
    if not is_silent:
        due = due.filter(failures__gt=0) if is_alone else due.filter(failures=0)
    rows = list(due.order_by("due_at").select_for_update(skip_locked=True, of=("self",))[:limit])
    models.DeviceStatus.objects.filter(pk__in=[row.pk for row in rows]).update(
        due_at=Now() + timedelta(seconds=again_s) * (0.9 + 0.2 * Random())
    )
    return [row.device_id for row in rows]


def logins_due(limit: int) -> list[int]:
    """Devices that somebody asked to log in to, and nobody did: by id. Not claimed here: the attempt does that."""
    due = models.LoginTest.objects.filter(status=models.LoginTest.Status.PENDING, due_at__lte=Now())
    return list(due.order_by("due_at").values_list("device_id", flat=True)[:limit])


@transaction.atomic
def bells_claim(limit: int, older_than_s: float) -> list[tuple[str, int]]:
    """(topic, ref), each once; marked as rung. A bell that is lost after this is made up for by the due rows."""
    due = models.Outbox.objects.filter(rung_at=None, created_at__lte=Now() - timedelta(seconds=older_than_s))
    rows = list(due.order_by("id").select_for_update(skip_locked=True)[:limit])
    models.Outbox.objects.filter(pk__in=[row.pk for row in rows]).update(rung_at=Now())
    return list(dict.fromkeys((row.topic, row.ref) for row in rows))
