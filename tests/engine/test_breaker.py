# SPDX-License-Identifier: Apache-2.0
"""One sick device: it is left alone after three failures in a row, one reading tries it again, others do not wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest

from chains import models
from chains.engine import claims
from chains.engine.kept import KEPT
from chains.engine.observe import observe_device
from chains.engine.reconcile import run_change
from chains.engine.sweep import sweep
from chains.services import intent, record
from chains.services.actor import SYSTEM
from drivers import fake, registry
from drivers.base import Driver, Session, Target, Transient
from tests.engine import world

pytestmark = pytest.mark.usefixtures("fabric")


class Door:
    """Every attempt to open a session, by device. hangs: devices that take so many seconds to fail."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hangs: dict[str, float] = {}

    def guard(self, driver: Driver) -> Driver:
        @contextmanager
        def open_session(target: Target, timeout_s: float) -> Iterator[Session]:
            self.asked.append(target.name)
            if target.name in self.hangs:
                time.sleep(self.hangs[target.name])
                raise Transient(f"{target.name}: timed out")
            with driver.open(target, timeout_s) as session:
                yield session

        return replace(driver, open=open_session)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    made = Door()
    drivers = {name: made.guard(driver) for name, driver in registry.DRIVERS.items()}
    monkeypatch.setattr(registry, "DRIVERS", MappingProxyType(drivers))
    return made


def silence(device: str, *, is_over: bool = False) -> None:
    with fake.box(device) as box:
        box.faults = fake.Faults(is_unreachable=not is_over)


def status(device: str) -> models.DeviceStatus:
    return models.DeviceStatus.objects.get(device__name=device)


def readings_due() -> None:
    """Time passes for readings, not for open breakers."""
    models.DeviceStatus.objects.filter(closed_until=None).update(due_at=None)


def period_over(device: str) -> None:
    past = "2000-01-01T00:00:00Z"
    models.DeviceStatus.objects.filter(device__name=device).update(closed_until=past, due_at=past)


def opened(device: str) -> None:
    """Three failed readings."""
    silence(device)
    for _ in range(3):
        readings_due()
        sweep()
    assert status(device).failures == 3
    assert status(device).closed_until is not None


def test_three_failed_readings_open_it_and_one_reading_closes_it(door: Door) -> None:
    silence("fw1")
    for count in (1, 2):
        readings_due()
        sweep()
        assert (status("fw1").failures, status("fw1").closed_until) == (count, None)
    readings_due()
    sweep()
    assert status("fw1").closed_until is not None
    assert status("fw1").closed_until == status("fw1").due_at
    assert status("fw1").condition == "unreachable"
    del door.asked[:]
    KEPT.close_idle(0)
    models.DeviceStatus.objects.update(due_at=None)
    sweep()
    observe_device(world.device("fw1").pk)
    assert "fw1" not in door.asked
    assert len(set(door.asked)) == 11, "the others are read as always"
    silence("fw1", is_over=True)
    period_over("fw1")
    sweep()
    assert door.asked.count("fw1") == 1
    assert (status("fw1").failures, status("fw1").closed_until, status("fw1").condition) == (0, None, "in_sync")


def test_a_failed_try_opens_it_again(door: Door) -> None:
    opened("fw1")
    period_over("fw1")
    del door.asked[:]
    sweep()
    assert door.asked.count("fw1") == 1
    assert status("fw1").closed_until is not None
    assert status("fw1").closed_until > record.now()
    sweep()
    assert door.asked.count("fw1") == 1


