# SPDX-License-Identifier: Apache-2.0
"""`python -m lab up|down|status|stop NAME [--fabric FILE] [--no-agents]`: the lab from the command line.

`stop` takes down every lab of this checkout, those that demos and scenarios left behind included.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from lab.access import has_agent
from lab.command import CommandError
from lab.fabric import FabricError
from lab.ground import support
from lab.network import DEMO, Lab, LabError, discard, names, state_folder


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab", description="A network in a box.")
    parser.add_argument("verb", choices=("up", "down", "status", "stop"))
    parser.add_argument("name", nargs="?", help="the lab's name")
    parser.add_argument("--fabric", type=Path, default=DEMO, help="fabric file (default: the demo's)")
    parser.add_argument("--no-agents", action="store_true", help="up: hosts run without their agent")
    given = parser.parse_args(arguments)
    if given.verb in ("up", "down") and not given.name:
        parser.error(f"{given.verb} needs a NAME")
    try:
        return {"up": up, "down": down, "status": status, "stop": stop}[given.verb](given)
    except (LabError, FabricError, CommandError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def up(given: argparse.Namespace) -> int:
    ground = support()
    if not ground.ok:
        raise LabError(ground.reason)
    if not given.no_agents and not has_agent():
        print("lab: no host agent in this checkout: hosts run without it", file=sys.stderr)
    started = time.monotonic()
    lab = Lab.up(given.fabric, given.name, has_agents=not given.no_agents)
    print(f"lab {lab.name} is up after {time.monotonic() - started:.1f} s: {lab.fabric_file}")
    return 0


def down(given: argparse.Namespace) -> int:
    started = time.monotonic()
    try:
        Lab.attach(given.name).down()
    except LabError:
        if not discard(given.name):
            raise
    print(f"lab {given.name} is gone after {time.monotonic() - started:.1f} s")
    return 0


def stop(given: argparse.Namespace) -> int:
    own = state_folder().parent
    for state in (own, *own.glob("demo-*"), *own.glob("scenarios-*/*")):
        os.environ["VIADUCT_STATE"] = str(state)
        for name in names():
            try:
                Lab.attach(name).down()
            except LabError:
                discard(name)
            print(f"lab {name} of {state} is gone")
    return 0


def status(given: argparse.Namespace) -> int:
    wanted = [given.name] if given.name else names()
    for name in wanted:
        lab = Lab.attach(name)
        print(f"{name}: fabric {lab.fabric.name}, management {lab.fabric.management}, {lab.fabric_file}")
        for device in lab.fabric.devices.values():
            print(f"  {device.name:12} {device.kind:10} {device.management:15} {lab.namespace(device.name)}")
    if not wanted:
        print("no lab is up")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
