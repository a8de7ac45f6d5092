# SPDX-License-Identifier: Apache-2.0
"""How far repairs by the machine itself may reach: what they may write now, judged from what they wrote lately.

Called inside the transaction that records a write (`writes`), apart from whoever found the drift. A wave of drift may
be a mistake of ours: so the first device repaired is watched like the first one of a change, and when several
repairs in a row fail, all of them stop. Repairs that a person ordered are not counted.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from chains.errors import Conflict
from chains.models import Device, DeviceStatus, DeviceWrite
from chains.services.clock import now

REPAIR = "repair"
# The part of all devices that may be written before the first of them was watched long enough (never less than one).
CANARY_SHARE = 0.05
# Repairs belong together that are not further apart; so many devices whose repair failed stop the rest.
EPISODE_S = 3600.0
MOST_FAILED = 3


def allowance() -> int:
    """How many devices may be written before the first one was watched."""
    programmed = Device.objects.filter(is_enabled=True).exclude(driver="").count()
    return max(1, int(programmed * CANARY_SHARE))


def repairs_check(devices: Collection[int], soak_s: float) -> None:
    """May these be repaired now? Errors: Conflict, for people."""
    lately = DeviceWrite.objects.filter(purpose=REPAIR, began_at__gt=now() - timedelta(seconds=EPISODE_S))
    rows = list(lately.order_by("pk").values_list("device_id", "device__name", "began_at", "ended_at", "error"))
    # What counts of a device is its last repair: one that failed, or that no worker survived, may have been made good.
    last = {pk: (name, ended_at or began_at, error) for pk, name, began_at, ended_at, error in rows}
    failed = sorted(name for pk, (name, _, error) in last.items() if error and pk not in devices)
    if len(failed) >= MOST_FAILED:
        raise Conflict(
            f"repairs are stopped: they failed on {', '.join(failed[:5])} within an hour. Fix: look there, then "
            f"order the repair of each device by hand",
            code="repairs-stopped",
        )
    if len(last.keys() | set(devices)) <= allowance() or last.keys() >= set(devices):
        return
    first = rows[0][0]
    name, since, error = last[first]
    in_sync = DeviceStatus.Condition.IN_SYNC
    if error or not DeviceStatus.objects.filter(device=first, condition=in_sync).exists():
        raise Conflict(f"{name} is repaired first and has to be in sync before others follow", code="canary")
    if since + timedelta(seconds=soak_s) > now():
        raise Conflict(f"{name} was repaired first and is watched for {soak_s:g} s before others follow", code="canary")
