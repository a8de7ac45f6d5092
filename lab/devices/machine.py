# SPDX-License-Identifier: Apache-2.0
"""What every emulated device has: a clock, faults, a transcript, and a handle by which tests hold it.

The handle is HTTP with JSON on a loopback port of its own: GET /transcript, /config, /faults; POST /faults
{name: value}, /elapse {"seconds": n}, /operator {"lines": [...]} (somebody else types at the console), /reboot;
where a family can do it, /reset (as it was on the first day: one process serves many tests).
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.devices.plane import Cabled, Plane


class Machine(ABC):
    """One device. `lock` guards all of it; faults that a family knows are listed in `FAULTS` with their meaning."""

    FAULTS: dict[str, str] = {}

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.RLock()
        self.faults: dict[str, Any] = {}
        self.transcript: list[str] = []
        self._offset_s = 0.0
        self.cabled: Cabled | None = None

    def now(self) -> float:
        """Seconds; `elapse` moves it on."""
        return time.monotonic() + self._offset_s

    def elapse(self, seconds: float) -> None:
        with self.lock:
            self._offset_s += seconds
            self.tick()

    def fault(self, name: str) -> Any:
        """Its value, None if it is not set. A number counts down: 1 happens once."""
        value = self.faults.get(name)
        if type(value) is int:
            self.faults[name] = value - 1
            if value <= 1:
                del self.faults[name]
        return value

    def cable(self, names: str, read: Callable[[], Plane]) -> None:
        """From now on packets go as the running configuration says. names: JSON, the device's -> the namespace's."""
        self.cabled = Cabled(json.loads(names), self.lock, read)
        with self.lock:
            self.cabled.start()

    def follow(self) -> None:
        """After everything that may have changed what packets meet."""
        if self.cabled is not None:
            self.cabled.follow()

    def without_link(self) -> frozenset[str]:
        """Interfaces whose cable is dead, or that the fault `links_down` names."""
        dark = self.cabled.dark if self.cabled is not None else frozenset()
        return dark | frozenset(self.faults.get("links_down") or ())

    def hear(self, line: str) -> None:
        """Into the transcript: what a client sent, in the order it came."""
        self.transcript.append(line)

    @abstractmethod
    def tick(self) -> None:
        """Timers that have run out take effect. Called before everything else is answered."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """running, startup and candidate as text, what is pending, and whatever the family counts."""

    @abstractmethod
    def operate(self, lines: list[str]) -> None:
        """A person types these lines at the console."""

    def save(self, lines: list[str]) -> None:
        """The same lines in what the device starts with, and no others; where a commit is that, they are there."""
        assert lines

    @abstractmethod
    def reboot(self) -> None:
        """What was not saved is lost."""

    def ask(self, path: str, body: Any) -> Any:
        with self.lock:
            self.tick()
            if path == "/transcript":
                return list(self.transcript)
            if path == "/config":
                return self.config()
            if path == "/faults" and body is not None:
                unknown = set(body) - set(self.FAULTS)
                if unknown:
                    raise ValueError(f"unknown faults {sorted(unknown)}")
                self.faults = {name: value for name, value in {**self.faults, **body}.items() if value}
            elif path == "/elapse":
                self.elapse(float(body["seconds"]))
            elif path == "/operator":
                self.operate(list(body["lines"]))
                if body.get("is_saved") and body["lines"]:
                    self.save(list(body["lines"]))
            elif path == "/reboot":
                self.reboot()
            elif path != "/faults":
                raise ValueError(f"no such path {path}")
            return dict(self.faults)


def serve_handle(machine: Machine, port: int = 0) -> ThreadingHTTPServer:
    """Starts a thread; the address is in `server_address`."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # the head goes out before the body
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            self._answer(json.loads(self.rfile.read(length) or b"{}"))

        def _answer(self, body: Any) -> None:
            try:
                code, said = 200, machine.ask(self.path, body)
            except (ValueError, KeyError, TypeError) as error:
                code, said = 400, {"error": str(error)}
            data = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name=f"handle-{machine.name}", daemon=True).start()
    return server
