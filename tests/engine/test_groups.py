# SPDX-License-Identifier: Apache-2.0
"""A group from the request to the devices: its buckets are kept with the decision, so nothing moves by itself."""

from __future__ import annotations

from typing import Any

import pytest

from chains import models
from chains.engine import planner
from drivers.state import Redirect
from tests.engine import world

pytestmark = pytest.mark.usefixtures("fabric")
SHARED = {**world.NGFW, "instances": 2}


def sources(device: str) -> set[str]:
    """Which clients' packets come back from the firewall behind this leaf."""
    held = world.held(device).values()
    return {
        item.match.source
        for item in held
        if isinstance(item, Redirect) and item.ingress.startswith("fw") and item.match.source.startswith("10.10.1.")
    }


def test_two_firewalls_share_the_clients_and_the_next_plan_changes_nothing() -> None:
    chain = world.chain(SHARED)
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert world.held("fw1") and world.held("fw2")
    one, other = sources("leaf1"), sources("leaf2")
    assert one and other and not one & other
    row = models.Chain.objects.get()
    assert set(row.buckets["ngfw"]["members"]) == {"ngfw@fw1", "ngfw@fw2"}
    again = world.plan(chain)
    assert again.status == "ready" and not again.steps.exists()


def test_a_group_grows_out_of_one_and_shrinks_again(settings: Any) -> None:
    settings.VIADUCT_APPROVAL_REMOVALS = 0  # each bucket has items of its own
    chain = world.chain(world.NGFW)
    world.apply(chain)
    world.edit(chain, hops=[SHARED])
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert world.held("fw1") and world.held("fw2")
    world.edit(chain, hops=[world.NGFW])
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert not world.held("fw1") or not world.held("fw2")
    assert models.Chain.objects.get().buckets == {}


def test_a_link_that_is_dark_is_left_out() -> None:
    chain = world.chain({**world.NGFW, "realm": "appliance"})
    models.Link.objects.filter(a__device__name="leaf2", b__device__name="spine1").update(is_up=False)
    models.Link.objects.filter(b__device__name="leaf2", a__device__name="spine1").update(is_up=False)
    plan = planner.plan_chain(chain, "test")
    assert plan.status == "refused"
    assert "leaf2:spine1 - spine1:leaf2 is down" in plan.errors[0]["detail"]
