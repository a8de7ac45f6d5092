# SPDX-License-Identifier: Apache-2.0
"""One piece of work in a process of its own, killed at a point, and what other processes make of it afterwards.

`every_point` is the sweep: work that lives first, to learn the points, then one death at each of them.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection

from chains.engine.kept import KEPT
from chains.engine.limits import limits
from chains.engine.sweep import sweep
from tests.crash.points import Points, installed
from tests.crash.start import LOGS, Start, any_pending, devices_now, rows_now, time_passes

# Longer than it takes until the sweep's next turn, with its jitter and that of readings.
TURN = 1.3
# A death may cost so many sweeps more than the same work takes without one.
BOUND = 2
MOST = 8


@dataclass(frozen=True, slots=True)
class Scenario:
    """work: what the process does that dies. judge: how it ended, and what is wrong with it, one line each.

    refuses: bytes that a device turns down, of whoever pushes them. again: what a client does that got no reply.
    """

    name: str
    work: Callable[[Points], object]
    judge: Callable[[], tuple[str, list[str]]]
    refuses: frozenset[str] = frozenset()
    again: Callable[[], object] = lambda: None


@dataclass
class Outcome:
    """points: labels in order. deaths: processes killed. worlds: different ones that they left behind.

    undisturbed: sweeps until rest after work that nobody killed. sweeps: how many a recovery took, by how often.
    timers: recoveries that had to wait for the devices' own. problems: one line each.
    """

    name: str
    points: list[str] = field(default_factory=list)
    deaths: int = 0
    worlds: int = 0
    undisturbed: int = 0
    timers: int = 0
    sweeps: Counter[int] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        ends = ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items()))
        sweeps = ", ".join(f"{number}: {count}" for number, count in sorted(self.sweeps.items()))
        return (
            f"{self.name}: {len(self.points)} points, {self.deaths} deaths, {self.worlds} different worlds; "
            f"ends: {ends}; sweeps until rest: {sweeps} (undisturbed {self.undisturbed}); timers: {self.timers}"
        )


def every_point(scenario: Scenario, start: Start, store: Path, *, is_until_first: bool = False) -> Outcome:
    """A process dies at each point in turn, always from the same start.

    Right after one I/O and right before the next is one place, with no I/O between: one death for both. A world that
    an earlier death left behind already, to the last row and byte, is recovered once. is_until_first: problem.
    """
    outcome = Outcome(scenario.name)
    worlds: set[str] = set()
    calm: set[str] = set()
    log = store.parent / "points"
    alive = _run(scenario, log, 0)
    if alive != 0:
        raise AssertionError(f"{scenario.name}: the work failed by itself: {alive}")
    outcome.points = log.read_text().splitlines()
    outcome.undisturbed = _until_rest(scenario, store, calm)
    outcome.problems += [f"undisturbed: {text}" for text in scenario.judge()[1]]
    for number, label in enumerate(outcome.points, start=1):
        if number > 1 and label.startswith("before"):
            continue
        if is_until_first and outcome.problems:
            break
        start.again()
        ended = _run(scenario, log, number)
        outcome.deaths += 1
        said = log.read_text().splitlines()
        if ended != -signal.SIGKILL or said != outcome.points[:number]:
            outcome.problems.append(f"point {number}, {label}: was not reached the same way again: {said[-1:]}")
            continue
        world = rows_now() + devices_now(store)
        if world not in worlds:
            found = _recover(scenario, store, outcome, calm)
            outcome.problems += [f"point {number}, {label}: {text}" for text in found]
        worlds.add(world)
    outcome.worlds = len(worlds)
    start.again()
    return outcome


def _run(scenario: Scenario, log: Path, kill_at: int) -> int:
    """The work in a child; its exit status, or minus the signal that ended it."""
    log.write_text("")
    KEPT.close_idle(0)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _be_the_child(scenario, Points(log, kill_at, scenario.refuses))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_the_child(scenario: Scenario, points: Points) -> None:
    """Never returns. The parent's connection is left alone: to close it here would say goodbye in its name."""
    inherited = connection.connection
    connection.connection = None
    status = 1
    try:
        with installed(points):
            scenario.work(points)
        status = 0
    except BaseException:  # noqa: BLE001  of whatever kind: told here, as nobody else can
        traceback.print_exc()
    finally:
        os._exit(status if inherited is not None else status)


def _recover(scenario: Scenario, store: Path, outcome: Outcome, calm: set[str]) -> Iterator[str]:
    """Other processes' sweeps, and the client that asks again; then what is wrong.

    calm: worlds in which a sweep was seen to change nothing; whoever comes to one of them is at rest.
    """
    scenario.again()
    was_pending = any_pending(store)
    taken = _until_rest(scenario, store, calm)
    if taken > outcome.undisturbed + BOUND and was_pending:
        outcome.timers += 1
        time_passes(2.0 * limits().confirm_s)
        taken = _until_rest(scenario, store, calm)
    outcome.sweeps[taken] += 1
    if taken > outcome.undisturbed + BOUND:
        yield f"took {taken} sweeps, {outcome.undisturbed} without a death"
    end, problems = scenario.judge()
    outcome.ends[end] += 1
    yield from problems


def _until_rest(scenario: Scenario, store: Path, calm: set[str]) -> int:
    """How many sweeps changed something: first when the lease of who died has ended, then at every turn."""
    given, before = limits(), ""
    with installed(Points(store.parent / "recovery", refuses=scenario.refuses)):
        for taken in range(MOST):
            time_passes(given.sweep_s * TURN if taken else given.lease_ttl_s + 1.0)
            sweep()
            now = rows_now(but=LOGS) + devices_now(store)
            if now == before:
                calm.add(now)
                return taken
            if now in calm:
                return taken + 1
            before = now
    return MOST
