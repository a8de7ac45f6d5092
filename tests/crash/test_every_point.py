# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every labelled point of the engine's work: all or nothing, and nothing lost.

`./run soak --crash` does the same for every scenario on both kinds of devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chains.engine import run
from chains.engine.kept import KEPT
from chains.services import intent, record
from tests.crash import ground, scenarios
from tests.crash.death import Outcome, Scenario, every_point
from tests.crash.start import Start

pytestmark = pytest.mark.slow
Build = Callable[[Path], Scenario]
# The short ones, and the one that goes through most of the engine: there and back.
HERE = (
    ("plain", scenarios.request),
    ("plain", scenarios.relay),
    ("plain", scenarios.repair),
    ("confirming", scenarios.refuse),
)


@pytest.fixture
def store(transactional_db: None, settings: Any, tmp_path: Path) -> Iterator[Path]:
    for name, value in ground.LIMITS.items():
        setattr(settings, name, value)
    folder = tmp_path / "devices"
    folder.mkdir()
    yield folder
    KEPT.close_idle(0)


def sweep(store: Path, kind: str, build: Build, *, is_until_first: bool = False) -> Outcome:
    ground.load(store, kind)
    scenario = build(store)
    start = Start(store)
    try:
        return every_point(scenario, start, store, is_until_first=is_until_first)
    finally:
        start.drop()


@pytest.mark.parametrize(("kind", "build"), HERE, ids=lambda value: getattr(value, "__name__", value))
def test_a_death_at_every_point(kind: str, build: Build, store: Path) -> None:
    outcome = sweep(store, kind, build)
    print(f"{kind} {outcome.text()}")
    assert not outcome.problems, "\n".join([outcome.text(), *outcome.problems[:20]])
    assert len(outcome.points) >= 6


# --- bugs planted to see it caught ------------------------------------------------------------


def test_it_catches_steps_that_are_not_marked_before_a_push(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.record, "steps_sent", lambda labels: None)
    assert sweep(store, "plain", scenarios.apply, is_until_first=True).problems


def test_it_catches_a_change_without_its_audit_row(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intent, "audit", lambda *_, **__: None)
    assert sweep(store, "plain", scenarios.request, is_until_first=True).problems


def test_it_catches_an_attempt_whose_death_nobody_takes_up(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = record.change_claim
    monkeypatch.setattr(record, "change_claim", lambda change, _, *rest: claim(change, 100_000.0, *rest))
    assert sweep(store, "plain", scenarios.apply, is_until_first=True).problems
