# SPDX-License-Identifier: Apache-2.0
"""How many entries fit on a device, and what does not. Pure.

Called by the planner, which refuses a plan that would not fit, and by placement, which counts before it chooses.
What a platform documents is in its `Capabilities.limits`; a TCAM's size is no family's but one box's: its operator
says it in the device's setting `table_lines`. It can only lower what is documented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from drivers.base import LINES, Driver, Limit, Target
from drivers.state import DeviceState

# The setting that says how many lines the device's table for policies takes.
TABLE_LINES = "table_lines"
_NUMBER = re.compile(r"[1-9]\d{0,8}")
STATED = f"its setting `{TABLE_LINES}`"


def is_table_lines(text: str) -> bool:
    """Is it a value that the setting may have?"""
    return _NUMBER.fullmatch(text) is not None


def limits_of(family: Driver, settings: Mapping[str, str]) -> tuple[Limit, ...]:
    """The family's, with what the operator of this device says of it."""
    said = settings.get(TABLE_LINES, "")
    stated = Limit(LINES, int(said), STATED) if is_table_lines(said) else None
    return tuple(
        stated if stated and one.name == LINES and (one.most is None or int(said) < one.most) else one
        for one in family.caps.limits
    )


def has_limit(family: Driver, settings: Mapping[str, str]) -> bool:
    """Is any of them known?"""
    return any(one.most is not None for one in limits_of(family, settings))


def too_many(family: Driver, state: DeviceState, target: Target) -> str:
    """Why the device cannot hold the state: its name, the limit and what is needed; "" if it can.

    Errors: drivers.base.Unsupported as `Driver.entries`.
    """
    known = [one for one in limits_of(family, target.settings) if one.most is not None]
    counted = family.entries(state, target) if known else {}
    for one in known:
        need = counted.get(one.name, 0)
        if one.most is not None and need > one.most:
            what = "lines in all its tables" if one.name == LINES else "entries in one table"
            return f"{target.name} would need {need} {what}, and {one.most} fit ({one.source})"
    return ""