def test_changes_open_it_too_and_then_wait_without_being_counted(door: Door) -> None:
    change = world.change(world.chain(world.NGFW))
    silence("fw1")
    for _ in range(3):
        models.Change.objects.update(due_at="2000-01-01T00:00:00Z")
        assert run_change(change.pk) is False
    assert status("fw1").closed_until is not None
    del door.asked[:]
    for _ in range(5):
        models.Change.objects.update(due_at="2000-01-01T00:00:00Z")
        assert run_change(change.pk) is False
    change.refresh_from_db()
    assert (door.asked, change.attempts, change.broken, change.status) == ([], 3, 0, "running")
    assert change.waits.startswith("fw1 does not answer: tried again at ")
    assert change.due_at >= status("fw1").closed_until
    assert world.events(change).count("fw1 does not answer") == 1
    silence("fw1", is_over=True)
    period_over("fw1")
    sweep()  # the reading answers, and hurries the change
    change.refresh_from_db()
    assert change.status == "succeeded" or change.due_at <= record.now()
    sweep()
    change.refresh_from_db()
    assert (change.status, change.waits) == ("succeeded", "")


def test_a_new_change_does_not_begin_and_is_rung_for_when_the_device_answers(door: Door) -> None:
    plan = world.plan(world.chain(world.NGFW))  # while it answers: later plans go round it
    opened("fw1")
    change = intent.change_create(actor=SYSTEM, plan=plan)
    del door.asked[:]
    assert run_change(change.pk) is False
    change.refresh_from_db()
    assert (change.status, change.attempts, door.asked) == ("pending", 0, [])
    models.Outbox.objects.all().delete()
    silence("fw1", is_over=True)
    period_over("fw1")
    observe_device(world.device("fw1").pk)
    assert models.Outbox.objects.filter(topic="change", ref=change.pk, rung_at=None).count() == 1
    assert run_change(change.pk) is True


def test_a_device_that_is_only_to_be_cleaned_is_not_waited_for(door: Door) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    opened("fw1")
    world.edit(chain, hops=[{**world.NGFW, "realm": "host"}])
    change = world.change(chain)
    del door.asked[:]
    run_change(change.pk)
    change.refresh_from_db()
    assert (change.status, "fw1" in door.asked) == ("succeeded", False), world.events(change)
    silence("fw1", is_over=True)
    period_over("fw1")
    sweep()
    assert not world.held("fw1")


def test_a_removal_that_is_decided_does_not_ask_a_device_that_is_left_alone(door: Door) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    opened("fw1")
    world.delete(chain)
    del door.asked[:]
    world_due_changes()
    sweep()
    change = models.Change.objects.latest("id")
    assert change.decided_at is not None, world.events(change)
    assert (change.status, "fw1" in door.asked) == ("running", False)
    assert "left alone" in change.error
    silence("fw1", is_over=True)
    period_over("fw1")
    sweep()
    sweep()
    assert world.network() == {}


def world_due_changes() -> None:
    for bell in models.Outbox.objects.filter(rung_at=None):
        models.Outbox.objects.filter(pk=bell.pk).update(created_at=bell.created_at.replace(year=2000))
    models.Change.objects.filter(status__in=claims.UNDER_WAY).update(due_at="2000-01-01T00:00:00Z")


def test_an_answer_between_two_failures_starts_anew() -> None:
    silence("fw1")
    for _ in range(2):
        readings_due()
        sweep()
    silence("fw1", is_over=True)
    readings_due()
    sweep()
    silence("fw1")
    for _ in range(2):
        readings_due()
        sweep()
    assert (status("fw1").failures, status("fw1").closed_until) == (2, None)


def test_a_switched_off_device_that_nobody_reads_is_tried_by_the_change() -> None:
    opened("fw1")
    models.Device.objects.filter(name="fw1").update(is_enabled=False)
    change = world.change(world.chain(world.NGFW, name="later", hops=[{**world.NGFW, "device": "fw2"}]))
    models.PlanStep.objects.filter(plan=change.plan, device__name="fw2").update(device=world.device("fw1"))
    assert run_change(change.pk) is False
    change.refresh_from_db()
    assert (change.attempts, change.waits[:19]) == (0, "fw1 does not answer")
    period_over("fw1")
    models.Change.objects.update(due_at="2000-01-01T00:00:00Z")
    run_change(change.pk)
    change.refresh_from_db()
    assert change.attempts == 1


