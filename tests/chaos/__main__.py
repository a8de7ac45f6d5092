# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.chaos [--runs N] [--first K] [--json]`: seeded runs on real processes. Status 1 if any failed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from orchestrator.services import postgres
from orchestrator.services.places import ServiceError, state_folder
from tests.chaos.nemesis import KINDS
from tests.chaos.plant import running
from tests.chaos.play import Series, run
from tests.chaos.totals import Totals


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run soak --real", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--fault", action="append", default=[], choices=KINDS, help="only this kind, or these")
    given = parser.parse_args(arguments)
    if given.runs < 1:
        print("run: --runs must be 1 or more", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process is stopped
    total, began = Totals(), time.monotonic()
    seeds = list(range(given.first, given.first + given.runs))
    try:
        while seeds:
            seeds = play(seeds, total, given.fault)
    except ServiceError as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    print(json.dumps(total.json()) if given.json else total.text(time.monotonic() - began))
    return 1 if total.failing else 0


def play(seeds: list[int], total: Totals, kinds: list[str]) -> list[int]:
    """On one plant, until a run fails: the next one is to begin with a sound one. Gives the seeds that are left."""
    state = state_folder() / "test" / f"{os.getpid()}-chaos"
    state.mkdir(parents=True)
    try:
        return _play(state, seeds, total, kinds)
    finally:
        postgres.remove(state)
        shutil.rmtree(state, ignore_errors=True)


def _play(state: Path, seeds: list[int], total: Totals, kinds: list[str]) -> list[int]:
    series = Series()
    with running(state) as plant:
        for number, seed in enumerate(seeds, start=1):
            verdict = run(plant, seed, series, kinds)
            total.add(verdict)
            faults = ", ".join(verdict.faults.elements())
            print(f"seed {seed}: {faults}; at rest after {verdict.settled_s:.1f} s", file=sys.stderr)
            for kind, problems in verdict.problems.items():
                for problem in problems[:8]:
                    print(f"seed {seed}: {kind}: {problem}", file=sys.stderr)
            if verdict.problems:
                return seeds[number:]
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
