# SPDX-License-Identifier: Apache-2.0
"""`python -m orchestrator.services serve|stop|doctor`, called by ./run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from orchestrator.services.doctor import doctor
from orchestrator.services.places import ServiceError, state_folder
from orchestrator.services.processes import ProcessGroup
from orchestrator.services.serve import serve


def instances(folder: Path) -> tuple[Path, ...]:
    """The state folders in `folder`: itself, and those that demo and tests keep below it.

    A test run keeps its own in test/PID[-NAME]; while it lives it is nobody else's to stop.
    """
    found = {run.parent for pattern in ("run", "*/run") for run in folder.glob(pattern)}
    for run in folder.glob("test/*/run"):
        if not Path("/proc", run.parent.name.partition("-")[0]).exists():
            found.add(run.parent)
    return tuple(sorted(found))


def stop(folder: Path) -> None:
    for state in instances(folder):
        for name in ProcessGroup(state).stop_all():
            print(f"stopped {name} of {state}")


def between(low: int, high: int) -> Callable[[str], int]:
    """A whole number in this range, for argparse."""

    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
        return int(text)

    return number


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serving = verbs.add_parser("serve", help="run an instance until Ctrl-C")
    serving.add_argument("--port", type=between(1, 65535), help="default: 8080 if free, else any free port")
    serving.add_argument("--workers", type=between(1, 64), default=2, help="worker processes (default 2)")
    verbs.add_parser("stop", help="stop what runs for this state folder and those below it")
    verbs.add_parser("doctor", help="say what is missing here")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.verb == "doctor":
            return doctor()
        if chosen.verb == "stop":
            stop(state_folder())
        else:
            serve(state_folder(), port=chosen.port, workers=chosen.workers)
    except ServiceError as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
