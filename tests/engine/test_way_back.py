# SPDX-License-Identifier: Apache-2.0
"""Taking back what devices would take back by themselves: who dies at it leaves nothing that only time could end."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from chains import models
from chains.services import record
from drivers import fake
from tests.engine import world
from tests.engine.wire import Died


@pytest.mark.usefixtures("confirming")
def test_a_death_on_the_way_back_forgets_no_pending_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies when the way back is written down and not begun: the label of the way there is no longer in its step."""
    change = world.change(world.chain(world.NGFW))
    with fake.box("leaf1") as box:
        box.faults.reject = "% Table full"
    sent = record.steps_sent

    def dies(labels: Mapping[models.Step, str]) -> None:
        sent(labels)
        if any("r-" in label for label in labels.values()):
            raise Died

    with monkeypatch.context() as patched:
        patched.setattr(record, "steps_sent", dies)
        with pytest.raises(Died):
            world.run_change(change.pk)
    with fake.box("fw1") as box:
        assert box.pending is not None, "the commit of the way there"
    with fake.box("leaf1") as box:
        box.faults.reject = ""
    world.due_now()
    models.Lease.objects.update(expires_at=None)
    assert world.run_change(change.pk) is True, world.events(change)
    change.refresh_from_db()
    assert change.status == "reverted"
    assert world.network() == {}
    for name in ("fw1", "leaf1", "leaf2", "spine1"):
        with fake.box(name) as box:
            assert box.pending is None
