# SPDX-License-Identifier: Apache-2.0
"""An operator asks whether a device lets us in, and what it then says of itself. The row is the answer.

API and pages ask; a worker claims and ends it through `services.record`. One for each device: the last one. A claim
that nobody ended is due again, so a test is answered whatever dies.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from chains.errors import Conflict
from chains.models import Device, LoginTest, Outbox
from chains.services.actor import Actor, require_operator
from chains.services.trail import audit, bell
from drivers.base import Identity

CLAIM_S = 90.0
MAX_ATTEMPTS = 3
PENDING = LoginTest.Status.PENDING
FRESH = {
    "status": PENDING, "attempts": 0, "ended_at": None, "platform": "", "version": "", "serial": "", "verified": "",
    "missing": [], "items": None, "error": "",
}  # fmt: skip


@transaction.atomic
def login_ask(*, actor: Actor, device: Device) -> LoginTest:
    """The test that is pending now; one that is under way already stays as it is. Errors: Forbidden, Conflict."""
    require_operator(actor)
    if not device.driver:
        raise Conflict(f"{device.name} is not managed: nobody logs in to it.", code="not-managed")
    Device.objects.select_for_update(no_key=True).get(pk=device.pk)  # two that ask at once
    row = LoginTest.objects.filter(device=device).first()
    if row is not None and row.status == PENDING:
        return row
    values = {**FRESH, "asked_by": actor.name, "asked_at": Now(), "due_at": Now()}
    row, _ = LoginTest.objects.update_or_create(device=device, defaults=values)
    audit(actor, "device.test-login", f"device {device.name}", tenant=None)
    bell(Outbox.Topic.LOGIN, device.pk)
    row.refresh_from_db()
    return row


@transaction.atomic
def login_claim(device_id: int) -> LoginTest | None:
    """The device's test, to be made now by the caller alone; None if nobody asked or another one is at it."""
    rows = LoginTest.objects.select_for_update(skip_locked=True, of=("self",)).select_related("device")
    row = rows.filter(device=device_id, status=PENDING, due_at__lte=Now()).first()
    if row is None:
        return None
    if row.attempts >= MAX_ATTEMPTS:
        told = f"{MAX_ATTEMPTS} workers began it and none came back: look at their logs"
        LoginTest.objects.filter(pk=row.pk).update(status=LoginTest.Status.FAILED, error=told, ended_at=Now())
        return None
    due_at = Now() + timedelta(seconds=CLAIM_S)
    LoginTest.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1, due_at=due_at)
    row.attempts += 1
    return row


def login_succeeded(claimed: LoginTest, identity: Identity, items: int) -> bool:
    """items: how many of ours the device was read to hold. False if the claim was lost meanwhile."""
    return _end(
        claimed,
        status=LoginTest.Status.SUCCEEDED,
        platform=identity.platform[:255],
        version=identity.version[:255],
        serial=identity.serial[:255],
        verified=identity.verified[:255],
        missing=list(identity.missing),
        items=items,
    )


def login_failed(claimed: LoginTest, error: str) -> bool:
    return _end(claimed, status=LoginTest.Status.FAILED, error=error[:512])


def _end(claimed: LoginTest, **values: object) -> bool:
    rows = LoginTest.objects.filter(pk=claimed.pk, status=PENDING, attempts=claimed.attempts)
    return rows.update(**values, ended_at=Now()) > 0
