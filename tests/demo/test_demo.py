# SPDX-License-Identifier: Apache-2.0
"""The demo from its command line, as a newcomer runs it: every line of the story must hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import story
from lab.ground import support
from orchestrator.services.places import CHECKOUT

LIMIT_S = 300
FABRICS = CHECKOUT / "lab" / "fabrics"


def demo(state: Path, *arguments: str) -> dict[str, object]:
    """Errors: what the demo printed, if it did not end with 0 or did not print one JSON object."""
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo", "--once", "--json", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "VIADUCT_STATE": str(state)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def traces() -> tuple[set[str], set[str]]:
    """What a demo could leave on the machine: namespaces and network interfaces."""
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return set(spaces.splitlines()), set(os.listdir("/sys/class/net"))


@pytest.mark.skipif(not support().ok, reason="real packets need root and the lab's packages")
@pytest.mark.parametrize("fabric", ["demo", "multivendor"])
def test_every_line_of_the_story_holds_on_real_packets(process_state: Path, fabric: str) -> None:
    """On Open vSwitch alone, and across an emulated EOS leaf, an Open vSwitch spine and an FRR leaf."""
    before = traces()
    told = demo(process_state, "--fabric", str(FABRICS / f"{fabric}.yaml"))
    steps = told["steps"]
    assert isinstance(steps, list)
    assert told["ok"] is True and told["real_packets"] is True
    assert [step["name"] for step in steps] == [name for name, _ in story.STEPS]
    assert all(step["ok"] and step["detail"] for step in steps)
    assert not list(process_state.glob("demo-*"))
    spaces, interfaces = traces()
    mine = {name for name in spaces - before[0] if name.startswith("demo")}
    assert not mine and not {name for name in interfaces - before[1] if name.startswith("demo")}


def test_without_a_lab_fake_devices_play_it_and_it_says_so(process_state: Path) -> None:
    told = demo(process_state, "--no-lab")
    assert told["ok"] is True and told["real_packets"] is False
