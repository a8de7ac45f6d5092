# SPDX-License-Identifier: Apache-2.0
"""Buttons of the engine's manners: the freeze switch, retry, undo."""

from __future__ import annotations

import pytest

from chains import models
from chains.engine.reconcile import run_change
from chains.services import intent
from chains.services.actor import SYSTEM
from drivers import fake
from tests.builders import NGFW
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


def test_a_waiting_change_shows_why_and_is_tried_again_by_hand() -> None:
    olga, viewer = world.operator(), world.member("vi", role="viewer")
    with fake.box("fw1") as box:
        box.faults.is_unreachable = True
    change = intent.change_create(actor=SYSTEM, plan=world.plan(world.chain()))
    assert run_change(change.pk) is False
    models.Change.objects.update(due_at="2100-01-01T00:00:00Z")
    shown = text_of(olga.get(f"/changes/{change.pk}/"))
    change.refresh_from_db()
    assert change.error and change.error in shown
    assert "<dt>Attempts</dt><dd>1</dd>" in shown and "Next look" in shown and "Try again now" in shown
    assert "Try again now" not in text_of(viewer.get(f"/changes/{change.pk}/"))
    assert viewer.post(f"/changes/{change.pk}/retry/").status_code == 403
    with fake.box("fw1") as box:
        box.faults.is_unreachable = False
    assert run_change(change.pk) is False
    assert olga.post(f"/changes/{change.pk}/retry/").status_code == 302
    assert run_change(change.pk) is True
    assert "Try again now" not in text_of(olga.get(f"/changes/{change.pk}/"))
    assert olga.post(f"/changes/{change.pk}/retry/").status_code == 409


def test_undo_leads_to_a_plan() -> None:
    olga = world.operator()
    chain = world.chain()
    first = world.apply(chain)
    assert "Plan the undo" not in text_of(olga.get(f"/changes/{first.pk}/"))
    intent.chain_update(actor=SYSTEM, chain=chain, data={"hops": [{**NGFW, "realm": "host"}]})
    second = world.apply(chain)
    assert "Plan the undo" in text_of(olga.get(f"/changes/{second.pk}/"))
    reply = olga.post(f"/changes/{second.pk}/undo/")
    plan = models.Plan.objects.latest("id")
    assert (reply.status_code, reply["Location"]) == (302, f"/plans/{plan.pk}/")
    assert plan.status == "ready"
    assert olga.post(f"/changes/{second.pk}/undo/").status_code == 409
