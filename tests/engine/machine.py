# SPDX-License-Identifier: Apache-2.0
"""A Hypothesis state machine: people, devices and workers do what they like; a small model says what must be true.

The model knows chains by what was last accepted and last came to an end, and nothing of plans, steps or leases.
Judged from the devices. Every example plays in a savepoint of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chains import models
from chains.engine import planner
from chains.engine.claims import UNDER_WAY
from chains.engine.kept import KEPT
from chains.engine.reconcile import run_change
from chains.errors import Conflict, Problem
from chains.services import freeze, intent
from chains.services.actor import SYSTEM
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import EMPTY, DeviceState
from tests.engine import world
from tests.engine.wire import Died, Tap

NAMES = ("c0", "c1", "c2")
HOPS: tuple[tuple[dict[str, Any], ...], ...] = (
    (world.NGFW,),
    (world.IPS,),
    (world.FILTER,),
    (world.NGFW, world.IPS),
    ({**world.NGFW, "device": "fw2"},),
    ({**world.IPS, "device": "ips2"},),
    ({**world.FILTER, "device": "spine1"}, world.NGFW),
)
DEVICES = ("leaf1", "leaf2", "spine1", "fw1", "fw2", "ips1", "ips2")
FAULTS: dict[str, object] = {
    "is_unreachable": True, "reject": "% Table full", "loses_reply": True, "is_silent": True,
}  # fmt: skip
ENDED = ("succeeded", "reverted", "failed", "cancelled")
PEACE_ROUNDS = 12
LIMITS = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@dataclass
class Wish:
    """What a chain should be, as far as people were told yes."""

    hops: tuple[dict[str, Any], ...]
    generation: int = 1
    is_wanted: bool = True


@dataclass
class Model:
    """chains: by name. ended: change -> how, for ever. in_force: chain number -> its devices' states."""

    chains: dict[str, Wish] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    in_force: dict[int, dict[str, DeviceState]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)


