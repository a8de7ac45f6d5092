# SPDX-License-Identifier: Apache-2.0
"""In sync and lost at a reload: it is saved by the reading that finds it so, or the finding says why not."""

from __future__ import annotations

from typing import Any

import pytest

from chains import models
from chains.engine.lease import Leases
from chains.engine.limits import limits
from chains.engine.observe import observe_device
from chains.errors import Conflict
from chains.services.actor import SYSTEM
from chains.services.freeze import freeze_set
from chains.services.saving import save_order
from drivers import fake
from tests.engine import world

pytestmark = pytest.mark.usefixtures("fabric")
STRANGERS = "somebody's changes are not saved, and our commit would save them: 1 lines (`+ntp ...`)"


@pytest.fixture
def chain() -> models.Chain:
    made = world.chain({**world.NGFW, "device": "fw1"})
    world.apply(made)
    return made


def unsaved(why: str = "") -> None:
    with fake.box("leaf1") as box:
        box.faults.is_unsaved, box.faults.will_not_save = True, why


def is_saved() -> bool:
    with fake.box("leaf1") as box:
        return not box.faults.is_unsaved


def observe() -> None:
    observe_device(world.device("leaf1").pk)


def finding() -> models.Finding:
    return models.Finding.objects.get(code="not-saved")


def test_the_reading_that_finds_it_saves_it(chain: models.Chain) -> None:
    held = world.held("leaf1")
    unsaved()
    observe()
    assert is_saved() and world.held("leaf1") == held
    assert finding().closed_at is not None
    write = models.DeviceWrite.objects.get(purpose="save")
    assert (write.device.name, write.error) == ("leaf1", "") and write.ended_at is not None
    observe()
    assert models.DeviceWrite.objects.filter(purpose="save").count() == 1


def test_others_unsaved_work_is_left_and_said(chain: models.Chain) -> None:
    unsaved(STRANGERS)
    observe()
    assert not is_saved() and "`+ntp ...`" in finding().detail
    observe()
    assert "`+ntp ...`" in finding().detail and finding().closed_at is None
    unsaved()
    observe()
    assert is_saved() and finding().closed_at is not None


def test_where_drift_is_only_reported_it_waits_for_an_order(chain: models.Chain, settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    unsaved()
    observe()
    assert not is_saved() and finding().closed_at is None
    save_order(actor=SYSTEM, device=world.device("leaf1"))
    assert models.AuditRow.objects.filter(action="device.save").count() == 1
    observe()
    assert is_saved() and finding().closed_at is not None


def test_an_order_is_answered_if_it_cannot_be_done(chain: models.Chain, settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    unsaved(STRANGERS)
    observe()
    save_order(actor=SYSTEM, device=world.device("leaf1"))
    observe()
    assert "`+ntp ...`" in finding().detail and "order" not in finding().witness and not is_saved()


def test_when_nothing_may_be_touched(chain: models.Chain) -> None:
    with pytest.raises(Conflict, match="was not read to lose"):
        save_order(actor=SYSTEM, device=world.device("leaf1"))
    unsaved()
    with Leases([world.device("leaf1").pk], limits(), wait_s=0.0):
        observe()
    freeze_set(actor=SYSTEM, reason="core reboot")
    observe()
    assert not is_saved()
    with pytest.raises(Conflict, match="core reboot"):
        save_order(actor=SYSTEM, device=world.device("leaf1"))


def test_while_drifted_the_repair_saves(chain: models.Chain) -> None:
    unsaved()
    held = world.held("leaf1")
    with fake.box("leaf1") as box:
        box.state = type(box.state)(dict(list(box.state.items())[1:]))
    observe()
    observe()
    assert is_saved() and world.held("leaf1") == held
