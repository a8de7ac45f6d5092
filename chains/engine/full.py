# SPDX-License-Identifier: Apache-2.0
"""What does not fit into a device's tables is refused while the plan is made, with the device, the limit and the need.

Called by the planner. Counted with what all other chains want there, and at every moment of the plan: while it is
carried out the old items and the new ones stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping

from chains import models, selectors
from chains.planning import types
from chains.planning.routing import peers
from drivers.base import Target
from drivers.diff import patch
from drivers.limits import has_limit, too_many
from drivers.registry import DRIVERS
from drivers.state import EMPTY, DeviceState


class Full(types.Refused):
    """Refused as tables overflow. offers: where the chain would run that lead to these tables, with the reason."""

    def __init__(self, reasons: tuple[types.Reason, ...], plan: types.Plan, offers: Mapping[str, str]) -> None:
        super().__init__(reasons, plan.placement)
        self.offers = offers


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


def require_room(
    plan: types.Plan, targets: Mapping[str, Target], crowd: Mapping[str, DeviceState], fabric: types.Fabric
) -> None:
    """Errors: Full, one reason for each device that would overflow; Unsupported where a driver cannot say it.

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
        raise Full(tuple(reasons.values()), plan, _near(plan, fabric, reasons))


def _near(plan: types.Plan, fabric: types.Fabric, full: Mapping[str, types.Reason]) -> dict[str, str]:
    """Offers of the plan on one of these devices, or plugged into one: a place elsewhere may need fewer lines there."""
    beside: dict[str, set[str]] = {}
    for a, b in peers(fabric).items():
        beside.setdefault(a.device, {a.device}).add(b.device)
    found = {}
    for hop in plan.placement.hops if plan.placement else ():
        for name in hop.chosen.offers if hop.chosen else ():
            device = name.partition("@")[2]
            for crowded in sorted(beside.get(device, {device}) & full.keys()):
                found[name] = f"the tables of {crowded} would be too full: {full[crowded].detail}"
    return found


def _grows(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    return any(count > before.get(name, 0) for name, count in after.items())
