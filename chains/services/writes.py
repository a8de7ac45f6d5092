# SPDX-License-Identifier: Apache-2.0
"""Every push to a device is written down before it is made, and counted: the guard of how far one change may reach.

Called by the engine through `services.record`, beside the push and apart from the planning that it checks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from chains.errors import Conflict
from chains.models import Change, DeviceWrite
from chains.services.clock import now
from chains.services.repairs import REPAIR, allowance, repairs_check

KEEP_DAYS = 90


@dataclass(frozen=True, slots=True)
class Push:
    """What is about to be sent. epoch: of the lease it is sent under."""

    device_id: int
    epoch: int
    native: str


@transaction.atomic
def writes_begin(
    pushes: Iterable[Push], *, purpose: str, change: Change | None = None, soak_s: float = 0.0
) -> list[DeviceWrite]:
    """purpose: the phase of a change, "revert", "repair", or "enforce" (a repair that a person ordered). soak_s: how
    long the first repaired device is watched. Errors: Conflict if it would reach too far.
    """
    wanted = list(pushes)
    if purpose == REPAIR:
        repairs_check({push.device_id for push in wanted}, soak_s)
    if change is not None and change.decided_at is None and purpose in ("build", "switch"):
        _check_reach(change, {push.device_id for push in wanted})
    at = now()
    return DeviceWrite.objects.bulk_create(
        DeviceWrite(
            device_id=push.device_id,
            change=change,
            purpose=purpose,
            epoch=push.epoch,
            digest=_digest(push.native),
            began_at=at,
        )
        for push in wanted
    )


def _digest(native: str) -> str:
    return hashlib.sha256(native.encode()).hexdigest()


def writes_end(
    rows: Iterable[DeviceWrite], errors: Mapping[str, str], rendered_anew: Mapping[str, str] | None = None
) -> None:
    """How they ended. errors: by device name, in the device's words. rendered_anew: what was sent instead of the
    bytes written down before, as the device held something else.
    """
    ended = [row.pk for row in rows]
    DeviceWrite.objects.filter(pk__in=ended).update(ended_at=Now())
    for name, text in errors.items():
        DeviceWrite.objects.filter(pk__in=ended, device__name=name).update(error=text)
    for name, native in (rendered_anew or {}).items():
        DeviceWrite.objects.filter(pk__in=ended, device__name=name).update(digest=_digest(native))


def writes_prune() -> int:
    """Drop what is older than `KEEP_DAYS`."""
    old = Now() - timedelta(days=KEEP_DAYS)
    return DeviceWrite.objects.filter(began_at__lt=old).delete()[0]


def canary_passed(change: Change) -> None:
    """The first device was watched long enough: the others may follow. Twice is harmless."""
    Change.objects.filter(pk=change.pk, canary_at=None).update(canary_at=Now())
    change.refresh_from_db(fields=["canary_at"])


def _check_reach(change: Change, devices: set[int]) -> None:
    row = Change.objects.select_for_update().get(pk=change.pk)
    if row.canary_at is not None:
        return
    begun = Q(change=change, purpose__in=("build", "switch"))
    before = set(DeviceWrite.objects.filter(begun).values_list("device_id", flat=True))
    reached, most = len(before | devices), allowance()
    if reached > most:
        raise Conflict(
            f"Change {change.pk} would reach {reached} devices before the first one was watched; {most} may be.",
            code="reaches-too-far",
        )
