# SPDX-License-Identifier: Apache-2.0
"""Every page: who sees it, what is on it when there is nothing, that it costs the same however much there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from chains import models
from tests.frontend import world

pytestmark = pytest.mark.usefixtures("fabric")

LISTS = ("/", "/chains/", "/changes/", "/devices/", "/findings/", "/windows/", "/audit/")
OPERATORS_ONLY = ("/devices/", "/devices/leaf1/", "/windows/")


def text_of(response: Any) -> str:
    return str(response.content.decode())


def words_of(response: Any) -> str:
    """Without markup, blanks joined."""
    return " ".join(re.sub(r"<[^>]*>", " ", text_of(response)).split())


def addresses() -> Iterator[str]:
    """Every page that there is, for a chain that was applied."""
    row = world.chain(world.NGFW)
    change = world.apply(row)
    yield from (*LISTS, "/chains/new/", "/devices/leaf1/", f"/chains/{row.pk}/", f"/chains/{row.pk}/live/")
    yield from (f"/chains/{row.pk}/edit/", f"/plans/{change.plan_id}/", f"/changes/{change.pk}/")
    yield f"/changes/{change.pk}/progress/"


def test_strangers_are_sent_to_the_log_in() -> None:
    client = Client()
    for address in addresses():
        response = client.get(address)
        assert response.status_code == 302, address
        assert response["Location"].startswith("/login/?next="), address


def test_operators_see_every_page_with_one_heading_and_a_skip_link() -> None:
    client = world.operator()
    for address in addresses():
        response = client.get(address)
        assert response.status_code == 200, address
        if "/live/" not in address and "/progress/" not in address:
            text = text_of(response)
            assert text.count("<h1") == 1, address
            assert 'href="#main"' in text and 'id="main"' in text, address
            assert "script-src 'self'" in response["Content-Security-Policy"], address
            assert "no-cache" in response["Cache-Control"] or "no-store" in response["Cache-Control"], address


def test_members_see_their_own_and_nothing_of_others() -> None:
    theirs = world.chain(name="their-secret-chain", of="tenant-b")
    change = world.apply(theirs)
    mine = world.chain(name="my-chain")
    client = world.member("anna")
    for address in ("/", "/chains/", "/audit/", "/findings/"):
        assert "their-secret-chain" not in text_of(client.get(address)), address
    assert "my-chain" in text_of(client.get("/chains/"))
    assert client.get(f"/chains/{mine.pk}/").status_code == 200
    for address in (
        f"/chains/{theirs.pk}/",
        f"/chains/{theirs.pk}/live/",
        f"/chains/{theirs.pk}/edit/",
        f"/plans/{change.plan_id}/",
        f"/changes/{change.pk}/",
        f"/changes/{change.pk}/progress/",
        *OPERATORS_ONLY,
    ):
        response = client.get(address)
        assert response.status_code == 404, address
        assert "their-secret-chain" not in text_of(response), address
    for address in (f"/chains/{theirs.pk}/plan/", f"/chains/{theirs.pk}/delete/", f"/plans/{change.plan_id}/apply/"):
        assert client.post(address).status_code == 404, address
    assert models.Chain.objects.get(pk=theirs.pk).is_wanted


def test_foreign_and_missing_look_the_same() -> None:
    theirs = world.chain(of="tenant-b")
    client = world.member("anna")
    foreign, missing = client.get(f"/chains/{theirs.pk}/"), client.get("/chains/999999/")
    assert (foreign.status_code, words_of(foreign)) == (missing.status_code, words_of(missing))


def test_viewers_read_and_change_nothing() -> None:
    row = world.chain()
    made = world.plan(row)
    client = world.member("victor", "viewer")
    page = text_of(client.get(f"/chains/{row.pk}/"))
    assert "Delete" not in page and "/plan/" not in page
    assert client.get(f"/chains/{row.pk}/edit/").status_code == 403
    assert client.get("/chains/new/").status_code == 403
    for address in (f"/chains/{row.pk}/plan/", f"/plans/{made.pk}/apply/", f"/chains/{row.pk}/delete/"):
        assert client.post(address).status_code == 403, address
    assert models.Plan.objects.count() == 1
    assert not models.Change.objects.exists()
    assert models.Chain.objects.get(pk=row.pk).is_wanted


def test_a_person_of_no_tenant_is_told_so_and_can_leave() -> None:
    client = world.member("nemo")
    models.Membership.objects.all().delete()
    response = client.get("/")
    assert response.status_code == 403
    assert "member of no tenant" in words_of(response)
    assert 'action="/logout/"' in text_of(response)


def test_a_person_of_two_tenants_acts_in_one_at_a_time() -> None:
    world.chain(name="chain-of-a")
    row = world.chain(name="chain-of-b", of="tenant-b")
    client = world.member("both", tenant_a="viewer", tenant_b="editor")
    assert "chain-of-b" not in text_of(client.get("/chains/"))
    assert "chain-of-b" in text_of(client.get("/chains/?tenant=tenant-b"))
    assert client.get(f"/chains/{row.pk}/edit/").status_code == 200  # remembered
    assert client.get("/chains/?tenant=nobody").status_code == 404
    models.Membership.objects.filter(tenant__name="tenant-b").delete()
    assert client.get(f"/chains/{row.pk}/").status_code == 404


def test_operators_narrow_lists_to_one_tenant() -> None:
    world.chain(name="chain-of-a")
    world.chain(name="chain-of-b", of="tenant-b")
    client = world.operator()
    both, one = text_of(client.get("/chains/")), text_of(client.get("/chains/?tenant=tenant-b"))
    assert "chain-of-a" in both and "chain-of-b" in both
    assert "chain-of-a" not in one and "chain-of-b" in one
    assert 'href="/findings/?tenant=tenant-b"' in one


def test_empty_lists_say_what_to_do() -> None:
    client = world.operator()
    assert "No chains yet" in text_of(client.get("/chains/"))
    assert "Nothing is open" in text_of(client.get("/findings/"))
    assert "Nothing was applied yet" in text_of(client.get("/"))
    assert "No entries" in text_of(client.get("/audit/?q=nothing-like-that"))
    models.Chain.objects.all().delete()
    assert "No device fits the filter" in text_of(client.get("/devices/?q=nothing-like-that"))
    assert "Nothing of ours on this device" in text_of(client.get("/devices/leaf1/"))
    assert "Not managed" in text_of(client.get("/devices/inet/"))


def test_a_chain_without_a_plan_says_what_comes_next() -> None:
    page = words_of(world.operator().get(f"/chains/{world.chain().pk}/"))
    assert "No path yet" in page and "Planning touches nothing" in page


def test_lists_are_filtered() -> None:
    world.apply(world.chain(name="alpha"))
    world.chain(name="beta", description="for printing", priority=3)
    client = world.operator()
    for query, shown, hidden in (
        ("q=PRINT", "beta", "alpha"),
        ("status=ready", "alpha", "beta"),
        ("status=nonsense", "beta", None),
    ):
        page = text_of(client.get(f"/chains/?{query}"))
        assert f">{shown}</a>" in page and (hidden is None or f">{hidden}</a>" not in page), query
    assert "No chain fits the filter" in text_of(client.get("/chains/?q=gamma"))
    devices = text_of(client.get("/devices/?kind=appliance&q=fw"))
    assert ">fw1</a>" in devices and ">leaf1</a>" not in devices
    audit = text_of(client.get("/audit/?q=plan.apply"))
    assert "plan.apply" in audit and "chain.create</code>" not in audit


def test_lists_have_pages() -> None:
    tenant = world.tenant("tenant-a")
    clients, servers = models.Segment.objects.filter(tenant=tenant).order_by("name")
    models.Chain.objects.bulk_create(
        models.Chain(tenant=tenant, name=f"chain-{number:03}", source=clients, destination=servers)
        for number in range(120)
    )
    client = world.operator()
    first, last = text_of(client.get("/chains/?q=chain")), text_of(client.get("/chains/?q=chain&page=3"))
    assert "1 to 50 of 120" in first and "?q=chain&amp;page=2" in first
    assert "chain-119" in last and "chain-000" not in last
    assert client.get("/chains/?page=999999").status_code == 200
    models.AuditRow.objects.bulk_create(
        models.AuditRow(actor="machine", action="test.row", subject=f"row {number}") for number in range(120)
    )
    page = text_of(client.get("/audit/?q=test.row"))
    (older,) = re.findall(r"\?q=test.row&amp;before=(\d+)", page)
    assert "row 119<" in page and "row 70<" in page and "row 69<" not in page
    assert "row 69<" in text_of(client.get(f"/audit/?q=test.row&before={older}"))


HOSTILE = '<img src=x onerror=alert(1)>"\'&{{ 7 }}'


def test_hostile_text_stays_text() -> None:
    row = world.chain(description=HOSTILE)
    change = world.apply(row)
    models.Chain.objects.update(status_reason=HOSTILE)
    models.ChangeEvent.objects.create(change=change, text=HOSTILE, device=HOSTILE[:63])
    models.Change.objects.update(error=HOSTILE, created_by=HOSTILE)
    models.Plan.objects.update(created_by=HOSTILE, errors=[{"code": HOSTILE, "detail": HOSTILE, "hop": -1}])
    models.PlanStep.objects.update(native=HOSTILE, reverse=HOSTILE)
    models.DeviceStatus.objects.update(reason=HOSTILE)
    device = models.Device.objects.get(name="leaf1")
    models.Finding.objects.create(code="x", device=device, chain=row, detail=HOSTILE, witness={HOSTILE: HOSTILE})
    models.AuditRow.objects.create(actor=HOSTILE, action=HOSTILE[:63], subject=HOSTILE, detail={"x": HOSTILE})
    client = world.operator()
    pages = [*LISTS, "/devices/leaf1/", f"/chains/{row.pk}/", f"/chains/{row.pk}/live/", f"/chains/{row.pk}/edit/"]
    pages += [f"/plans/{change.plan_id}/", f"/changes/{change.pk}/", f"/changes/{change.pk}/progress/"]
    seen = 0
    for address in [*pages, "/chains/?q=" + HOSTILE.replace("&", "%26"), "/devices/?q=<img>", "/audit/?q=<img>"]:
        text = text_of(client.get(address))
        assert "<img" not in text, address
        seen += "&lt;img src=x onerror=alert(1)&gt;" in text
    assert seen >= 10


@pytest.mark.parametrize(
    "address",
    [
        "/chains/?page=x&status=%00&q=%00&tenant=%00",
        "/chains/?page=-1",
        "/devices/%00/",
        "/devices/?condition=%00&kind=x&q=%00",
        "/audit/?before=x",
        "/audit/?before=999999999999999999999999",
        "/findings/?state=%00&severity=x&before=-1",
        "/chains/9999999999999999999999/",
        "/changes/0/",
        "/plans/1/",
    ],
)
def test_bad_addresses_are_answered(address: str) -> None:
    assert world.operator().get(address).status_code in (200, 404)


def count_queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_pages_cost_the_same_however_much_there_is() -> None:
    client = world.operator()
    row = world.chain(world.NGFW)
    change = world.apply(row)
    pages = [*LISTS, "/devices/leaf1/", f"/chains/{row.pk}/", f"/chains/{row.pk}/live/", f"/chains/{row.pk}/edit/"]
    pages += [f"/plans/{change.plan_id}/", f"/changes/{change.pk}/"]
    before = {address: count_queries(client, address) for address in pages}
    for number in range(4):
        other = world.chain(
            world.NGFW,
            name=f"more-{number}",
            classifiers=[{"protocol": "tcp", "destination_ports": str(8000 + number), "family": 4}],
        )
        done = world.apply(other)
        models.Finding.objects.create(code=f"x{number}", chain=other, detail="x")
        models.Finding.objects.create(code=f"y{number}", chain=row, detail="x")
        models.ChangeEvent.objects.create(change=change, text="line")
        assert done.status == "succeeded"
    models.Chain.objects.update(status="degraded")
    after = {address: count_queries(client, address) for address in pages}
    assert after == before
    assert max(after.values()) <= 30, after
