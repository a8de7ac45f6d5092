# SPDX-License-Identifier: Apache-2.0
"""What does not fit into a device's tables is refused while the plan is made, with the device, the limit and the need.

Called by the planner. Counted with what all other chains want there, and at every moment of the plan: while it is
carried out the old items and the new ones stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping

from chains import models, selectors
from chains.planning import types
from drivers.base import Target
from drivers.diff import patch
from drivers.limits import has_limit, too_many
from drivers.registry import DRIVERS
from drivers.state import EMPTY, DeviceState


def crowd_of(
    targets: Mapping[str, Target], row: models.Chain, known: Mapping[str, DeviceState]
) -> dict[str, DeviceState]:
    """What all other chains want on those devices whose limits are known. known: what was read already."""
    limited = [
        name
        for name, target in targets.items()
        if target.driver in DRIVERS and has_limit(DRIVERS[target.driver], target.settings)
    ]
    unread = [name for name in limited if name not in known]
    read = selectors.others_on(unread, row, of_all=True) if unread else {}
    return {name: known[name] if name in known else read.get(name, EMPTY) for name in limited}


def require_room(plan: types.Plan, targets: Mapping[str, Target], crowd: Mapping[str, DeviceState]) -> None:
    """Errors: Refused, one reason for each device that would overflow; Unsupported where a driver cannot say it.

    A table that is too full already may be made smaller.
    """
    held = {name: others.merged(plan.base.get(name, EMPTY)) for name, others in crowd.items()}
    reasons: dict[str, types.Reason] = {}
    for step in plan.steps:
        if step.device not in held or not step.changes:
            continue
        target, before = targets[step.device], held[step.device]
        family = DRIVERS[target.driver]
        held[step.device] = after = patch(before, step.changes)
        found = too_many(family, after, target)
        if found and _grows(family.entries(before, target), family.entries(after, target)):
            reasons.setdefault(step.device, types.Reason("table-full", found))
    if reasons:
        raise types.Refused(tuple(reasons.values()), plan.placement)


def _grows(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    return any(count > before.get(name, 0) for name, count in after.items())
