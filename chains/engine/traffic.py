# SPDX-License-Identifier: Apache-2.0
"""Measures the packets of chains that somebody looks at: all devices of a chain are read side by side, twice.

Called by the pulse. What is lost on the way, and by no policy, is a finding with the counters as its witness; it is
closed when packets flow again, or when nobody looks any more and nothing is known.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from chains import models, selectors
from chains.engine.limits import Limits
from chains.engine.sessions import fleet_of, read
from chains.planning.traffic import Fate, Loss
from chains.selectors.traffic import TrafficView
from chains.services import record
from drivers.base import Counter
from drivers.registry import DRIVERS
from drivers.state import Key

AT_ONCE = 64
# So much of the packets, and it is no longer the odd one.
MOST = 0.5


def measure(given: Limits) -> int:
    """All chains that are due; how many. One reading of each device, however many chains it carries."""
    due = record.traffic_claim(AT_ONCE, given.traffic_s)
    live = [pk for pk, is_last in due.items() if not is_last]
    for pk in due.keys() - set(live):
        record.finding_close(code="traffic-lost", chain=models.Chain(pk=pk))
    if not live:
        return len(due)
    unreachable = models.DeviceStatus.Condition.UNREACHABLE
    parts = models.Contribution.objects.filter(chain__in=live, device__is_enabled=True).exclude(device__driver="")
    # Who counts nothing would seem to have lost everything: it is not read.
    silent = [name for name, driver in DRIVERS.items() if not driver.caps.counts]
    parts = parts.exclude(device__driver__in=silent)
    parts = parts.exclude(device__status__condition=unreachable).select_related("device").defer("items")
    devices = {part.device.name: part.device for part in parts}
    with fleet_of(devices.values(), given) as fleet:
        answers = fleet.each({name: read for name in devices})
    counts: dict[int, dict[str, dict[Key, Counter]]] = defaultdict(dict)
    for part in parts:
        if part.device.name in answers.values:
            counts[part.chain_id][part.device.name] = dict(answers.values[part.device.name].counters)
    record.traffic_sample(counts)
    for view in selectors.traffic_of(live).values():
        _say(view)
    return len(due)


def _say(view: TrafficView) -> None:
    """A finding for what is lost; closed by packets that flow, not by silence."""
    chain = models.Chain(pk=view.chain)
    worst = next((loss for loss in view.faults if loss.packets >= loss.of * MOST), None)
    if worst is not None:
        record.finding_open(
            code="traffic-lost",
            chain=models.Chain.objects.get(pk=view.chain),
            detail=view.said(worst),
            witness={"window_s": round(view.window_s, 1), "losses": [witness(loss) for loss in view.faults]},
        )
    elif any(course.fate in (Fate.FLOWS, Fate.DENIED) for course in view.courses):
        record.finding_close(code="traffic-lost", chain=chain)


def witness(loss: Loss) -> dict[str, Any]:
    """As JSON."""
    return {
        "fate": str(loss.fate),
        "direction": loss.direction.name.lower(),
        "device": loss.device,
        "hop": loss.hop,
        "after": loss.after,
        "before": loss.before,
        "packets": loss.packets,
        "of": loss.of,
        "evidence": loss.evidence,
    }
