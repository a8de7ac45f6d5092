# SPDX-License-Identifier: Apache-2.0
"""Plays seeds in a row for the tests of a file: two files, so that two test processes share the thousand."""

from __future__ import annotations

from collections.abc import Iterable

from tests.simulation import schedule
from tests.simulation.totals import Totals
from tests.simulation.workers import Crew


def play(seeds: Iterable[int], crew: Crew) -> Totals:
    """Errors: AssertionError with what a schedule showed."""
    total, problems = Totals(), []
    for seed in seeds:
        verdict = schedule.run(seed, crew)
        total.add(verdict)
        problems += [f"seed {seed}: {name}: {said}" for name, said in verdict.problems.items()]
    assert not problems, "\n".join(problems[:20])
    # A simulation in which nothing happens proves nothing.
    assert len(total.faults) >= 10, total.faults
    assert total.intents > 5 * total.schedules
    assert total.walked > total.schedules
    assert {"succeeded", "reverted"} <= total.changes.keys()
    return total
