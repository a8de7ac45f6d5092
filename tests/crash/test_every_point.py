# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every labelled point of every piece of the engine's work: old or new, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Value
from django.db.models.functions import Concat

from chains import models
from chains.engine.kept import KEPT
from tests.crash import scenarios
from tests.crash.death import Scenario, every_point
from tests.crash.start import Start
from tests.engine import world

pytestmark = pytest.mark.slow
# No scenario goes there, and every sweep would read them.
ASIDE = ("a1", "a2", "b1", "b2", "cgn1", "ips1", "ips2")


@pytest.fixture(params=("", "-confirming"), ids=("plain", "confirming"))
def store(request: pytest.FixtureRequest, transactional_db: None, settings: Any, tmp_path: Path) -> Iterator[Path]:
    """The demo fabric in rows, its devices in files, the limits of production but for waiting that proves nothing."""
    settings.VIADUCT_DEVICE_THREADS = 1  # one device after the other: the same points in every run
    settings.VIADUCT_DRAIN_IDLE_S = 0.0
    settings.VIADUCT_LEASE_WAIT_S = 0.0
    settings.VIADUCT_SOAK_S = 0.0
    settings.VIADUCT_SWEEP_S = settings.VIADUCT_OBSERVE_S = 30.0
    folder = tmp_path / "devices"
    folder.mkdir()
    KEPT.close_idle(0)
    world.load(str(folder))
    models.Device.objects.filter(name__in=ASIDE).update(is_enabled=False)
    steered = models.Device.objects.exclude(driver__in=("", "fake-host"))
    steered.update(driver=Concat("driver", Value(request.param)))
    yield folder
    KEPT.close_idle(0)


@pytest.mark.parametrize("build", scenarios.ALL, ids=lambda build: build.__name__)
def test_a_death_at_every_point(build: Callable[[Path], Scenario], store: Path) -> None:
    scenario = build(store)
    start = Start(store)
    try:
        outcome = every_point(scenario, start, store)
    finally:
        start.drop()
    print(outcome.text())
    assert not outcome.problems, "\n".join([outcome.text(), *outcome.problems[:20]])
