# SPDX-License-Identifier: Apache-2.0
"""How many changes are attempted at once, for a tenant and a site; whose turn it is; and poison rows among others."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains import models
from chains.engine import bells, claims, converge
from chains.engine.reconcile import run_change
from chains.engine.sweep import sweep
from chains.selectors.attempts import in_flight
from chains.services import record
from tests.engine import world
from tests.engine.wire import Died, Tap
from tests.races import at_once

TTL_S = 60.0


def tenant(name: str = "tenant-a") -> models.Tenant:
    return models.Tenant.objects.get(name=name)


def changes(count: int, of: str = "tenant-a", device: str = "leaf1", **values: object) -> list[int]:
    """Rows as `change_create` writes them, for plans with one step on one device."""
    owner, where = tenant(of), world.device(device)
    plans = models.Plan.objects.bulk_create(
        models.Plan(tenant=owner, chain_name=f"c{n}", generation=1, base_revision=0, revision=1, status="ready")
        for n in range(count)
    )
    models.PlanStep.objects.bulk_create(
        models.PlanStep(plan=plan, wave=0, phase="build", device=where, changes=[], native="", reverse="")
        for plan in plans
    )
    now = record.now()
    rows = models.Change.objects.bulk_create(models.Change(plan=plan, due_at=now, **values) for plan in plans)
    return [row.pk for row in rows]


def flying(of: str = "tenant-a") -> int:
    return models.Change.objects.filter(in_flight(), plan__tenant__name=of).count()


@pytest.mark.usefixtures("shared_fabric")
def test_two_hundred_claims_at_once_never_go_over_the_cap() -> None:
    ids, most, seen, lock = changes(200), 4, [], threading.Lock()

    def work(mine: list[int]) -> None:
        for change_id in mine:
            if record.change_claim(change_id, TTL_S).change is None:
                continue
            with lock:
                seen.append(flying())
            if len(seen) % 2:
                record.change_postpone(change_id, 600.0, error="done for now")

    results = at_once(*(partial(work, ids[n::20]) for n in range(20)))
    assert results == [None] * 20
    assert max(seen) == most
    assert flying() <= most
    assert len(seen) >= most
    waiting = models.Change.objects.filter(waits="4 changes of tenant tenant-a are being worked on")
    assert waiting.exists()
    assert set(waiting.values_list("attempts", "broken", "status")) == {(0, 0, "pending")}


@pytest.mark.usefixtures("fabric")
class TestCaps:
    def test_the_site_has_one_too_and_urgent_ones_pass_the_tenants_only(self) -> None:
        models.Site.objects.update(changes_at_once=6)
        ordinary, urgent = changes(6), changes(4, is_urgent=True)
        taken = [record.change_claim(pk, TTL_S).change is not None for pk in (*ordinary, *urgent)]
        assert taken == [True] * 4 + [False] * 2 + [True] * 2 + [False] * 2
        last = models.Change.objects.get(pk=urgent[-1])
        assert last.waits == "6 changes at site lab are being worked on"
        assert record.change_claim(changes(1, of="tenant-b")[0], TTL_S).change is None, "it is on the same site"

    def test_a_killed_attempt_stops_counting_when_its_claim_ends(self) -> None:
        models.Tenant.objects.update(changes_at_once=1)
        first, second = changes(2)
        assert record.change_claim(first, TTL_S).change is not None
        assert record.change_claim(second, TTL_S).change is None
        models.Change.objects.update(due_at="2000-01-01T00:00:00Z")
        assert record.change_claim(second, TTL_S).change is not None

    def test_a_long_attempt_goes_on_counting(self) -> None:
        models.Tenant.objects.update(changes_at_once=1)
        first, second = changes(2)
        record.change_claim(first, 0.0)
        record.change_hold(first, TTL_S)
        assert record.change_claim(second, TTL_S).change is None

    def test_what_devices_hold_half_of_is_not_held_up(self) -> None:
        models.Tenant.objects.update(changes_at_once=1)
        first, second = changes(2)
        models.Step.objects.create(
            change_id=second, plan_step=models.Change.objects.get(pk=second).plan.steps.get(), status="sent"
        )
        assert record.change_claim(first, TTL_S).change is not None
        assert record.change_claim(second, TTL_S).change is not None

    def test_who_waits_is_rung_for_when_one_has_ended(self) -> None:
        models.Tenant.objects.update(changes_at_once=1)
        first, second, third = changes(3)
        for change_id in (first, second, third):
            record.change_claim(change_id, TTL_S)
        record.change_postpone(first, 600.0, error="busy")
        bells_now = models.Outbox.objects.filter(topic="change", rung_at=None)
        assert list(bells_now.values_list("ref", flat=True)) == [second]
        assert models.Change.objects.get(pk=second).due_at <= record.now()

    def test_a_whole_change_under_a_cap_of_one(self) -> None:
        models.Tenant.objects.update(changes_at_once=1)
        (other,) = changes(1)
        record.change_claim(other, TTL_S)
        change = world.change(world.chain(world.NGFW))
        assert run_change(change.pk) is False
        change.refresh_from_db()
        assert (change.status, change.attempts) == ("pending", 0)
        record.change_postpone(other, 600.0, error="busy")
        assert run_change(change.pk) is True


@pytest.mark.usefixtures("fabric")
class TestTurns:
    def test_a_thousand_changes_of_one_tenant_do_not_hide_anothers(self) -> None:
        many, (one,) = changes(1000), changes(1, of="tenant-b")
        with CaptureQueriesContext(connection) as captured:
            due = claims.changes_due(16)
        assert len(captured) == 1
        assert due[:2] == [many[0], one]
        assert due[2:] == many[1:15], "the oldest first"

    def test_urgent_ones_come_first(self) -> None:
        changes(3)
        (urgent,) = changes(1, is_urgent=True)
        assert claims.changes_due(2)[0] == urgent

    def test_the_bells_of_one_tenant_are_answered_by_all_in_turn(self) -> None:
        many, others = changes(100), changes(3, of="tenant-b")
        answered: list[int] = []
        for change_id in (*many, *others):
            turn = claims.turn_of(change_id)
            answered.append(turn)
            models.Change.objects.filter(pk=turn, status="pending").update(status="succeeded")
        assert sorted(answered) == sorted((*many, *others)), "nobody twice, nobody left out"
        assert max(answered.index(change_id) for change_id in others) < 8

    def test_a_tenant_at_its_cap_is_passed_over(self) -> None:
        mine, (other,) = changes(8), changes(1, of="tenant-b")
        for change_id in mine[:4]:
            record.change_claim(change_id, TTL_S)
        assert [claims.turn_of(change_id) for change_id in mine[4:6]] == [other, other]

    def test_what_needs_a_sick_device_comes_after_the_others(self) -> None:
        (sick,), (healthy,) = changes(1, device="fw1"), changes(1, device="fw2")
        record.device_unreachable(world.device("fw1"), "no answer")
        assert claims.changes_due(16) == [healthy]
        assert claims.changes_due(16, is_sick=True) == [sick]


@pytest.mark.usefixtures("fabric")
class TestPoison:
    def test_a_chain_whose_look_breaks_does_not_keep_the_others_from_theirs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad, good = self.two_deleted()
        self.poison(monkeypatch, bad, ValueError)
        world.sweep_on(2)
        assert list(models.Chain.objects.values_list("pk", flat=True)) == [bad.pk]
        found = models.Finding.objects.get(code="look-broken")
        assert (found.chain, found.closed_at, "no such thing" in found.detail) == (bad, None, True)
        monkeypatch.undo()
        world.sweep_on(2)
        assert not models.Chain.objects.exists()

    def test_a_chain_that_kills_its_worker_does_not_keep_the_others_from_theirs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad, good = self.two_deleted()
        on_8080 = [{"protocol": "tcp", "destination_ports": "8080", "family": 4}]
        waiting = world.change(world.chain(world.NGFW, name="new", classifiers=on_8080))
        models.Outbox.objects.all().delete()
        models.DeviceStatus.objects.all().delete()
        self.poison(monkeypatch, bad, Died)
        died = 0
        for _ in range(8):
            models.DeviceStatus.objects.update(due_at=None)
            models.Change.objects.filter(status__in=claims.UNDER_WAY).update(due_at="2000-01-01T00:00:00Z")
            try:
                sweep()
            except Died:
                died += 1
        assert died == 5, "then it is left alone"
        assert "5 workers died" in models.Finding.objects.get(code="look-broken", closed_at=None).detail
        waiting.refresh_from_db()
        assert waiting.status == "succeeded", world.events(waiting)
        assert not models.Chain.objects.filter(pk=good.pk).exists()
        read = models.DeviceStatus.objects.filter(observed_at__isnull=False, failures=0)
        assert read.count() == models.Device.objects.exclude(driver="").count()
        monkeypatch.undo()
        models.Outbox.objects.filter(ref=-bad.pk).update(rung_at="2000-01-01T00:00:00Z")
        world.sweep_on()
        assert not models.Finding.objects.filter(code="look-broken", closed_at=None).exists()

    def two_deleted(self) -> tuple[models.Chain, models.Chain]:
        bad, good = world.chain(world.NGFW, name="bad"), world.chain(world.NGFW, name="good", tenant="tenant-b")
        for chain in (bad, good):
            world.apply(chain)
            world.delete(chain)
        models.Outbox.objects.all().delete()
        return bad, good

    def poison(self, monkeypatch: pytest.MonkeyPatch, bad: models.Chain, error: type[BaseException]) -> None:
        real = converge.look_at_chain

        def look(chain_id: int) -> None:
            if chain_id == bad.pk:
                raise error("no such thing")
            real(chain_id)

        monkeypatch.setattr(converge, "look_at_chain", look)

    def test_chains_that_cannot_be_helped_do_not_hide_the_next_one(self) -> None:
        first = world.chain(world.NGFW)
        for number in range(20):
            models.Chain.objects.create(
                tenant=first.tenant, name=f"bad-{number}", source=first.source, destination=first.destination,
                revision=1, observed_generation=1, status="degraded",
            )  # fmt: skip
        seen: set[int] = set()
        for _ in range(2):
            for chain_id in converge.chains_to_look_at(16):
                seen.add(chain_id)
                assert record.look_begins(chain_id)
        assert len(seen) == 20

    def test_a_device_whose_reading_kills_its_worker_is_soon_left_alone(self, tap: Tap) -> None:
        def die(moment: str, device: str, number: int) -> None:
            if (moment, device) == ("read", "fw1"):
                raise Died

        tap.at = die
        died = 0
        for _ in range(6):
            models.DeviceStatus.objects.update(due_at=None)
            models.DeviceStatus.objects.filter(device__name="a1").update(observed_at=None)
            try:
                sweep()
            except Died:
                died += 1
        status = models.DeviceStatus.objects.get(device__name="fw1")
        assert died == 3
        assert (status.failures, status.closed_until is None) == (3, False)
        assert not models.DeviceStatus.objects.filter(observed_at=None).exclude(device__name="fw1").exists()
        assert not models.DeviceStatus.objects.exclude(device__name="fw1").filter(failures__gt=0).exists()

    def test_a_bell_that_kills_its_worker_is_not_rung_again_and_the_rows_of_others_are_found(
        self, tap: Tap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad = world.change(world.chain(world.NGFW, name="bad", priority=1))
        good = world.change(world.chain(world.NGFW, name="good", tenant="tenant-b"))
        real = run_change

        def run(change_id: int) -> bool:
            if change_id == bad.pk:
                record.change_claim(change_id, TTL_S)
                raise Died
            return real(change_id)

        monkeypatch.setattr(bells, "run_change", run)
        monkeypatch.setattr("chains.engine.sweep.run_change", run)
        for _ in range(9):
            world.due_now()
            try:
                sweep()
            except Died:
                continue
        good.refresh_from_db()
        bad.refresh_from_db()
        assert (good.status, bad.status, bad.attempts) == ("succeeded", "failed", 5)
