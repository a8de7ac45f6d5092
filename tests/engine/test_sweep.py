# SPDX-License-Identifier: Apache-2.0
"""The sweep finds what is due whatever was lost, and costs the same however much is idle."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from kombu.exceptions import OperationalError

from chains import models
from chains.engine import relay
from chains.engine.sweep import sweep
from drivers import fake
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")


def queries_of_an_idle_sweep() -> int:
    models.DeviceStatus.objects.update(due_at="2100-01-01T00:00:00Z")
    with CaptureQueriesContext(connection) as captured:
        assert sweep() == 0
    return len(captured)


def test_an_idle_sweep_costs_the_same_with_many_chains() -> None:
    world.sweep_on(2)
    before = queries_of_an_idle_sweep()
    first = world.chain(world.NGFW)
    world.apply(first)
    for number in range(200):
        models.Chain.objects.create(
            tenant=first.tenant, name=f"idle-{number}", source=first.source, destination=first.destination,
            revision=1, observed_generation=1, status="ready",
        )  # fmt: skip
    models.Outbox.objects.update(rung_at="2026-01-01T00:00:00Z")
    assert queries_of_an_idle_sweep() == before
    assert before <= 22


def test_what_was_written_long_ago_is_forgotten() -> None:
    world.apply(world.chain(world.NGFW))
    old, *others = models.DeviceWrite.objects.values_list("pk", flat=True)
    models.DeviceWrite.objects.filter(pk=old).update(began_at="2020-01-01T00:00:00Z")
    sweep()
    assert sorted(models.DeviceWrite.objects.values_list("pk", flat=True)) == sorted(others)


def test_a_removal_whose_bell_was_lost_is_found() -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    world.delete(chain)
    models.Outbox.objects.all().delete()
    world.sweep_on(2)
    assert world.network() == {}
    assert not models.Chain.objects.exists()


def test_a_change_whose_bell_was_lost_is_found() -> None:
    change = world.change(world.chain(world.NGFW))
    models.Outbox.objects.all().delete()
    world.sweep_on()
    change.refresh_from_db()
    assert change.status == "succeeded"


def test_one_bad_row_does_not_stop_the_others() -> None:
    bad = world.change(world.chain(world.NGFW))
    models.PlanStep.objects.filter(plan=bad.plan, device__name="fw1").update(changes=[{"key": "nonsense"}])
    good = world.change(world.chain(world.NGFW, tenant="tenant-b"))
    world.sweep_on()
    good.refresh_from_db()
    bad.refresh_from_db()
    assert (good.status, bad.status) == ("succeeded", "running")
    assert "Error" in bad.error


def test_a_removal_waits_for_a_silent_device_and_goes_on_when_it_answers(tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    with fake.box("fw1") as box:
        box.faults.is_unreachable = True
    world.delete(chain)
    world.sweep_on(3)
    change = models.Change.objects.latest("id")
    assert (change.status, change.decided_at is None) == ("running", False), world.events(change)
    models.Change.objects.update(due_at="2100-01-01T00:00:00Z")
    with fake.box("fw1") as box:
        box.faults.is_unreachable = False
    models.DeviceStatus.objects.update(due_at=None, closed_until="2000-01-01T00:00:00Z")
    sweep()  # sees that it answers again, and makes what waits for it due
    sweep()
    assert world.network() == {}
    assert not models.Chain.objects.exists()


# --- the relay -------------------------------------------------------------------------------


def test_bells_are_carried_once_and_kept_while_the_broker_is_down() -> None:
    chain = world.chain(world.NGFW)
    rung: list[tuple[str, int]] = []

    def broken(topic: str, ref: int) -> None:
        raise OperationalError("no broker")

    with pytest.raises(OperationalError):
        relay.carry_bells(broken)
    assert relay.carry_bells(lambda topic, ref: rung.append((topic, ref))) == 1
    assert relay.carry_bells(lambda topic, ref: rung.append((topic, ref))) == 0
    assert rung == [("chain", chain.pk)]
