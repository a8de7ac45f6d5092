# SPDX-License-Identifier: Apache-2.0
"""What people do: sign in, describe a chain, plan it, apply it, watch it, see drift, delete it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from chains import models
from chains.engine import observe
from chains.engine.reconcile import run_change
from drivers import fake
from drivers.state import DeviceState
from tests.frontend import world
from tests.frontend.test_pages import text_of, words_of

pytestmark = pytest.mark.usefixtures("fabric")

POLICY = '{"default": "deny", "rules": [{"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}]}'
FORM = {
    "name": "web",
    "description": "",
    "source": "clients",
    "destination": "servers",
    "priority": "0",
    "bandwidth_mbps": "10",
    "latency_budget_us": "",
    "classifiers-count": "1",
    "classifiers-0-protocol": "tcp",
    "classifiers-0-destination_ports": "80",
    "classifiers-0-source_ports": "",
    "classifiers-0-family": "4",
    "classifiers-0-dscp": "",
    "hops-count": "1",
    "hops-0-function": "ngfw",
    "hops-0-failure_mode": "block",
    "hops-0-realm": "",
    "hops-0-device": "",
    "hops-0-policy": POLICY,
    "action": "save",
}


def test_sign_in_and_out() -> None:
    world.operator()
    client = Client()
    assert client.get("/login/").status_code == 200
    wrong = client.post("/login/", {"username": "olga", "password": "guess"})
    assert wrong.status_code == 422 and "do not match" in text_of(wrong)
    right = client.post("/login/?next=/chains/", {"username": "olga", "password": world.PASSWORD, "next": "/chains/"})
    assert (right.status_code, right["Location"]) == (302, "/chains/")
    assert client.get("/logout/").status_code == 405
    assert client.get("/").status_code == 200
    assert client.post("/logout/").status_code == 302
    assert client.get("/").status_code == 302


def test_the_log_in_leads_nowhere_else() -> None:
    world.operator()
    data = {"username": "olga", "password": world.PASSWORD, "next": "https://elsewhere.example/"}
    assert Client().post("/login/", data)["Location"] == "/"


def test_guessing_is_slowed_down_for_that_account_only() -> None:
    world.operator()
    client = Client()
    for _ in range(10):
        assert client.post("/login/", {"username": "olga", "password": "guess"}).status_code == 422
    blocked = client.post("/login/", {"username": "OLGA", "password": world.PASSWORD})
    assert blocked.status_code == 429 and int(blocked["Retry-After"]) > 0
    assert client.post("/login/", {"username": "anna", "password": "guess"}).status_code == 422


def test_writes_need_the_token_against_forgery() -> None:
    row = world.chain()
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.get_user_model().objects.create_superuser("olga", password=world.PASSWORD))
    for address in (f"/chains/{row.pk}/plan/", f"/chains/{row.pk}/delete/", "/chains/new/", "/logout/"):
        assert client.post(address).status_code == 403, address
    assert models.Chain.objects.filter(pk=row.pk, is_wanted=True).exists()
    assert not models.Plan.objects.exists()


def test_reading_an_address_of_a_button_does_nothing() -> None:
    row = world.chain()
    client = world.operator()
    for address in (f"/chains/{row.pk}/plan/", f"/chains/{row.pk}/delete/"):
        assert client.get(address).status_code == 405
    assert not models.Plan.objects.exists()


def test_a_chain_from_the_form_to_the_devices_and_away_again() -> None:
    client = world.member("anna")
    made = client.post("/chains/new/", FORM, follow=True)
    row = models.Chain.objects.get(name="web")
    assert made.redirect_chain[-1][0] == f"/chains/{row.pk}/"
    assert (row.tenant.name, row.hops.get().policy["default"]) == ("tenant-a", "deny")

    planned = client.post(f"/chains/{row.pk}/plan/", follow=True)
    plan = models.Plan.objects.get()
    page = words_of(planned)
    assert plan.status == "ready" and plan.created_by == "anna"
    assert f"{plan.summary['create']} to add" in page and "Apply this plan" in page
    for claim in plan.proof["claims"]:
        assert claim.replace("'", "&#x27;") in page
    for step in plan.steps.all():
        first = step.native.splitlines()[0][2:] if step.native else ""
        assert re.sub(r"\s+", " ", first).replace('"', "&quot;").replace("'", "&#x27;") in page

    applied = client.post(f"/plans/{plan.pk}/apply/", follow=True)
    change = models.Change.objects.get()
    assert applied.redirect_chain[-1][0] == f"/changes/{change.pk}/"
    assert "pending" in words_of(applied) and f'data-stream="/changes/{change.pk}/stream/"' in text_of(applied)
    assert 'http-equiv="refresh"' in text_of(applied)  # without scripts
    run_change(change.pk)
    ended = client.get(f"/changes/{change.pk}/")
    assert "succeeded" in words_of(ended) and "data-stream" not in text_of(ended)
    steps = change.steps.count()
    assert f"{steps} of {steps} steps done" in words_of(ended)
    for event in change.events.all():
        assert event.text.replace("'", "&#x27;") in words_of(ended)

    shown = words_of(client.get(f"/chains/{row.pk}/"))
    assert "in force, revision 1" in shown and "Apply plan" not in shown

    client.post(f"/chains/{row.pk}/delete/")
    row.refresh_from_db()
    assert not row.is_wanted
    assert "deleting" in words_of(client.get("/chains/"))


def test_a_plan_is_applied_once_and_a_stale_one_never() -> None:
    row = world.chain()
    first = world.plan(row)
    client = world.operator()
    client.post(f"/plans/{first.pk}/apply/")
    client.post(f"/plans/{first.pk}/apply/")
    assert models.Change.objects.count() == 1
    run_change(models.Change.objects.get().pk)
    stale = world.plan(row)
    models.Chain.objects.filter(pk=row.pk).update(generation=7)
    answer = client.post(f"/plans/{stale.pk}/apply/")
    assert answer.status_code == 409
    assert "ask for a new plan" in words_of(answer)
    assert models.Change.objects.count() == 1


def test_a_refused_plan_says_why_and_cannot_be_applied() -> None:
    row = world.chain(bandwidth_mbps=9_000_000)
    client = world.operator()
    page = client.post(f"/chains/{row.pk}/plan/", follow=True)
    plan = models.Plan.objects.get()
    assert plan.status == "refused"
    assert plan.errors[0]["detail"].replace("'", "&#x27;") in words_of(page)
    assert "Apply this plan" not in text_of(page)
    assert "excluded" in words_of(page)
    assert client.post(f"/plans/{plan.pk}/apply/").status_code == 409
    chain_page = words_of(client.get(f"/chains/{row.pk}/"))
    assert f"plan {plan.pk} was refused" in chain_page


def test_the_form_says_what_is_wrong_and_keeps_what_was_typed() -> None:
    client = world.member("anna")
    bad = FORM | {"name": "Not A Name", "hops-0-policy": '{"rules": [', "source": "nowhere"}
    answer = client.post("/chains/new/", bad)
    text = text_of(answer)
    assert answer.status_code == 422
    assert "is not JSON" in text and 'value="Not A Name"' in text and "{&quot;rules&quot;: [" in text
    assert re.search(r'id="hops-0-policy"[^>]*aria-invalid="true"[^>]*aria-describedby="[^"]*hops-0-policy-error', text)
    answer = client.post("/chains/new/", bad | {"hops-0-policy": POLICY})
    text = text_of(answer)
    assert answer.status_code == 422
    assert 'href="#name"' in text and 'id="name-error"' in text and 'id="source-error"' in text
    assert not models.Chain.objects.exists()


def test_the_form_s_row_buttons_work_without_scripts_and_save_nothing() -> None:
    client = world.member("anna")
    more = text_of(client.post("/chains/new/", FORM | {"action": "add-hops"}))
    assert 'id="hops-1-function"' in more and 'name="hops-count" value="2"' in more
    none = text_of(client.post("/chains/new/", FORM | {"action": "remove-classifiers-0"}))
    assert 'name="classifiers-count" value="0"' in none
    assert not models.Chain.objects.exists()


def test_an_operator_names_the_tenant() -> None:
    client = world.operator()
    assert "Choose the tenant" in words_of(client.post("/chains/new/", FORM))
    assert client.post("/chains/new/", FORM | {"tenant": "tenant-b"}).status_code == 302
    assert models.Chain.objects.get().tenant.name == "tenant-b"


def test_an_edit_of_something_that_moved_on_is_refused() -> None:
    row = world.chain()
    client = world.operator()
    form = FORM | {"generation": str(row.generation), "bandwidth_mbps": "20"}
    assert client.post(f"/chains/{row.pk}/edit/", form).status_code == 302
    late = client.post(f"/chains/{row.pk}/edit/", form | {"bandwidth_mbps": "30"})
    assert late.status_code == 422 and "edited meanwhile" in words_of(late)
    row.refresh_from_db()
    assert (row.bandwidth_mbps, row.generation) == (20, 2)
    assert 'value="20"' in text_of(client.get(f"/chains/{row.pk}/edit/"))


@pytest.mark.parametrize(
    "values",
    [
        {"name": "a\0b"},
        {"hops-0-device": "a\0b"},
        {"hops-0-function": "\0"},
        {"source": "\0"},
        {"hops-0-policy": "[" * 5000},
        {"hops-0-policy": '"text"'},
        {"hops-0-policy": '{"default": "deny", "rules": [{"source": "\\u0000"}]}'},
        {"classifiers-count": "x", "hops-count": "-3"},
        {"classifiers-0-family": "9" * 18},
        {"description": "x" * 5000},
        {"generation": "9" * 40},
    ],
)
def test_hostile_forms_are_refused(values: dict[str, str]) -> None:
    row = world.chain()
    client = world.operator()
    for address in ("/chains/new/?tenant=tenant-a", f"/chains/{row.pk}/edit/"):
        assert client.post(address, FORM | {"name": "other"} | values).status_code == 422, address
    assert models.Chain.objects.get() == row


def hop_rows(page: str) -> dict[str, str]:
    return dict(re.findall(r'data-counter-source="([^"]+)" data-short="([^"]+)"', page))


def test_counters_by_hop_and_direction() -> None:
    row = world.internet_chain()
    world.apply(row)
    world.traffic(packets=500, dropped=7)
    client = world.operator()
    live = hop_rows(text_of(client.get(f"/chains/{row.pk}/live/")))
    for hop in range(3):
        # What the switch behind the appliance saw coming out of it, each way; what the appliance dropped.
        assert live[f"hop-{hop}-forward"] == live[f"hop-{hop}-reverse"] == "500", live
        assert live[f"hop-{hop}-dropped"] == "7"
    page = text_of(client.get(f"/chains/{row.pk}/"))
    drawn = dict(re.findall(r'data-counter="([^"]+)">([^<]+)<', page))
    assert drawn == live


def test_a_host_counts_both_directions_together() -> None:
    row = world.chain(world.NGFW | {"realm": "host"})
    world.apply(row)
    world.traffic(packets=500, dropped=7)
    live = hop_rows(text_of(world.operator().get(f"/chains/{row.pk}/live/")))
    assert live == {"hop-0-both": "493", "hop-0-dropped": "7"}


def test_the_chain_page_shows_path_reasons_and_history() -> None:
    row = world.internet_chain()
    change = world.apply(row)
    page = text_of(world.operator().get(f"/chains/{row.pk}/"))
    placement = change.plan.placement
    assert page.count('class="path-drawing"') == 1
    for hop in placement["hops"]:
        assert hop["reason"].replace("'", "&#x27;") in page
        for candidate in hop["rejected"]:
            assert candidate["excluded"].replace("'", "&#x27;") in page
    assert 'href="/devices/fw1/"' in page
    assert f'href="/plans/{change.plan_id}/"' in page and f'href="/changes/{change.pk}/"' in page
    member = text_of(world.member("anna").get(f"/chains/{row.pk}/"))
    assert "/devices/" not in member  # the inventory is the operators'


def test_a_dead_instance_is_seen_where_it_is() -> None:
    row = world.internet_chain()
    world.apply(row)
    client = world.member("anna")
    assert "station down" not in text_of(client.get(f"/chains/{row.pk}/"))
    models.Instance.objects.filter(offer__device__name="ips1").update(health="down")
    page = text_of(client.get(f"/chains/{row.pk}/"))
    (station,) = re.findall(r'<g class="station down">.*?</g>', page)
    assert ">ips<" in station and ">down<" in station
    live = words_of(client.get(f"/chains/{row.pk}/live/"))
    assert "hop-lost hop 1: ips@ips1 is down" in live or "hop lost hop 1: ips@ips1 is down" in live


def test_drift_is_seen_item_by_item(settings: Any) -> None:
    world.apply(world.chain())
    device = models.Device.objects.get(name="leaf1")
    with fake.box("leaf1") as box:
        gone = next(key for key in box.state if key.kind == "redirect")
        box.state = DeviceState({key: item for key, item in box.state.items() if key != gone})
        box.links_down.append("fw1-in")
    settings.VIADUCT_DRIFT = "report"  # else it is repaired before anyone sees it
    observe.observe_device(device.pk)
    client = world.operator()
    page = words_of(client.get("/devices/leaf1/"))
    assert "1 missing" in page and str(gone) in page
    assert "down" in page
    overview = words_of(client.get("/"))
    assert "1 device drifted" in overview and "Devices that need a look" in overview
    assert ">leaf1</a>" in text_of(client.get("/devices/?condition=drifted"))
    assert ">leaf1</a>" not in text_of(client.get("/devices/?condition=in_sync"))


def test_a_fragment_after_the_session_ended_reloads_the_page() -> None:
    row = world.chain()
    answer = Client().get(f"/chains/{row.pk}/live/", HTTP_HX_REQUEST="true")
    assert answer["HX-Refresh"] == "true" and not answer.content


def test_what_htmx_fetches_is_a_fragment() -> None:
    row = world.chain()
    world.apply(row)
    client = world.operator()
    headers: dict[str, Any] = {"HTTP_HX_REQUEST": "true"}
    for address in ("/", "/devices/leaf1/"):
        assert "<html" not in text_of(client.get(address, **headers)), address
    for address in (f"/chains/{row.pk}/live/", f"/changes/{models.Change.objects.get().pk}/progress/"):
        assert "<html" not in text_of(client.get(address)), address
