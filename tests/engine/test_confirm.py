# SPDX-License-Identifier: Apache-2.0
"""Devices with confirmed commit: whatever goes wrong, all of them end with the change or none, and nothing is believed
until it was read back. What is judged is what the devices hold.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from chains import models
from chains.engine import reconcile, stage
from chains.services import record
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import DeviceState, Key
from tests.engine import world
from tests.engine.wire import Died

pytestmark = pytest.mark.usefixtures("confirming")
DEVICES = ("fw1", "leaf1", "leaf2", "spine1")


class Clock:
    """The devices' own time."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(fake, "clock", made)
    yield made


def attempt(change: models.Change, times: int = 1) -> None:
    for _ in range(times):
        world.due_now()
        world.run_change(change.pk)
        change.refresh_from_db()


def wanted(change: models.Change) -> dict[str, DeviceState]:
    return {name: state_from_json(items) for name, items in change.plan.target.items()}


def pending() -> list[str]:
    names = models.Device.objects.exclude(driver="").values_list("name", flat=True)
    found = []
    for name in names:
        with fake.box(name) as box:
            found += [box.pending.label] if box.pending else []
    return found


def switched(change: models.Change) -> set[tuple[str, Key]]:
    """The items that lead traffic; what was built before them is inert by itself."""
    steps = change.plan.steps.filter(phase="switch").select_related("device")
    return {(step.device.name, Key.parse(row["key"])) for step in steps for row in step.changes}


def history(name: str) -> list[str]:
    with fake.box(name) as box:
        return [event.what for event in box.history]


def test_every_commit_is_confirmed_after_the_decision() -> None:
    change = world.apply(world.chain(world.NGFW))
    assert change.status == "succeeded", world.events(change)
    assert world.network() == wanted(change)
    assert pending() == []
    written = [name for name in world.network() if history(name)]
    assert written == sorted(wanted(change))
    for name in written:
        assert set(history(name)) == {"committed", "confirmed"}, name
    assert not change.steps.exclude(label="").exists()
    assert change.decided_at is not None and change.reverts_at is not None


@pytest.mark.parametrize("is_decided", [False, True])
def test_a_death_before_the_decision_goes_back_and_after_it_goes_on(
    is_decided: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = world.change(world.chain(world.NGFW))

    def dies(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(*(reconcile, "roll_forward") if is_decided else (record, "decision_record"), dies)
        with pytest.raises(Died):
            attempt(change)
    assert len(pending()) == len(wanted(change))
    clock.ahead_s = 100_000.0  # nobody came: the devices take back what they were not told to keep
    assert not switched(change) & {(name, key) for name, state in world.network().items() for key in state}
    attempt(change, 3)
    assert change.status == ("succeeded" if is_decided else "reverted"), world.events(change)
    assert world.network() == (wanted(change) if is_decided else {})
    assert pending() == []


FAULTS: dict[str, dict[str, Any]] = {
    "cuts_management": {},
    "reject": {"reject": "% Table full"},
    "is_silent": {},
    "swallows_whole": {"swallows_error": "whole"},
    "swallows_half": {"swallows_error": "half"},
    "verification_failed": {},
    "loses_reply": {},
    "confirm_lies": {},
    "confirm_loses_reply": {},
    "late_confirm_ok": {},
    "aborts_on_close": {},
    "hidden_pending": {},
    "refused_stays_pending": {"reject": "% Table full", "refused_stays_pending": True},
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_on_one_device_ends_on_all_or_on_none(fault: str, device: str, clock: Clock) -> None:
    change = world.change(world.chain(world.NGFW))
    assert device in wanted(change)
    with fake.box(device) as box:
        for name, value in (FAULTS[fault] or {fault: True}).items():
            setattr(box.faults, name, value)
    attempt(change, 2)
    with fake.box(device) as box:
        box.faults = fake.Faults()
    clock.ahead_s = 100_000.0
    attempt(change, 3)
    assert change.status in ("succeeded", "reverted"), world.events(change)
    assert pending() == []
    world.sweep_on(2)
    expected = wanted(change) if change.status == "succeeded" else {}
    assert world.network() == expected, f"{change.status}\n{world.events(change)}"


def test_a_device_that_cut_itself_off_takes_the_change_back_by_itself(clock: Clock) -> None:
    change = world.change(world.chain(world.NGFW))
    with fake.box("leaf2") as box:
        box.faults.cuts_management = True
    attempt(change, 3)
    assert change.status == "reverting", "nobody can know yet what leaf2 holds"
    clock.ahead_s = 100_000.0
    with fake.box("leaf2") as box:
        assert box.history[-1].what == "expired"
    world.sweep_on(2)  # it is read first, then it is worked on again
    change.refresh_from_db()
    assert (change.status, world.network()) == ("reverted", {}), world.events(change)


def test_a_strangers_unconfirmed_commit_is_waited_for(clock: Clock) -> None:
    change = world.change(world.chain(world.NGFW))
    with fake.box("spine1") as box:
        box.commit(box.state, "someone-else", 600)
    attempt(change)
    assert change.status == "running" and "someone-else" in change.error
    assert world.network() == {}
    clock.ahead_s = 100_000.0
    attempt(change)
    assert change.status == "succeeded", world.events(change)


def test_a_confirm_that_said_yes_after_the_revert_is_not_believed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Junos: an unconditional commit, so a late confirm says OK although the device went back."""
    change = world.change(world.chain(world.NGFW))
    for name in wanted(change):
        with fake.box(name) as box:
            box.faults.late_confirm_ok = True
    decide = record.decision_record

    def late(row: models.Change) -> None:
        decide(row)
        clock.ahead_s = 100_000.0

    monkeypatch.setattr(record, "decision_record", late)
    attempt(change)
    assert change.status == "succeeded", world.events(change)
    assert world.network() == wanted(change)
    assert pending() == []


def test_the_decision_is_refused_when_devices_are_about_to_take_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "VERIFY_S", 100_000.0)
    change = world.change(world.chain(world.NGFW))
    attempt(change, 2)
    assert change.status == "reverted" and "too long" in change.error
    assert (world.network(), pending()) == ({}, [])


def test_nothing_old_is_removed_before_the_new_way_is_confirmed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that says that it confirmed, and did not, goes back to the old way when its time is over."""
    chain = world.chain(world.NGFW)
    world.apply(chain)
    old = world.held("fw1")
    change = world.change(world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}]))
    decide = record.decision_record

    def lied_to(row: models.Change) -> None:
        decide(row)
        for name in ("leaf1", "leaf2"):
            with fake.box(name) as box:
                box.faults.confirm_lies = True

    monkeypatch.setattr(record, "decision_record", lied_to)
    attempt(change)
    assert (change.status, change.decided_at is None) == ("running", False), world.events(change)
    clock.ahead_s = 100_000.0
    assert world.held("fw1") == old, "what leads to it came back, so it has to be there"
    for name in ("leaf1", "leaf2"):
        with fake.box(name) as box:
            box.faults = fake.Faults()
    attempt(change, 3)
    assert change.status == "succeeded", world.events(change)
    assert (world.network(), pending()) == (wanted(change), [])
