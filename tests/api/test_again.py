# SPDX-License-Identifier: Apache-2.0
"""Retry and undo over the wire: what is answered, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chains.engine.reconcile import run_change
from chains.models import Change, Device, Plan
from chains.services import record
from drivers import fake
from tests.api.world import World, chain_body, problem


@pytest.fixture(autouse=True)
def fresh_devices(settings: Any) -> Iterator[None]:
    fake.reset()
    settings.VIADUCT_DRAIN_IDLE_S = 0.0
    yield
    fake.reset()


def apply(world: World, chain: int) -> int:
    """Planned and applied; the change's id."""
    plan = world.a.post(f"chains/{chain}/plan/").json()
    assert plan["status"] == "ready", plan["errors"]
    change = int(world.a.post(f"plans/{plan['id']}/apply/").json()["id"])
    run_change(change)
    return change


def test_a_waiting_change_says_when_and_why_and_is_hurried(world: World) -> None:
    with fake.box("fw1") as box:
        box.faults.is_unreachable = True
    chain = world.a.post("chains/", chain_body()).json()["id"]
    change = apply(world, chain)
    Change.objects.update(due_at="2100-01-01T00:00:00Z")
    seen = world.a.get(f"changes/{change}/").json()
    assert (seen["status"], seen["attempts"]) == ("running", 1)
    assert "fw1" in seen["error"]
    with fake.box("fw1") as box:
        box.faults.is_unreachable = False
    hurried = world.a.post(f"changes/{change}/retry/")
    assert (hurried.status_code, hurried["Location"]) == (202, seen["url"])
    assert hurried.json()["next_try_at"] < seen["next_try_at"]
    run_change(change)
    done = world.a.get(f"changes/{change}/").json()
    assert (done["status"], done["next_try_at"]) == ("succeeded", None)
    assert problem(world.a.post(f"changes/{change}/retry/"), 409)["type"] == "urn:viaduct:change-ended"
    problem(world.viewer.post(f"changes/{change}/retry/"), 403)
    problem(world.b.post(f"changes/{change}/retry/"), 404)


def test_a_parked_change_is_told_and_retried(world: World) -> None:
    chain = world.a.post("chains/", chain_body()).json()["id"]
    plan = world.a.post(f"chains/{chain}/plan/").json()
    change = world.a.post(f"plans/{plan['id']}/apply/").json()["id"]
    Change.objects.update(broken=5, error="KeyError: x")
    assert run_change(change) is True
    seen = world.a.get(f"changes/{change}/").json()
    assert (seen["status"], seen["broken"], seen["waits"], seen["next_try_at"]) == ("failed", 5, "", None)
    assert "KeyError: x" in seen["error"]
    assert [row["id"] for row in world.a.get("changes/?status=failed").json()["results"]] == [change]
    found = [row for row in world.a.get("findings/").json()["results"] if row["code"] == "change-parked"]
    assert [row["severity"] for row in found] == ["critical"]
    problem(world.viewer.post(f"changes/{change}/retry/"), 403)
    problem(world.b.post(f"changes/{change}/retry/"), 404)
    again = world.a.post(f"changes/{change}/retry/")
    assert (again.status_code, again.json()["status"], again.json()["broken"]) == (202, "running", 0)
    run_change(change)
    assert world.a.get(f"changes/{change}/").json()["status"] == "succeeded"


def test_what_waits_and_what_is_left_alone_can_be_asked_for(world: World) -> None:
    chain = world.a.post("chains/", chain_body()).json()["id"]
    plan = world.a.post(f"chains/{chain}/plan/").json()
    change = world.a.post(f"plans/{plan['id']}/apply/").json()["id"]
    record.device_failed([Device.objects.get(name="fw1").pk], 3, 60.0, was_counted=False)
    assert world.operator.get("devices/?is_left_alone=true").json()["results"] == []
    record.device_failed([Device.objects.get(name="fw1").pk], 2, 60.0, was_counted=False)
    (device,) = world.operator.get("devices/?is_left_alone=true").json()["results"]
    assert (device["name"], device["failures"]) == ("fw1", 2)
    assert device["left_alone_until"] is not None
    others = world.operator.get("devices/?is_left_alone=false").json()["results"]
    assert "fw1" not in [row["name"] for row in others]
    assert len(others) == Device.objects.count() - 1
    assert world.a.get("changes/?is_waiting=true").json()["results"] == []
    assert run_change(change) is False
    (waiting,) = world.a.get("changes/?is_waiting=true").json()["results"]
    assert waiting["waits"].startswith("fw1 does not answer: tried again at ")
    assert world.a.get("changes/?is_waiting=false").json()["results"] == []


def test_undo_answers_with_a_ready_plan(world: World) -> None:
    chain = world.a.post("chains/", chain_body()).json()["id"]
    first = apply(world, chain)
    assert problem(world.a.post(f"changes/{first}/undo/"), 409)["type"] == "urn:viaduct:first-change"
    world.a.patch(f"chains/{chain}/", {"bandwidth_mbps": 33})
    second = apply(world, chain)
    world.a.patch(f"chains/{chain}/", {"priority": 2})
    assert problem(world.a.post(f"changes/{second}/undo/"), 409)["type"] == "urn:viaduct:edited-since"
    problem(world.a.post(f"changes/{second}/undo/", {"force": "yes"}), 400)
    problem(world.a.post(f"changes/{second}/undo/", {"sudo": True}), 400)
    problem(world.b.post(f"changes/{second}/undo/", {"force": True}), 404)
    key = {"Idempotency-Key": "undo-1"}
    undone, again = (world.a.post(f"changes/{second}/undo/", {"force": True}, headers=key) for _ in range(2))
    assert (undone.status_code, undone.json()["status"]) == (201, "ready")
    assert again.content == undone.content
    assert Plan.objects.count() == 3
    back = world.a.get(f"chains/{chain}/").json()
    assert (back["bandwidth_mbps"], back["priority"], back["status"]) == (10, 0, "pending")
