# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.crash [NAME...] [--json]`: every scenario on every kind of device. Status 1 if any point failed."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import database


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run soak --crash", description=__doc__)
    parser.add_argument("names", nargs="*", help="only scenarios of these names")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    return database.run(lambda: soak(given))


def soak(given: argparse.Namespace) -> int:
    """Django is set up: only now can the rest be imported."""
    from django.core.management import call_command
    from django.test import override_settings

    from tests.crash import ground, scenarios
    from tests.crash.death import every_point
    from tests.crash.start import Start

    known = {build.__name__: build for build in scenarios.ALL}
    if unknown := set(given.names) - known.keys():
        print(f"run: no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    builds = [known[name] for name in given.names or known]
    points = deaths = worlds = timers = 0
    problems: list[str] = []
    began = time.monotonic()
    for kind in ground.KINDS:
        for build in builds:
            call_command("flush", interactive=False, verbosity=0)
            with tempfile.TemporaryDirectory() as folder, override_settings(**ground.LIMITS):
                store = Path(folder) / "devices"
                store.mkdir()
                ground.load(store, kind)
                scenario = build(store)
                outcome = every_point(scenario, Start(store), store)
            print(f"{kind} {outcome.text()}", file=sys.stderr, flush=True)
            points, deaths = points + len(outcome.points), deaths + outcome.deaths
            worlds, timers = worlds + outcome.worlds, timers + outcome.timers
            problems += [f"{kind} {outcome.name}: {text}" for text in outcome.problems]
    for problem in problems[:50]:
        print(problem, file=sys.stderr)
    found = {"points": points, "deaths": deaths, "worlds": worlds, "waited_for_timers": timers}
    found |= {"problems": len(problems)}
    if given.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name}: {value}" for name, value in found.items()))
        print(f"{time.monotonic() - began:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
