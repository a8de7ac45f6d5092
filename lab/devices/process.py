# SPDX-License-Identifier: Apache-2.0
"""One process for each emulated device, and how tests and the lab hold it.

A family's module has `serve(name, directory, arguments)`: it starts its servers on loopback, writes what a client must
know (ports, CA certificate, host key) as JSON into directory/ready.json, and never returns.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

READY = "ready.json"
START_S = 20.0


@dataclass(frozen=True)
class Emulated:
    """A running device. ready: what its family says (at least `handle`, the port of the handle)."""

    name: str
    ready: Mapping[str, Any]
    pid: int

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self.ready['handle']}{path}", data=data)
        with urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def transcript(self) -> list[str]:
        return list(self.ask("/transcript"))

    def config(self) -> dict[str, Any]:
        return dict(self.ask("/config"))

    def fault(self, **faults: Any) -> None:
        """None, 0 or False ends one. See the family's FAULTS."""
        self.ask("/faults", faults)

    def elapse(self, seconds: float) -> None:
        self.ask("/elapse", {"seconds": seconds})

    def operator(self, *lines: str, is_saved: bool = True) -> None:
        """is_saved: the lines are in what the device starts with too."""
        self.ask("/operator", {"lines": lines, "is_saved": is_saved})

    def reboot(self) -> None:
        self.ask("/reboot", {})

    def kill(self) -> None:
        """The box is gone for good."""
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def emulated(family: str, name: str, directory: Path, *arguments: str) -> Iterator[Emulated]:
    """Start it, wait until it listens, and end it. Errors: RuntimeError with what it printed."""
    directory.mkdir(parents=True, exist_ok=True)
    ready = directory / READY
    ready.unlink(missing_ok=True)
    log = (directory / "log").open("wb")
    command = [sys.executable, "-m", "lab.devices", family, name, str(directory), *arguments]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if child.poll() is not None or time.monotonic() > deadline:
                said = (directory / "log").read_text()[-2000:]
                raise RuntimeError(f"the emulated {family} {name} did not start: {said}")
            time.sleep(0.02)
        yield Emulated(name, json.loads(ready.read_text()), child.pid)
    finally:
        child.kill()
        child.wait()
        log.close()


def announce(directory: Path, **ready: Any) -> None:
    """For a family's `serve`: everything listens. The file appears whole."""
    part = directory / f"{READY}.part"
    part.write_text(json.dumps(ready))
    part.rename(directory / READY)
