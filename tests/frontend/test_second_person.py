# SPDX-License-Identifier: Apache-2.0
"""Approval and change windows on the pages: what is offered to whom, and what pressing it does."""

from __future__ import annotations

import pytest

from chains import models
from chains.engine.reconcile import run_change
from tests.frontend import world
from tests.frontend.test_pages import text_of, words_of

pytestmark = pytest.mark.usefixtures("fabric")
NIGHTS = {"name": "nights", "weekdays": ["5", "6"], "opens_at": "02:00", "minutes": "120", "timezone": "Europe/Berlin"}


def waiting(client: object, name: str = "web", **values: object) -> models.Change:
    models.Tenant.objects.filter(name="tenant-a").update(needs_approval=True)
    plan = world.plan(world.chain(name=name, **values))
    reply = client.post(f"/plans/{plan.pk}/apply/")  # type: ignore[attr-defined]
    change = models.Change.objects.latest("id")
    assert (reply.status_code, reply["Location"], change.status) == (302, f"/changes/{change.pk}/", "waiting")
    return change


def test_who_asked_reads_why_and_another_approves() -> None:
    ann, bob, viewer = world.member("ann"), world.member("bob"), world.member("vi", role="viewer")
    change = waiting(ann)
    address = f"/changes/{change.pk}/"
    page = words_of(ann.get(address))
    assert "tenant tenant-a demands it" in page and "somebody else has to approve" in page
    assert ("Approve" in page.split(), "Cancel the change" in page) == (False, True)
    assert ann.post(f"{address}approve/").status_code == 403
    seen = words_of(viewer.get(address))
    assert "Waits for a second person" in seen and "Reject" not in seen and "Approve " not in seen
    assert [viewer.post(f"{address}{act}/").status_code for act in ("approve", "cancel")] == [403, 403]
    page = words_of(bob.get(address))
    assert "Approve" in page.split() and "Reject" in page and "somebody else" not in page
    assert [bob.get(f"{address}{act}/").status_code for act in ("approve", "cancel")] == [405, 405]
    assert bob.post(f"{address}approve/").status_code == 302
    assert run_change(change.pk) is True
    page = words_of(ann.get(address))
    assert "by bob" in page and "succeeded" in page and "Reject" not in page
    assert bob.post(f"{address}approve/").status_code == 409


def test_rejected_it_says_so_and_nothing_was_sent() -> None:
    ann, bob = world.member("ann"), world.member("bob")
    change = waiting(ann)
    assert bob.post(f"/changes/{change.pk}/cancel/").status_code == 302
    page = words_of(ann.get(f"/changes/{change.pk}/"))
    assert "cancelled" in page and "cancelled by bob" in page and "Reject" not in page
    assert "data-live" not in text_of(ann.get(f"/changes/{change.pk}/progress/"))
    assert bob.post(f"/changes/{change.pk}/cancel/").status_code == 409


def test_another_tenants_is_not_there() -> None:
    change = waiting(world.member("ann"))
    eve = world.member("eve", tenant_b="editor")
    for act in ("approve", "cancel"):
        foreign, missing = (eve.post(f"/changes/{key}/{act}/") for key in (change.pk, 999_999))
        assert (foreign.status_code, words_of(foreign)) == (404, words_of(missing))


def test_the_overview_and_the_list_say_what_waits() -> None:
    ann, olga = world.member("ann"), world.operator()
    assert "for approval" not in words_of(olga.get("/"))
    assert "Nothing was applied yet" in words_of(ann.get("/changes/"))
    assert "Nothing waits for approval" in words_of(ann.get("/changes/?status=waiting"))
    first = waiting(ann)
    assert "1 change waits for approval" in words_of(olga.get("/"))
    waiting(ann, name="two", priority=3)
    assert "2 changes wait for approval" in words_of(ann.get("/"))
    assert "for approval" not in words_of(world.member("eve", tenant_b="editor").get("/"))
    listed = text_of(olga.get("/changes/?status=waiting&tenant=tenant-a"))
    assert f"/changes/{first.pk}/" in listed
    assert f"/changes/{first.pk}/" not in text_of(olga.get("/changes/?status=waiting&tenant=tenant-b"))
    assert "No change is succeeded" in words_of(olga.get("/changes/?status=succeeded"))
    assert "waits for approval" in words_of(ann.get(f"/chains/{first.plan.chain_id}/live/"))


def test_operators_make_edit_and_delete_windows() -> None:
    olga = world.operator()
    assert "Changes begin at any time" in words_of(olga.get("/windows/"))
    assert olga.post("/windows/", NIGHTS | {"tenant": "tenant-a", "site": ""}).status_code == 302
    row = models.ChangeWindow.objects.get()
    assert (row.weekdays, str(row.opens_at), row.minutes, str(row.tenant), row.site) == (
        [5, 6], "02:00:00", 120, "tenant-a", None
    )  # fmt: skip
    page = words_of(olga.get("/windows/"))
    assert "Sat, Sun 02:00" in page and "Europe/Berlin" in page and "2 h" in page
    assert 'value="nights"' in text_of(olga.get(f"/windows/{row.pk}/"))
    always = NIGHTS | {"weekdays": list("0123456"), "minutes": "10080", "tenant": "", "site": ""}
    assert olga.post(f"/windows/{row.pk}/", always).status_code == 302
    page = words_of(olga.get("/windows/"))
    assert "every day" in page and "168 h" in page and "A window for all is open now" in page
    assert olga.get(f"/windows/{row.pk}/delete/").status_code == 405
    assert olga.post(f"/windows/{row.pk}/delete/").status_code == 302
    assert not models.ChangeWindow.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "Nights!"}, "Lower-case letters"),
        ({"weekdays": []}, "1 to 7 entries"),
        ({"weekdays": ["x"]}, "0 (Monday) to 6"),
        ({"opens_at": "half past two"}, "opens at"),
        ({"minutes": "many"}, "whole number"),
        ({"minutes": "0"}, "must be 1 to 10080"),
        ({"timezone": "<script>alert(1)</script>"}, "there is no time zone"),
        ({"tenant": "nobody"}, "there is no tenant"),
    ],
)
def test_a_wrong_window_is_shown_again_with_what_is_wrong(wrong: dict[str, object], words: str) -> None:
    olga = world.operator()
    reply = olga.post("/windows/", NIGHTS | wrong)
    text = text_of(reply)
    assert (reply.status_code, "Not saved." in text, words in text) == (422, True, True), text
    assert "<script>alert" not in text
    assert not models.ChangeWindow.objects.exists()


def test_windows_are_the_operators() -> None:
    ann = world.member("ann")
    assert [ann.get("/windows/").status_code, ann.post("/windows/", NIGHTS).status_code] == [404, 404]
    assert ann.post("/windows/1/delete/").status_code == 404
    assert 'href="/windows/"' not in text_of(ann.get("/"))


def test_a_change_that_waits_for_a_window_says_when_and_can_be_cancelled() -> None:
    olga = world.operator()
    olga.post("/windows/", NIGHTS | {"weekdays": ["0"], "minutes": "1"})
    plan = world.plan(world.chain())
    olga.post(f"/plans/{plan.pk}/apply/")
    change = models.Change.objects.get()
    assert run_change(change.pk) is False
    page = words_of(olga.get(f"/changes/{change.pk}/"))
    assert "the window nights opens Mon" in page and "02:00 Europe/Berlin" in page and "Cancel the change" in page
    assert "Next look" in page
    assert olga.post(f"/changes/{change.pk}/cancel/").status_code == 302
    assert "Next look" not in words_of(olga.get(f"/changes/{change.pk}/"))
