# SPDX-License-Identifier: Apache-2.0
"""Whether a device is asked at all: the circuit breaker as one attempt at a change sees it.

Used by reconcile. A device that failed too often in a row is left alone; only a reading by the sweep tries it again.
Readings count for themselves (see observe).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from chains import models
from chains.engine.limits import Limits
from chains.engine.moves import BEFORE_DECISION
from chains.selectors.attempts import closed_devices, is_half_way
from chains.services import record
from drivers.base import Transient

# A reading is due when the time is over; it is made by the next sweep, and hurries who waits.
MARGIN_S = (1.0, 5.0)
NAMED = 3


@dataclass(frozen=True, slots=True)
class Wait:
    """text: for people. after_s: when to look again."""

    text: str
    after_s: float


def must_wait(change: models.Change) -> Wait | None:
    """For a device that is left alone and that the change needs before its decision, if nothing was sent yet.

    A device that is only to be cleaned is not waited for: see `_silent` for what becomes of it.
    """
    needed = {
        step.device.name for step in change.plan.steps.all() if step.device and step.phase in BEFORE_DECISION
    }
    closed = closed_devices(needed)
    if not closed or is_half_way(change):
        return None
    now, last = record.now(), max(closed.values())
    names = ", ".join(sorted(closed)[:NAMED]) + (f" and {len(closed) - NAMED} more" if len(closed) > NAMED else "")
    verb = "does" if len(closed) == 1 else "do"
    when = f"at {last:%H:%M:%S} UTC" if last > now else "by the next reading"
    after_s = max(0.0, (last - now).total_seconds()) + random.uniform(*MARGIN_S)
    return Wait(f"{names} {verb} not answer: tried again {when}", after_s)


def left_alone(names: Mapping[str, object]) -> dict[str, Transient]:
    """What to answer for the devices whose breaker is open, without a session."""
    closed = closed_devices(names)
    return {
        name: Transient(f"{name}: does not answer; left alone until {until:%H:%M:%S} UTC, then read first")
        for name, until in closed.items()
    }


def note(devices: Mapping[str, models.Device], heard: Mapping[str, bool], given: Limits) -> None:
    """How an attempt's sessions ended. heard: by device, did it answer last?"""
    failed = [devices[name].pk for name, has_answered in heard.items() if not has_answered]
    answered = [devices[name].pk for name, has_answered in heard.items() if has_answered]
    record.device_failed(failed, given.breaker_failures, given.breaker_s, was_counted=False)
    if answered:
        record.device_answered(answered)
