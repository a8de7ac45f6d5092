# SPDX-License-Identifier: Apache-2.0
"""A branch from the request to the devices and back, with real rows and fake devices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chains import models
from chains.selectors.fabric import fabric_snapshot
from tests.engine import world
from tests.engine.test_health import power
from tests.planning.test_properties import ground_of
from tests.planning.walker import Packet, travel

pytestmark = pytest.mark.usefixtures("fabric")
MARK = 10
WEB = Packet("10.10.1.7", "10.10.2.9")


@pytest.fixture(autouse=True)
def second_ips(fabric: None) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)


def branching() -> dict[str, Any]:
    tail = {**world.IPS, "device": "ips2"}
    return {**world.IPS, "device": "ips1", "branch": {"dscp": MARK, "hops": [tail]}}


def met(chain: models.Chain, *, is_marked: bool) -> list[str]:
    """What an opening packet meets in what the devices hold themselves."""
    ground = ground_of(fabric_snapshot(chain))
    marks = {"ips1": MARK} if is_marked else {}
    fate = travel(replace(ground, marks=marks), world.network(), ("leaf1", "a1"), WEB, False)
    assert fate.end == "delivered", fate
    return fate.met


def test_a_branch_comes_to_the_devices_stays_and_goes() -> None:
    chain = world.chain({**world.NGFW, "device": "fw1"}, branching())
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert met(chain, is_marked=False) == ["fw1", "ips1"]
    assert met(chain, is_marked=True) == ["fw1", "ips1", "ips2"]
    again = world.plan(chain)
    assert not again.steps.exists()
    chosen = {hop["position"]: hop["chosen"]["offers"] for hop in again.placement["hops"]}
    assert chosen == {0: ["ngfw@fw1"], 1: ["ips@ips1"], 12: ["ips@ips2"]}
    world.edit(chain, hops=[{**world.NGFW, "device": "fw1"}, {**world.IPS, "device": "ips1"}])
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)
    assert met(chain, is_marked=True) == ["fw1", "ips1"] and not world.held("ips2")


def test_a_lost_function_of_a_branch_is_told_and_nothing_gets_past_it() -> None:
    chain = world.chain({**world.NGFW, "device": "fw1"}, branching())
    assert world.apply(chain).status == "succeeded"
    power("ips2", on=False)
    world.sweep_on(3)
    chain.refresh_from_db()
    assert chain.status == "degraded" and "ips@ips2 is down" in chain.status_reason
    assert models.Finding.objects.get(code="hop-lost").closed_at is None
    assert met(chain, is_marked=False) == ["fw1", "ips1"]
    power("ips2", on=True)
    world.sweep_on(4)
    chain.refresh_from_db()
    assert chain.status == "ready", chain.status_reason
    assert met(chain, is_marked=True) == ["fw1", "ips1", "ips2"]
