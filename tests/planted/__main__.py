# SPDX-License-Identifier: Apache-2.0
"""`./run soak --planted [NAME]`: puts each bug in, into a copy of the checkout, and runs the suite that must notice.

A suite bites when it passes on the copy as it is and fails with the bug. Exit status: 1 if one does not, 2 for bad
use.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from orchestrator.services.places import CHECKOUT
from tests.planted.bugs import BUGS, Bug

# pytest's exit statuses.
PASSED, FAILED = 0, 1
HANGS_S = 180


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run soak --planted", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="only bugs whose name holds this")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    bugs = [bug for bug in BUGS if given.name in bug.name]
    if not bugs:
        print(f"run: no planted bug's name holds {given.name!a}", file=sys.stderr)
        return 2
    place = CHECKOUT / "var" / f"planted-{os.getpid()}"
    try:
        _copy(place)
        broken = {suite for suite in {bug.suite for bug in bugs} if run_suite(suite, place) != PASSED}
        missed = [bug.name for bug in bugs if not _is_caught(bug, place, broken, is_quiet=given.json)]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    caught = len(bugs) - len(missed)
    print(json.dumps({"planted": len(bugs), "caught": caught, "missed": missed}) if given.json else
          f"{caught} of {len(bugs)} planted bugs caught")  # fmt: skip
    return 1 if missed else 0


def _is_caught(bug: Bug, place: Path, broken: Collection[Sequence[str]], *, is_quiet: bool) -> bool:
    """broken: suites that fail as it is. That they fail with the bug says nothing."""
    began = time.monotonic()
    is_broken = bug.suite in broken
    status = PASSED if is_broken else run_planted(bug, place)
    if not is_quiet:
        word = {FAILED: "caught", PASSED: "MISSED"}.get(status, f"BROKEN (pytest ended with {status})")
        if is_broken:
            word = "BROKEN (the suite fails without the bug)"
        print(f"{word:7} {time.monotonic() - began:5.0f} s  {bug.name}  [{' '.join(bug.suite)}]", flush=True)
    return status == FAILED


def run_planted(bug: Bug, place: Path) -> int:
    """pytest's exit status with the bug in; the copy is as before afterwards. Errors: ValueError if it does not fit."""
    file = place / bug.path
    text = file.read_text()
    if text.count(bug.old) != 1:
        raise ValueError(f"{bug.name}: what it replaces occurs {text.count(bug.old)} times in {bug.path}")
    file.write_text(text.replace(bug.old, bug.new))
    try:
        return run_suite(bug.suite, place)
    finally:
        file.write_text(text)


def run_suite(suite: Iterable[str], place: Path) -> int:
    environ = {name: value for name, value in os.environ.items() if name != "VIADUCT_STATE"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", *suite]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=place, env=environ, stdout=quiet, stderr=quiet) as pytest:
        try:
            return pytest.wait(HANGS_S)
        except subprocess.TimeoutExpired:  # a test that never ends is no test that passes
            pytest.terminate()
            return FAILED


def _copy(place: Path) -> None:
    """What is under version control, or would be: the product's folders, without state and caches."""
    place.mkdir(parents=True)
    for name in ("orchestrator", "drivers", "chains", "frontend", "lab", "tests", "docs"):
        shutil.copytree(CHECKOUT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("manage.py", "pyproject.toml", "run", "README.md"):
        shutil.copy2(CHECKOUT / name, place / name)
    (place / "var").mkdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
