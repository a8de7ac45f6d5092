# SPDX-License-Identifier: Apache-2.0
"""The freeze switch: while it is set nothing is written to any device. Called by the API and the pages.

The row is all there is: the engine reads it before every push, so it survives restarts and reaches every worker.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from chains.errors import FieldError
from chains.models import Change, Freeze, Outbox
from chains.selectors.usage import UNDER_WAY
from chains.services.actor import Actor, require_operator
from chains.services.reading import invalid, is_line
from chains.services.trail import audit, bell

MAX_REASON = 255


@transaction.atomic
def freeze_set(*, actor: Actor, reason: str) -> tuple[Freeze, bool]:
    """The freeze, and whether it is new: one that is in force stays as it is. Errors: Forbidden, Invalid."""
    require_operator(actor)
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON or not is_line(reason):
        detail = f"one line of 1 to {MAX_REASON} printable characters: others read it"
        raise invalid([FieldError("reason", "invalid", detail)])
    row, is_new = Freeze.objects.get_or_create(
        lifted_at=None, defaults={"reason": reason, "created_by": actor.name}
    )
    if is_new:
        audit(actor, "freeze.set", f"freeze {row.pk}", tenant=None, detail={"reason": reason})
    return row, is_new


@transaction.atomic
def freeze_lift(*, actor: Actor) -> bool:
    """Everything that waited is due now. False if nothing was frozen. Errors: Forbidden."""
    require_operator(actor)
    row = Freeze.objects.select_for_update().filter(lifted_at=None).first()
    if row is None:
        return False
    Freeze.objects.filter(pk=row.pk).update(lifted_at=Now(), lifted_by=actor.name)
    waiting = Change.objects.filter(status__in=UNDER_WAY)
    waiting.update(due_at=Now())
    for change_id in waiting.values_list("pk", flat=True):
        bell(Outbox.Topic.CHANGE, change_id)
    audit(actor, "freeze.lift", f"freeze {row.pk}", tenant=None, detail={"reason": row.reason})
    return True


def attempt_waits(change_id: int, after_s: float, text: str, *, was_counted: bool) -> None:
    """The engine met a freeze or a closed window. Waiting is no failure, so it is not counted; the log says it once."""
    with transaction.atomic():
        change = Change.objects.select_for_update().filter(pk=change_id, status__in=UNDER_WAY).first()
        if change is None:
            return
        if was_counted and change.attempts:
            change.attempts = F("attempts") - 1
        change.due_at = Now() + timedelta(seconds=after_s)
        change.waits = text[:255]
        change.save(update_fields=["attempts", "due_at", "waits"])
        if not change.events.filter(text=text).exists():
            change.events.create(text=text, level="warning")
