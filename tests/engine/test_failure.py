# SPDX-License-Identifier: Apache-2.0
"""All or nothing: whatever fails before the decision is taken back on every device; after it, carried on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from chains import models
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import DeviceState
from tests.engine import world
from tests.engine.wire import Tap

DEVICES = ("cgn1", "fw1", "ips1", "leaf1", "leaf2", "spine1")
pytestmark = pytest.mark.usefixtures("fabric")


def long_chain() -> models.Chain:
    """Through six devices."""
    return world.chain(world.NGFW, world.IPS, world.CGN, destination="outside")


def faulty(device: str, **faults: object) -> None:
    with fake.box(device) as box:
        box.faults = fake.Faults(**faults)


def attempt_until_ended(change: models.Change, times: int = 8) -> models.Change:
    for _ in range(times):
        world.due_now()
        if world.run_change(change.pk):
            break
    change.refresh_from_db()
    return change


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("fault", [{"reject": "% Table full"}, {"is_silent": True}])
def test_one_device_that_fails_takes_all_back(device: str, fault: Mapping[str, object], tap: Tap) -> None:
    change = world.change(long_chain())
    faulty(device, **fault)
    attempt_until_ended(change)
    assert change.status == "reverted", world.events(change)
    assert change.error.startswith(device)
    assert world.network() == {}
    assert change.plan.status != models.Plan.Status.READY
    assert not models.Contribution.objects.exists()
    assert not models.PoolAllocation.objects.filter(until=None).exists()
    assert models.Finding.objects.get(code="change-failed").closed_at is None


def test_a_failed_edit_leaves_what_was_in_force() -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    before = world.network()
    world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}])
    change = world.change(chain)
    faulty("leaf1", reject="% Table full")
    attempt_until_ended(change)
    chain.refresh_from_db()
    assert change.status == "reverted", world.events(change)
    assert world.network() == before
    assert (chain.revision, chain.observed_generation, chain.status) == (1, 1, "error")
    assert "leaf1" in chain.status_reason


def test_a_lost_reply_is_settled_by_reading_back() -> None:
    change = world.change(long_chain())
    for device in DEVICES:
        faulty(device, loses_reply=True)
    attempt_until_ended(change)
    assert change.status == "succeeded", world.events(change)


def test_a_silent_device_is_waited_for_while_nothing_was_sent(tap: Tap) -> None:
    change = world.change(long_chain())
    faulty("ips1", is_unreachable=True)
    world.run_change(change.pk)
    change.refresh_from_db()
    assert (change.status, change.attempts, tap.pushes) == ("running", 1, [])
    assert change.error.startswith("ips1")
    faulty("ips1")
    attempt_until_ended(change)
    assert change.status == "succeeded", world.events(change)


def test_patience_ends_and_nothing_was_sent(tap: Tap, settings: Any) -> None:
    settings.VIADUCT_BREAKER_FAILURES = 100
    change = world.change(long_chain())
    faulty("ips1", is_unreachable=True)
    attempt_until_ended(change)
    assert (change.status, change.attempts, tap.pushes) == ("reverted", 5, [])


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_vanishes_in_the_middle_is_taken_back_when_it_answers(device: str, tap: Tap) -> None:
    change = world.change(long_chain())

    def vanish(moment: str, name: str, number: int) -> None:
        if (moment, name) == ("pushed", device):
            faulty(device, is_unreachable=True)

    tap.at = vanish
    world.run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "reverting", world.events(change)
    assert world.held(device)
    tap.at = lambda moment, name, number: None
    faulty(device)
    attempt_until_ended(change)
    assert change.status == "reverted", world.events(change)
    assert world.network() == {}


def moved_to_the_hosts() -> tuple[models.Chain, models.Change]:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    world.edit(chain, hops=[{**world.NGFW, "realm": "host"}])
    return chain, world.change(chain)


def wanted(change: models.Change) -> dict[str, DeviceState]:
    return {name: state_from_json(items) for name, items in change.plan.target.items()}


def test_after_the_decision_the_removal_is_tried_until_it_is_done() -> None:
    chain, change = moved_to_the_hosts()
    faulty("fw1", reject="% Busy")
    world.run_change(change.pk)
    change.refresh_from_db()
    assert change.decided_at is not None
    assert change.status == "running", world.events(change)
    assert world.held("fw1")
    faulty("fw1")
    attempt_until_ended(change)
    assert change.status == "succeeded"
    assert world.network() == wanted(change)


def test_an_appliance_that_is_gone_does_not_hold_up_the_move_and_is_cleaned_when_it_returns() -> None:
    chain, change = moved_to_the_hosts()
    faulty("fw1", is_unreachable=True)
    attempt_until_ended(change)
    chain.refresh_from_db()
    assert (change.status, chain.status) == ("succeeded", "ready"), world.events(change)
    faulty("fw1")
    assert world.held("fw1")
    world.sweep_on(2)
    assert world.network() == wanted(change)


def test_an_unforeseen_error_is_recorded_and_seen() -> None:
    change = world.change(world.chain(world.NGFW))
    models.PlanStep.objects.filter(plan=change.plan, device__name="fw1").update(changes=[{"key": "nonsense"}])
    with pytest.raises((KeyError, ValueError)):
        world.run_change(change.pk)
    change.refresh_from_db()
    assert "Error" in change.error
    assert change.attempts == 1
    assert "Error" in world.events(change)
