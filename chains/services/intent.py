# SPDX-License-Identifier: Apache-2.0
"""What users want: chains, and the changes that apply their plans. Called by the API and the pages.

Every write is one transaction with its audit row and its bell. Knows no task, no device and no planning.
Two writers of one tenant take turns (a lock on the tenant's row), so checks between chains hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from chains.errors import Conflict, FieldError, NotFound
from chains.models import (
    Chain,
    Change,
    Classifier,
    Contribution,
    Hop,
    Outbox,
    Plan,
    PoolAllocation,
    Step,
    Tenant,
)
from chains.selectors.attempts import parked_half_way
from chains.selectors.intent import chain_intent
from chains.selectors.usage import OPEN
from chains.services import approval
from chains.services.actor import Actor, require_editor
from chains.services.chain_data import (
    ChainData,
    ClassifierData,
    chain_data_clean,
    clean_intent,
    overlap,
    turned,
)
from chains.services.hop_data import hop_columns
from chains.services.reading import invalid
from chains.services.room import room_check
from chains.services.trail import audit, bell

# One key for all: changes are let through one at a time, so that two plans cannot take the same room.
ADMISSION_LOCK = 0x56494144


@transaction.atomic
def chain_create(*, actor: Actor, tenant: Tenant, data: Mapping[str, Any]) -> Chain:
    """A new chain, not yet planned. Errors: Invalid, Conflict (the name is taken), Forbidden, NotFound."""
    require_editor(actor, tenant.pk)
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    clean = chain_data_clean(tenant, data)
    _check_name(tenant, clean, None)
    _check_overlap(tenant, clean, None)
    chain = Chain.objects.create(tenant=tenant, **_columns(clean))
    _write_lists(chain, clean)
    audit(actor, "chain.create", _subject(chain), tenant=tenant, detail={"after": clean_intent(clean)})
    bell(Outbox.Topic.CHAIN, chain.pk)
    return chain


@transaction.atomic
def chain_update(
    *, actor: Actor, chain: Chain, data: Mapping[str, Any], generation: int | None = None
) -> Chain:
    """Change the intent, in whole or in part (a list is replaced as a whole). An edit that changes nothing is none.

    generation: refuse if the chain is no longer at it. Errors: as `chain_create`.
    """
    require_editor(actor, chain.tenant_id)
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=chain.tenant_id)
    chain = _locked(chain)
    if not chain.is_wanted:
        raise Conflict("The chain is being deleted.", code="being-deleted")
    if generation is not None and generation != chain.generation:
        raise Conflict(
            f"The chain was edited meanwhile: it is at generation {chain.generation}.", code="edited"
        )
    before = chain_intent(chain)
    clean = chain_data_clean(tenant, {**before, **data} if isinstance(data, Mapping) else data)
    _check_name(tenant, clean, chain)
    _check_overlap(tenant, clean, chain)
    after = clean_intent(clean)
    if after == before:
        return chain
    for name, value in _columns(clean).items():
        setattr(chain, name, value)
    chain.classifiers.all().delete()
    chain.hops.all().delete()
    _write_lists(chain, clean)
    chain.generation += 1
    if chain.status != Chain.Status.DRAFT:
        _set_pending(chain, "edited: ask for a plan and apply it")
    chain.save()
    audit(actor, "chain.update", _subject(chain), tenant=tenant, detail=_difference(before, after))
    bell(Outbox.Topic.CHAIN, chain.pk)
    return chain


@transaction.atomic
def chain_delete(*, actor: Actor, chain: Chain) -> Change | None:
    """Take the chain out of the network. One that was never applied goes at once.

    Otherwise it is marked; the engine takes it off its devices and removes the row when they were read
    back without it. The change that does so is returned if it is there already. Doing it twice is harmless.
    """
    require_editor(actor, chain.tenant_id)
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=chain.tenant_id)
    not_begun = approval.not_begun(chain)
    chain = _locked(chain)
    changes = Change.objects.filter(plan__chain=chain)
    if not chain.is_wanted:
        removals = changes.filter(plan__goal=Plan.Goal.REMOVE).exclude(status=Change.Status.CANCELLED)
        return removals.order_by("-id").first()
    detail = {"before": chain_intent(chain), "chain": chain.pk, "person": actor.person}
    audit(actor, "chain.delete", _subject(chain), tenant=tenant, detail=detail)
    for change in not_begun:
        approval.call_off(actor, change, "called off: the chain is being deleted")
    traces = (
        changes.filter(Q(status__in=OPEN) | Q(status=Change.Status.FAILED)),
        Contribution.objects.filter(chain=chain),
        PoolAllocation.objects.filter(chain_number=chain.pk, until=None),
    )
    if chain.revision == 0 and not any(rows.exists() for rows in traces):
        Plan.objects.filter(chain=chain, status=Plan.Status.READY).update(status=Plan.Status.STALE)
        chain.delete()
        return None
    chain.is_wanted = False
    chain.generation += 1
    _set_pending(chain, "being deleted")
    chain.save()
    bell(Outbox.Topic.CHAIN, chain.pk)
    return None


@transaction.atomic
def change_create(*, actor: Actor, plan: Plan, request_id: str = "", is_urgent: bool = False) -> Change:
    """Apply a plan, exactly as it was shown. Asking again for the same plan gives the same change.

    It waits if a second person has to agree. is_urgent: it brings traffic back that is cut.
    Errors: Conflict if the plan is refused or stale, if another change of the chain is under way, or if
    what the plan counted on was taken meanwhile.
    """
    require_editor(actor, plan.tenant_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADMISSION_LOCK])
    plan = Plan.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=plan.pk)
    existing = Change.objects.filter(plan=plan).first()
    if existing is not None and existing.status in (*OPEN, Change.Status.SUCCEEDED):
        return existing
    chain = _check_plan(plan)
    room_check(plan)
    asked = approval.asker(actor, plan)
    why = approval.why_needed(asked, plan)
    change = Change.objects.create(
        plan=plan,
        status=Change.Status.WAITING if why else Change.Status.PENDING,
        needs_approval=why,
        is_urgent=is_urgent,
        due_at=timezone.now(),  # a moment early or late is harmless: the bell rings at once
        request_id=(request_id or actor.request_id)[:64],
        created_by=asked.name,
        requested_by=asked.person,
    )
    Step.objects.bulk_create(Step(change=change, plan_step=step) for step in plan.steps.all())
    detail = {"plan": plan.pk, "change": change.pk, "goal": plan.goal, "digest": plan.digest}
    if why:
        _set_pending(chain, f"change {change.pk} waits for approval: {why}")
        change.events.create(text=f"waits for a second person's approval: {why}")
        detail["needs_approval"] = why
    else:
        chain.status, chain.status_reason, chain.status_at = Chain.Status.APPLYING, "", timezone.now()
        bell(Outbox.Topic.CHANGE, change.pk)
    chain.save(update_fields=["status", "status_reason", "status_at", "updated_at"])
    audit(actor, "plan.apply", _subject(chain), tenant=plan.tenant, detail=detail)
    return change


def _check_plan(plan: Plan) -> Chain:
    """The plan's chain, locked, if the plan still fits it. Errors: Conflict."""
    fix = "Fix: ask for a new plan."
    ended = Change.objects.filter(plan=plan).first()
    if ended is not None:
        raise Conflict(
            f"The plan was tried by change {ended.pk}, which is {ended.status}. {fix}", code="plan-stale"
        )
    if plan.status == Plan.Status.REFUSED:
        raise Conflict("The plan was refused: its errors say why.", code="plan-refused")
    chain = Chain.objects.select_for_update().filter(pk=plan.chain_id).select_related("tenant").first()
    if chain is None:
        raise Conflict("The plan's chain was deleted.", code="plan-stale")
    parked = parked_half_way(chain.pk)
    if parked is not None:
        detail = f"Change {parked.pk} of this chain is parked half-way: nothing else may touch it. Fix: retry it."
        raise Conflict(detail, code="change-parked")
    if plan.status != Plan.Status.READY:
        raise Conflict(f"The plan is {plan.status}. {fix}", code="plan-stale")
    if (plan.generation, plan.base_revision) != (chain.generation, chain.revision):
        raise Conflict(
            f"The plan was made for generation {plan.generation}, revision {plan.base_revision}; the chain is at "
            f"generation {chain.generation}, revision {chain.revision}. {fix}",
            code="plan-stale",
        )
    if plan.goal == Plan.Goal.APPLY and not chain.is_wanted:
        raise Conflict("The chain is being deleted.", code="being-deleted")
    busy = Change.objects.filter(plan__chain=chain, status__in=OPEN).first()
    if busy is not None and busy.status == Change.Status.WAITING:
        detail = f"Change {busy.pk} of this chain waits for approval. Fix: have it approved, or cancel it."
        raise Conflict(detail, code="change-waiting")
    if busy is not None:
        raise Conflict(
            f"Change {busy.pk} of this chain is under way: wait for its end.", code="change-under-way"
        )
    return chain


