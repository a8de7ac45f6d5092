# SPDX-License-Identifier: Apache-2.0
"""From a chain to the devices and back: plan, apply, follow, counters, explain, remove. Engine called in line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from chains.engine.converge import look_at_chain
from chains.engine.observe import observe_device
from chains.engine.reconcile import run_change
from chains.models import Change, Device, Offer, Plan
from drivers import fake
from tests.api.world import World, chain_body, make_world, problem

# Leases, threads of one wave and "now" need real transactions.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    fake.reset()
    yield make_world()
    fake.reset()


def run_to_its_end(change: int, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not run_change(change):
        assert time.monotonic() < deadline, Change.objects.get(pk=change).error


def held() -> set[str]:
    """Every device that holds something of ours."""
    names = set()
    for name in Device.objects.exclude(kind="external").values_list("name", flat=True):
        with fake.box(name) as box:
            if box.state:
                names.add(name)
    return names


def planned(world: World, **values: Any) -> tuple[str, Any]:
    """A new chain's address and its plan."""
    chain = f"chains/{world.a.post('chains/', chain_body(**values)).json()['id']}/"
    response = world.a.post(f"{chain}plan/")
    assert response.status_code == 201, response.content
    return chain, response


def test_a_plan_shows_everything_and_touches_nothing(world: World) -> None:
    chain, response = planned(world)
    plan = response.json()
    assert response["Location"] == plan["url"]
    assert plan["status"] == "ready", plan["errors"]
    hop = plan["placement"]["hops"][0]
    assert hop["reason"]
    assert hop["chosen"]["offers"] == ["ngfw@fw1"]
    assert [each["offers"] for each in hop["rejected"]]
    path = plan["path"]["paths"][0]
    forward = [visit["device"] for visit in path["forward"]]
    assert "fw1" in forward
    assert forward == [visit["device"] for visit in path["reverse"]][::-1]
    assert plan["proof"]["states"] > 0
    assert plan["proof"]["violations"] == []
    pushes = [step for step in plan["steps"] if step["device"]]
    assert {step["device"] for step in pushes} >= {"leaf1", "fw1"}
    assert all(step["native"] and step["reverse"] and step["changes"] for step in pushes)
    assert len(plan["digest"]) == 64
    assert plan["change"] is None
    assert held() == set()
    assert world.a.get(f"plans/{plan['id']}/").json() == plan
    assert [row["id"] for row in world.a.get("plans/").json()["results"]] == [plan["id"]]
    assert world.a.get(f"{chain}explain/").json()["placement"] == plan["placement"]


