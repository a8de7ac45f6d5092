# SPDX-License-Identifier: Apache-2.0
"""Ours is in force on a device and lost at its next reload: the open finding, and an operator's order to save it.

The engine calls through `services.record`; API and pages give the order. It lives in the finding that it is about, and
is carried out by a worker from a new reading.
"""

from __future__ import annotations

from django.db import transaction

from chains.errors import Conflict
from chains.models import Device, Finding, Outbox
from chains.selectors.lists import freeze_now
from chains.services.actor import Actor, require_operator
from chains.services.observed import finding_open, is_under_way
from chains.services.trail import audit, bell

UNSAVED = "not-saved"


def unsaved_found(device: Device) -> None:
    """Open it. What was said of it already stays said, and an order stays."""
    if _open(device) is None:
        text = f"{device.name} would start without our items as they are: they are in force and not saved"
        finding_open(code=UNSAVED, severity=Finding.Severity.CRITICAL, device=device, detail=text)


@transaction.atomic
def unsaved_said(device: Device, *, detail: str) -> None:
    """Why it could not be saved, if it is still open. An order is answered by that."""
    if _open(device) is not None:
        finding_open(code=UNSAVED, severity=Finding.Severity.CRITICAL, device=device, detail=detail)


def save_order_of(device: Device) -> str:
    """Who ordered it, "" for nobody."""
    row = _open(device)
    return str(row.witness.get("order", {}).get("by", "")) if row is not None else ""


@transaction.atomic
def save_order(*, actor: Actor, device: Device) -> Finding:
    """Once, whatever the device's policy is. Errors: Forbidden, Conflict with the reason."""
    require_operator(actor)
    row = Finding.objects.select_for_update(of=("self",)).filter(code=UNSAVED, device=device, closed_at=None).first()
    if row is None:
        raise Conflict(f"{device.name} was not read to lose anything of ours at a reload.", code="nothing-unsaved")
    if is_under_way(device):
        raise Conflict(f"A change is half-done on {device.name}: it saves at its end.", code="change-under-way")
    freeze = freeze_now()
    if freeze is not None:
        raise Conflict(f"Frozen: {freeze.reason}. Fix: lift the freeze.", code="frozen")
    row.witness = {**row.witness, "order": {"what": "save", "by": actor.name}}
    row.save(update_fields=["witness"])
    audit(actor, "device.save", f"device {device.name}", tenant=None, detail={})
    bell(Outbox.Topic.DEVICE, device.pk)
    return row


def _open(device: Device) -> Finding | None:
    return Finding.objects.filter(code=UNSAVED, device=device, closed_at=None).first()
