# SPDX-License-Identifier: Apache-2.0
"""Several workers, several database connections: one effect, one writer per device."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.db import connection

from chains import models
from chains.engine import claims
from chains.engine.lease import LeaseBusy, LeaseLost, Leases
from chains.engine.limits import Limits
from tests.engine import world
from tests.engine.wire import Tap
from tests.races import at_once

pytestmark = pytest.mark.usefixtures("shared_fabric")


def test_a_doorbell_rung_four_times_has_one_effect(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW, world.IPS))
    results = at_once(*[lambda: world.run_change(change.pk)] * 4)
    assert not [result for result in results if isinstance(result, Exception)], results
    world.due_now()
    world.run_change(change.pk)
    change.refresh_from_db()
    planned = sorted((step.device.name, step.native) for step in change.plan.steps.all() if step.device)
    assert change.status == "succeeded", world.events(change)
    assert sorted(tap.pushes) == planned


def test_who_waited_for_a_change_that_is_over_does_nothing(tap: Tap, settings: Any) -> None:
    """Both workers stand at the lease; the second finds the change ended."""
    settings.VIADUCT_LEASE_WAIT_S = 30.0
    change = world.change(world.chain(world.NGFW))
    with Leases([world.device("leaf1").pk], Limits(), wait_s=0):
        waiting = threading.Thread(target=lambda: results.extend(at_once(*[lambda: world.run_change(change.pk)] * 2)))
        results: list[object] = []
        waiting.start()
        time.sleep(1.0)  # both are past the look at the due time; if not, the test only proves less
    waiting.join()
    assert results == [True, True]
    change.refresh_from_db()
    assert (change.status, change.attempts, change.error) == ("succeeded", 1, "")
    assert len(tap.pushes) == change.plan.steps.exclude(device=None).count()


def test_two_changes_on_the_same_devices_take_turns(tap: Tap, settings: Any) -> None:
    settings.VIADUCT_LEASE_WAIT_S = 20.0
    first = world.change(world.chain(world.NGFW))
    second = world.change(world.chain(world.NGFW, tenant="tenant-b"))
    writing: dict[str, set[str]] = {}

    def watch(moment: str, device: str, number: int) -> None:
        lease = models.Lease.objects.get(device__name=device)
        connection.close()
        writing.setdefault(device, set()).add(lease.holder)

    tap.at = watch
    results = at_once(lambda: world.run_change(first.pk), lambda: world.run_change(second.pk))
    assert results == [True, True]
    for change in (first, second):
        change.refresh_from_db()
        assert change.status == "succeeded", world.events(change)
    assert any(len(holders) == 2 for holders in writing.values())


def test_a_lease_excludes_and_a_taken_one_is_lost() -> None:
    device, given = world.device("leaf1").pk, Limits()
    with Leases([device], given, wait_s=0) as mine:
        with pytest.raises(LeaseBusy), Leases([device, world.device("fw1").pk], given, wait_s=0.2):
            pass
        assert not models.Lease.objects.filter(device__name="fw1", expires_at__isnull=False).exists(), "all or none"
        mine.check()
        models.Lease.objects.filter(device=device).update(expires_at="2000-01-01T00:00:00Z")
        with Leases([device], given, wait_s=0) as other:
            with pytest.raises(LeaseLost):
                mine.check()
            other.check()
    epochs = list(models.Lease.objects.filter(device=device).values_list("epoch", flat=True))
    assert epochs == [2]


def test_a_worker_that_lost_its_lease_writes_nothing_more(tap: Tap) -> None:
    """It slept too long: another one took over between two waves."""
    change = world.change(world.chain(world.NGFW, world.IPS))

    def take_over(moment: str, device: str, number: int) -> None:
        if moment == "pushed" and number == 4:
            models.Lease.objects.update(holder="somebody else", epoch=99)
            connection.close()

    tap.at = take_over
    assert world.run_change(change.pk) is False
    change.refresh_from_db()
    assert (change.status, change.decided_at, len(tap.pushes)) == ("running", None, 5)
    models.Lease.objects.update(expires_at=None)
    world.due_now()
    world.run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)


def test_a_worker_that_was_stopped_between_reading_and_push_does_not_push(tap: Tap, settings: Any) -> None:
    """SIGSTOP, a long sleep, SIGCONT: the first thing it would do is to push with a lease that may have ended."""
    settings.VIADUCT_LEASE_TTL_S, settings.VIADUCT_DEVICE_TIMEOUT_S = 2.0, 1.0
    change = world.change(world.chain(world.NGFW))
    moments: list[str] = []
    early = change.plan.steps.filter(phase__in=("build", "switch")).exclude(device=None)
    asked = early.values("device").distinct().count()

    def stall(moment: str, device: str, number: int) -> None:
        # Each device is read and asked in one visit: once all of them were, the next reading is the one before a push.
        if moment == "read" and moments.count("validated") == asked and "read after" not in moments:
            moments.append("read after")
            time.sleep(1.2)
        moments.append(moment)

    tap.at = stall
    assert world.run_change(change.pk) is False
    change.refresh_from_db()
    assert "read after" in moments
    assert (change.status, tap.pushes) == ("running", [])
    tap.at = lambda moment, device, number: None
    world.due_now()
    world.run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)


def test_due_rows_are_claimed_once() -> None:
    world.due_now()
    found = at_once(*[lambda: claims.devices_claim(100, 60.0)] * 3)
    claimed = [device for batch in found for device in batch]  # type: ignore[attr-defined]
    assert sorted(claimed) == sorted(set(claimed))
    assert len(claimed) == models.Device.objects.exclude(driver="").count()


def test_bells_are_rung_once() -> None:
    for name in ("one", "two", "three"):
        world.chain(world.NGFW, name=name, priority={"one": 1, "two": 2, "three": 3}[name])
    rung = at_once(*[lambda: claims.bells_claim(100, 0.0)] * 3)
    bells = [bell for batch in rung for bell in batch]  # type: ignore[attr-defined]
    assert len(bells) == 3
    assert not models.Outbox.objects.filter(rung_at=None).exists()
