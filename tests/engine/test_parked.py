# SPDX-License-Identifier: Apache-2.0
"""Poison work is put aside after five broken attempts, seen by everybody, and goes on when a person says so."""

from __future__ import annotations

import pytest

from chains import models
from chains.engine.observe import observe_device
from chains.engine.reconcile import run_change
from chains.errors import Conflict
from chains.services import intent, record
from chains.services.actor import SYSTEM
from chains.services.again import change_retry
from drivers import fake
from drivers.state import EMPTY, DeviceState
from tests.engine import world
from tests.engine.test_failure import attempt_until_ended, faulty, moved_to_the_hosts, wanted
from tests.engine.wire import Died, Tap

pytestmark = pytest.mark.usefixtures("fabric")


def lease_ends() -> None:
    models.Lease.objects.update(expires_at=None)
    world.due_now()


def open_finding() -> models.Finding:
    return models.Finding.objects.get(code="change-parked", closed_at=None)


def killed_until_parked(change: models.Change, tap: Tap) -> int:
    """Every worker dies at the first push; how many died."""

    def die(moment: str, device: str, number: int) -> None:
        if moment == "push":
            raise Died

    tap.at = die
    died = 0
    for _ in range(9):
        lease_ends()
        try:
            if run_change(change.pk):
                break
        except Died:
            died += 1
    tap.at = lambda moment, device, number: None
    change.refresh_from_db()
    return died


def test_a_change_that_kills_its_workers_is_parked_and_a_person_lets_it_go_on(tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    change = world.change(chain)
    assert killed_until_parked(change, tap) == 5
    chain.refresh_from_db()
    assert (change.status, chain.status, change.waits) == ("failed", "error", "")
    assert "the worker died each time" in change.error
    assert open_finding().severity == "critical"
    assert (open_finding().chain, open_finding().witness["phase"]) == (chain, "running")
    for _ in range(3):
        world.sweep_on()
    assert tap.pushes == [], "it is left alone"
    change_retry(actor=SYSTEM, change=change)
    change.refresh_from_db()
    assert (change.status, change.attempts, change.broken, change.finished_at) == ("running", 0, 0, None)
    assert run_change(change.pk) is True
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)
    assert world.network() == wanted(change)
    assert not models.Finding.objects.filter(closed_at=None).exists()


def test_an_error_that_nobody_foresaw_parks_it_with_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    change = world.change(world.chain(world.NGFW))
    models.PlanStep.objects.filter(plan=change.plan, device__name="fw1").update(changes=[{"key": "nonsense"}])
    for count in range(1, 6):
        world.due_now()
        with pytest.raises((KeyError, ValueError)):
            run_change(change.pk)
        change.refresh_from_db()
        assert change.broken == count
        assert change.due_at != change.created_at
    assert change.status == "failed"
    assert "Error" in change.error
    assert change.error in open_finding().detail
    assert run_change(change.pk) is True, "nothing more is done"


def test_an_attempt_that_ends_as_it_should_is_not_held_against_it(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    faulty("fw1", is_unreachable=True)
    world.run_change(change.pk)
    change.refresh_from_db()
    assert (change.attempts, change.broken) == (1, 0)
    assert change.waits.startswith("the last attempt failed: tried again at ")


def stuck_on_the_way_back(tap: Tap) -> models.Change:
    """The last device refuses the change, another one refuses to give back what it took."""
    change = world.change(world.chain(world.NGFW, world.IPS))
    steps = [step for step in change.plan.steps.all() if step.device and step.phase in ("build", "switch")]
    tap.refuses = frozenset({steps[-1].native, steps[0].reverse})
    run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "reverting", world.events(change)
    return change


def test_a_refused_way_back_is_parked_and_goes_on_in_its_phase(tap: Tap) -> None:
    change = stuck_on_the_way_back(tap)
    for _ in range(8):
        world.due_now()
        run_change(change.pk)
    change.refresh_from_db()
    assert (change.status, change.attempts) == ("failed", 5), world.events(change)
    assert change.error.count("Table full") >= 2, "why it was taken back, and what the device says now"
    assert open_finding().witness["phase"] == "reverting"
    assert world.network() != {}
    tap.refuses = frozenset()
    sent = len(tap.pushes)
    change_retry(actor=SYSTEM, change=change)
    change.refresh_from_db()
    assert change.status == "reverting"
    run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "reverted", world.events(change)
    assert world.network() == {}
    assert len(tap.pushes) > sent
    assert not models.Finding.objects.filter(code="change-parked", closed_at=None).exists()


def test_a_silent_device_on_the_way_back_is_waited_for_without_an_end(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW, world.IPS))
    last = [step for step in change.plan.steps.all() if step.device and step.phase in ("build", "switch")][-1]
    tap.refuses = frozenset({last.native})

    def vanish(moment: str, name: str, number: int) -> None:
        if moment == "pushed" and name == "fw1":
            faulty("fw1", is_unreachable=True)

    tap.at = vanish
    for _ in range(12):
        world.due_now()
        run_change(change.pk)
    change.refresh_from_db()
    assert (change.status, change.broken) == ("reverting", 0), world.events(change)
    tap.at = lambda moment, name, number: None
    faulty("fw1")
    observe_device(world.device("fw1").pk)
    attempt_until_ended(change)
    assert (change.status, world.network()) == ("reverted", {})


