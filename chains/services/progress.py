# SPDX-License-Identifier: Apache-2.0
"""How a change gets on: its steps, the decision, its end. Its attempts are in `attempts`.

Called by the engine through `services.record`. Nothing here waits or talks to a device. Every function is one
transaction; the decision is the point of no return: before it a change is taken back, after it the change
is carried to its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Least, Now

from chains.errors import Conflict
from chains.models import Chain, Change, ChangeEvent, Outbox, Plan, Step
from chains.selectors.attempts import STARTED
from chains.selectors.usage import UNDER_WAY
from chains.services import addresses, taking
from chains.services.actor import SYSTEM
from chains.services.attempts import wake_others
from chains.services.bypass import bypass_note
from chains.services.clock import now
from chains.services.conditions import conditions_write
from chains.services.parking import parked_close
from chains.services.trail import audit, bell

Status = Change.Status
CLOSED = "no packet is let in: a hop that blocks has nobody to serve it"
# A plan's documents that nobody needs here: with a hundred devices they take longer to read than all the rest.
UNREAD = ("plan__placement", "plan__path", "plan__proof", "plan__base", "plan__intent", "plan__errors")


def event_log(
    change: Change, text: str, *, device: str = "", level: str = ChangeEvent.Level.INFO
) -> ChangeEvent:
    """One line of the change's log."""
    return ChangeEvent.objects.create(change_id=change.pk, text=text, device=device, level=level)


def events_log(change: Change, lines: Iterable[tuple[str, str, str]]) -> None:
    """Many lines at once, in this order: (device, text, level)."""
    ChangeEvent.objects.bulk_create(
        ChangeEvent(change_id=change.pk, device=device, text=text, level=level) for device, text, level in lines
    )


def steps_set(steps: Iterable[Step], status: str, *, error: str = "") -> None:
    """Of rows and of the given objects."""
    rows = list(steps)
    Step.objects.filter(pk__in=[row.pk for row in rows]).update(status=status, error=error, updated_at=Now())
    for row in rows:
        row.status, row.error = status, error


@transaction.atomic
def steps_sent(labels: Mapping[Step, str]) -> None:
    """Written before the push: by step, the name of the commit that the device is to hold, "" for none."""
    for label in set(labels.values()):
        rows = [row.pk for row, held in labels.items() if held == label]
        Step.objects.filter(pk__in=rows).update(
            status=Step.Status.SENT, label=label, error="", updated_at=Now()
        )
    for row, label in labels.items():
        row.status, row.label, row.error = Step.Status.SENT, label, ""


def steps_confirmed(steps: Iterable[Step]) -> None:
    """Nothing of theirs is taken back by a device any more."""
    rows = list(steps)
    Step.objects.filter(pk__in=[row.pk for row in rows]).exclude(label="").update(label="")
    for row in rows:
        row.label = ""


def reverts_at_set(change: Change, after_s: float) -> None:
    """A device is about to be told to take back after so long what is not confirmed. The first one counts."""
    if change.reverts_at is not None:
        return
    Change.objects.filter(pk=change.pk, reverts_at=None).update(reverts_at=Now() + timedelta(seconds=after_s))
    change.refresh_from_db(fields=["reverts_at"])


@transaction.atomic
def allocations_record(plan: Plan) -> None:
    """Public addresses are written down before any device translates to them. Twice is harmless.

    Errors: Conflict if somebody else has them, or had them until a moment ago.
    """
    addresses.allocations_open(plan)


@transaction.atomic
def decision_record(change: Change) -> None:
    """The decision: from here on the plan's target is what the chain wants. Twice is harmless.

    Old and new are both counted as taken until `change_succeeded`: devices still hold the old path.
    Errors: Conflict if the change is not running or the chain is not what the plan started from.
    """
    rows = Change.objects.select_for_update(of=("self",)).select_related("plan__tenant").defer(*UNREAD)
    row = rows.get(pk=change.pk)
    plan = row.plan
    if row.decided_at is not None:
        change.decided_at = row.decided_at
        return
    chain = Chain.objects.select_for_update().filter(pk=plan.chain_id).first()
    if row.status != Status.RUNNING or chain is None or chain.revision != plan.base_revision:
        raise Conflict(f"Change {row.pk} cannot be decided: it is {row.status}, or its chain moved on.")
    taking.contributions_write(chain, plan)
    taking.uses_add(chain, plan)
    bypass_note(chain, plan, row)
    chain.revision = plan.revision
    chain.buckets = plan.summary.get("buckets", {})
    chain.save(update_fields=["revision", "buckets", "updated_at"])
    # A new phase: what was counted belongs to the one before, but for the attempt under way.
    row.decided_at, row.attempts, row.broken = now(), min(row.attempts, 1), min(row.broken, 1)
    row.save(update_fields=["decided_at", "attempts", "broken"])
    change.decided_at, change.attempts = row.decided_at, row.attempts
    detail = {"change": row.pk, "plan": plan.pk, "revision": plan.revision, "digest": plan.digest}
    audit(
        SYSTEM,
        "change.decide",
        f"chain {plan.tenant.name}/{plan.chain_name}",
        tenant=plan.tenant,
        detail=detail,
    )


