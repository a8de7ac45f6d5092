# SPDX-License-Identifier: Apache-2.0
"""The sum over many schedules, as it is printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.schedule import COUNTED, Verdict


@dataclass
class Totals:
    """failing: seeds with any problem, also with those that have no count of their own."""

    schedules: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    failing: list[int] = field(default_factory=list)
    rounds: Counter[int] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    intents: int = 0
    walked: int = 0
    switches: int = 0
    pushes: int = 0

    def add(self, verdict: Verdict) -> None:
        self.schedules += 1
        self.faults += verdict.faults
        self.rounds[verdict.rounds] += 1
        self.changes += verdict.changes
        self.walked += verdict.walked
        self.intents += verdict.intents
        self.switches += verdict.switches
        self.pushes += len(verdict.pushes)
        for name in COUNTED:
            self.counts[name] += len(getattr(verdict, name))
        if verdict.problems:
            self.failing.append(verdict.seed)

    def json(self) -> dict[str, Any]:
        counts = {name: self.counts[name] for name in COUNTED}
        faults = sum(self.faults.values())
        return {"schedules": self.schedules, "faults": faults, **counts, "failing_seeds": self.failing}

    def text(self, took_s: float) -> str:
        lines = [f"{name}: {value}" for name, value in self.json().items()]
        lines.append(f"faults by kind: {_by_count(self.faults)}")
        lines.append(
            f"changes: {_by_count(self.changes)}; pushes: {self.pushes}; walks of packets: {self.walked}"
        )
        many = max(1, self.schedules)
        lines.append(
            f"a schedule: {self.intents / many:.1f} intents, {self.switches / many:.0f} times another worker went on"
        )
        lines.append(f"calm sweeps until nothing moved: {_by_count(self.rounds)}")
        lines.append(f"{took_s:.1f} s, {1000 * took_s / many:.0f} ms a schedule")
        return "\n".join(lines)


def _by_count(counter: Counter[Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
