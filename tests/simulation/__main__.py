# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.simulation --seeds N [--first K] [--json]`, called by ./run soak. One seed replays exactly.

Exit status: 1 if any schedule showed a problem, 2 for bad use.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time

from tests.bench import database

# Other suites of the same verb, by their flag; the rest of the line is theirs.
SUITES = {
    "--real": "tests.chaos.__main__",
    "--crash": "tests.crash.__main__",
    "--machine": "tests.engine.soak",
    "--edits": "tests.planning.soak",
    "--hostile": "tests.drivers.hostile",
    "--planted": "tests.planted.__main__",
}


def main(arguments: list[str]) -> int:
    for flag in SUITES.keys() & set(arguments):
        suite = importlib.import_module(SUITES[flag])
        return int(suite.main([argument for argument in arguments if argument != flag]))
    parser = argparse.ArgumentParser(prog="./run soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules (default 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--trace", action="store_true", help="what was done, of every schedule")
    given = parser.parse_args(arguments)
    if given.seeds < 1:
        print("run: --seeds must be 1 or more", file=sys.stderr)
        return 2
    return database.run(lambda: soak(given))


def soak(given: argparse.Namespace) -> int:
    """Django is set up: only now can the rest be imported."""
    from django.test import override_settings

    from tests.engine import world
    from tests.simulation import clock, devices, schedule, totals
    from tests.simulation.workers import Crew

    total = totals.Totals()
    world.load()
    clock.install_functions()
    crew = Crew()
    began = time.monotonic()
    with override_settings(**devices.LIMITS):
        for seed in range(given.first, given.first + given.seeds):
            verdict = schedule.run(seed, crew)
            total.add(verdict)
            if given.trace:
                print("\n".join(verdict.trace), file=sys.stderr)
            for name, problems in verdict.problems.items():
                for problem in problems[:5]:
                    print(f"seed {seed}: {name}: {problem}", file=sys.stderr)
    crew.end()
    print(json.dumps(total.json()) if given.json else total.text(time.monotonic() - began))
    return 1 if total.failing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
