# SPDX-License-Identifier: Apache-2.0
"""The sum over many runs, as it is printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.verdict import COUNTED, Verdict


@dataclass
class Totals:
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    failing: list[int] = field(default_factory=list)
    writes: int = 0
    intents: int = 0
    settled: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.runs += 1
        self.faults += verdict.faults
        self.changes += verdict.changes
        self.writes += verdict.writes
        self.intents += verdict.intents
        self.settled.append(verdict.settled_s)
        for kind in COUNTED:
            self.counts[kind] += len(verdict.problems.get(kind, ()))
        if verdict.problems:
            self.failing.append(verdict.seed)

    def json(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "faults": sum(self.faults.values()),
            "intents": self.intents,
            "device_writes": self.writes,
            **{kind: self.counts[kind] for kind in COUNTED},
            "failing_seeds": self.failing,
            "slowest_recovery_s": round(max(self.settled, default=0.0), 1),
        }

    def text(self, took_s: float) -> str:
        found = [f"{name}: {value}" for name, value in self.json().items()]
        found.append(f"faults by kind: {_by_count(self.faults)}")
        found.append(f"changes: {_by_count(self.changes)}")
        return "\n".join([*found, f"{took_s:.0f} s, {took_s / max(1, self.runs):.1f} s a run"])


def _by_count(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
