# SPDX-License-Identifier: Apache-2.0
"""A hop that may be passed by: skipped alone, audited, alarmed, and taken back into the way when somebody lives."""

from __future__ import annotations

import pytest

from chains import models
from drivers.state import EMPTY
from tests.engine import world
from tests.engine.test_health import power

BYPASSED = {**world.IPS, "failure_mode": "bypass"}


@pytest.fixture
def chain(fabric: None) -> models.Chain:
    made = world.chain(world.NGFW, BYPASSED)
    assert world.apply(made).status == "succeeded"
    world.sweep_on(1)
    return made


def positions(chain: models.Chain) -> list[int]:
    return sorted(chain.uses.values_list("hop_position", flat=True))


def test_it_is_skipped_alone_audited_and_alarmed_and_comes_back(chain: models.Chain) -> None:
    assert positions(chain) == [0, 1]
    assert not models.Finding.objects.filter(code="hop-bypassed").exists()
    power("ips1", on=False)
    world.sweep_on(3)
    chain.refresh_from_db()
    assert positions(chain) == [0], "this hop and nothing else"
    assert world.held("ips1") == EMPTY
    found = models.Finding.objects.get(code="hop-bypassed", closed_at=None)
    assert (found.severity, found.chain) == ("critical", chain)
    assert "hop 1 (ips)" in found.detail and "down" in found.detail
    row = models.AuditRow.objects.get(action="hop.bypass")
    assert (row.tenant, row.detail["asked_by"]) == (chain.tenant, "viaduct")
    before = models.Plan.objects.count()
    world.sweep_on(2)
    assert models.Plan.objects.count() == before, "nothing is planned while nobody came up"
    power("ips1", on=True)
    world.sweep_on(4)
    chain.refresh_from_db()
    assert positions(chain) == [0, 1], chain.status_reason
    assert models.Finding.objects.get(code="hop-bypassed").closed_at is not None
    assert chain.status == "ready"


def test_an_edit_that_nobody_applied_keeps_it_out(chain: models.Chain) -> None:
    power("ips1", on=False)
    world.sweep_on(3)
    world.edit(chain, bandwidth_mbps=20)
    power("ips1", on=True)
    world.sweep_on(4)
    assert positions(chain) == [0]
