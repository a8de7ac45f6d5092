# SPDX-License-Identifier: Apache-2.0
"""What does a sweep cost when there are very many chains and nothing to do? Imported once Django is set up.

Two databases hold the same 100 devices, one with few and one with very many idle chains. They are swept in turns:
with nothing due at all, and with the device due that holds the most items of ours.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median

from django.db import connection
from django.db.models.functions import Now

from chains import models
from chains.engine.kept import KEPT
from chains.engine.sweep import sweep
from chains.fabric.load import load
from drivers import fake
from drivers.state import DeviceState
from tests.bench import database
from tests.bench.idle import idle_chains
from tests.bench.network import DEVICES, fabric_text
from tests.bench.report import Figure

# What is left to grow are the depths of indexes and a few estimates.
MOST = 3.0


@dataclass(frozen=True, slots=True)
class Size:
    """few, many: idle chains. repeats: sweeps with nothing due in each turn. readings: sweeps with one."""

    few: int
    many: int
    rounds: int
    repeats: int
    readings: int


FULL = Size(few=100, many=10_000, rounds=5, repeats=20, readings=2)
SMALL = Size(few=20, many=100, rounds=2, repeats=3, readings=1)


@dataclass(slots=True)
class World:
    """One database. times: seconds by what was due, one entry for each sweep."""

    database: str
    device: str
    holds: DeviceState
    times: dict[str, list[float]] = field(default_factory=dict)
    queries: dict[str, set[int]] = field(default_factory=dict)

    def median(self, due: str) -> float:
        return median(self.times[due])


NOTHING, READING = "nothing", "reading"


def figures(size: Size) -> Iterator[Figure]:
    load(fabric_text())
    few, many = _world("few", size.few), _world("many", size.many)
    for _ in range(size.rounds):
        for world in (few, many):
            _turn(world, [NOTHING] * size.repeats)
    for world in (few, many):
        _turn(world, [READING] * size.readings)
    told = f"{size.many} idle chains against {size.few}, {DEVICES} devices"
    read = f"{told}, one of them read: {len(many.holds)} items against {len(few.holds)}"
    for due, name in ((NOTHING, "sweep"), (READING, "sweep.reading")):
        is_constant = few.queries[due] == many.queries[due] and len(many.queries[due]) == 1
        goal = f"at most {MOST:g} times" if due == NOTHING else ""
        value, against = many.median(due) * 1000, few.median(due) * 1000
        what = told if due == NOTHING else read
        yield Figure(name, value, "ms", against, what, goal, not goal or value <= MOST * against)
        count = (max(many.queries[due]), max(few.queries[due]))
        yield Figure(f"{name}.queries", count[0], "queries", count[1], what, "as many as with few chains", is_constant)


def _world(name: str, chains: int) -> World:
    database.copy(name)
    database.switch(name)
    return World(name, *idle_chains(chains))


def _turn(world: World, sweeps: Sequence[str]) -> None:
    database.switch(world.database)
    fake.reset()
    KEPT.close_idle(0)
    with fake.box(world.device) as box:
        box.state = world.holds
    _swept(world, NOTHING)  # opens the connection
    for due in sweeps:
        took_s, queries = _swept(world, due)
        world.times.setdefault(due, []).append(took_s)
        world.queries.setdefault(due, set()).add(queries)


def _swept(world: World, due: str) -> tuple[float, int]:
    """Seconds and queries. Errors: AssertionError if the sweep found anything but what is due."""
    # However long the benchmark takes: every device was read just now.
    models.DeviceStatus.objects.update(due_at=Now() + timedelta(days=1), observed_at=Now())
    if due == READING:
        models.DeviceStatus.objects.filter(device__name=world.device).update(due_at=None)
    seen = database.Counter()
    gc.collect()
    gc.disable()
    try:
        with connection.execute_wrapper(seen):
            began = time.perf_counter()
            found = sweep()
            took_s = time.perf_counter() - began
    finally:
        gc.enable()
    assert found == (due == READING), f"{found} pieces of work in a network that rests"
    assert not models.Finding.objects.exists(), "a finding in a network that rests"
    return took_s, seen.count