def _locked(chain: Chain) -> Chain:
    row = (
        Chain.objects.select_for_update(of=("self",))
        .select_related("tenant", "source", "destination")
        .filter(pk=chain.pk)
        .first()
    )
    if row is None:
        raise NotFound("Not found.")
    return row


def _columns(clean: ChainData) -> dict[str, Any]:
    return {
        "name": clean.name,
        "description": clean.description,
        "source": clean.source,
        "destination": clean.destination,
        "priority": clean.priority,
        "bandwidth_mbps": clean.bandwidth_mbps,
        "latency_budget_us": clean.latency_budget_us,
        "shares_fate": clean.shares_fate,
    }


def _write_lists(chain: Chain, clean: ChainData) -> None:
    Classifier.objects.bulk_create(
        Classifier(
            chain=chain,
            position=position,
            family=row.family,
            protocol=row.protocol,
            source_port_first=row.source_ports[0],
            source_port_last=row.source_ports[1],
            destination_port_first=row.destination_ports[0],
            destination_port_last=row.destination_ports[1],
            dscp=row.dscp,
        )
        for position, row in enumerate(clean.classifiers)
    )
    Hop.objects.bulk_create(Hop(chain=chain, **columns) for columns in hop_columns(clean.hops))


def _check_name(tenant: Tenant, clean: ChainData, chain: Chain | None) -> None:
    taken = Chain.objects.filter(tenant=tenant, name=clean.name).exclude(pk=chain.pk if chain else None)
    if taken.exists():
        detail = f"there is already a chain {clean.name}"
        raise Conflict(detail, code="name-taken", errors=(FieldError("name", "name-taken", detail),))


