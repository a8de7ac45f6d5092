# SPDX-License-Identifier: Apache-2.0
"""What the process that dies was doing: a chain that appears, moves or goes, a refusal, drift, a sweep, a request.

Each is built on an empty fabric (`tests.engine.world.load`) and judged by what the devices hold in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from chains import models, selectors
from chains.engine.converge import look_at_chain
from chains.engine.observe import observe_device
from chains.engine.reconcile import run_change
from chains.engine.relay import carry_bells
from chains.engine.sweep import sweep
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import EMPTY, DeviceState
from tests.api.world import api_for, chain_body
from tests.crash.death import Scenario
from tests.crash.points import Points
from tests.crash.start import network
from tests.engine import world

States = Mapping[str, DeviceState]
Judge = Callable[[], tuple[str, list[str]]]
ENDED = ("succeeded", "reverted", "failed", "cancelled")
AT_FW2 = {**world.NGFW, "device": "fw2"}


def apply(store: Path) -> Scenario:
    change = world.change(world.chain(world.NGFW))
    return Scenario("apply", lambda _: run_change(change.pk), _judge(store, {}, _target(change)))


def move(store: Path) -> Scenario:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    old = network(store)
    change = world.change(world.edit(chain, hops=[AT_FW2]))
    assert change.plan.steps.filter(phase="remove").exists()
    return Scenario("move", lambda _: run_change(change.pk), _judge(store, old, _target(change)))


def delete(store: Path) -> Scenario:
    """From the look that finds the chain unwanted to the end of the change that this makes."""
    chain = world.chain(world.NGFW)
    world.apply(chain)
    old = network(store)
    world.delete(chain)

    def work(_: Points) -> None:
        look_at_chain(chain.pk)
        run_change(models.Change.objects.latest("pk").pk)

    return Scenario("delete", work, _judge(store, old, {}))


def refuse(store: Path) -> Scenario:
    """The last switch says no: everything is taken back."""
    chain = world.chain(world.NGFW)
    world.apply(chain)
    old = network(store)
    change = world.change(world.edit(chain, hops=[AT_FW2]))
    last = [step for step in change.plan.steps.filter(phase="switch").order_by("wave")][-1]
    refuses = frozenset({last.native})
    return Scenario("refuse", lambda _: run_change(change.pk), _judge(store, old, old), refuses)


def repair(store: Path) -> Scenario:
    """Half of what is ours on a device is gone."""
    world.apply(world.chain(world.NGFW))
    right = network(store)
    with fake.box("leaf1", str(store)) as box:
        items = dict(box.state)
        box.state = DeviceState({key: items[key] for key in sorted(items)[: len(items) // 2]})
    leaf1 = world.device("leaf1").pk
    return Scenario("repair", lambda _: observe_device(leaf1), _judge(store, right, right))


def sweep_all(store: Path) -> Scenario:
    """One pass that finds a bell, a chain to take away, a change and a device that forgot everything."""
    gone = world.chain(world.NGFW, name="gone")
    world.apply(gone)
    kept = world.chain(world.NGFW, name="kept", tenant="tenant-b")
    world.apply(kept)
    world.delete(gone)
    change = world.change(world.edit(kept, hops=[AT_FW2]))
    with fake.box("leaf1", str(store)) as box:
        box.state = EMPTY
    world.due_now()
    return Scenario("sweep", lambda _: sweep(), _judge(store, {}, _target(change)))


def request(store: Path) -> Scenario:
    """Three writes over HTTP, each with a key; the client that got no reply asks all three again."""
    api = api_for("client", models.Tenant.objects.get(name="tenant-a"), models.Role.EDITOR)

    def ask() -> None:
        made = api.post("chains/", chain_body(), headers={"Idempotency-Key": "1-create"}).json()
        planned = api.post(f"chains/{made['id']}/plan/", headers={"Idempotency-Key": "2-plan"}).json()
        reply = api.post(f"plans/{planned['id']}/apply/", headers={"Idempotency-Key": "3-apply"})
        assert reply.status_code == 202, reply.content

    def judge() -> tuple[str, list[str]]:
        counts = [model.objects.count() for model in (models.Chain, models.Plan, models.Change)]
        if counts != [1, 1, 1]:
            return "doubled or lost", [f"chains, plans, changes: {counts}"]
        audited = models.AuditRow.objects.filter(action__in=("chain.create", "plan.apply")).count()
        wrong = [] if audited == 2 else [f"{audited} audit rows of two writes"]
        end, problems = _judge(store, {}, _target(models.Change.objects.get()))()
        return end, wrong + problems + ([] if end == "new" else ["an accepted intent is not in force"])

    return Scenario("request", lambda _: ask(), judge, again=ask)


def relay(store: Path) -> Scenario:
    """Bells on their way to the broker: a bell may ring twice, and none is needed."""
    change = world.change(world.chain(world.NGFW))

    def work(points: Points) -> None:
        carry_bells(lambda topic, ref: points.around(f"ring {topic}", lambda: None))

    return Scenario("relay", work, _judge(store, {}, _target(change)))


ALL = (apply, move, delete, refuse, repair, sweep_all, request, relay)


def _target(change: models.Change) -> States:
    return {name: state_from_json(items) for name, items in change.plan.target.items() if items}


def _judge(store: Path, old: States, new: States) -> Judge:
    def judge() -> tuple[str, list[str]]:
        held = network(store)
        end = "new" if held == new else "old" if held == old else "mixed"
        problems = _dishonest(held)
        if end == "mixed":
            problems.append(f"the devices are neither as before nor as planned: {_odd(held, new)}")
        elif end == "old":
            problems.append("the death of a process alone took the change back")
        return end, problems

    return judge


def _odd(held: States, wanted: States) -> str:
    return ", ".join(name for name in sorted(held.keys() | wanted.keys()) if held.get(name) != wanted.get(name))


def _dishonest(held: States) -> list[str]:
    """What the rows say, against the devices."""
    problems = []
    for change in models.Change.objects.exclude(status__in=ENDED):
        problems.append(f"change {change.pk} never ended: {change.status}, {change.error or 'no error'}")
    for change in models.Change.objects.filter(status__in=("reverted", "failed"), error=""):
        problems.append(f"change {change.pk} is {change.status} and does not say why")
    wanted: dict[str, dict[object, object]] = {}
    for chain in models.Chain.objects.all():
        for name, state in selectors.chain_contributions(chain).items():
            wanted.setdefault(name, {}).update(state)
        if chain.status in ("applying", "unknown", "degraded") or not chain.is_wanted:
            problems.append(f"chain {chain.name} is {chain.status} for ever: {chain.status_reason}")
        if chain.status == "ready" and chain.generation != chain.observed_generation:
            problems.append(f"chain {chain.name} is ready at another generation")
        last = models.Change.objects.filter(plan__chain=chain).order_by("pk").last()
        if last is None:
            continue
        if last.status == "succeeded" and chain.status != "ready":
            problems.append(f"chain {chain.name} is {chain.status} though change {last.pk} succeeded")
    if wanted != {name: dict(state) for name, state in held.items()}:
        problems.append("the devices do not hold what the chains in force want")
    return problems
