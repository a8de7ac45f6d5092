# SPDX-License-Identifier: Apache-2.0
"""Conditions: computed by a pure function from facts, kept only where they differ, unknown when nobody knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains import models, selectors
from chains.engine.observe import observe_device, observe_devices
from chains.engine.sweep import sweep
from chains.selectors.conditions import ChangeFact, DeviceFact, Facts, facts_of, judge
from chains.services import record
from chains.services.actor import Actor
from drivers import fake
from drivers.state import DeviceState
from tests.engine import world
from tests.engine.wire import Tap

ADA = Actor("ada", None, models.Role.OPERATOR)
GOOD = Facts(2, 2, 3, devices=(DeviceFact("leaf1", "in_sync"), DeviceFact("fw1", "in_sync")))
RUNNING = ChangeFact(7, "running", 3)
AGAIN = replace(RUNNING, error="timeout")
SHUT = replace(RUNNING, status="pending", waits="a window")
FAILED, REVERTED, REVERTING, WAITING = (
    replace(RUNNING, status=status) for status in ("failed", "reverted", "reverting", "waiting")
)


def said(facts: Facts) -> dict[str, tuple[str, str]]:
    return {str(one.kind): (one.status, one.reason) for one in judge(facts)}


def devices(**values: Any) -> tuple[DeviceFact, ...]:
    return (DeviceFact("leaf1", **{"condition": "in_sync", **values}), DeviceFact("fw1", "in_sync"))


def test_all_is_well() -> None:
    assert said(GOOD) == {
        "ready": ("true", "in-force"),
        "applied": ("true", "applied"),
        "in_sync": ("true", "as-wanted"),
        "healthy": ("true", "functions-live"),
        "progressing": ("false", "nothing-to-do"),
    }


@pytest.mark.parametrize(
    ("facts", "kind", "answer", "reason", "ready"),
    [
        (replace(GOOD, revision=0, observed_generation=0), "applied", "false", "never-applied", "false"),
        (replace(GOOD, is_wanted=False), "applied", "false", "deleting", "false"),
        (replace(GOOD, generation=3), "applied", "false", "edited", "false"),
        (replace(GOOD, generation=3, change=RUNNING), "applied", "false", "change-under-way", "false"),
        (replace(GOOD, generation=3, change=REVERTED), "applied", "false", "taken-back", "false"),
        (replace(GOOD, generation=3, change=FAILED), "applied", "false", "parked", "false"),
        (replace(GOOD, change=RUNNING), "in_sync", "unknown", "change-under-way", "unknown"),
        (replace(GOOD, devices=devices(condition="drifted")), "in_sync", "false", "drift", "false"),
        (replace(GOOD, devices=devices(condition="unreachable")), "in_sync", "unknown", "unreachable", "unknown"),
        (replace(GOOD, devices=devices(condition="unknown")), "in_sync", "unknown", "not-read", "unknown"),
        (replace(GOOD, devices=devices(is_stale=True)), "in_sync", "unknown", "stale", "unknown"),
        (replace(GOOD, devices=devices(is_stale=True)), "healthy", "unknown", "stale", "unknown"),
        (replace(GOOD, devices=devices(is_unread=True)), "in_sync", "unknown", "not-read-since-written", "unknown"),
        (replace(GOOD, devices=devices(condition="drifted", is_stale=True)), "in_sync", "unknown", "stale", "unknown"),
        (replace(GOOD, adopted=("leaf1",)), "in_sync", "true", "adopted", "true"),
        (replace(GOOD, lost=("hop 0: ngfw@fw1 is down",)), "healthy", "false", "hop-lost", "false"),
        (replace(GOOD, doubtful=("hop 0: ngfw@fw1",)), "healthy", "unknown", "health-unknown", "unknown"),
        (replace(GOOD, change=WAITING), "progressing", "false", "waits-for-approval", "true"),
        (replace(GOOD, change=SHUT), "progressing", "false", "waits", "true"),
        (replace(GOOD, change=AGAIN), "progressing", "true", "trying-again", "unknown"),
        (replace(GOOD, change=REVERTING), "progressing", "true", "taking-back", "unknown"),
        (replace(GOOD, change=FAILED), "progressing", "false", "parked", "true"),
    ],
)  # fmt: skip
def test_one_fact_at_a_time(facts: Facts, kind: str, answer: str, reason: str, ready: str) -> None:
    found = said(facts)
    assert found[kind] == (answer, reason)
    assert found["ready"][0] == ready


def test_ready_needs_every_fact() -> None:
    """No mix of facts with a doubt or a fault in it is ready."""
    for condition in ("in_sync", "drifted", "unreachable", "unknown"):
        for stale in (False, True):
            for unread in (False, True):
                for observed in (1, 2):
                    facts = replace(
                        GOOD,
                        observed_generation=observed,
                        devices=devices(condition=condition, is_stale=stale, is_unread=unread),
                    )
                    is_good = (condition, stale, unread, observed) == ("in_sync", False, False, 2)
                    assert (said(facts)["ready"][0] == "true") is is_good


@pytest.fixture
def chain(fabric: None) -> models.Chain:
    made = world.chain({**world.NGFW, "device": "fw1"})
    world.apply(made)
    return made


def read_all() -> None:
    observe_devices([row.pk for row in models.Device.objects.exclude(driver="")])


def kept(chain: models.Chain) -> dict[str, tuple[str, str]]:
    rows = models.Condition.objects.filter(chain=chain)
    return {row.kind: (row.status, row.reason) for row in rows}


def shown(chain: models.Chain) -> dict[str, tuple[str, str]]:
    row = selectors.chain_get(ADA, chain.pk)
    return {one.kind: (one.status, one.reason) for one in selectors.condition_list(row)}


def age(seconds: float, *names: str) -> None:
    """Nobody read these devices for so long."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE chains_devicestatus SET observed_at = observed_at - make_interval(secs => %s) "
            "WHERE device_id IN (SELECT id FROM chains_device WHERE name = ANY(%s))",
            [seconds, list(names)],
        )


