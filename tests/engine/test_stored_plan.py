# SPDX-License-Identifier: Apache-2.0
"""What is applied is what was shown: rows of a plan that somebody changed in the database are not sent."""

from __future__ import annotations

import pytest

from chains import models
from chains.engine.document import digest
from chains.engine.planner import effect_as_stored
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")


def test_a_stored_plan_has_its_own_hash() -> None:
    chain = world.chain(world.NGFW, world.IPS)
    for _ in range(2):  # the first plan of a chain, and one with base, drain and removal
        plan = world.plan(chain)
        row = models.Plan.objects.prefetch_related("steps__device").get(pk=plan.pk)
        assert digest(effect_as_stored(row)) == row.digest
        world.apply(chain)
        world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}])
    world.delete(chain)
    chain.refresh_from_db()
    row = world.plan(chain)
    assert digest(effect_as_stored(models.Plan.objects.get(pk=row.pk))) == row.digest


def test_changed_bytes_are_not_sent(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    step = change.plan.steps.filter(device__name="leaf1").first()
    assert step is not None
    models.PlanStep.objects.filter(pk=step.pk).update(native=step.native.replace("10.10.1.0", "10.10.9.0"))
    world.run_change(change.pk)
    change.refresh_from_db()
    assert (change.status, tap.pushes, world.network()) == ("reverted", [], {})
    assert "somebody changed them" in change.error
