# SPDX-License-Identifier: Apache-2.0
"""A lost connection while a commit is pending: what merely looks right is no end, as the device would take it back."""

from __future__ import annotations

import time

import pytest

from chains import models
from chains.engine.reconcile import run_change
from chains.services import record
from drivers import fake
from drivers.base import Transient
from tests.engine import world
from tests.engine.wire import Died, Tap

pytestmark = pytest.mark.usefixtures("confirming")
DEVICES = ("fw1", "leaf1", "leaf2", "spine1")


def pending() -> dict[str, str]:
    found = {}
    for name in DEVICES:
        with fake.box(name) as box:
            if box.pending is not None:
                found[name] = box.pending.label
    return found


def lose_readings(tap: Tap, device: str, lost: set[int]) -> None:
    """Of the readings of the device from now on, these are lost."""
    seen = [0]

    def at(moment: str, name: str, number: int) -> None:
        if (moment, name) == ("read", device):
            seen[0] += 1
            if seen[0] in lost:
                raise Transient(f"{device}: the connection was cut")

    tap.at = at


def test_a_commit_that_could_not_be_confirmed_is_not_taken_for_confirmed(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: the reading before the confirm, and the one before it is written anew."""
    change = world.change(world.chain(world.NGFW))
    decide = record.decision_record

    def decided(row: models.Change) -> None:
        decide(row)
        lose_readings(tap, "leaf2", {1, 3})

    monkeypatch.setattr(record, "decision_record", decided)
    for _ in range(4):
        run_change(change.pk)
        change.refresh_from_db()
        if change.status == "succeeded":
            break
        world.due_now()
    assert change.status == "succeeded", world.events(change)
    assert pending() == {}, world.events(change)


def test_a_way_back_that_was_not_confirmed_is_not_taken_for_the_end(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker dies between the commit of the way back and its confirm; the next one loses its first reading."""
    change = world.change(world.chain(world.NGFW))

    def refused(row: models.Change) -> None:
        raise Died

    # A worker dies before the decision; the next ones give up.
    with monkeypatch.context() as patched:
        patched.setattr(record, "decision_record", refused)
        with pytest.raises(Died):
            run_change(change.pk)
    for name in DEVICES:  # somebody has confirmed them all: only the reverse text leads back
        with fake.box(name) as box:
            if box.pending is not None:
                box.confirm()
    models.Change.objects.update(status="reverting", error="for the test")
    world.due_now()
    models.Lease.objects.update(expires_at=None)

    def dies(moment: str, name: str, number: int) -> None:
        if (moment, name) == ("pushed", "fw1"):
            raise Died

    tap.at = dies
    with pytest.raises(Died):
        run_change(change.pk)
    assert "fw1" in pending()
    world.due_now()
    models.Lease.objects.update(expires_at=None)
    lose_readings(tap, "fw1", {1})
    for _ in range(4):
        run_change(change.pk)
        change.refresh_from_db()
        if change.status == "reverted":
            break
        world.due_now()
    assert change.status == "reverted", world.events(change)
    assert pending() == {}, world.events(change)
    monkeypatch.setattr(fake, "clock", lambda: time.time() + 100_000.0)
    assert world.network() == {}
