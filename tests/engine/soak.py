# SPDX-License-Identifier: Apache-2.0
"""`./run soak --machine [--examples N] [--steps N]`: the state machine for longer. Status 1 if it found something."""

from __future__ import annotations

import argparse
import sys
import time
from types import MappingProxyType

from tests.bench import database


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run soak --machine", description=__doc__)
    parser.add_argument("--examples", type=int, default=300, help="how many stories (default 300)")
    parser.add_argument("--steps", type=int, default=50, help="of at most so many steps (default 50)")
    given = parser.parse_args(arguments)
    if min(given.examples, given.steps) < 1:
        print("run: --examples and --steps must be 1 or more", file=sys.stderr)
        return 2
    return database.run(lambda: soak(given))


def soak(given: argparse.Namespace) -> int:
    """Django is set up: only now can the rest be imported."""
    from django.db import transaction
    from django.test import override_settings
    from hypothesis import settings
    from hypothesis.stateful import run_state_machine_as_test

    from drivers import registry
    from tests.engine import machine, wire, world

    tap = wire.Tap()
    drivers = {name: wire.tapped(driver, tap) for name, driver in registry.DRIVERS.items()}
    registry.DRIVERS = MappingProxyType(drivers)
    machine.Machine.tap = tap
    limits = settings(machine.LIMITS, max_examples=given.examples, stateful_step_count=given.steps, derandomize=False)
    began = time.monotonic()
    quick = {"VIADUCT_DRAIN_IDLE_S": 0.0, "VIADUCT_LEASE_WAIT_S": 0.2, "VIADUCT_SOAK_S": 0.0}
    with override_settings(**quick), transaction.atomic():
        world.load()
        run_state_machine_as_test(machine.Machine, settings=limits)
        transaction.set_rollback(True)
    print(f"{given.examples} stories of at most {given.steps} steps: nothing found in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
