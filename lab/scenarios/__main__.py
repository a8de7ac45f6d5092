# SPDX-License-Identifier: Apache-2.0
"""`./run lab scenarios [--list] [--only NAME]... [--fast] [--json]`: what steering must survive, on real packets.

Exit status: 0 if every scenario holds, 1 if one does not, 2 for bad use, 3 if this machine cannot carry the lab.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from lab import scenarios
from lab.client import ApiError
from lab.command import CommandError
from lab.fabric import FabricError
from lab.ground import support
from lab.network import LabError
from lab.scenarios.script import Play, Result, Scenario, Untrue, perform, summary, text_of
from lab.scenarios.stage import Stage, built
from lab.watch import TrafficError
from orchestrator.services import postgres
from orchestrator.services.places import ServiceError, state_folder

TROUBLE = (Untrue, ApiError, CommandError, TrafficError, LabError, httpx.HTTPError)
NO_GROUND = 3
WIDTH = 200


def catalogue() -> tuple[Scenario, ...]:
    """Every module of this package that has a SCENARIO, those of one fabric side by side."""
    found: list[Scenario] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(scenarios.__path__) if info.name != "__main__"):
        scenario = getattr(importlib.import_module(f"{scenarios.__name__}.{module}"), "SCENARIO", None)
        if scenario is not None:
            found.append(scenario)
    return tuple(sorted(found, key=lambda one: (one.fabric.__module__, one.name)))


def play_all(chosen: Sequence[Scenario], folder: Path, is_fast: bool, console: Console) -> Iterator[Result]:
    """One stage for the scenarios of one fabric; a new one after a scenario that did not hold."""
    for number, (_, group) in enumerate(groupby(chosen, key=lambda one: one.fabric)):
        waiting = list(group)
        part = 0
        while waiting:
            part += 1
            name = f"sc{os.getpid() % 100000}-{number}-{part}"
            with built(folder / name, waiting[0].fabric, name) as stage:
                while waiting:
                    scenario = waiting.pop(0)
                    result = _play(scenario, stage, is_fast, console)
                    yield result
                    if not result.ok or (waiting and not _cleared(stage, console)):
                        break
            if not waiting and result.ok:
                _forget(folder / name)


def _play(scenario: Scenario, stage: Stage, is_fast: bool, console: Console) -> Result:
    console.print(f"\n[bold]{scenario.name}[/]: {scenario.title}\n  expected: {scenario.expects}")

    def show(number: int, text: str, detail: str, seconds: float) -> None:
        console.print(f"  {text} [dim]({seconds:.1f} s)[/]\n     {detail}")

    def say(text: str) -> None:
        if console.is_terminal:
            console.print(f"     [dim]{text}[/]")

    result = perform(scenario, Play(stage, is_fast, say), TROUBLE, show)
    sign = "[green]ok[/]" if result.ok else "[red]NO[/]"
    console.print(f"  {sign} {result.outcome.line()} [dim]({result.seconds:.1f} s)[/]")
    return result


def _cleared(stage: Stage, console: Console) -> bool:
    try:
        stage.clear()
    except TROUBLE as error:
        console.print(f"  [yellow]the stage is built anew:[/] {error}")
        return False
    return True


def told(results: Sequence[Result]) -> dict[str, Any]:
    """The one JSON object. failover_ms: over all scenarios that measured it."""
    found: dict[str, Any] = {"ok": all(result.ok for result in results), "scenarios": [r.as_json() for r in results]}
    if times := [value for result in results for value in result.outcome.failover_ms]:
        found["failover_ms"] = summary(times)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run lab scenarios", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the scenarios with their steps; needs no root")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this one; may be repeated")
    parser.add_argument("--fast", action="store_true", help="small sizes, as in the test suite")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    given = parser.parse_args(arguments)
    known = catalogue()
    unknown = sorted(set(given.only) - {one.name for one in known})
    if unknown:
        names = ", ".join(one.name for one in known)
        print(f"run: no scenario {', '.join(unknown)}; there are {names}", file=sys.stderr)
        return 2
    chosen = [one for one in known if one.name in given.only or not given.only]
    if given.list:
        describe(chosen)
        return 0
    ground = support()
    if not ground.ok:
        print(f"run: no real packets here: {ground.reason}", file=sys.stderr)
        return NO_GROUND
    return _run(chosen, given.fast, given.json)


def describe(chosen: Sequence[Scenario]) -> None:
    for scenario in chosen:
        print(f"{scenario.name}: {scenario.title}\n  expected: {scenario.expects}")
        for step in scenario.steps:
            print(f"  {text_of(step)}")


def _run(chosen: Sequence[Scenario], is_fast: bool, is_json: bool) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(stderr=is_json, highlight=False, markup=True)
    if not console.is_terminal:
        console.width = WIDTH
    folder = state_folder() / f"scenarios-{os.getpid()}"
    results: list[Result] = []
    try:
        for result in play_all(chosen, folder, is_fast, console):
            results.append(result)
    except (ServiceError, LabError, FabricError) as error:
        console.print(f"[red]The stage could not be built:[/] {error}")
        return 1
    except KeyboardInterrupt:
        _forget(folder)
        return 130
    is_ok = all(result.ok for result in results)
    if is_json:
        print(json.dumps(told(results)))
    if is_ok:
        _forget(folder)
    else:
        console.print(f"\nThe logs are in {folder}")
    return 0 if is_ok else 1


def _forget(folder: Path) -> None:
    for part in (folder, *folder.glob("*")):
        if part.is_dir():
            postgres.remove(part)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
