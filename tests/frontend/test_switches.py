# SPDX-License-Identifier: Apache-2.0
"""Buttons of the engine's manners: the freeze switch, retry, undo."""

from __future__ import annotations

import pytest

from chains import models
from chains.engine.reconcile import run_change
from tests.frontend import world
from tests.frontend.test_pages import text_of

pytestmark = pytest.mark.usefixtures("fabric")


def test_an_operator_freezes_and_everybody_sees_it() -> None:
    olga, ed = world.operator(), world.member("ed")
    assert "Freeze" in text_of(olga.get("/"))
    assert "Freeze" not in text_of(ed.get("/"))
    assert olga.get("/freeze/").status_code == 200
    empty = olga.post("/freeze/", {"reason": " "})
    assert empty.status_code == 422 and "one line" in text_of(empty)
    assert olga.post("/freeze/", {"reason": "core reboot"}).status_code == 302
    for client, path in ((ed, "/chains/"), (olga, "/devices/"), (ed, "/findings/")):
        assert "frozen" in text_of(client.get(path))
    overview = text_of(ed.get("/"))
    assert "core reboot" in overview and "Lift the freeze" not in overview
    assert "Lift the freeze" in text_of(olga.get("/"))
    assert [ed.get("/freeze/").status_code, ed.post("/freeze/lift/").status_code] == [404, 404]
    assert models.Freeze.objects.filter(lifted_at=None).exists()
    assert olga.get("/freeze/lift/").status_code == 405
    assert olga.post("/freeze/lift/").status_code == 302
    assert "frozen" not in text_of(ed.get("/chains/"))


def test_a_frozen_change_says_that_it_waits() -> None:
    olga = world.operator()
    olga.post("/freeze/", {"reason": "core reboot"})
    plan = world.plan(world.chain())
    olga.post(f"/plans/{plan.pk}/apply/")
    change = models.Change.objects.get()
    assert run_change(change.pk) is False
    assert "goes on when an operator lifts it" in text_of(olga.get(f"/changes/{change.pk}/"))
