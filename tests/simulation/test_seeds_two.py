# SPDX-License-Identifier: Apache-2.0
"""Schedules 500 to 749: no promise is broken. `./run soak --seeds N` plays more."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import play
from tests.simulation.workers import Crew


@pytest.mark.slow
@pytest.mark.parametrize("first", range(500, 750, 50))
def test_no_schedule_breaks_a_promise(crew: Crew, first: int) -> None:
    play(range(first, first + 50), crew)
