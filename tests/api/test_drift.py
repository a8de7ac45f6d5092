# SPDX-License-Identifier: Apache-2.0
"""Drift over the wire: policies, orders and their refusals; conditions; old readings are unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models import F

from chains.engine.observe import observe_device
from chains.models import AuditRow, Device, DeviceStatus, Finding
from drivers import fake
from drivers.state import DeviceState
from tests.api.test_plans import planned, run_to_its_end
from tests.api.world import World, make_world, problem

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    fake.reset()
    yield make_world()
    fake.reset()


@pytest.fixture
def chain(world: World) -> str:
    """The address of a chain in force, all devices read."""
    address, plan = planned(world)
    run_to_its_end(world.a.post(f"plans/{plan.json()['id']}/apply/").json()["id"])
    for pk in Device.objects.exclude(driver="").values_list("pk", flat=True):
        observe_device(pk)
    return address


def leaf() -> str:
    return f"devices/{Device.objects.get(name='leaf1').pk}/"


def by_hand(kind: str) -> None:
    """Give a redirect's next hop another address, or take the guards away; then the device is read."""
    with fake.box("leaf1") as box:
        items = dict(box.state)
        for key, item in box.state.items():
            if key.kind == kind == "guard":
                del items[key]
            elif key.kind == kind:
                items[key] = replace(item, next=replace(item.next, mac="02:00:00:00:99:99"))  # type: ignore[union-attr,call-arg,arg-type]
        assert items != dict(box.state)
        box.state = DeviceState(items)
    observe_device(Device.objects.get(name="leaf1").pk)


def test_a_devices_policy_is_set_and_audited(world: World, chain: str) -> None:
    assert world.operator.get(leaf()).json()["drift_policy"] == ""
    made = world.operator.patch(leaf(), {"drift_policy": "report"})
    assert (made.status_code, made.json()["drift_policy"], made.json()["is_enabled"]) == (200, "report", True)
    assert AuditRow.objects.get(action="device.update").detail["after"] == {"drift": "report"}
    problem(world.operator.patch(leaf(), {"drift_policy": "ignore"}), 400)
    problem(world.a.patch(leaf(), {"drift_policy": "adopt"}), 403)
    by_hand("guard")
    reply = world.operator.get(leaf()).json()
    assert (reply["condition"], [row["action"] for row in reply["drift"]]) == ("drifted", ["create"] * 3)


def test_an_order_is_taken_and_carried_out(world: World, chain: str) -> None:
    assert problem(world.operator.post(f"{leaf()}adopt/"), 409)["type"] == "urn:viaduct:no-drift"
    world.operator.patch(leaf(), {"drift_policy": "report"})
    by_hand("redirect")
    taken = world.operator.post(f"{leaf()}adopt/")
    assert (taken.status_code, taken.json()["condition"]) == (202, "drifted")
    observe_device(taken.json()["id"])
    assert world.operator.get(leaf()).json()["condition"] == "in_sync"
    said = {row["kind"]: row for row in world.a.get(chain).json()["conditions"]}
    assert (said["in_sync"]["status"], said["in_sync"]["reason"]) == ("true", "adopted")
    assert world.a.get("findings/?code=drift-adopted").json()["count"] == 1


def test_a_refusal_names_every_reason(world: World, chain: str) -> None:
    world.operator.patch(leaf(), {"drift_policy": "report"})
    by_hand("guard")
    told = problem(world.operator.post(f"{leaf()}adopt/"), 409)
    assert told["type"] == "urn:viaduct:not-adoptable"
    assert len(told["errors"]) == 3
    assert "only a redirect can be missed" in told["errors"][0]["detail"]
    assert "order" not in Finding.objects.get(code="drift").witness
    assert not AuditRow.objects.filter(action="drift.adopt").exists()
    assert world.operator.post(f"{leaf()}enforce/").status_code == 202
    observe_device(Device.objects.get(name="leaf1").pk)
    assert world.operator.get(leaf()).json()["condition"] == "in_sync"


def test_a_frozen_network_takes_no_order(world: World, chain: str) -> None:
    world.operator.patch(leaf(), {"drift_policy": "report"})
    by_hand("guard")
    world.operator.post("freeze/", {"reason": "core reboot"})
    for what in ("adopt", "enforce"):
        assert problem(world.operator.post(f"{leaf()}{what}/"), 409)["type"] == "urn:viaduct:frozen"


def test_conditions_and_their_filter(world: World, chain: str) -> None:
    rows = world.a.get(chain).json()["conditions"]
    assert {row["kind"]: row["status"] for row in rows} == {
        "ready": "true", "applied": "true", "in_sync": "true", "healthy": "true", "progressing": "false"
    }  # fmt: skip
    assert all(row["since"] and row["generation"] == 1 for row in rows)
    assert world.a.get("chains/?ready=true").json()["count"] == 1
    assert world.a.get("chains/?ready=false").json()["count"] == 0
    problem(world.a.get("chains/?ready=perhaps"), 400)


def test_old_readings_are_unknown_without_any_worker(world: World, chain: str) -> None:
    assert world.a.get(chain).json()["status"] == "ready"
    DeviceStatus.objects.filter(device__name="leaf1").update(observed_at=F("observed_at") - timedelta(seconds=91))
    reply = world.a.get(chain).json()
    assert reply["status"] == "unknown"
    assert {row["kind"]: row["status"] for row in reply["conditions"]}["ready"] == "unknown"
    assert world.a.get("chains/?status=ready").json()["count"] == 0
    assert world.a.get("chains/?status=unknown&ready=unknown").json()["count"] == 1
    device = world.operator.get(leaf()).json()
    assert (device["condition"], "not read for longer" in device["reason"]) == ("unknown", True)
    found = world.operator.get("devices/?condition=unknown").json()["results"]
    assert [row["name"] for row in found if row["driver"]] == ["leaf1"]


def test_what_is_in_the_way_is_told(world: World, chain: str) -> None:
    with fake.box("leaf1") as box:
        box.foreign.append("attached priority=30000 actions=drop")
    observe_device(Device.objects.get(name="leaf1").pk)
    reply = world.operator.get(leaf()).json()
    assert (reply["attached"], reply["pending"]) == (["attached priority=30000 actions=drop"], "")
    assert world.operator.get("findings/?code=foreign-attached").json()["results"][0]["severity"] == "warning"


def test_ours_is_saved_by_order(world: World, chain: str) -> None:
    assert problem(world.operator.post(f"{leaf()}save/"), 409)["type"] == "urn:viaduct:nothing-unsaved"
    world.operator.patch(leaf(), {"drift_policy": "report"})
    with fake.box("leaf1") as box:
        box.faults.is_unsaved = True
    observe_device(Device.objects.get(name="leaf1").pk)
    assert problem(world.a.post(f"{leaf()}save/"), 403)
    assert world.operator.post(f"{leaf()}save/").status_code == 202
    observe_device(Device.objects.get(name="leaf1").pk)
    with fake.box("leaf1") as box:
        assert not box.faults.is_unsaved
    assert world.operator.get("findings/?code=not-saved&is_open=true").json()["count"] == 0
