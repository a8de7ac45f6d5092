# SPDX-License-Identifier: Apache-2.0
"""One attempt at a change: claimed under the caps, kept, and how it ends. Counted before it is made.

Called by the engine through `services.record`. `broken` is raised by the claim and lowered by every orderly end,
so what is left of it are attempts that nobody saw the end of: too many, and the change is parked.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from chains.models import Chain, Change, ChangeEvent, Outbox
from chains.selectors.attempts import ITS_TURN, cap_reached, in_flight, others_wait
from chains.selectors.usage import UNDER_WAY
from chains.services.clock import now
from chains.services.conditions import conditions_write
from chains.services.parking import park
from chains.services.trail import bell

Status = Change.Status
# A plan's documents: the attempt reads them, its claim does not.
DOCUMENTS = ("placement", "path", "proof", "summary", "base", "target", "allocations", "intent", "errors")
UNREAD = tuple(f"plan__{name}" for name in DOCUMENTS)
# One key for all: who counts the others counts alone.
CLAIM_LOCK = 0x56494143
# A change whose turn has not come looks again after so many seconds, or when another one has ended.
TURN_S = (1.0, 3.0)
WAKES = 4
ORDERLY = Greatest(F("broken") - 1, 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """change: None if no attempt may be made. is_over: because it has ended, or was parked now."""

    change: Change | None
    is_over: bool = False


@transaction.atomic
def change_claim(change_id: int, due_in_s: float, most_broken: int = 5) -> Claim:
    """An attempt begins. If it dies, the change is due again after `due_in_s`.

    No attempt: it has ended; another worker was quicker; `most_broken` attempts broke off (then it is parked); or
    its tenant or a site has as many as it may (then it says so and looks again soon).
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
    rows = Change.objects.select_for_update(of=("self",)).select_related("plan__tenant").defer(*UNREAD)
    change = rows.filter(pk=change_id, status__in=UNDER_WAY).first()
    if change is None:
        return Claim(None, is_over=True)
    at = now()
    if change.due_at > at:
        return Claim(None)
    if change.broken >= most_broken:
        died = f"{change.broken} attempts ended without a trace: the worker died each time"
        park(change, f"{change.error}; {died}" if change.error else died)
        return Claim(None, is_over=True)
    waits = cap_reached(change)
    if waits:
        _waits(change, random.uniform(*TURN_S), waits)
        return Claim(None)
    is_first = change.status == Status.PENDING
    if is_first:
        change.status, change.started_at = Status.RUNNING, at
        Chain.objects.filter(plans__change=change).update(
            status=Chain.Status.APPLYING, status_reason="", status_at=Now()
        )
    change.attempts, change.broken = min(change.attempts + 1, 32767), change.broken + 1
    change.waits, change.due_at = "", at + timedelta(seconds=due_in_s)
    change.save(update_fields=["status", "started_at", "attempts", "broken", "waits", "due_at"])
    if is_first:
        conditions_write(Chain.objects.filter(plans__change=change).values_list("pk", flat=True))
    return Claim(change)


def change_hold(change_id: int, due_in_s: float) -> None:
    """The attempt goes on: its claim is prolonged with its leases."""
    running = Change.objects.filter(pk=change_id, status__in=(Status.RUNNING, Status.REVERTING), waits="")
    running.update(due_at=Now() + timedelta(seconds=due_in_s))


@transaction.atomic
def change_postpone(change_id: int, after_s: float, *, error: str) -> None:
    """The attempt ended as it should, without success: again later. error: why, kept for people."""
    _again(change_id, after_s, error=error, broken=ORDERLY)


@transaction.atomic
def change_refused(change_id: int, after_s: float, *, error: str, refusal: str, most_broken: int) -> bool:
    """A device turns down what has to be done. It counts as broken; True: too often, the change is parked.

    error: why it is where it is. refusal: what the devices said.
    """
    change = Change.objects.select_for_update().filter(pk=change_id, status__in=UNDER_WAY).first()
    if change is not None and change.broken >= most_broken:
        park(change, error if refusal in error else f"{error}; then: {refusal}")
        return True
    _again(change_id, after_s, error=error)
    return False


@transaction.atomic
def change_crashed(change_id: int, error: str, after_s: float, most_broken: int) -> None:
    """The attempt ended by what nobody foresaw: say so, and try again later, or park it."""
    change = Change.objects.select_for_update().filter(pk=change_id, status__in=UNDER_WAY).first()
    if change is None:
        return
    change.events.create(text=f"the attempt broke: {error}", level=ChangeEvent.Level.ERROR)
    if change.broken >= most_broken:
        park(change, error)
    else:
        _again(change_id, after_s, error=error)


def attempt_over(change_id: int) -> None:
    """Another worker has taken over: this attempt neither failed nor broke."""
    Change.objects.filter(pk=change_id).update(broken=ORDERLY)


@transaction.atomic
def attempt_waits(
    change_id: int, after_s: float, text: str, *, was_counted: bool, is_told: bool = True
) -> None:
    """Nothing may be done now. Waiting is no failure: the attempt is not counted; the log says it once (is_told)."""
    rows = Change.objects.select_for_update().filter(pk=change_id, status__in=UNDER_WAY)
    change = (rows if was_counted else rows.exclude(in_flight())).first()
    if change is None:
        return
    if was_counted:
        Change.objects.filter(pk=change_id).update(broken=ORDERLY, attempts=Greatest(F("attempts") - 1, 0))
    _waits(change, after_s, text)
    if is_told and not change.events.filter(text=text).exists():
        change.events.create(text=text, level=ChangeEvent.Level.WARNING)


def wake_others(but: int) -> None:
    """An attempt (at `but`) has ended: who waits for its turn looks at once. In the transaction of the end."""
    for waiting in others_wait(but, WAKES):
        Change.objects.filter(pk=waiting, waits__endswith=ITS_TURN).update(due_at=Now())
        bell(Outbox.Topic.CHANGE, waiting)


def _waits(change: Change, after_s: float, text: str) -> None:
    due_at = Now() + timedelta(seconds=after_s)
    Change.objects.filter(pk=change.pk).update(due_at=due_at, waits=text[:255])


def _again(change_id: int, after_s: float, *, error: str, **values: object) -> None:
    due_at: datetime = now() + timedelta(seconds=after_s)
    waits = f"the last attempt failed: tried again at {due_at:%H:%M:%S} UTC"
    rows = Change.objects.filter(pk=change_id, status__in=UNDER_WAY)
    if rows.update(due_at=due_at, waits=waits, error=error, **values):
        wake_others(change_id)
