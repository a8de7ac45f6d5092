# SPDX-License-Identifier: Apache-2.0
"""A second person: which changes need one, and what approving and calling off do. Called by the API and the pages.

A change that waits holds its chain and its room and is never due. Who asked and who agrees are compared as persons,
not as names: a token counts as the person behind it. Talks to no device.
"""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from chains.errors import Conflict, Forbidden
from chains.models import AuditRow, Chain, Change, Outbox, Plan, Site, Step
from chains.services.actor import MACHINE, Actor, require_editor
from chains.services.trail import audit, bell

Status = Change.Status
# Items that a plan may take off the network beyond those it adds; 0: any number.
REMOVALS = 100


def asker(actor: Actor, plan: Plan) -> Actor:
    """Who stands behind a change. The machine removes a chain for the person who deleted it."""
    if actor.person != MACHINE or plan.goal != Plan.Goal.REMOVE:
        return actor
    rows = AuditRow.objects.filter(action="chain.delete", tenant=plan.tenant, detail__chain=plan.chain_id)
    deleted = rows.order_by("-id").first()
    if deleted is None:
        return replace(actor, person="")
    return replace(actor, name=deleted.actor, person=str(deleted.detail.get("person", "")))


def why_needed(asked: Actor, plan: Plan) -> str:
    """The reason in plain words, "" if nobody else has to agree. What nobody asked for waits for nobody."""
    if asked.person == MACHINE:
        return ""
    reasons = [f"tenant {plan.tenant.name} demands it"] if plan.tenant.needs_approval else []
    sites = demanding_sites(plan)
    if sites:
        named = f"site {sites[0]} demands" if len(sites) == 1 else f"sites {', '.join(sites)} demand"
        reasons.append(f"{named} that an operator approves")
    removed = plan.summary.get("delete", 0) - plan.summary.get("create", 0)
    limit = getattr(settings, "VIADUCT_APPROVAL_REMOVALS", REMOVALS)
    if limit and removed > limit:
        reasons.append(f"it takes away {removed} items more than it adds ({limit} need nobody)")
    return "; ".join(reasons)[:255]


def demanding_sites(plan: Plan) -> list[str]:
    """Sites of devices that the plan writes to and that demand an operator's approval, as they are now."""
    rows = Site.objects.filter(needs_approval=True, devices__plan_steps__plan=plan)
    return list(rows.order_by("name").values_list("name", flat=True).distinct())


@transaction.atomic
def change_approve(*, actor: Actor, change: Change) -> Change:
    """From now on it is due. Errors: NotFound; Forbidden: a viewer, the one who asked, not an operator where a
    site demands one; Conflict: it does not wait (any more), or its plan is stale.
    """
    require_editor(actor, change.plan.tenant_id)
    row = _locked(change)
    if row.status != Status.WAITING:
        by = f", approved by {row.approved_by}" if row.approved_by else ""
        detail = f"Change {row.pk} does not wait for approval: it is {row.status}{by}."
        raise Conflict(detail, code="not-waiting")
    refusal = refusal_of(actor, row)
    if refusal is not None:
        raise refusal
    chain = _chain(row)
    if chain is None or not _fits(row.plan, chain):
        fix = "Fix: cancel this change, ask for a new plan and apply it."
        raise Conflict(f"The chain was edited since the plan was made. {fix}", code="plan-stale")
    row.status, row.approved_by, row.approved_at, row.due_at = Status.PENDING, actor.name, Now(), Now()
    row.save(update_fields=["status", "approved_by", "approved_at", "due_at"])
    row.events.create(text=f"approved by {actor.name}")
    _chain_status(chain, Chain.Status.APPLYING, "")
    _audit(actor, "change.approve", row)
    bell(Outbox.Topic.CHANGE, row.pk)
    row.refresh_from_db()
    return row


def refusal_of(actor: Actor, change: Change) -> Forbidden | None:
    """Why this one may not be the second person; None if they may. The role in the tenant is checked elsewhere."""
    if actor.person in ("", MACHINE):
        text = "Nobody knows which person is behind this token. Fix: sign in, or use a token that has an owner."
        return Forbidden(text, code="no-person")
    if actor.person == change.requested_by:
        text = "You asked for this change yourself (a token of yours is you): somebody else has to approve it."
        return Forbidden(text, code="own-change")
    sites = [] if actor.is_operator else demanding_sites(change.plan)
    if sites:
        return Forbidden(f"Site {', '.join(sites)} demands it: an operator has to approve.", code="operator-needed")
    return None