def test_devices_that_fail_together_are_not_tried_together() -> None:
    """Spread over half of the period at least; here over the whole of it."""
    site = models.Site.objects.first()
    made = models.Device.objects.bulk_create(
        models.Device(name=f"many{number}", site=site, kind="switch", driver="fake-switch") for number in range(200)
    )
    ids = [device.pk for device in made]
    before = record.now()
    record.device_failed(ids, 1, 60.0, was_counted=False)
    waits = [(row.closed_until - before).total_seconds() for row in models.DeviceStatus.objects.filter(device__in=ids)]
    assert min(waits) >= 29.0
    assert max(waits) <= 91.0
    assert max(waits) - min(waits) >= 30.0
    assert max(sum(second <= wait < second + 6 for wait in waits) for second in range(30, 85)) < 60, "no bunch"


def test_healthy_devices_do_not_wait_for_one_that_hangs(door: Door) -> None:
    """Every second time the change that needs the hanging device is rung for first, by the same worker."""
    sick = world.chain({**world.NGFW, "device": "fw2"}, name="sick", tenant="tenant-b")
    chain = world.chain({**world.NGFW, "device": "fw1"})
    world.apply(chain)
    plan = world.plan(sick)  # while it answers: later plans go round it
    opened_by_hanging(door, "fw2", 0.2)
    change = intent.change_create(actor=SYSTEM, plan=plan)
    door.hangs = {"fw2": 1.0}
    calm: list[float] = []
    stormy: list[float] = []
    for turn in range(16):
        models.Change.objects.filter(pk=change.pk).update(due_at="2000-01-01T00:00:00Z")
        rule = {"verdict": "permit", "protocol": "tcp", "destination_ports": str(81 + turn)}
        hop = {**world.NGFW, "device": "fw1", "policy": {"default": "deny", "rules": [rule]}}
        world.edit(chain, hops=[hop])
        mine = world.change(chain)
        began = time.monotonic()
        if turn % 2:
            assert run_change(change.pk) is False
        run_change(mine.pk)
        (stormy if turn % 2 else calm).append(time.monotonic() - began)
        mine.refresh_from_db()
        assert mine.status == "succeeded", world.events(mine)
    print(f"healthy changes, worst of 8: {max(calm):.3f} s calm, {max(stormy):.3f} s beside one that hangs")
    assert sorted(stormy)[4] < sorted(calm)[4] + 0.5, "nobody waited for the one that hangs"
    change.refresh_from_db()
    assert (change.status, change.attempts) == ("pending", 0)


def opened_by_hanging(door: Door, device: str, seconds: float) -> None:
    door.hangs = {device: seconds}
    for _ in range(3):
        readings_due()
        sweep()
    assert status(device).closed_until is not None


def test_while_a_reading_tries_no_change_does() -> None:
    fw1 = world.device("fw1").pk
    record.device_failed([fw1], 1, 60.0, was_counted=False)
    period_over("fw1")
    record.reading_begins([fw1], 1, 60.0)
    change = world.change(world.chain(world.NGFW))
    assert run_change(change.pk) is False
    change.refresh_from_db()
    assert (change.attempts, change.waits[:19]) == (0, "fw1 does not answer")
    assert claims.devices_claim(16, 30.0, is_silent=True) == []


def test_a_chain_that_is_deleted_does_not_wait_with_its_change_for_a_device_that_is_away() -> None:
    """Nothing of the change was sent: it ends as stale, and the removal begins."""
    row = world.chain(world.NGFW)
    world.apply(row)
    change = world.change(world.edit(row, hops=[world.NGFW, world.IPS]))
    with fake.box("ips1") as box:
        box.faults.is_unreachable = True
    assert run_change(change.pk) is False
    models.DeviceStatus.objects.filter(device__name="ips1").update(
        condition="unreachable", failures=5, closed_until=record.now() + timedelta(hours=1)
    )
    due = models.Change.objects.filter(status__in=claims.UNDER_WAY)
    due.update(due_at=record.now())
    assert run_change(change.pk) is False
    change.refresh_from_db()
    assert "ips1 does not answer" in change.waits and change.status == "running"
    world.delete(row)
    for _ in range(3):
        due.update(due_at=record.now())
        sweep()
    assert world.network() == {}
