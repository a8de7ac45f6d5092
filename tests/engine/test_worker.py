# SPDX-License-Identifier: Apache-2.0
"""Real processes: Celery workers, the relay and the broker over real sockets, devices in files."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection

from chains import models
from drivers import fake
from drivers.state import DeviceState
from orchestrator.services.places import CHECKOUT
from orchestrator.services.processes import ProcessGroup
from tests.engine import world

pytestmark = pytest.mark.slow
CELERY = (sys.executable, "-m", "celery", "-A", "orchestrator.celery")
WORKER = (*CELERY, "worker", "--concurrency", "2", "--without-mingle", "--without-gossip")
RELAY = (sys.executable, "manage.py", "relay")
DEAD_BROKER = "redis://127.0.0.1:1/0"


class Plant:
    """The fabric in the test database and in files, and the processes that work on it."""

    def __init__(self, group: ProcessGroup, store: Path, environ: dict[str, str]) -> None:
        self.group, self.store, self.environ = group, store, environ

    def start(self, name: str, argv: tuple[str, ...], **environ: str) -> None:
        self.group.start(name, argv, env={**os.environ, **self.environ, **environ}, cwd=CHECKOUT)

    def kill(self, name: str) -> None:
        """kill -9 of the leader and its children at once."""
        record = self.group.last(name)
        assert record is not None
        os.killpg(record.pid, signal.SIGKILL)

    def held(self, device: str) -> DeviceState:
        with fake.box(device, str(self.store)) as box:
            return box.state

    def network(self) -> dict[str, DeviceState]:
        names = [path.stem for path in self.store.glob("*.json")]
        return {name: self.held(name) for name in names if self.held(name)}

    def log(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in (self.group.state / "log").glob("*.log"))


@pytest.fixture
def plant(transactional_db: None, redis_url: str, new_state: Callable[[str], Path]) -> Iterator[Plant]:
    state = new_state("plant")
    store = state / "devices"
    world.load(str(store))
    row = connection.settings_dict
    database = f"postgres://{row['USER']}@{quote(row['HOST'], safe='')}/{row['NAME']}"
    environ = {
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "VIADUCT_STATE": str(state),
        "VIADUCT_SWEEP_S": "0.5",
        "VIADUCT_OBSERVE_S": "1",
    }
    group = ProcessGroup(state)
    yield Plant(group, store, environ)
    group.stop_all()


def until(plant: Plant, what: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, plant.log()
        time.sleep(0.1)


def has_succeeded(change: models.Change) -> bool:
    change.refresh_from_db()
    return change.status == models.Change.Status.SUCCEEDED


def test_a_bell_reaches_a_worker_and_the_devices(plant: Plant) -> None:
    """The sweep is set to an hour: only the relay and the broker can have carried it."""
    plant.start("worker", WORKER, VIADUCT_SWEEP_S="3600")
    plant.start("relay", RELAY)
    chain = world.chain(world.NGFW, world.IPS)
    change = world.change(chain)
    until(plant, lambda: has_succeeded(change))
    assert {name: set(map(str, state)) for name, state in plant.network().items()} == {
        name: set(items) for name, items in change.plan.target.items() if items
    }
    world.delete(chain)
    until(plant, lambda: not models.Chain.objects.exists())
    assert plant.network() == {}


def test_without_broker_and_relay_the_sweep_converges_and_repairs(plant: Plant) -> None:
    plant.start("worker", WORKER, REDIS_URL=DEAD_BROKER)
    change = world.change(world.chain(world.NGFW))
    until(plant, lambda: has_succeeded(change))
    wanted = plant.held("leaf1")
    assert wanted
    with fake.box("leaf1", str(plant.store)) as box:
        box.state = DeviceState()
    until(plant, lambda: plant.held("leaf1") == wanted)


def test_a_killed_worker_is_replaced_in_the_middle_of_a_change(plant: Plant) -> None:
    """It dies while a device holds it up; the lease is made to end, and another worker carries on."""
    change = world.change(world.chain(world.NGFW, world.IPS))
    with fake.box("leaf2", str(plant.store)):  # holds the device's lock: the push hangs
        plant.start("first", WORKER, REDIS_URL=DEAD_BROKER)
        until(plant, lambda: models.Change.objects.get(pk=change.pk).status == "running")
        plant.kill("first")
    change.refresh_from_db()
    assert (change.status, change.attempts, change.broken) == ("running", 1, 1), "counted before it was made"
    models.Lease.objects.update(expires_at=None)
    models.Change.objects.update(due_at=change.created_at)
    plant.start("second", WORKER, REDIS_URL=DEAD_BROKER)
    until(plant, lambda: has_succeeded(change))
    assert set(plant.network()) == {name for name, items in change.plan.target.items() if items}
