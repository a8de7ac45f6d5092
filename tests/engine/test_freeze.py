# SPDX-License-Identifier: Apache-2.0
"""The freeze switch: nothing is written while it is set, wherever a change is, and everything goes on after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from chains import models
from chains.engine.freeze import Frozen, Gate
from chains.engine.reconcile import run_change
from chains.engine.sweep import sweep
from chains.services import record
from chains.services.actor import SYSTEM
from chains.services.freeze import freeze_lift, freeze_set
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import EMPTY
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")


def freeze() -> None:
    freeze_set(actor=SYSTEM, reason="the core is being rebooted")


def target(change: models.Change) -> dict[str, Any]:
    return {name: state_from_json(items) for name, items in change.plan.target.items()}


def test_no_change_starts_and_it_is_not_counted(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    freeze()
    world.sweep_on(8)
    change.refresh_from_db()
    assert (change.status, change.attempts, tap.pushes) == ("pending", 0, [])
    assert [event.text.startswith("frozen") for event in change.events.all()] == [True]
    assert freeze_lift(actor=SYSTEM)
    sweep()  # nothing else makes it due
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)
    assert world.network() == target(change)


def freeze_when(patched: pytest.MonkeyPatch, is_time: Callable[[], bool]) -> None:
    """Set the switch in the caller's thread, when a write's end is recorded and `is_time`."""
    real = record.writes_end

    def ends(*values: Any) -> None:
        if not models.Freeze.objects.exists() and is_time():
            freeze()
        real(*values)

    patched.setattr(record, "writes_end", ends)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
def test_frozen_in_the_middle_it_stops_after_the_push(tap: Tap, number: int) -> None:
    """Set when push `number` was read back: it is the last that is written, before and after the decision."""
    chain = world.chain(world.NGFW)
    world.apply(chain)
    world.edit(chain, hops=[{**world.NGFW, "realm": "host"}])
    change = world.change(chain)
    assert len([step for step in change.plan.steps.all() if step.device]) == 7
    del tap.pushes[:]
    with pytest.MonkeyPatch.context() as patched:
        freeze_when(patched, lambda: len(tap.pushes) > number)
        is_over = run_change(change.pk)
    change.refresh_from_db()
    assert not is_over, world.events(change)
    assert (change.status, change.attempts) == ("running", 0)
    held = world.network()
    assert len(tap.pushes) == number + 1
    world.sweep_on(2)
    assert len(tap.pushes) == number + 1
    assert world.network() == held
    freeze_lift(actor=SYSTEM)
    world.sweep_on()
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)
    assert world.network() == target(change)


def test_a_freeze_that_the_callers_thread_saw_stops_a_push_in_a_devices_thread() -> None:
    gate = Gate()
    gate.check()
    freeze()
    gate.look()  # asked a moment ago
    gate.must_be_open()
    later = Gate()
    later.look()
    with pytest.raises(Frozen):
        later.must_be_open()


def test_what_is_being_taken_back_waits_too(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    last = [step for step in change.plan.steps.all() if step.device][-1]
    tap.refuses = frozenset({last.native})
    with pytest.MonkeyPatch.context() as patched:
        freeze_when(patched, lambda: tap.pushes[-1][1] == last.native)
        run_change(change.pk)
    change.refresh_from_db()
    held, sent = world.network(), len(tap.pushes)
    assert (change.status, bool(held)) == ("reverting", True), world.events(change)
    world.sweep_on(3)
    assert (world.network(), len(tap.pushes)) == (held, sent)
    freeze_lift(actor=SYSTEM)
    world.sweep_on()
    change.refresh_from_db()
    assert (change.status, world.network()) == ("reverted", {})
    assert "Table full" in change.error


def test_drift_is_found_and_not_repaired(tap: Tap) -> None:
    world.apply(world.chain(world.NGFW))
    freeze()
    with fake.box("fw1") as box:
        box.state = EMPTY
    before = len(tap.pushes)
    world.sweep_on(3)
    assert (world.held("fw1"), len(tap.pushes)) == (EMPTY, before)
    assert models.Finding.objects.filter(code="drift", closed_at=None).exists()
    freeze_lift(actor=SYSTEM)
    world.sweep_on(2)
    assert world.held("fw1") != EMPTY
    assert not models.Finding.objects.filter(closed_at=None).exists()


def test_a_deletion_waits() -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    freeze()
    before = world.network()
    world.delete(chain)
    world.sweep_on(3)
    assert world.network() == before
    freeze_lift(actor=SYSTEM)
    world.sweep_on(2)
    assert world.network() == {}


def test_the_device_threads_stop_by_what_was_seen_while_waiting(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the question before the push: what the caller's thread saw meanwhile is enough."""
    change = world.change(world.chain(world.NGFW))
    freeze()
    monkeypatch.setattr(Gate, "check", lambda gate: None)
    assert run_change(change.pk) is False
    assert tap.pushes == []
    assert world.network() == {}


@pytest.mark.usefixtures("confirming")
@pytest.mark.parametrize("is_decided", [False, True])
def test_what_devices_take_back_meanwhile_is_brought_to_its_end_afterwards(
    is_decided: bool, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set when the first device was watched, or with the decision; lifted when the devices' time is over."""
    change = world.change(world.chain(world.NGFW))
    name = "decision_record" if is_decided else "canary_passed"
    real = getattr(record, name)

    def stops(row: models.Change) -> None:
        real(row)
        freeze()

    with monkeypatch.context() as patched:
        patched.setattr(record, name, stops)
        assert run_change(change.pk) is False
    sent = len(tap.pushes)
    monkeypatch.setattr(fake, "clock", lambda: time.time() + 100_000.0)
    world.sweep_on(2)
    change.refresh_from_db()
    assert (change.status, len(tap.pushes)) == ("running", sent), world.events(change)
    freeze_lift(actor=SYSTEM)
    world.sweep_on(3)
    change.refresh_from_db()
    assert change.status == ("succeeded" if is_decided else "reverted"), world.events(change)
    assert world.network() == (target(change) if is_decided else {})
