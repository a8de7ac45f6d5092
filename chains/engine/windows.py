# SPDX-License-Identifier: Apache-2.0
"""May a change begin now, by the windows that it has to keep to? Asked before an attempt and before the first push.

Only of what has not begun: what devices hold half of is finished or taken back whatever the clock says.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chains import models
from chains.engine.breaker import Wait
from chains.engine.freeze import Frozen
from chains.planning.windows import NEVER, opening, opens
from chains.selectors.windows import windows_of
from chains.services import record

Status = models.Change.Status
# It is looked at again after so long even if nothing opens: a window may be edited at the very moment it is asked.
LOOK_AGAIN_S = 3600.0
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def must_wait(change: models.Change) -> Wait | None:
    """None: it may begin, or it has begun. By the database's clock."""
    if change.is_urgent or has_begun(change):
        return None
    windows = windows_of(change.plan)
    if not windows:
        return None
    now = record.now()
    try:
        at = opens(windows, now)
    except ZoneInfoNotFoundError as error:
        text = f"a change window cannot be read here: {error.args[0]}; install the time zones of the system"
        return Wait(text[:255], LOOK_AGAIN_S)
    if at is None:
        return None
    if at == NEVER:
        names = ", ".join(window.name for window in windows)
        text = f"there is no time at which a change window of each kind is open: {names}"
        return Wait(text[:255], LOOK_AGAIN_S)
    window = opening(windows, at)
    assert window is not None, "an answer of the calendar is the opening of a window"
    local = at.astimezone(ZoneInfo(window.timezone))
    when = f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M} {window.timezone}"
    return Wait(f"the window {window.name} opens {when}", min((at - now).total_seconds(), LOOK_AGAIN_S))


def check(change: models.Change) -> None:
    """Once more, right before the first push: devices may have answered slowly. Errors: Frozen."""
    wait = must_wait(change)
    if wait is not None:
        raise Frozen(wait.text, was_counted=True)


def has_begun(change: models.Change) -> bool:
    """May a device hold something of it, or have held it?"""
    if change.decided_at is not None or change.status == Status.REVERTING:
        return True
    return any(step.status != models.Step.Status.PENDING for step in change.steps.all())
