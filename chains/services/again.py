# SPDX-License-Identifier: Apache-2.0
"""What people ask of a change that exists: try it now, or undo it. Called by the API and the pages.

Undo is a new edit back to what was wanted before; its plan is shown and applied like any other.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from chains.errors import Conflict
from chains.models import Chain, Change, Outbox, Plan
from chains.selectors.attempts import in_flight, latest_of
from chains.selectors.intent import chain_intent
from chains.selectors.usage import UNDER_WAY
from chains.services.actor import Actor, require_editor
from chains.services.intent import chain_update
from chains.services.parking import unpark
from chains.services.trail import audit, bell


@transaction.atomic
def change_retry(*, actor: Actor, change: Change) -> Change:
    """Due now, whatever it waited for; a parked one goes on where it was. One that is being attempted is left to it.

    Errors: NotFound, Forbidden; Conflict if it has ended, or a later one of its chain exists.
    """
    plan = change.plan
    require_editor(actor, plan.tenant_id)
    row = Change.objects.select_for_update().get(pk=change.pk)
    detail = {"change": row.pk, "attempts": row.attempts, "was": row.status}
    if row.status == Change.Status.FAILED:
        unpark(row)
    elif row.status not in UNDER_WAY:
        raise Conflict(f"Change {row.pk} has ended: it is {row.status}. Fix: ask for a new plan.", code="change-ended")
    Change.objects.filter(pk=row.pk).exclude(in_flight()).update(due_at=Now())
    subject = f"chain {plan.tenant.name}/{plan.chain_name}"
    audit(actor, "change.retry", subject, tenant=plan.tenant, detail=detail)
    bell(Outbox.Topic.CHANGE, row.pk)
    row.refresh_from_db()
    return row


@transaction.atomic
def change_undo(*, actor: Actor, change: Change, force: bool = False) -> Chain:
    """The chain with its intent as it was before the change; to be planned by the caller.

    force: although the chain was edited since. Errors: NotFound, Forbidden,
    Invalid (what was wanted then is not possible any more), Conflict: not finished, first, edited since, the same.
    """
    plan = change.plan
    require_editor(actor, plan.tenant_id)
    chain = Chain.objects.select_for_update().filter(pk=plan.chain_id).first()
    if change.status != Change.Status.SUCCEEDED or chain is None or not chain.is_wanted:
        raise Conflict("Only a change that succeeded, of a chain that is wanted, can be undone.", code="not-undoable")
    if Change.objects.filter(plan__chain=chain, status__in=UNDER_WAY).exists():
        raise Conflict("Another change of this chain is under way: wait for its end.", code="change-under-way")
    wanted = _before(change)
    if not force and chain.generation != plan.generation:
        what = f"the chain was edited since: generation {chain.generation}, the change's was {plan.generation}"
        raise Conflict(f"{what}. Fix: undo with force to go back all the same.", code="edited-since")
    if {**wanted, "name": chain.name} == chain_intent(chain):
        raise Conflict("The chain wanted the same before: there is nothing to undo.", code="nothing-to-undo")
    # The name says which chain it is, not what it does: it stays.
    chain = chain_update(actor=actor, chain=chain, data={**wanted, "name": chain.name})
    detail = {"change": change.pk, "force": force}
    audit(actor, "change.undo", f"chain {plan.tenant.name}/{chain.name}", tenant=plan.tenant, detail=detail)
    return chain


def can_retry(change: Change) -> bool:
    """Whether to offer it; `change_retry` decides by itself."""
    if change.status == Change.Status.FAILED:
        latest = latest_of(change.plan)
        return latest is None or latest.pk == change.pk
    return change.status in UNDER_WAY and bool(change.waits)


def can_undo(change: Change) -> bool:
    """Whether to offer it; `change_undo` decides by itself."""
    return change.status == Change.Status.SUCCEEDED and change.plan.chain_id is not None and bool(_previous(change))


def _before(change: Change) -> dict[str, Any]:
    previous = _previous(change)
    if previous is None:
        detail = "This was the first change of the chain: there is nothing before it. Fix: delete the chain."
        raise Conflict(detail, code="first-change")
    if not previous.intent:
        raise Conflict("What was wanted before was not recorded yet.", code="not-undoable")
    return dict(previous.intent)


def _previous(change: Change) -> Plan | None:
    """The plan that was in force when the change was applied."""
    plans = Plan.objects.filter(chain=change.plan.chain_id, change__status=Change.Status.SUCCEEDED)
    return plans.filter(change__pk__lt=change.pk, goal=Plan.Goal.APPLY).order_by("-change__pk").first()