def test_a_plan_is_applied_followed_and_taken_back(world: World) -> None:
    chain, response = planned(world)
    plan = response.json()
    applied = world.a.post(f"plans/{plan['id']}/apply/", headers={"X-Request-ID": "apply-once-1"})
    assert applied.status_code == 202, applied.content
    change = applied.json()
    assert applied["Location"] == change["url"]
    assert (change["status"], change["decided_at"], change["request_id"]) == ("pending", None, "apply-once-1")
    again = world.a.post(f"plans/{plan['id']}/apply/")
    assert (again.status_code, again.json()["id"]) == (202, change["id"])
    assert world.a.get(chain).json()["status"] == "applying"

    run_to_its_end(change["id"])
    done = world.a.get(f"changes/{change['id']}/").json()
    assert done["status"] == "succeeded", done["error"]
    assert done["decided_at"]
    assert {step["status"] for step in done["steps"]} == {"done"}
    events = world.a.get(f"changes/{change['id']}/events/").json()
    assert events["status"] == "succeeded"
    assert events["results"]
    middle = events["results"][len(events["results"]) // 2]["id"]
    rest = world.a.get(f"changes/{change['id']}/events/?after={middle}").json()["results"]
    assert rest == [event for event in events["results"] if event["id"] > middle]
    shown = world.a.get(chain).json()
    assert (shown["status"], shown["observed_generation"]) == ("ready", 1), shown["status_reason"]
    assert held() >= {"leaf1", "fw1"}
    assert world.a.get(f"{chain}explain/").json()["plan"] == plan["id"]
    assert world.a.get(f"plans/{plan['id']}/").json()["change"] == change["id"]

    removal = world.a.delete(chain)
    assert (removal.status_code, removal["Location"], removal.json()["is_wanted"]) == (
        202,
        shown["url"],
        False,
    )
    look_at_chain(int(shown["id"]))
    remove = Change.objects.get(plan__goal=Plan.Goal.REMOVE)
    run_to_its_end(remove.pk)
    assert held() == set()
    problem(world.a.get(chain), 404)
    assert world.a.get(f"changes/{remove.pk}/").json()["status"] == "succeeded"


def test_counters_come_from_the_devices(world: World) -> None:
    chain, response = planned(world)
    change = world.a.post(f"plans/{response.json()['id']}/apply/").json()
    run_to_its_end(change["id"])
    with fake.box("fw1") as box:
        (key,) = [key for key in box.state if key.kind == "ruleset"]
        box.counters[str(key)] = [7, 900, 2]
    observe_device(Device.objects.get(name="fw1").pk)
    counters = world.a.get(f"{chain}counters/").json()["counters"]
    (found,) = [count for count in counters if count["hop"] == 0]
    assert (found["device"], found["realm"], found["function"]) == ("fw1", "appliance", "ngfw")
    assert (found["packets"], found["octets"], found["dropped"]) == (7, 900, 2)
    assert found["observed_at"]


def test_a_device_shows_desired_observed_and_drift(world: World) -> None:
    _, response = planned(world)
    run_to_its_end(world.a.post(f"plans/{response.json()['id']}/apply/").json()["id"])
    device = Device.objects.get(name="leaf1")
    observe_device(device.pk)
    shown = world.operator.get(f"devices/{device.pk}/").json()
    assert shown["desired"]
    assert shown["observed"] == shown["desired"]
    assert shown["drift"] == []
    assert shown["condition"] == "in_sync"
    never = world.operator.get(f"devices/{Device.objects.get(name='b2').pk}/").json()
    assert (never["observed"], never["condition"], never["drift"]) == (None, "unknown", [])


def test_what_cannot_be_placed_is_stored_as_refused_and_cannot_be_applied(world: World) -> None:
    _, response = planned(world, bandwidth_mbps=9_000_000)
    plan = response.json()
    assert plan["status"] == "refused"
    assert plan["errors"]
    assert all(error["detail"] for error in plan["errors"])
    assert problem(world.a.post(f"plans/{plan['id']}/apply/"), 409)["type"] == "urn:viaduct:plan-refused"
    assert world.a.get(f"plans/{plan['id']}/").json() == plan


def test_a_plan_says_nothing_of_other_tenants(world: World) -> None:
    """An appliance that another tenant has is refused without a name; hosts of others are not even candidates."""
    Offer.objects.filter(device__name="fw1").update(is_shared=False)
    theirs = world.b.post("chains/", chain_body("canary-of-b")).json()["id"]
    plan = world.b.post(f"chains/{theirs}/plan/").json()
    run_to_its_end(world.b.post(f"plans/{plan['id']}/apply/").json()["id"])
    chain, response = planned(world)
    assert response.json()["status"] == "ready", response.json()["errors"]
    assert response.json()["placement"]["hops"][0]["chosen"]["offers"] == ["ngfw@a1"]
    replies = [response, world.a.get(chain), world.a.get(f"{chain}explain/"), world.a.get("findings/")]
    refused = world.a.post(
        "chains/", chain_body("pinned", priority=1, hops=[{"function": "ngfw", "device": "fw1"}])
    )
    replies.append(world.a.post(f"chains/{refused.json()['id']}/plan/"))
    assert replies[-1].json()["status"] == "refused"
    for reply in replies:
        for word in ("canary-of-b", "tenant-b", "vrf-b", '"b1"', '"b2"', "@b1", "10.250."):
            assert word not in reply.content.decode(), word


def test_a_plan_of_an_older_intent_is_stale(world: World) -> None:
    chain, response = planned(world)
    world.a.patch(chain, {"bandwidth_mbps": 20})
    body = problem(world.a.post(f"plans/{response.json()['id']}/apply/"), 409)
    assert body["type"] == "urn:viaduct:plan-stale"
    assert not Change.objects.exists()


def test_a_plan_takes_no_body(world: World) -> None:
    chain, response = planned(world)
    problem(world.a.post(f"{chain}plan/", {"force": True}), 400)
    problem(world.a.post(f"plans/{response.json()['id']}/apply/", {"force": True}), 400)
    problem(world.a.post(f"{chain}plan/", []), 400)
    assert world.a.post(f"{chain}plan/", {}).status_code == 201


def test_why_names_limits_flips_and_remedies_and_writes_nothing(world: World) -> None:
    chain, response = planned(world)
    plans = Plan.objects.count()
    told = world.a.get(f"{chain}why/").json()
    assert told["placement"] == response.json()["placement"]
    assert (told["bindings"], told["reasons"], told["remedies"]) == ([], [], [])
    assert told["hops"][0]["chosen"]["offers"] == ["ngfw@fw1"]
    assert {flip["offer"] for flip in told["hops"][0]["flips"]}
    offer = Offer.objects.get(device__name="fw1")
    before = offer.cost_fixed
    flips = {(flip["offer"], flip["figure"]): flip for flip in told["hops"][0]["flips"]}
    flip = flips[str(offer), "cost_fixed"]
    Offer.objects.filter(pk=offer.pk).update(cost_fixed=flip["at"] + 0.01)
    assert world.a.get(f"{chain}why/").json()["hops"][0]["chosen"]["offers"] == flip["then"]
    Offer.objects.filter(pk=offer.pk).update(cost_fixed=before, is_enabled=False)
    Offer.objects.exclude(pk=offer.pk).filter(function=offer.function).delete()
    told = world.a.get(f"{chain}why/").json()
    assert told["placement"] is None and told["reasons"][0]["code"] == "no-candidate"
    assert told["remedies"][0].startswith("switch ngfw@fw1 on: the chain would cost")
    assert Plan.objects.count() == plans