def _check_overlap(tenant: Tenant, clean: ChainData, chain: Chain | None) -> None:
    """Two chains may not claim the same packets at the same priority, neither on the way out nor on the way back."""
    pair = Q(source=clean.source, destination=clean.destination)
    back = Q(source=clean.destination, destination=clean.source)
    others = (
        Chain.objects.filter(pair | back, tenant=tenant, priority=clean.priority)
        .exclude(pk=chain.pk if chain else None)
        .prefetch_related("classifiers")
    )
    errors = []
    for other in others:
        theirs = [_classifier_data(row) for row in other.classifiers.all()]
        if other.source_id != clean.source.pk:
            theirs = [turned(row) for row in theirs]
        for index, mine in enumerate(clean.classifiers):
            if any(overlap(mine, row) for row in theirs):
                detail = f"chain {other.name} claims some of these packets at priority {other.priority}; change either"
                errors.append(FieldError(f"classifiers.{index}", "overlap", detail))
    if errors:
        raise invalid(errors, "overlap")


def _classifier_data(row: Classifier) -> ClassifierData:
    return ClassifierData(
        row.family,
        row.protocol,
        (row.source_port_first, row.source_port_last),
        (row.destination_port_first, row.destination_port_last),
        row.dscp,
    )


def _set_pending(chain: Chain, reason: str) -> None:
    chain.status, chain.status_reason, chain.status_at = Chain.Status.PENDING, reason, timezone.now()


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    changed = [name for name in after if before[name] != after[name]]
    return {
        "before": {name: before[name] for name in changed},
        "after": {name: after[name] for name in changed},
    }


def _subject(chain: Chain) -> str:
    return f"chain {chain.tenant.name}/{chain.name}"
