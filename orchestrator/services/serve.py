# SPDX-License-Identifier: Apache-2.0
"""Bring up a whole instance: database, broker, schema, web server, workers; keep its processes running.

Called by `./run serve` and the demo. Starts nothing that the environment already provides.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.services.places import CHECKOUT, ServiceError
from orchestrator.services.postgres import start_postgres
from orchestrator.services.processes import ProcessGroup, Record
from orchestrator.services.valkey import start_valkey

PREFERRED_PORT = 8080
WATCH_S = 0.5
RESTART_PAUSE_S = 2.0
EMBEDDED = {"postgres": start_postgres, "valkey": start_valkey}


@dataclass(frozen=True, slots=True)
class Instance:
    """A running instance. commands: name -> argv of every process that must keep running."""

    url: str
    environ: Mapping[str, str]
    group: ProcessGroup
    commands: Mapping[str, tuple[str, ...]]
    # Embedded services that it started itself.
    services: tuple[str, ...] = ()

    def start(self, name: str) -> Record:
        return self.group.start(name, self.commands[name], env=self.environ, cwd=CHECKOUT)

    def restart_ended(self, last_start: dict[str, float], now: float) -> tuple[str, ...]:
        """Start again what ended, at most once in RESTART_PAUSE_S each. Gives the names."""
        ended = list(self._restart_services())
        for name in self.commands:
            if now - last_start.get(name, 0.0) < RESTART_PAUSE_S or self.group.find(name) is not None:
                continue
            if not self.group.was_stopped(name):
                last_start[name] = now
                self.start(name)
                ended.append(name)
        return tuple(ended)

    def _restart_services(self) -> Iterator[str]:
        """Database and broker, where this instance brings its own; others wait for them."""
        for name in self.services:
            if not self.group.was_stopped(name) and self.group.find(name) is None:
                EMBEDDED[name](self.group.state)
                yield name

    def is_stopped(self) -> bool:
        """Did someone else (`./run stop`) stop everything?"""
        return all(self.group.was_stopped(name) for name in self.commands)

    def stop(self) -> None:
        self.group.stop_all()


def free_port(preferred: int = PREFERRED_PORT) -> int:
    """`preferred` on the loopback address if it is free, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceError("no free port on 127.0.0.1")


def service_environment(state: Path, *, is_fast: bool = False) -> dict[str, str]:
    """Start database and broker; the environment in which every other process of the instance must run."""
    return {
        **os.environ,
        "VIADUCT_STATE": str(state),
        "DATABASE_URL": start_postgres(state, is_fast=is_fast),
        "REDIS_URL": start_valkey(state),
    }


def manage(environ: Mapping[str, str], *arguments: str) -> str:
    """Run manage.py; its output. Errors: ServiceError with the end of what it said."""
    command = [sys.executable, str(CHECKOUT / "manage.py"), *arguments]
    done = subprocess.run(command, env=environ, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ServiceError(f"manage.py {arguments[0]} failed: {' | '.join(said[-3:])}")
    return done.stdout


def bring_up(state: Path, *, port: int | None = None, workers: int = 2, is_fast: bool = False) -> Instance:
    """Start everything; return once the web server is ready. Errors: ServiceError; then nothing is left."""
    group = ProcessGroup(state)
    if group.find("web") is not None:
        raise ServiceError(f"an instance already runs for {state}. Fix: ./run stop, or set VIADUCT_STATE")
    try:
        environ = service_environment(state, is_fast=is_fast)
        manage(environ, "migrate", "--noinput", "-v", "0")
        port = port or free_port()
        own = tuple(name for name in EMBEDDED if group.find(name) is not None)
        instance = Instance(f"http://127.0.0.1:{port}", environ, group, commands(port, workers), own)
        records = {name: instance.start(name) for name in instance.commands}
        group.await_ready(records["web"], lambda: is_ready(port), timeout_s=30.0)
    except BaseException:
        group.stop_all()
        raise
    return instance


def commands(port: int, workers: int) -> dict[str, tuple[str, ...]]:
    """The processes of an instance beside database and broker. Every worker does every job: any may die.

    The relay only saves time: it rings the workers as soon as a request has committed, else they look by themselves.
    """
    python = sys.executable
    web = (python, "-m", "uvicorn", "orchestrator.asgi:application", "--host", "127.0.0.1")
    options = ("--port", str(port), "--lifespan", "off", "--no-access-log", "--timeout-graceful-shutdown=3")
    found: dict[str, tuple[str, ...]] = {"web": (*web, *options)}
    found["relay"] = (python, str(CHECKOUT / "manage.py"), "relay")
    for number in range(1, workers + 1):
        worker = (python, "-m", "celery", "-A", "orchestrator.celery", "worker", "--concurrency", "2")
        # Workers need not know of each other. With gossip one that met a silent broker did not listen any more.
        alone = ("--without-mingle", "--without-gossip")
        found[f"worker-{number}"] = (*worker, "--hostname", f"worker-{number}@{port}", *alone)
    return found


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def serve(state: Path, *, port: int | None, workers: int) -> None:
    """Run until INT or TERM; processes that end are started again."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    instance = bring_up(state, port=port, workers=workers)
    print(f"Viaduct is ready at {instance.url}  (state in {state}, Ctrl-C stops it)", flush=True)
    last_start: dict[str, float] = {}
    try:
        while not stopped.wait(WATCH_S) and not instance.is_stopped():
            for name in instance.restart_ended(last_start, time.monotonic()):
                print(f"{name} ended and was started again, see {state / 'log' / name}.log", file=sys.stderr)
    finally:
        instance.stop()