def test_a_chain_in_force_is_ready_once_all_was_read(chain: models.Chain) -> None:
    read_all()
    assert kept(chain) == shown(chain)
    assert kept(chain)["ready"] == ("true", "in-force")
    assert all(row.generation == 1 for row in models.Condition.objects.all())


def test_a_second_pass_writes_nothing(chain: models.Chain) -> None:
    read_all()
    with CaptureQueriesContext(connection) as captured:
        assert record.conditions_write([chain.pk]) == 0
    assert not [one["sql"] for one in captured if one["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]
    rows = list(models.Condition.objects.values())
    world.sweep_on(2)
    assert list(models.Condition.objects.values()) == rows


def test_since_moves_with_the_answer_alone(chain: models.Chain) -> None:
    read_all()
    before = models.Condition.objects.get(chain=chain, kind="in_sync")
    models.Finding.objects.create(code="drift-adopted", chain=chain, device=world.device("leaf1"), detail="x")
    assert record.conditions_write([chain.pk]) == 1
    reworded = models.Condition.objects.get(chain=chain, kind="in_sync")
    assert (reworded.reason, reworded.since) == ("adopted", before.since)
    models.DeviceStatus.objects.filter(device__name="leaf1").update(condition="drifted")
    record.conditions_write([chain.pk])
    moved = models.Condition.objects.get(chain=chain, kind="in_sync")
    assert (moved.status, moved.since > before.since) == ("false", True)


def test_facts_of_many_chains_cost_the_same(chain: models.Chain) -> None:
    others = [world.chain(world.NGFW, name=f"n{number}", priority=number) for number in range(1, 6)]
    with CaptureQueriesContext(connection) as one:
        facts_of([chain.pk])
    with CaptureQueriesContext(connection) as six:
        assert len(facts_of([chain.pk, *(row.pk for row in others)])) == 6
    assert len(one) == len(six) <= 8


def test_old_readings_are_unknown_at_the_moment_of_asking(chain: models.Chain) -> None:
    """All workers are dead: nobody writes, and still nothing good is said."""
    read_all()
    age(91, "leaf1")
    device = selectors.device_get(ADA, world.device("leaf1").pk)
    assert (device.status.condition, device.condition_now) == ("in_sync", "unknown")
    assert "90 s" in device.reason_now
    row = selectors.chain_get(ADA, chain.pk)
    assert (row.status, row.status_now, row.ready_now) == ("ready", "unknown", "unknown")
    assert shown(chain)["ready"] == ("unknown", "stale")
    assert list(selectors.chain_list(ADA).filter(status_now="ready")) == []
    assert selectors.device_list(ADA).get(name="fw1").condition_now == "in_sync"


def test_a_reading_of_three_periods_is_young_enough(chain: models.Chain) -> None:
    read_all()
    age(80, "leaf1")
    assert selectors.chain_get(ADA, chain.pk).status_now == "ready"


def test_a_worker_that_comes_back_writes_down_that_nothing_is_known(chain: models.Chain) -> None:
    """It sweeps before any device was read: leaf1 is not due yet."""
    read_all()
    age(1000, "leaf1")
    models.DeviceStatus.objects.update(due_at="2100-01-01T00:00:00Z")
    sweep()
    chain.refresh_from_db()
    assert models.DeviceStatus.objects.get(device__name="leaf1").condition == "unknown"
    assert (chain.status, kept(chain)["ready"][0]) == ("unknown", "unknown")
    world.sweep_on(2)
    chain.refresh_from_db()
    assert (chain.status, kept(chain)["ready"]) == ("ready", ("true", "in-force"))


def test_health_that_nobody_knows_any_more(chain: models.Chain) -> None:
    read_all()
    models.Instance.objects.filter(offer__device__name="fw1").update(health="unknown", health_reason="nobody can say")
    models.DeviceStatus.objects.update(due_at="2100-01-01T00:00:00Z")
    sweep()
    assert kept(chain)["healthy"] == ("unknown", "health-unknown")
    assert kept(chain)["ready"][0] == "unknown"
    read_all()
    assert kept(chain)["ready"][0] == "true"


def test_a_silent_device_is_known_to_be_unknown(chain: models.Chain) -> None:
    read_all()
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = True
    observe_device(world.device("leaf1").pk)
    assert kept(chain)["in_sync"] == ("unknown", "unreachable")
    assert kept(chain)["ready"][0] == "unknown"
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = False
    observe_device(world.device("leaf1").pk)
    assert kept(chain)["ready"][0] == "true"


def test_a_device_that_answers_in_mid_change_is_not_unreachable(chain: models.Chain, tap: Tap) -> None:
    """Its worker died right after the push. What others hold there is as wanted; the chain itself is unknown."""
    other = world.chain({**world.FILTER, "device": "leaf1"}, name="other", tenant="tenant-b")
    world.apply(other)
    read_all()
    world.half_done(chain, tap)
    record.device_unreachable(world.device("leaf1"), "no answer")
    observe_device(world.device("leaf1").pk)
    status = models.DeviceStatus.objects.get(device__name="leaf1")
    assert (status.condition, status.reason) == ("in_sync", "but for a change that is under way")
    assert kept(chain)["in_sync"] == ("unknown", "change-under-way")
    assert kept(chain)["progressing"][0] == "true"
    other.refresh_from_db()
    assert (other.status, kept(other)["ready"][0]) == ("ready", "true")
    with fake.box("leaf1") as box:
        box.state = DeviceState({key: item for key, item in box.state.items() if key.chain != other.pk})
    models.Device.objects.filter(name="leaf1").update(drift="report")
    observe_device(world.device("leaf1").pk)
    assert models.DeviceStatus.objects.get(device__name="leaf1").condition == "drifted"
    assert kept(other)["in_sync"] == ("false", "drift")


def test_no_ready_before_the_decision_was_read_back(chain: models.Chain) -> None:
    read_all()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE chains_change SET decided_at = now() + interval '1 minute'")
    record.conditions_write([chain.pk])
    assert kept(chain)["in_sync"] == ("unknown", "not-read-since-written")
    assert kept(chain)["ready"][0] == "unknown"


def test_an_edit_is_not_ready_until_it_is_applied(chain: models.Chain) -> None:
    read_all()
    world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}])
    assert shown(chain)["ready"] == ("false", "edited")
    world.apply(chain)
    read_all()
    assert kept(chain)["ready"] == ("true", "in-force")
    assert {row.generation for row in models.Condition.objects.filter(chain=chain)} == {2}
