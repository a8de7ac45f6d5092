# SPDX-License-Identifier: Apache-2.0
"""The state machine, a few dozen times. More of it: ./run soak --machine."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.engine.machine import LIMITS, Machine
from tests.engine.wire import Tap

EXAMPLES = 15
STEPS = 20


@pytest.mark.usefixtures("fabric")
def test_people_devices_and_workers_do_what_they_like(tap: Tap) -> None:
    Machine.tap = tap
    given = settings(LIMITS, max_examples=EXAMPLES, stateful_step_count=STEPS)
    run_state_machine_as_test(Machine, settings=given)
