# SPDX-License-Identifier: Apache-2.0
"""What becomes of drift in rows: the finding, an operator's order about it, a device's values taken over by chains.

The engine calls through `services.record`; API and pages give orders. An order lives in the open finding that it is
about: it cannot outlive the drift that the operator saw, and is carried out by a worker, from a new reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import F

from chains.errors import Conflict
from chains.models import Chain, Change, Contribution, Device, DeviceStatus, Finding, Outbox
from chains.selectors.lists import freeze_now
from chains.selectors.states import chain_contributions
from chains.selectors.usage import HALVES
from chains.services.actor import Actor, require_operator
from chains.services.observed import finding_close, finding_open, is_under_way
from chains.services.trail import audit, bell
from drivers.codec import item_to_json, state_to_json
from drivers.state import EMPTY, DeviceState

DRIFT, ADOPTED = "drift", "drift-adopted"
ORDERS = ("adopt", "enforce")
KINDS = ("missing", "altered", "orphaned")
Parts = Mapping[str, DeviceState]


@transaction.atomic
def drift_found(device: Device, *, detail: str, witness: Mapping[str, list[str]]) -> Finding:
    """Open, with the order that it may have. What was said of the very same drift already stays said."""
    row = _open_drift(device)
    if row is not None and all(row.witness.get(kind) == witness[kind] for kind in KINDS):
        return row
    kept = {"order": row.witness["order"]} if row is not None and "order" in row.witness else {}
    return finding_open(code=DRIFT, device=device, detail=detail, witness={**witness, **kept})[0]


@transaction.atomic
def drift_said(
    device: Device, *, detail: str, severity: str = Finding.Severity.WARNING, because: list[str] | None = None
) -> None:
    """What came of repairing or adopting it, if it is still open. An order is answered by that."""
    row = _open_drift(device)
    if row is None:
        return
    witness: dict[str, Any] = {kind: row.witness.get(kind, []) for kind in KINDS}
    if because:
        witness["because"] = because
    finding_open(code=DRIFT, device=device, severity=severity, detail=detail, witness=witness)


def drift_order_of(device: Device) -> tuple[str, str]:
    """(what, who) an operator ordered about the open drift, ("", "") for nothing."""
    row = Finding.objects.filter(code=DRIFT, device=device, chain=None, closed_at=None).first()
    order = row.witness.get("order", {}) if row is not None else {}
    return order.get("what", ""), order.get("by", "")


@transaction.atomic
def drift_order(*, actor: Actor, device: Device, what: str) -> Finding:
    """Once, whatever the device's policy is. what: adopt or enforce. Errors: Forbidden, Conflict with the reason."""
    require_operator(actor)
    row = _open_drift(device)
    status = DeviceStatus.objects.filter(device=device).first()
    if row is None or status is None:
        raise Conflict(f"{device.name} was not read to differ from what is wanted.", code="no-drift")
    if status.condition == DeviceStatus.Condition.UNREACHABLE:
        told = f"{device.name} does not answer: what it holds is not known. {status.reason}"
        raise Conflict(told, code="unreachable")
    if is_under_way(device):
        raise Conflict(f"A change is half-done on {device.name}: wait for its end.", code="change-under-way")
    freeze = freeze_now()
    if freeze is not None:
        raise Conflict(f"Frozen: {freeze.reason}. Fix: lift the freeze.", code="frozen")
    if what not in ORDERS:
        raise ValueError(f"no such order: {what}")
    row.witness = {**row.witness, "order": {"what": what, "by": actor.name}}
    row.save(update_fields=["witness"])
    detail = {kind: row.witness.get(kind, []) for kind in KINDS}
    audit(actor, f"drift.{what}", f"device {device.name}", tenant=None, detail=detail)
    bell(Outbox.Topic.DEVICE, device.pk)
    return row


@transaction.atomic
def contributions_adopt(
    device: Device, parts: Mapping[int, DeviceState], proven: Mapping[int, Parts], *, actor: Actor
) -> bool:
    """The chains want of the device what `parts` says from now on. False if what was proven is not so any more.

    proven: what each of these chains wanted, by device, when the proof was made.
    """
    chains = list(
        Chain.objects.select_for_update(of=("self",)).select_related("tenant").filter(pk__in=parts).order_by("pk")
    )
    busy = Change.objects.filter(plan__chain__in=parts, status__in=HALVES).exists()
    if busy or len(chains) != len(parts) or any(chain_contributions(row) != proven[row.pk] for row in chains):
        return False
    for chain in chains:
        _adopt(device, chain, proven[chain.pk].get(device.name, EMPTY), parts[chain.pk], actor)
    DeviceStatus.objects.filter(device=device).update(desired_generation=F("desired_generation") + 1)
    finding_close(code=DRIFT, device=device)
    return True


def _adopt(device: Device, chain: Chain, before: DeviceState, after: DeviceState, actor: Actor) -> None:
    row = Contribution.objects.filter(chain=chain, device=device)
    if after:
        row.update(items=state_to_json(after))
    else:
        row.delete()
    changed = [key for key in before if after.get(key) != before[key]]
    values = {
        str(key): {
            "wanted": item_to_json(before[key]),
            "adopted": item_to_json(after[key]) if key in after else None,
        }
        for key in changed
    }
    subject = f"chain {chain.tenant.name}/{chain.name}"
    detail = {"device": device.name, "items": values}
    audit(actor, "drift.adopted", subject, tenant=chain.tenant, detail=detail)
    text = f"{len(changed)} of the chain's items on {device.name} are wanted as they were found there"
    finding_open(
        code=ADOPTED, severity=Finding.Severity.INFO, device=device, chain=chain, detail=text, witness=values
    )


def _open_drift(device: Device) -> Finding | None:
    rows = Finding.objects.select_for_update(of=("self",))
    return rows.filter(code=DRIFT, device=device, chain=None, closed_at=None).first()