def test_after_the_decision_a_refused_removal_is_parked_and_carried_to_its_end_by_a_retry(tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    faulty("fw1", reject="% Busy")
    world.delete(chain)
    world.sweep_on(9)
    change = models.Change.objects.latest("id")
    assert (change.status, change.decided_at is None) == ("failed", False), world.events(change)
    assert "% Busy" in change.error
    assert open_finding().witness["phase"] == "running"
    assert models.Change.objects.count() == 2, "no other removal is planned meanwhile"
    faulty("fw1")
    change_retry(actor=SYSTEM, change=change)
    world.sweep_on()
    assert world.network() == {}
    assert not models.Chain.objects.exists()


def half_applied(tap: Tap) -> models.Change:
    """Parked before its decision, with some devices written."""
    chain = world.chain(world.NGFW, world.IPS)
    change = world.change(chain)

    def die(moment: str, device: str, number: int) -> None:
        if moment == "push" and number >= 2:
            raise Died

    tap.at = die
    for _ in range(9):
        lease_ends()
        try:
            if run_change(change.pk):
                break
        except Died:
            tap.pushes = tap.pushes[:2]
    tap.at = lambda moment, device, number: None
    change.refresh_from_db()
    assert change.status == "failed", world.events(change)
    return change


def test_what_a_parked_change_left_half_way_stays_until_a_person_decides(tap: Tap) -> None:
    change = half_applied(tap)
    held = world.network()
    assert held
    world.sweep_on(3)
    assert world.network() == held, "no repair takes away or completes what was proved safe as it is"
    with pytest.raises(Conflict) as caught:
        intent.change_create(actor=SYSTEM, plan=world.plan(change.plan.chain))
    assert caught.value.code == "change-parked"
    change_retry(actor=SYSTEM, change=change)
    attempt_until_ended(change)
    assert change.status == "succeeded", world.events(change)
    assert world.network() == wanted(change)


def test_drift_of_devices_of_others_is_repaired_meanwhile(tap: Tap) -> None:
    other = world.chain({**world.NGFW, "device": "fw2"}, tenant="tenant-b")
    done = world.apply(other)
    change = half_applied(tap)
    touched = {step.plan_step.device.name for step in change.steps.all() if step.status != "pending"}
    assert "fw2" not in touched
    with fake.box("fw2") as box:
        box.state = EMPTY
    world.sweep_on(2)
    assert world.held("fw2") == wanted(done)["fw2"]


def test_one_that_sent_nothing_may_be_overtaken_and_is_then_over(tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    change = world.change(chain)
    for _ in range(5):
        world.due_now()
        models.Change.objects.filter(pk=change.pk).update(broken=5)
        run_change(change.pk)
    change.refresh_from_db()
    assert (change.status, tap.pushes) == ("failed", [])
    later = world.apply(chain)
    assert later.status == "succeeded", world.events(later)
    assert not models.Finding.objects.filter(closed_at=None).exists()
    with pytest.raises(Conflict, match="came after"):
        change_retry(actor=SYSTEM, change=change)


def test_a_decided_change_that_waits_counts_anew() -> None:
    _, change = moved_to_the_hosts()
    faulty("fw1", reject="% Busy")
    run_change(change.pk)
    change.refresh_from_db()
    assert (change.decided_at is None, change.attempts, change.broken) == (False, 1, 1)


def test_a_change_half_way_does_not_keep_the_drift_of_others_from_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both chains are on leaf1; only the items of the parked change's chain stay as they are."""
    row = world.chain(world.NGFW)
    world.apply(row)
    https = [{"protocol": "tcp", "destination_ports": "443", "family": 4}]
    change = world.change(world.chain(world.NGFW, name="other", classifiers=https))

    def dies(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(record, "decision_record", dies)
        with pytest.raises(Died):
            run_change(change.pk)
    models.Change.objects.filter(pk=change.pk).update(status="failed", error="parked")
    before = world.held("leaf1")
    with fake.box("leaf1") as box:
        box.state = DeviceState({key: item for key, item in before.items() if key.chain != row.pk})
    assert 0 < len(world.held("leaf1")) < len(before)
    world.sweep_on(3)
    assert world.held("leaf1") == before
