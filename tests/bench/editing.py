# SPDX-License-Identifier: Apache-2.0
"""What does editing one chain cost when there are many others? Imported once Django is set up.

Two databases hold the same 100 devices, one with few and one with many chains in force. A chain of the same
kind is edited in both, in turns, and planned; nothing is applied but the last edit, to see whom it touches.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from types import MappingProxyType
from typing import Any, TypeVar

from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains import models, selectors
from chains.engine import planner
from chains.engine.reconcile import run_change
from chains.fabric.load import load
from chains.planning.allocate import allocate
from chains.planning.candidates import Context
from chains.planning.classes import count_matches
from chains.planning.compile import compile_states
from chains.planning.placement import place
from chains.planning.plan import make_plan
from chains.planning.routing import peers
from chains.services import intent
from chains.services.actor import SYSTEM
from drivers import fake, registry
from drivers.diff import diff
from drivers.state import DeviceState
from tests.bench import database
from tests.bench.network import DEVICES, TENANTS, chain_data, fabric_text
from tests.bench.report import Figure
from tests.bench.seed import chains_in_force
from tests.engine.wire import Tap, tapped

MOST = 3.0
EDIT_PORT = 40_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """few, many: chains in force. repeats: edits in each turn."""

    few: int
    many: int
    rounds: int
    repeats: int


FULL = Size(few=10, many=1000, rounds=3, repeats=5)
SMALL = Size(few=4, many=60, rounds=2, repeats=2)


@dataclass(slots=True)
class World:
    """One database. times: seconds by part, one entry for each edit."""

    database: str
    chains: list[int]
    edits: int = 0
    times: dict[str, list[float]] = field(default_factory=dict)
    queries: set[int] = field(default_factory=set)

    @property
    def chain(self) -> int:
        """The last chain of the first tenant: it has seen all the others come."""
        return self.chains[(len(self.chains) - 1) // TENANTS * TENANTS]

    def median(self, part: str) -> float:
        return median(self.times[part])


def figures(size: Size) -> Iterator[Figure]:
    load(fabric_text())
    few, many = _world("few", size.few), _world("many", size.many)
    for world in (few, many):
        _check_seed(world)
    for _ in range(size.rounds):
        for world in (few, many):
            database.switch(world.database)
            for _ in range(size.repeats):
                edit_and_plan(world)
    told = f"{size.many} chains against {size.few}, {DEVICES} devices"
    for part, goal in PARTS.items():
        value, against = many.median(part) * 1000, few.median(part) * 1000
        name = "compile" if part == "compile" else f"compile.{part}"
        is_ok = not goal or value <= MOST * against
        yield Figure(name, value, "ms", against, told, goal and f"at most {MOST:g} times: {goal}", is_ok)
    is_constant = few.queries == many.queries and len(many.queries) == 1
    most = (max(many.queries), max(few.queries))
    yield Figure("compile.queries", most[0], "queries", most[1], told, "as many as with few chains", is_constant)
    yield _touched(many, told)


# What one dry run consists of. compile: with the diff. read, total: wall-clock time; the others: processor time.
PARTS: Mapping[str, str] = MappingProxyType(
    {"compile": "compile and diff", "read": "", "place": "", "pure": "", "total": ""}
)


def _world(name: str, chains: int) -> World:
    database.copy(name)
    database.switch(name)
    return World(name, chains_in_force(chains))


def edit_and_plan(world: World) -> None:
    """One edit, then a dry run in its parts and as a whole."""
    row = _edit(world)
    gc.collect()
    gc.disable()
    try:
        with planner.consistent_read():
            snapshot = _timed(world, "read", time.perf_counter, lambda: Snapshot(row))
        links = peers(snapshot.fabric)
        context = Context(snapshot.fabric, snapshot.chain, links, count_matches(snapshot.chain))
        solution = _timed(world, "place", time.process_time, lambda: place(context))

        def compile_and_diff() -> None:
            allocations = allocate(snapshot.chain, solution)
            compiled = compile_states(context, solution, allocations, snapshot.base)
            for device in sorted(snapshot.base.keys() | compiled.target.keys()):
                diff(snapshot.base.get(device, EMPTY), compiled.target.get(device, EMPTY))

        _timed(world, "compile", time.process_time, compile_and_diff)
        _timed(
            world,
            "pure",
            time.process_time,
            lambda: make_plan(snapshot.fabric, snapshot.chain, snapshot.base, snapshot.others),
        )
        draft = _timed(world, "total", time.perf_counter, lambda: planner.compute(row))
    finally:
        gc.enable()
    assert draft.refused is None, draft.refused
    with CaptureQueriesContext(connection) as seen:
        planner.compute(row)
    world.queries.add(len(seen))


EMPTY = DeviceState()


class Snapshot:
    """What the planner reads."""

    def __init__(self, row: models.Chain) -> None:
        self.chain = selectors.chain_snapshot(row)
        self.fabric = selectors.fabric_snapshot(row)
        self.base = selectors.chain_contributions(row)
        self.others = selectors.others_on(self.fabric.devices, row)
        self.targets = selectors.targets_of(self.fabric.devices)


def _edit(world: World) -> models.Chain:
    """Another port: every item of the chain changes, on every device that it has."""
    world.edits += 1
    row = models.Chain.objects.get(pk=world.chain)
    data = chain_data(0, EDIT_PORT + world.edits)
    return intent.chain_update(
        actor=SYSTEM, chain=row, data={"classifiers": data["classifiers"], "hops": data["hops"]}
    )


def _timed(world: World, part: str, clock: Callable[[], float], work: Callable[[], T]) -> T:
    began = clock()
    done = work()
    world.times.setdefault(part, []).append(clock() - began)
    return done


def _check_seed(world: World) -> None:
    """The seeded rows are what the planner would make: planned anew, nothing is left to do."""
    database.switch(world.database)
    for number in {world.chains[0], world.chains[len(world.chains) // 2], world.chain}:
        draft = planner.compute(models.Chain.objects.get(pk=number))
        assert draft.plan is not None, draft.refused
        assert not draft.plan.steps, f"chain {number} is not seeded as planned: {draft.plan.steps[:2]}"


def _touched(world: World, told: str) -> Figure:
    """Apply the last edit on fake devices that hold all chains, and see which devices were written and changed."""
    database.switch(world.database)
    fake.reset()
    for device in models.Device.objects.exclude(driver=""):
        with fake.box(device.name) as box:
            box.state = selectors.desired_state(device)
    row = models.Chain.objects.get(pk=world.chain)
    before, wrote = _held(), set(selectors.chain_contributions(row))
    with _tapped() as tap:
        change = intent.change_create(actor=SYSTEM, plan=planner.plan_chain(row, "bench"))
        run_change(change.pk)
    change.refresh_from_db()
    assert change.status == models.Change.Status.SUCCEEDED, change.error
    after = _held()
    its_own = wrote | set(selectors.chain_contributions(row))
    pushed = {device for device, _ in tap.pushes}
    foreign = [
        f"{device} {change.key}"
        for device in after
        for change in diff(before[device], after[device])
        if device not in its_own or change.key.chain != row.pk
    ]
    is_ok = pushed <= its_own and bool(pushed) and not foreign
    goal = "only devices and items of the edited chain"
    return Figure("compile.touched", len(pushed), "devices", len(its_own), told, goal, is_ok)


def _held() -> dict[str, DeviceState]:
    found: dict[str, Any] = {}
    for name in models.Device.objects.exclude(driver="").values_list("name", flat=True):
        with fake.box(name) as box:
            found[name] = box.state
    return found


class _tapped:
    """Sees every push to every driver while it is open."""

    def __enter__(self) -> Tap:
        tap = Tap()
        self._drivers = registry.DRIVERS
        registry.DRIVERS = MappingProxyType({name: tapped(d, tap) for name, d in self._drivers.items()})
        return tap

    def __exit__(self, *error: object) -> None:
        registry.DRIVERS = self._drivers