@transaction.atomic
def change_succeeded(change: Change) -> None:
    """Every device was read back as decided. What only the old path took is released; a removed chain's row goes."""
    row, chain = _ended(change, Status.SUCCEEDED, "")
    plan = row.plan
    plan.status = Plan.Status.APPLIED
    plan.save(update_fields=["status"])
    if chain is None:
        return
    taking.uses_settle(chain, plan)
    addresses.allocations_settle(chain.pk, plan)
    if plan.goal == Plan.Goal.REMOVE:
        subject = f"chain {plan.tenant.name}/{chain.name}"
        audit(SYSTEM, "chain.removed", subject, tenant=plan.tenant, detail={"change": row.pk})
        chain.delete()
        return
    chain.observed_generation = plan.generation
    if plan.goal == Plan.Goal.CLOSE:
        _chain_status(chain, Chain.Status.DEGRADED, CLOSED)
        return
    is_current = chain.generation == plan.generation and chain.is_wanted
    reason = "" if is_current else "edited meanwhile: ask for a plan and apply it"
    _chain_status(chain, Chain.Status.READY if is_current else Chain.Status.PENDING, reason)
    if not chain.is_wanted:
        bell(Outbox.Topic.CHAIN, chain.pk)


def change_reverting(change: Change, reason: str) -> None:
    """What was sent is being taken back. Errors: Conflict after the decision."""
    values: dict[str, object] = {"status": Status.REVERTING, "error": reason}
    if change.steps.filter(status__in=STARTED).exists():
        values |= {"attempts": Least("attempts", 1), "broken": Least("broken", 1)}  # a new phase
    changed = Change.objects.filter(pk=change.pk, decided_at=None, status__in=UNDER_WAY).update(**values)
    if not changed:
        raise Conflict(f"Change {change.pk} is decided or has ended: it cannot be taken back.")
    change.refresh_from_db(fields=["status", "error", "attempts"])


@transaction.atomic
def change_reverted(change: Change, reason: str, *, is_stale: bool = False) -> None:
    """Every device was read back as before. What was in force still is."""
    row, chain = _ended(change, Status.REVERTED, reason)
    row.plan.status = Plan.Status.STALE
    row.plan.save(update_fields=["status"])
    if chain is None:
        return
    addresses.allocations_settle(chain.pk, taking.plan_in_force(chain, but=row.plan))
    if is_stale:
        _chain_status(chain, Chain.Status.PENDING, reason)
    else:
        _chain_status(chain, Chain.Status.ERROR, f"change {row.pk} was taken back: {reason}")


@transaction.atomic
def chain_status_set(chain: Chain, status: str, reason: str = "") -> bool:
    """False if it was so already. A chain whose change is under way keeps its status: the change says how it ends."""
    row = Chain.objects.select_for_update().filter(pk=chain.pk).first()
    is_busy = Change.objects.filter(plan__chain=chain.pk, status__in=UNDER_WAY).exists()
    if row is None or is_busy or (row.status, row.status_reason) == (status, reason[:512]):
        return False
    _chain_status(row, status, reason)
    chain.status, chain.status_reason, chain.status_at = row.status, row.status_reason, row.status_at
    return True


def _ended(change: Change, status: str, error: str) -> tuple[Change, Chain | None]:
    rows = Change.objects.select_for_update(of=("self",)).select_related("plan__tenant")
    row = rows.defer(*UNREAD, "plan__target").get(pk=change.pk)
    if row.status not in UNDER_WAY:
        raise Conflict(f"Change {row.pk} has ended already: it is {row.status}.")
    if (row.decided_at is None) == (status == Status.SUCCEEDED):
        raise Conflict(f"Change {row.pk} cannot be {status}: the decision says otherwise.")
    row.status, row.error, row.finished_at, row.waits = status, error, now(), ""
    row.broken = max(row.broken - 1, 0)
    row.save(update_fields=["status", "error", "finished_at", "waits", "broken"])
    parked_close(row)
    wake_others(row.pk)
    change.status, change.error, change.finished_at = row.status, row.error, row.finished_at
    return row, Chain.objects.select_for_update().filter(pk=row.plan.chain_id).first()


def _chain_status(chain: Chain, status: str, reason: str) -> None:
    chain.status, chain.status_reason, chain.status_at = Chain.Status(status), reason[:512], now()
    chain.save(update_fields=["status", "status_reason", "status_at", "observed_generation", "updated_at"])
    conditions_write([chain.pk])
