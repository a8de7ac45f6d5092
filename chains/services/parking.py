# SPDX-License-Identifier: Apache-2.0
"""Parked changes: put aside after too many broken attempts, seen by everybody, taken up again by a person only.

Called by `services.attempts` and, for the person, by `services.again`. Every function runs in its caller's
transaction. Nothing more is sent meanwhile. What devices hold between two steps was proved safe, also where some of
them take back by themselves what nobody confirmed.
"""

from __future__ import annotations

from django.db.models import Q
from django.db.models.functions import Now

from chains.errors import Conflict
from chains.models import Chain, Change, ChangeEvent, Finding
from chains.selectors.attempts import is_half_way, latest_of
from chains.services.actor import SYSTEM
from chains.services.clock import now
from chains.services.observed import finding_open
from chains.services.trail import audit

PARKED = "change-parked"
Status = Change.Status


def park(change: Change, error: str) -> None:
    """The change is locked by the caller and under way. What its plan takes stays taken."""
    phase, plan = change.status, change.plan
    change.status, change.error, change.waits = Status.FAILED, error, ""
    change.finished_at = now()
    change.save(update_fields=["status", "error", "waits", "finished_at"])
    text = f"parked after {change.attempts} attempts: {error}; not attempted again until somebody retries it"
    change.events.create(text=text, level=ChangeEvent.Level.ERROR)
    chain = Chain.objects.select_for_update().filter(pk=plan.chain_id).first()
    if chain is not None:
        chain.status, chain.status_at = Chain.Status.ERROR, now()
        chain.status_reason = f"change {change.pk} is parked: {error}"[:512]
        chain.save(update_fields=["status", "status_reason", "status_at", "updated_at"])
    witness = {"change": change.pk, "plan": plan.pk, "phase": phase, "attempts": change.attempts}
    critical = Finding.Severity.CRITICAL
    detail = f"change {change.pk} is parked, {_where(change, phase)}: {error}"
    finding_open(code=PARKED, severity=critical, chain=chain, plan=plan, detail=detail, witness=witness)
    detail_of = {"change": change.pk, "phase": phase}
    audit(SYSTEM, "change.park", f"chain {plan.tenant.name}/{plan.chain_name}", tenant=plan.tenant, detail=detail_of)


def unpark(change: Change) -> None:
    """Due now, in the phase in which it was parked, with its counters at 0. Locked by the caller.

    Errors: Conflict if another change of the chain came after it.
    """
    latest = latest_of(change.plan)
    if latest is not None and latest.pk != change.pk:
        detail = f"Change {latest.pk} of this chain came after change {change.pk}. Fix: ask for a new plan."
        raise Conflict(detail, code="change-ended")
    change.status = _phase_of(change)
    change.attempts = change.broken = 0
    change.finished_at, change.waits, change.due_at = None, "", Now()
    change.save(update_fields=["status", "attempts", "broken", "finished_at", "waits", "due_at"])
    Chain.objects.filter(pk=change.plan.chain_id).update(
        status=Chain.Status.APPLYING, status_reason="", status_at=Now()
    )


def parked_close(change: Change) -> None:
    """The change has ended, or a later one of its chain succeeded: the finding is over."""
    plan = change.plan
    found = Q(plan=plan)
    if change.status == Status.SUCCEEDED and plan.chain_id is not None:
        found |= Q(chain=plan.chain_id)
    Finding.objects.filter(found, code=PARKED, closed_at=None).update(closed_at=Now())


def _phase_of(change: Change) -> Status:
    """Where it was parked. If nobody can say, what was sent is taken back: that is safe in every case."""
    if change.decided_at is not None:
        return Status.RUNNING
    found = Finding.objects.filter(code=PARKED, plan=change.plan_id).order_by("-id").first()
    phase = found.witness.get("phase") if found is not None else None
    if phase in (Status.RUNNING, Status.REVERTING):
        return Status(phase)
    return Status.REVERTING if is_half_way(change) else Status.RUNNING


def _where(change: Change, phase: str) -> str:
    if change.decided_at is not None:
        return "after its decision: it has to be carried to its end"
    if phase == Status.REVERTING:
        return "while it was being taken back"
    return "half-way" if is_half_way(change) else "before anything was sent"
