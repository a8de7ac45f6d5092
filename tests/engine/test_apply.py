# SPDX-License-Identifier: Apache-2.0
"""One change, end to end, on fake devices: what they hold is what was shown, and goes when it should."""

from __future__ import annotations

import pytest

from chains import models
from chains.engine.reconcile import run_change
from drivers import fake
from drivers.codec import state_from_json
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")


def test_devices_hold_what_the_plan_showed() -> None:
    chain = world.chain(world.NGFW)
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    target = {name: state_from_json(items) for name, items in change.plan.target.items()}
    assert target
    assert world.network() == target
    assert (chain.status, chain.observed_generation, chain.revision) == ("ready", 1, change.plan.revision)


def test_bytes_sent_are_the_bytes_planned(tap: Tap) -> None:
    change = world.apply(world.chain(world.NGFW, world.IPS, world.CGN, destination="outside"))
    planned = [(step.device.name, step.native) for step in change.plan.steps.all() if step.device]
    assert sorted(tap.pushes) == sorted(planned)


def test_a_second_attempt_and_a_sweep_write_nothing(tap: Tap) -> None:
    change = world.apply(world.chain(world.NGFW))
    before = len(tap.pushes)
    assert run_change(change.pk) is True
    world.sweep_on(3)
    assert len(tap.pushes) == before


def test_an_edit_touches_only_what_it_changes(tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    del tap.pushes[:]
    rules = [{"verdict": "permit", "protocol": "tcp", "destination_ports": "80", "source": "10.10.1.10/32"}]
    world.edit(chain, hops=[{**world.NGFW, "policy": {"default": "deny", "rules": rules}}])
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert {device for device, _ in tap.pushes} == {"fw1"}
    assert world.network() == {name: state_from_json(items) for name, items in change.plan.target.items()}


def test_a_hop_moves_to_the_hosts_and_its_old_place_is_cleaned() -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    assert world.held("fw1")
    world.edit(chain, hops=[{**world.NGFW, "realm": "host"}])
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert not world.held("fw1")
    assert world.held("a1") or world.held("a2")
    assert world.network() == {name: state_from_json(items) for name, items in change.plan.target.items()}


def test_delete_leaves_the_network_as_it_was() -> None:
    with fake.box("leaf1") as box:
        box.foreign.append("a stranger's flow")
    chain = world.chain(world.NGFW, world.IPS, world.CGN, destination="outside")
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert world.network()
    world.delete(chain)
    world.sweep_on(2)
    assert world.network() == {}
    assert not models.Chain.objects.filter(pk=chain.pk).exists()
    assert models.Plan.objects.filter(chain_name="web").count() == 2
    assert [row.until is not None for row in models.PoolAllocation.objects.all()] == [True]
    with fake.box("leaf1") as box:
        assert box.foreign == ["a stranger's flow"]


def test_two_tenants_with_the_same_addresses_share_the_fabric() -> None:
    first, second = world.chain(world.NGFW), world.chain(world.FILTER, world.NGFW, tenant="tenant-b")
    assert world.apply(first).status == "succeeded"
    mine = {name: state.of_chain(first.pk) for name, state in world.network().items()}
    assert world.apply(second).status == "succeeded"
    assert {name: world.held(name).of_chain(first.pk) for name in mine} == mine
    world.delete(second)
    world.sweep_on(2)
    assert world.network() == mine


def test_a_refused_plan_says_why_and_cannot_be_applied() -> None:
    models.Offer.objects.filter(function__name="ngfw").update(is_enabled=False)
    plan = world.planner.plan_chain(world.chain(world.NGFW), "tester")
    assert plan.status == "refused"
    assert plan.errors
    assert {"code", "detail", "hop"} == set(plan.errors[0])
    assert world.network() == {}