@transaction.atomic
def change_cancel(*, actor: Actor, change: Change) -> Change:
    """Call off what nobody has begun: the chain stays as it is, also one that was to be deleted.

    Errors: NotFound, Forbidden; Conflict if it was begun or has ended.
    """
    require_editor(actor, change.plan.tenant_id)
    row = _locked(change)
    if not can_cancel(row):
        detail = f"Change {row.pk} is {row.status}: only what nobody has begun can be cancelled."
        raise Conflict(detail, code="not-cancellable")
    call_off(actor, row, f"cancelled by {actor.name}")
    chain = _chain(row)
    if chain is not None:
        _put_back(chain, row)
    row.refresh_from_db()
    return row


def can_cancel(change: Change) -> bool:
    """Nothing was sent and no attempt runs: an attempt claims the change before anything else."""
    if change.status not in (Status.WAITING, Status.PENDING):
        return False
    return not change.steps.exclude(status=Step.Status.PENDING).exists()


def call_off(actor: Actor, change: Change, text: str) -> None:
    """The change ends and its plan is worth nothing any more. The caller holds the change's row, and its chain's."""
    change.status, change.finished_at, change.waits = Status.CANCELLED, Now(), ""
    change.save(update_fields=["status", "finished_at", "waits"])
    change.events.create(text=text)
    Plan.objects.filter(pk=change.plan_id).update(status=Plan.Status.STALE)
    _audit(actor, "change.cancel", change)


def not_begun(chain: Chain) -> list[Change]:
    """The chain's changes that can be called off, locked. Ask before locking the chain: the engine does so too."""
    rows = Change.objects.select_for_update(of=("self",)).filter(
        plan__chain=chain, status__in=(Status.WAITING, Status.PENDING)
    )
    return [row for row in rows.select_related("plan__tenant") if can_cancel(row)]


@transaction.atomic
def change_give_way(actor: Actor, chain: Chain, reason: str, *, is_urgent: bool = False) -> None:
    """What waits for a second person makes room for what cannot wait; if that is urgent, also what waits for its time.

    The machine's alone.
    """
    for row in not_begun(chain):
        is_late = is_urgent and bool(row.waits) and not row.is_urgent
        if row.status == Status.WAITING or is_late:
            call_off(actor, row, f"gave way: {reason}; ask for a new plan")


def _locked(change: Change) -> Change:
    return Change.objects.select_for_update(of=("self",)).select_related("plan__tenant").get(pk=change.pk)


def _chain(change: Change) -> Chain | None:
    return Chain.objects.select_for_update().filter(pk=change.plan.chain_id).first()


def _fits(plan: Plan, chain: Chain) -> bool:
    is_meant = chain.is_wanted or plan.goal == Plan.Goal.REMOVE
    now = (chain.generation, chain.revision)
    return is_meant and plan.status == Plan.Status.READY and (plan.generation, plan.base_revision) == now


def _put_back(chain: Chain, change: Change) -> None:
    """As if nobody had asked. A deletion was an edit, and so is taking it back; devices hold what is wanted again."""
    if change.plan.goal == Plan.Goal.REMOVE and not chain.is_wanted:
        is_held = chain.observed_generation == chain.generation - 1
        chain.is_wanted = True
        chain.generation += 1
        if is_held:
            chain.observed_generation = chain.generation
    if chain.revision and chain.observed_generation == chain.generation:
        _chain_status(chain, Chain.Status.UNKNOWN, f"change {change.pk} was cancelled: being looked at")
    else:
        _chain_status(chain, Chain.Status.PENDING, f"not applied: change {change.pk} was cancelled")
    bell(Outbox.Topic.CHAIN, chain.pk)


def _chain_status(chain: Chain, status: Chain.Status, reason: str) -> None:
    chain.status, chain.status_reason, chain.status_at = status, reason[:512], Now()
    chain.save()


def _audit(actor: Actor, action: str, change: Change) -> None:
    plan = change.plan
    detail = {"change": change.pk, "plan": plan.pk, "goal": plan.goal, "digest": plan.digest}
    audit(actor, action, f"chain {plan.tenant.name}/{plan.chain_name}", tenant=plan.tenant, detail=detail)
