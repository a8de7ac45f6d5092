# SPDX-License-Identifier: Apache-2.0
"""A whole instance of real processes on fake devices behind links, kept running as `./run serve` keeps it.

Database, broker, web server, relay and workers are started by the product's own service code; one more process
holds the devices. Nothing here reads or writes a row but for the fabric at the start.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml

from orchestrator.services.places import CHECKOUT, ServiceError
from orchestrator.services.postgres import start_postgres
from orchestrator.services.processes import ProcessGroup
from orchestrator.services.serve import Instance, commands, free_port, is_ready, manage
from orchestrator.services.valkey import start_valkey
from tests.chaos.links import Link

DEMO = CHECKOUT / "lab" / "fabrics" / "demo.yaml"
# Both kinds of devices on every path: those that take back what nobody confirms, and those that do not.
DRIVERS = {
    "leaf1": "fake-switch-confirming",
    "leaf2": "fake-switch",
    "spine1": "fake-switch-confirming",
    "fw1": "fake-appliance-confirming",
    "fw2": "fake-appliance",
    "ips1": "fake-appliance",
}
OTHERS = {"openvswitch": "fake-switch", "linux": "fake-appliance", "host": "fake-host"}
WORKERS = 2
TENANTS = ("tenant-a", "tenant-b")


@dataclass
class Plant:
    """links, by device. absent: processes that nobody starts again for now. troubles: of the supervisor."""

    instance: Instance
    state: Path
    store: Path
    log: Path
    links: Mapping[str, Link]
    tokens: Mapping[str, str]
    absent: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)
    restarts: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def group(self) -> ProcessGroup:
        return self.instance.group

    def connect(self) -> psycopg.Connection[Any]:
        """Errors: psycopg.OperationalError while the database is away."""
        return psycopg.connect(self.instance.environ["DATABASE_URL"], autocommit=True, connect_timeout=5)

    def is_whole(self) -> bool:
        """Does every process run that is to run?"""
        return all(self.group.find(name) is not None for name in (*self.instance.commands, "postgres", "valkey"))

    def supervise(self) -> None:
        """What ends is started again, as by `serve`, until the end."""
        last_start: dict[str, float] = {}
        while not self._over.wait(0.1):
            now = time.monotonic()
            last_start |= dict.fromkeys(self.absent, now)
            try:
                self.restarts += len(self.instance.restart_ended(last_start, now))
            except ServiceError as error:
                self.troubles.append(str(error))

    def end(self) -> None:
        self._over.set()


def fabric(links: Mapping[str, Link]) -> str:
    """The demo fabric on fake devices, each behind its link; devices without a link keep out of it."""
    data = yaml.safe_load(DEMO.read_text())
    for device in data["devices"]:
        if device.get("driver"):
            device["driver"] = DRIVERS.get(device["name"], OTHERS[device["driver"]])
            device["settings"] = {}
        if device["name"] in links:
            device["settings"] = {"address": f"127.0.0.1:{links[device['name']].port}"}
    return yaml.safe_dump(data, sort_keys=False)


@contextmanager
def running(state: Path) -> Iterator[Plant]:
    """Start everything, and stop it in the end. state: an empty folder. Errors: ServiceError."""
    group = ProcessGroup(state)
    plant = None
    try:
        plant = _start(state, group)
        watcher = threading.Thread(target=plant.supervise, name="supervisor", daemon=True)
        watcher.start()
        yield plant
        plant.end()
        watcher.join()
    finally:
        if plant is not None:
            plant.end()
            for link in plant.links.values():
                link.close()
        group.stop_all()


def _start(state: Path, group: ProcessGroup) -> Plant:
    store, log, port, farm = state / "devices", state / "writes.jsonl", free_port(0), free_port(0)
    log.touch()
    links = {name: Link(farm) for name in DRIVERS}
    environ = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
        "PYTHONPATH": str(CHECKOUT),
        "VIADUCT_STATE": str(state),
        "VIADUCT_LOG_LEVEL": "WARNING",
        "DATABASE_URL": start_postgres(state, is_fast=True, environ={}),
        "REDIS_URL": start_valkey(state, environ={}),
    }
    programs = {**commands(port, WORKERS)}
    programs["farm"] = (sys.executable, "-m", "tests.chaos.farm", str(farm), str(store), str(log))
    instance = Instance(f"http://127.0.0.1:{port}", environ, group, programs, ("postgres", "valkey"))
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
        # The server is started without it for speed; here the database dies, and what it acknowledged must stay.
        connection.execute("ALTER DATABASE viaduct SET synchronous_commit = on")
    manage(environ, "migrate", "--noinput", "-v", "0")
    file = state / "fabric.yaml"
    file.write_text(fabric(links))
    manage(environ, "load_fabric", str(file))
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
        names = list(DRIVERS)
        connection.execute("UPDATE chains_device SET is_enabled = false WHERE NOT name = ANY(%s)", [names])
    tokens = {name: manage(environ, "create_token", "chaos", "--tenant", name).strip() for name in TENANTS}
    records = {name: instance.start(name) for name in programs}
    group.await_ready(records["web"], lambda: is_ready(port), timeout_s=60.0)
    return Plant(instance, state, store, log, links, tokens)