class Machine(RuleBasedStateMachine):
    """tap: set by the test before it is run."""

    tap: Tap

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.savepoint = transaction.savepoint()
        fake.reset()
        KEPT.close_idle(0)
        for name in DEVICES:
            with fake.box(name) as box:
                box.foreign = [f"a stranger's on {name}"]

    def teardown(self) -> None:
        try:
            self.peace()
        finally:
            self.tap.at = lambda moment, device, number: None
            transaction.savepoint_rollback(self.savepoint)

    # --- people -------------------------------------------------------------------------------

    @initialize(hops=st.sampled_from(HOPS))
    def first(self, hops: tuple[dict[str, Any], ...]) -> None:
        self.create("c0", hops)
        self.apply("c0")

    @rule(name=st.sampled_from(NAMES), hops=st.sampled_from(HOPS))
    def create(self, name: str, hops: tuple[dict[str, Any], ...]) -> None:
        port = str(80 + NAMES.index(name))
        match = [{"protocol": "tcp", "destination_ports": port, "family": 4}]
        is_there = models.Chain.objects.filter(name=name).exists()
        try:
            world.chain(*hops, name=name, classifiers=match)
        except Conflict:
            assert is_there
            return
        assert not is_there
        self.model.chains[name] = Wish(hops)

    @rule(name=st.sampled_from(NAMES), hops=st.sampled_from(HOPS))
    def edit(self, name: str, hops: tuple[dict[str, Any], ...]) -> None:
        row, wish = self.row(name), self.model.chains.get(name)
        if row is None or wish is None:
            return
        try:
            after = world.edit(row, hops=list(hops))
        except Conflict:
            assert not wish.is_wanted
            return
        assert wish.is_wanted
        wish.generation += hops != wish.hops
        wish.hops = hops
        assert after.generation == wish.generation

    @rule(name=st.sampled_from(NAMES))
    def apply(self, name: str) -> None:
        """Ask for a plan and apply it; who is told no is told why."""
        row = self.row(name)
        if row is None:
            return
        plan = planner.plan_chain(row, "machine")
        if plan.status != models.Plan.Status.READY:
            assert plan.errors
            return
        try:
            intent.change_create(actor=SYSTEM, plan=plan)
        except Problem as problem:
            assert str(problem)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        row, wish = self.row(name), self.model.chains.get(name)
        if row is None or wish is None:
            return
        world.delete(row)
        if self.row(name) is None:  # it was never in force
            del self.model.chains[name]
        elif wish.is_wanted:
            wish.is_wanted, wish.generation = False, wish.generation + 1

    @rule(is_on=st.booleans())
    def freezes(self, is_on: bool) -> None:
        if is_on:
            freeze.freeze_set(actor=SYSTEM, reason="stop")
        else:
            freeze.freeze_lift(actor=SYSTEM)

    # --- devices ------------------------------------------------------------------------------

    @rule(device=st.sampled_from(DEVICES), fault=st.sampled_from(sorted(FAULTS)))
    def breaks(self, device: str, fault: str) -> None:
        with fake.box(device) as box:
            setattr(box.faults, fault, FAULTS[fault])

    @rule(device=st.sampled_from(DEVICES))
    def mends(self, device: str) -> None:
        with fake.box(device) as box:
            box.faults = fake.Faults()

    @rule(device=st.sampled_from(DEVICES), number=st.integers(0, 9))
    def loses_an_item(self, device: str, number: int) -> None:
        with fake.box(device) as box:
            keys = sorted(box.state)
            if keys:
                gone = keys[number % len(keys)]
                box.state = DeviceState({key: item for key, item in box.state.items() if key != gone})
                self.model.touched.add(device)

    @rule(device=st.sampled_from(DEVICES))
    def reboots_empty(self, device: str) -> None:
        with fake.box(device) as box:
            box.state = EMPTY
            self.model.touched.add(device)

    # --- workers ------------------------------------------------------------------------------

    @rule(dies_at=st.one_of(st.none(), st.integers(0, 8)), is_after=st.booleans())
    def work(self, dies_at: int | None, is_after: bool) -> None:
        """Every change that is open is attempted once; the worker may be killed at one of its pushes."""
        self.quietly(self.attempt_all, dies_at, is_after)

    @rule(dies_at=st.one_of(st.none(), st.integers(0, 8)), is_after=st.booleans())
    def sweeps(self, dies_at: int | None, is_after: bool) -> None:
        self.quietly(world.sweep_on, dies_at, is_after)

    def attempt_all(self) -> None:
        world.due_now()
        for pk in list(models.Change.objects.filter(status__in=UNDER_WAY).order_by("pk").values_list("pk", flat=True)):
            run_change(pk)

    def quietly(self, work: Callable[[], object], dies_at: int | None, is_after: bool) -> None:
        first, moment = len(self.tap.pushes), "pushed" if is_after else "push"

        def at(now: str, device: str, number: int) -> None:
            if dies_at is not None and (now, number) == (moment, first + dies_at):
                raise Died

        frozen = models.Freeze.objects.filter(lifted_at=None).exists()
        self.tap.at = at
        try:
            work()
        except Died:
            models.Lease.objects.update(expires_at=None)  # in time; here at once
        finally:
            self.tap.at = lambda now, device, number: None
        assert not frozen or len(self.tap.pushes) == first, "something was written while frozen"

    # --- what must be true --------------------------------------------------------------------

    @invariant()
    def nobody_else_is_touched(self) -> None:
        for name in DEVICES:
            with fake.box(name) as box:
                assert box.foreign == [f"a stranger's on {name}"]

    @invariant()
    def an_end_is_an_end(self) -> None:
        now = dict(models.Change.objects.filter(status__in=ENDED).values_list("pk", "status"))
        for pk, status in self.model.ended.items():
            assert now.get(pk) == status, f"change {pk} was {status}"
        self.model.ended = now

    @invariant()
    def a_chain_keeps_what_people_were_told(self) -> None:
        for name, wish in list(self.model.chains.items()):
            row = self.row(name)
            if row is None:
                assert not wish.is_wanted, f"{name} is lost"
                del self.model.chains[name]
                continue
            assert (row.generation, row.is_wanted) == (wish.generation, wish.is_wanted), name

    @invariant()
    def ready_means_ready(self) -> None:
        for row in models.Chain.objects.filter(status="ready"):
            assert row.generation == row.observed_generation

    @precondition(lambda self: not models.Change.objects.filter(status__in=UNDER_WAY).exists())
    @invariant()
    def all_or_nothing(self) -> None:
        """Between changes every device that nobody meddled with holds all of what is in force, and nothing else."""
        for name in set(DEVICES) - self.model.touched:
            with fake.box(name) as box:
                assert box.state == self.in_force(name), name

    def in_force(self, device: str) -> DeviceState:
        """From the last plan of each chain that came to its end: what was promised."""
        items: dict[Any, Any] = {}
        for row in models.Chain.objects.all():
            plans = models.Plan.objects.filter(chain=row, change__status="succeeded")
            plan = plans.order_by("change__finished_at").last()
            if plan is not None:
                items |= dict(state_from_json(plan.target.get(device, {})))
        return DeviceState(items)

    def peace(self) -> None:
        """Faults end. In bounded time everything that was accepted is true, and then nothing is written any more."""
        self.tap.at = lambda moment, device, number: None
        freeze.freeze_lift(actor=SYSTEM)
        for name in DEVICES:
            self.mends(name)
        for _ in range(PEACE_ROUNDS):
            before = len(self.tap.pushes)
            world.sweep_on()
            if len(self.tap.pushes) == before and not self.is_restless():
                break
        assert not models.Change.objects.filter(status__in=UNDER_WAY).exists()
        self.model.touched.clear()
        self.all_or_nothing()
        assert not models.Chain.objects.filter(is_wanted=False).exists()
        before = len(self.tap.pushes)
        world.sweep_on()
        assert len(self.tap.pushes) == before, "a second pass writes nothing"

    def is_restless(self) -> bool:
        is_going = models.Chain.objects.filter(is_wanted=False).exists()
        return is_going or models.Change.objects.filter(status__in=UNDER_WAY).exists()

    def row(self, name: str) -> models.Chain | None:
        return models.Chain.objects.filter(name=name).first()
