# SPDX-License-Identifier: Apache-2.0
"""The freeze switch: while it is set nothing is written to any device. Called by the API and the pages.

The row is all there is: the engine reads it before every push, so it survives restarts and reaches every worker.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from chains.errors import FieldError
from chains.models import Change, Freeze, Outbox
from chains.selectors.attempts import in_flight
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
    waiting = Change.objects.filter(status__in=UNDER_WAY).exclude(in_flight())
    found = list(waiting.values_list("pk", flat=True))
    waiting.update(due_at=Now())
    for change_id in found:
        bell(Outbox.Topic.CHANGE, change_id)
    audit(actor, "freeze.lift", f"freeze {row.pk}", tenant=None, detail={"reason": row.reason})
    return True
