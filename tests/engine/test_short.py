# SPDX-License-Identifier: Apache-2.0
"""A hop with fewer instances than it asks for: said, and made whole again without a person."""

from __future__ import annotations

from typing import Any

import pytest

from chains import models
from tests.engine import world
from tests.engine.test_health import power


@pytest.mark.parametrize("fields", [{"instances": 2}, {"standby": 1}])
def test_a_lost_member_is_missed_and_taken_back(fabric: None, settings: Any, fields: dict[str, int]) -> None:
    settings.VIADUCT_APPROVAL_REMOVALS = 0  # each bucket has items of its own
    chain = world.chain({**world.NGFW, "realm": "appliance", **fields})
    assert world.apply(chain).status == "succeeded"
    world.sweep_on(1)
    members = set(chain.uses.values_list("offer__device__name", flat=True))
    assert members == {"fw1", "fw2"}
    assert not models.Finding.objects.filter(code="hop-short").exists()
    power("fw1", on=False)
    world.sweep_on(3)
    assert set(chain.uses.values_list("offer__device__name", flat=True)) == {"fw2"}
    found = models.Finding.objects.get(code="hop-short", closed_at=None)
    assert found.severity == "warning" and "lacks 1" in found.detail
    before = models.Plan.objects.count()
    world.sweep_on(2)
    assert models.Plan.objects.count() == before, "nothing is planned while nobody came up"
    power("fw1", on=True)
    world.sweep_on(4)
    assert set(chain.uses.values_list("offer__device__name", flat=True)) == {"fw1", "fw2"}
    assert models.Finding.objects.get(code="hop-short").closed_at is not None
