# SPDX-License-Identifier: Apache-2.0
"""The fabric and the workers of a test process's schedules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from drivers import fake
from tests.engine import world
from tests.simulation import clock, devices, fabric
from tests.simulation.workers import Crew


@pytest.fixture
def crew(transactional_db: None, settings: Any) -> Iterator[Crew]:
    """Workers on the demo fabric, nothing on it."""
    for name, value in devices.LIMITS.items():
        setattr(settings, name, value)
    fake.reset()
    world.load()
    clock.install_functions()
    made = Crew()
    yield made
    made.end()
    fabric.forget()
