# SPDX-License-Identifier: Apache-2.0
"""`./run demo`: a whole Viaduct and a network to steer, then the story, step by step.

With root the network is the lab and every packet is real. Without it, or with --no-lab, the same fabric
runs on the fake drivers, and the demo says so.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from lab import fake_story, story
from lab.client import Api, ApiError
from lab.command import CommandError
from lab.fabric import FabricError
from lab.ground import support
from lab.network import DEMO, Lab, LabError
from lab.watch import TrafficError
from orchestrator.services import postgres
from orchestrator.services.places import ServiceError, state_folder
from orchestrator.services.serve import Instance, bring_up, manage

# What a step may meet; anything else is a bug in the demo itself and shows as one.
TROUBLE = (story.Untrue, ApiError, CommandError, TrafficError, LabError, httpx.HTTPError)
# Quick sweeps: the demo shows in seconds what production does in half a minute.
FILE_WIDTH = 200
PACE = {"VIADUCT_SWEEP_S": "1", "VIADUCT_OBSERVE_S": "2", "VIADUCT_SOAK_S": "0.5", "VIADUCT_BREAKER_S": "3"}


Stay = Callable[[Instance, Iterator[None]], None]


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    ok: bool
    detail: str
    seconds: float


def tell(
    steps: Sequence[tuple[str, Callable[[Any], str]]], scene: Any, show: Callable[[Result], None]
) -> list[Result]:
    """All steps in order. After the first that does not hold the others are not tried: they build on it."""
    results: list[Result] = []
    for name, step in steps:
        started = time.monotonic()
        if results and not results[-1].ok:
            result = Result(name, False, "not tried", 0.0)
        else:
            try:
                result = Result(name, True, step(scene), round(time.monotonic() - started, 1))
            except TROUBLE as trouble:
                detail = f"{type(trouble).__name__}: {trouble}"
                result = Result(name, False, detail, round(time.monotonic() - started, 1))
        results.append(result)
        show(result)
    return results


@contextmanager
def stage(folder: Path, fabric: Path) -> Iterator[tuple[Instance, Lab]]:
    """Viaduct and the lab, brought up side by side; both are gone afterwards."""
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(Lab.up, fabric, f"demo{os.getpid() % 10000}")
        try:
            instance = bring_up(folder, is_fast=True)
        except BaseException:
            building.result().down()
            raise
        try:
            with building.result() as lab:
                yield instance, lab
        finally:
            instance.stop()


def people(instance: Instance) -> tuple[Api, Api, Api]:
    """Tenant A's, tenant B's and the operator's access."""
    made = []
    for words in (
        ("a", "--tenant", "tenant-a"),
        ("b", "--tenant", "tenant-b"),
        ("operator", "--role", "operator"),
    ):
        made.append(Api(instance.url, manage(instance.environ, "create_token", *words).strip()))
    return made[0], made[1], made[2]


def real(folder: Path, fabric: Path, show: Callable[[Result], None], stay: Stay | None) -> list[Result]:
    """The story on real packets."""
    with stage(folder, fabric) as (instance, lab):
        manage(instance.environ, "load_fabric", str(lab.fabric_file))
        tcp, udp = (80, 443, 8080), (5000, 5001)
        servers = {name: lab.serve(name, tcp, udp) for name in ("a2", "b2", "inet")}
        try:
            scene = story.Scene(lab, *people(instance), servers=servers)
            results = tell(story.STEPS, scene, show)
            if stay:
                is_told = all(result.ok for result in results)
                stay(instance, story.encore(scene) if is_told else iter(()))
        finally:
            for server in servers.values():
                server.stop()
    return results


def pretended(folder: Path, fabric: Path, show: Callable[[Result], None], stay: Stay | None) -> list[Result]:
    """The story on fake devices: the same plans and workers, packets walked through what the devices hold."""
    instance = bring_up(folder, is_fast=True)
    try:
        scene = fake_story.prepare(folder, fabric)
        manage(instance.environ, "load_fabric", str(scene.fabric_file))
        scene.a, scene.b, scene.operator = people(instance)
        results = tell(fake_story.STEPS, scene, show)
        if stay:
            stay(instance, iter(()))
        return results
    finally:
        instance.stop()


def stay_up(console: Console) -> Stay:
    """Print where to look and with which password, then wait for Ctrl-C. encore: what goes on meanwhile."""

    def wait(instance: Instance, encore: Iterator[None]) -> None:
        password = secrets.token_urlsafe(12)
        environ = {**instance.environ, "VIADUCT_PASSWORD": password}
        manage(environ, "create_operator", "operator")
        console.print(f"\nOpen [bold]{instance.url}[/]  user [bold]operator[/]  password [bold]{password}[/]")
        console.print("Everything is gone when you press Ctrl-C.")
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        last_start: dict[str, float] = {}
        while not ended.wait(1.0) and not instance.is_stopped():
            instance.restart_ended(last_start, time.monotonic())
            try:
                next(encore, None)
            except TROUBLE as trouble:
                console.print(f"[yellow]The traffic has stopped:[/] {trouble}")
                encore = iter(())

    return wait


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument(
        "--once", action="store_true", help="tell the story and end; 0 only if every line holds"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object; implies --once")
    parser.add_argument("--no-lab", action="store_true", help="fake devices, no packets")
    parser.add_argument("--fabric", type=Path, default=DEMO, help="fabric file (default: the demo's)")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(stderr=given.json, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    ground = support()
    is_real = ground.ok and not given.no_lab
    why = "as asked" if given.no_lab else ground.reason
    if not is_real:
        console.print(f"[yellow]No real packets here ({why}): fake devices play the fabric.[/]")
    stay = None if given.once or given.json else stay_up(console)
    folder = state_folder() / f"demo-{os.getpid()}"
    folder.mkdir(parents=True)
    os.environ.update(PACE, VIADUCT_STATE=str(folder))
    show = _show(console)
    try:
        results = (real if is_real else pretended)(folder, given.fabric, show, stay)
    except (ServiceError, LabError, FabricError) as error:
        console.print(f"[red]The demo could not start:[/] {error}")
        return 1
    except (KeyboardInterrupt, SystemExit):
        _forget(folder)
        return 130
    is_ok = all(result.ok for result in results)
    if given.json:
        steps = [asdict(result) for result in results]
        print(json.dumps({"ok": is_ok, "real_packets": is_real, "steps": steps}))
    if is_ok:
        _forget(folder)
    else:
        console.print(f"The logs are in {folder / 'log'}")
    return 0 if is_ok else 1


def _forget(folder: Path) -> None:
    postgres.remove(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _show(console: Console) -> Callable[[Result], None]:
    numbers = iter(range(1, 100))

    def show(result: Result) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=2)
        table.add_column(width=4)
        table.add_column(width=28)
        table.add_column(width=7, justify="right")
        table.add_column()
        sign = "[green]ok[/]" if result.ok else "[red]NO[/]"
        table.add_row(str(next(numbers)), sign, result.name, f"{result.seconds:.1f} s", result.detail)
        console.print(table)

    return show


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
