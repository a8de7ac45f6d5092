# SPDX-License-Identifier: Apache-2.0
"""A whole instance: real servers, a real worker, the schema in place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.services.places import CHECKOUT, ServiceError
from orchestrator.services.processes import ProcessGroup, members
from orchestrator.services.serve import bring_up, free_port, manage


def test_an_instance_comes_up_heals_and_leaves_nothing(new_state: Callable[[str], Path]) -> None:
    state = new_state("instance")
    instance = bring_up(state, port=free_port(0), workers=1, is_fast=True)
    names = [record.name for record in instance.group.running()]
    assert sorted(names) == ["postgres", "relay", "valkey", "web", "worker-1"]
    with urllib.request.urlopen(f"{instance.url}/health/ready", timeout=10) as reply:
        assert reply.status == 200
    with pytest.raises(ServiceError, match="already runs"):
        bring_up(state, port=free_port(0), workers=1, is_fast=True)

    assert instance.restart_ended({}, time.monotonic()) == ()
    for name in ("web", "valkey", "postgres"):
        ended = instance.group.find(name)
        assert ended is not None
        os.kill(ended.pid, signal.SIGKILL)
        restarted: list[str] = []
        deadline = time.monotonic() + 15
        while name not in restarted and time.monotonic() < deadline:
            restarted += instance.restart_ended({}, time.monotonic())
            time.sleep(0.02)
        again = instance.group.find(name)
        assert name in restarted and again is not None and again.pid != ended.pid
    with urllib.request.urlopen(f"{instance.url}/health/ready", timeout=10) as reply:
        assert reply.status == 200

    records = instance.group.running()
    instance.stop()
    assert [record.name for record in records if members(record)] == []
    assert ProcessGroup(state).running() == ()


def test_stop_from_elsewhere_ends_the_foreground_too(new_state: Callable[[str], Path]) -> None:
    state = new_state("instance")
    environ = {**os.environ, "VIADUCT_STATE": str(state)}
    command = [sys.executable, "-m", "orchestrator.services"]
    port = str(free_port(0))
    serving = subprocess.Popen(
        [*command, "serve", "--workers", "1", "--port", port], env=environ, cwd=CHECKOUT, stdout=subprocess.PIPE
    )
    try:
        assert serving.stdout is not None
        assert f"ready at http://127.0.0.1:{port}".encode() in serving.stdout.readline()
        done = subprocess.run([*command, "stop"], env=environ, cwd=CHECKOUT, capture_output=True, text=True)
        assert len(done.stdout.splitlines()) == 5
        assert serving.wait(timeout=15) == 0
        assert ProcessGroup(state).running() == ()
    finally:
        serving.terminate()
        serving.communicate()


def test_what_fails_on_the_way_up_leaves_nothing_and_says_why(new_state: Callable[[str], Path]) -> None:
    state = new_state("instance")
    with pytest.raises(ServiceError, match="web ended"):
        bring_up(state, port=1 if os.geteuid() else 70000, workers=1, is_fast=True)
    assert ProcessGroup(state).running() == ()


def test_a_failing_command_is_one_line() -> None:
    with pytest.raises(ServiceError, match="manage.py nosuch failed: .*Unknown command") as caught:
        manage(os.environ, "nosuch")
    assert "\n" not in str(caught.value)
