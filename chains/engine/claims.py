# SPDX-License-Identifier: Apache-2.0
"""Who works on what: rows that are due, claimed so that two sweeps do not take the same (SKIP LOCKED).

A claim is a short transaction that moves the row's due time; work that dies is due again by itself.
Called by the sweep, the relay and reconcile.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now, Random

from chains import models
from chains.selectors.usage import UNDER_WAY


def steps_open(change: models.Change) -> None:
    """A Step row for every step of the plan. Twice is harmless."""
    rows = [models.Step(change=change, plan_step=planned) for planned in change.plan.steps.all()]
    models.Step.objects.bulk_create(rows, ignore_conflicts=True)


def changes_due(limit: int) -> list[int]:
    """Not claimed here: the attempt itself claims under the devices' leases."""
    due = models.Change.objects.filter(status__in=UNDER_WAY, due_at__lte=Now()).order_by("due_at")
    return list(due.values_list("pk", flat=True)[:limit])


def hurry(device: models.Device) -> None:
    """The device answers again: whatever waits for it is due now."""
    models.Change.objects.filter(status__in=UNDER_WAY, plan__steps__device=device, due_at__gt=Now()).exclude(
        error=""
    ).update(due_at=Now())


@transaction.atomic
def devices_claim(limit: int, again_s: float, *, is_silent: bool = False) -> list[int]:
    """Devices that are due for a reading; due again after `again_s`, spread by a fifth so that they do not bunch.

    is_silent: those that did not answer last time, and only those: the others are not to wait for them.
    """
    programmed = models.Device.objects.filter(is_enabled=True).exclude(driver="")
    models.DeviceStatus.objects.bulk_create(
        [models.DeviceStatus(device=device) for device in programmed.filter(status=None)], ignore_conflicts=True
    )
    due = models.DeviceStatus.objects.filter(Q(due_at=None) | Q(due_at__lte=Now()), device__in=programmed)
    silent = Q(condition=models.DeviceStatus.Condition.UNREACHABLE)
    due = due.filter(silent if is_silent else ~silent)
    rows = list(due.order_by("due_at").select_for_update(skip_locked=True, of=("self",))[:limit])
    models.DeviceStatus.objects.filter(pk__in=[row.pk for row in rows]).update(
        due_at=Now() + timedelta(seconds=again_s) * (0.9 + 0.2 * Random())
    )
    return [row.device_id for row in rows]


@transaction.atomic
def bells_claim(limit: int, older_than_s: float) -> list[tuple[str, int]]:
    """(topic, ref), each once; marked as rung. A bell that is lost after this is made up for by the due rows."""
    due = models.Outbox.objects.filter(rung_at=None, created_at__lte=Now() - timedelta(seconds=older_than_s))
    rows = list(due.order_by("id").select_for_update(skip_locked=True)[:limit])
    models.Outbox.objects.filter(pk__in=[row.pk for row in rows]).update(rung_at=Now())
    return list(dict.fromkeys((row.topic, row.ref) for row in rows))
