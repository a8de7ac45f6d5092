# SPDX-License-Identifier: Apache-2.0
"""Hops that change places: packets wait at a closed door only where there is no other instance to take."""

from __future__ import annotations

import pytest

from chains import models
from tests.engine import world

pytestmark = pytest.mark.usefixtures("fabric")
FIREWALL, IPS = {**world.NGFW, "realm": "appliance"}, {**world.IPS, "realm": "appliance"}


def held(plan: models.Plan) -> list[str]:
    return [reason["code"] for reason in plan.summary["breaks"] if reason["code"] == "held"]


def serving(plan: models.Plan) -> list[str]:
    return [hop["chosen"]["offers"][0] for hop in plan.placement["hops"]]


def test_with_a_spare_no_packet_waits() -> None:
    chain = world.chain(FIREWALL, IPS)
    world.apply(chain)
    before = serving(chain.plans.latest("id"))
    plan = world.plan(world.edit(chain, hops=[IPS, FIREWALL]))
    assert not held(plan)
    assert serving(plan) != before[::-1] and serving(plan)[0] == "ips@ips1"
    change = world.apply(chain)
    assert change.status == "succeeded", world.events(change)


def test_without_a_spare_the_plan_says_that_packets_wait() -> None:
    models.Offer.objects.filter(device__name="fw2").update(is_enabled=False)
    chain = world.chain(FIREWALL, IPS)
    world.apply(chain)
    assert held(world.plan(world.edit(chain, hops=[IPS, FIREWALL])))
