# SPDX-License-Identifier: Apache-2.0
"""What a scenario is: numbered steps in plain text, each a function that must hold, and what came of it.

Called by the runner and by every scenario's module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.scenarios.judge import Verdict
    from lab.scenarios.stage import Stage


class Untrue(Exception):
    """A step does not hold. The text says what was seen."""


def check(holds: bool, seen: str) -> None:
    """Errors: Untrue."""
    if not holds:
        raise Untrue(seen)


@dataclass(slots=True)
class Outcome:
    """Sums over the scenario's datagrams; one time for each instance that died, and for each cable or switch.

    failover_ms: by the orchestrator. local_ms: by the switch.
    """

    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    misordered: int = 0
    bypassed: int = 0
    connections: int = 0
    broken: int = 0
    failover_ms: list[float] = field(default_factory=list)
    local_ms: list[float] = field(default_factory=list)
    reroute_ms: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.sent += verdict.sent
        self.lost += verdict.lost
        self.duplicated += verdict.duplicated
        self.misordered += verdict.misordered
        self.bypassed += verdict.bypassed

    def line(self) -> str:
        """The figures in one line."""
        parts = [f"{self.sent} sent, {self.lost} lost, {self.duplicated} doubled, {self.misordered} misordered"]
        parts.append(f"{self.bypassed} bypassed")
        if self.connections:
            parts.append(f"{self.connections - self.broken} of {self.connections} TCP connections alive")
        for what, times in (
            ("failover", self.failover_ms), ("local failover", self.local_ms), ("reroute", self.reroute_ms)
        ):
            if times:
                parts.append(f"{what} {median(times):.0f} ms, worst of {len(times)} {max(times):.0f} ms")
        return ", ".join(parts)


@dataclass(slots=True)
class Play:
    """One run of a scenario. is_fast: the size of the test suite.

    say: progress within a step. kept: what one step leaves for the next.
    """

    stage: Stage
    is_fast: bool
    say: Callable[[str], None]
    outcome: Outcome = field(default_factory=Outcome)
    kept: dict[str, Any] = field(default_factory=dict)

    def times(self, full: int, fast: int) -> int:
        return fast if self.is_fast else full


Step = Callable[[Play], str]


@dataclass(frozen=True, slots=True)
class Scenario:
    """fabric: writes its fabric file. expects: what must hold, in one line. is_fast: part of the test suite."""

    name: str
    title: str
    expects: str
    fabric: Callable[[Path], Path]
    steps: Sequence[Step]
    is_fast: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """detail: what the last step saw, or why it does not hold."""

    name: str
    ok: bool
    detail: str
    seconds: float
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        figures = {name: getattr(self.outcome, name) for name in FIGURES}
        found = {"name": self.name, "ok": self.ok, **figures, "seconds": round(self.seconds, 1), "detail": self.detail}
        for name in ("failover_ms", "local_ms", "reroute_ms"):
            if times := getattr(self.outcome, name):
                found[name] = summary(times)
        return found


def summary(times: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(times), 1), "worst": round(max(times), 1), "of": len(times)}


FIGURES = ("sent", "lost", "duplicated", "misordered", "bypassed", "connections", "broken")


def text_of(step: Step) -> str:
    """A step's own words: the first paragraph of its docstring."""
    words = (step.__doc__ or step.__name__).strip().partition("\n\n")[0]
    return " ".join(words.split())


def perform(
    scenario: Scenario, play: Play, trouble: tuple[type[Exception], ...], show: Callable[[int, str, str, float], None]
) -> Result:
    """Every step in order; the first that does not hold ends it. trouble: what a step may meet.

    Errors: anything else is a bug of the scenario itself and shows as one.
    """
    began, detail = time.monotonic(), ""
    for number, step in enumerate(scenario.steps, start=1):
        started = time.monotonic()
        try:
            detail = step(play)
        except trouble as error:
            detail = f"step {number}, {text_of(step)} {type(error).__name__}: {error}"
            show(number, text_of(step), f"NO: {error}", time.monotonic() - started)
            return Result(scenario.name, False, detail, time.monotonic() - began, play.outcome)
        show(number, text_of(step), detail, time.monotonic() - started)
    return Result(scenario.name, True, detail, time.monotonic() - began, play.outcome)
