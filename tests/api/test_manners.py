# SPDX-License-Identifier: Apache-2.0
"""Lists, sessions, tokens, inventory and the description: what every client relies on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from chains.models import (
    ApiToken,
    AuditRow,
    Chain,
    Device,
    Instance,
    Membership,
    Offer,
    Role,
    Segment,
    Tenant,
)
from tests.api.world import Api, World, chain_body, problem


def make_chains(tenant: Tenant, count: int) -> None:
    clients, servers = (Segment.objects.get(tenant=tenant, name=name) for name in ("clients", "servers"))
    Chain.objects.bulk_create(
        Chain(
            tenant=tenant,
            name=f"chain-{number:03}",
            source=clients,
            destination=servers,
            priority=number % 16,
        )
        for number in range(count)
    )


def test_pages_cover_everything_once(world: World) -> None:
    make_chains(world.tenant_a, 120)
    make_chains(world.tenant_b, 5)
    first = world.a.get("chains/").json()
    assert (first["count"], len(first["results"]), first["previous"]) == (120, 50, None)
    names, url, pages = [], "/api/v1/chains/?limit=7&ordering=-priority,name", 0
    while url:
        page = world.a.get(url.removeprefix("http://testserver")).json()
        names += [row["name"] for row in page["results"]]
        url, pages = page["next"], pages + 1
    assert (len(names), len(set(names)), pages) == (120, 120, 18)
    last = world.a.get("chains/?offset=115&limit=10").json()
    assert (len(last["results"]), last["next"]) == (5, None)
    assert "offset=105" in last["previous"]
    beyond = world.a.get("chains/?offset=500").json()
    assert (beyond["results"], beyond["count"], beyond["next"]) == ([], 120, None)
    assert len(world.a.get("chains/?limit=1000").json()["results"]) == 120


def test_filters_search_and_order(world: World) -> None:
    make_chains(world.tenant_a, 12)

    def names(query: str) -> list[str]:
        return [row["name"] for row in world.a.get(f"chains/?{query}").json()["results"]]

    assert names("name=chain-003") == ["chain-003"]
    assert names("name=chain-003&name=chain-004") == ["chain-003", "chain-004"]
    assert names("q=CHAIN-01") == ["chain-010", "chain-011"]
    assert names("q=%25") == []  # no pattern of the database's
    assert names("status=ready") == []
    assert len(names("status=draft&status=ready")) == 12
    assert names("ordering=-name")[0] == "chain-011"


def test_the_number_of_queries_does_not_grow_with_the_page(world: World) -> None:
    def queries(path: str) -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            assert world.operator.get(path).status_code == 200
        return [query["sql"][:60] for query in captured]

    for number in range(3):
        tcp = {"protocol": "tcp", "destination_ports": str(80 + number), "family": 4}
        assert world.a.post("chains/", chain_body(f"few-{number}", classifiers=[tcp])).status_code == 201
    lists = [
        "chains",
        "plans",
        "changes",
        "devices",
        "offers",
        "instances",
        "links",
        "segments",
        "tokens",
        "audit",
    ]
    queries("me/")  # the first use of a token is noted
    few = {name: queries(f"{name}/?limit=1") for name in lists}
    many = {name: queries(f"{name}/?limit=1000") for name in lists}
    assert many == few


def test_me(world: World) -> None:
    me = world.a.get("me/").json()
    assert (me["name"], me["tenant"], me["role"]) == ("token:canary-a", "tenant-a", "editor")
    assert me["expires_at"]
    assert world.operator.get("me/").json()["tenant"] is None


def test_a_body_without_a_length_is_read(world: World) -> None:
    """As HTTP/1.1 clients that stream send it; the server hands on the octets, and no length."""
    client = AsyncClient()
    body = json.dumps(chain_body()).encode()
    headers = {"Authorization": f"Bearer {world.a.token}", "Transfer-Encoding": "chunked"}

    async def send() -> Any:
        return await client.post("/api/v1/chains/", body, content_type="application/json", headers=headers)

    def drop_length(scope: Any) -> Any:
        return {**scope, "headers": [each for each in scope["headers"] if each[0] != b"content-length"]}

    handler = client.handler

    async def without_length(scope: Any) -> Any:
        return await handler(drop_length(scope))

    client.handler = without_length  # type: ignore[assignment]
    assert async_to_sync(send)().status_code == 201


# --- sessions ---------------------------------------------------------------------------------


def logged_in(username: str, **options: Any) -> tuple[Client, User]:
    user = User.objects.create_user(username, password="correct horse battery", **options)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client, user


def test_a_session_reads_and_writes_only_with_its_csrf_token(world: World) -> None:
    client, user = logged_in("ann")
    Membership.objects.create(user=user, tenant=world.tenant_a, role=Role.EDITOR)
    me = client.get("/api/v1/me/").json()
    assert (me["name"], me["tenant"], me["role"], me["expires_at"]) == ("ann", "tenant-a", "editor", None)
    url, body = "/api/v1/chains/", json.dumps(chain_body())
    problem(client.post(url, body, content_type="application/json"), 403)
    assert not Chain.objects.exists()
    token = "a" * 32
    client.cookies["csrftoken"] = token
    made = client.post(url, body, content_type="application/json", headers={"X-CSRFToken": token})
    assert made.status_code == 201
    assert AuditRow.objects.get(action="chain.create").actor == "ann"


def test_a_person_of_no_tenant_sees_nothing(world: World) -> None:
    client, _ = logged_in("bob")
    for path in ("me/", "chains/", "devices/", "chains/1/"):
        problem(client.get(f"/api/v1/{path}"), 403)


def test_a_person_acts_in_the_tenant_that_the_pages_remember_if_still_a_member(world: World) -> None:
    client, user = logged_in("cyd")
    for tenant in (world.tenant_a, world.tenant_b):
        Membership.objects.create(user=user, tenant=tenant, role=Role.VIEWER)
    assert client.get("/api/v1/me/").json()["tenant"] == "tenant-a"
    session = client.session
    session["tenant"] = "tenant-b"
    session.save()
    assert client.get("/api/v1/me/").json()["tenant"] == "tenant-b"
    Membership.objects.filter(user=user, tenant=world.tenant_b).delete()
    problem(client.get("/api/v1/me/"), 403)


def test_a_membership_with_the_operators_role_operates_nothing(world: World) -> None:
    client, user = logged_in("dan")
    Membership.objects.create(user=user, tenant=world.tenant_a, role=Role.OPERATOR)
    assert client.get("/api/v1/me/").json()["role"] == "editor"
    problem(client.get("/api/v1/devices/"), 403)
    root, _ = logged_in("root", is_superuser=True)
    assert root.get("/api/v1/devices/").status_code == 200


def test_a_disabled_account_is_out_at_once(world: World) -> None:
    client, user = logged_in("eve", is_superuser=True)
    assert client.get("/api/v1/devices/").status_code == 200
    User.objects.filter(pk=user.pk).update(is_active=False)
    problem(client.get("/api/v1/devices/"), 401)


# --- tokens -----------------------------------------------------------------------------------


def test_a_token_is_shown_once_works_and_is_worthless_once_revoked(world: World) -> None:
    body = {"name": "ci", "tenant": "tenant-a", "role": "viewer", "days": 1}
    made = world.operator.post("tokens/", body)
    assert made.status_code == 201, made.content
    assert "no-store" in made["Cache-Control"]
    plain = made.json()["token"]
    secret = plain.partition(".")[2]
    api = Api(plain)
    assert api.get("me/").json()["role"] == "viewer"
    url = f"tokens/{made.json()['id']}/"
    for path in (url, "tokens/", "audit/"):
        text = world.operator.get(path).content.decode()
        assert secret not in text
        assert "digest" not in json.loads(text).get("results", [{}])[0]
    row = ApiToken.objects.get(pk=made.json()["id"])
    assert secret not in "".join(str(value) for value in vars(row).values())
    assert row.last_used_at
    assert world.operator.delete(url).status_code == 204
    problem(api.get("me/"), 401)
    assert world.operator.delete(url).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "role": "viewer"},
        {"name": "x", "role": "operator", "tenant": "tenant-a"},
        {"name": "x", "role": "viewer", "tenant": "tenant-x"},
        {"name": "x", "role": "root"},
        {"name": "", "role": "operator"},
        {"name": "x\n", "role": "operator"},
        {"name": "x" * 64, "role": "operator"},
        {"name": "x", "role": "operator", "days": 0},
        {"name": "x", "role": "operator", "days": 367},
        {"name": "x", "role": "operator", "days": "1"},
        {"name": "x", "role": "operator", "days": True},
        {"name": "x", "role": "operator", "digest": "00"},
    ],
)
def test_tokens_that_make_no_sense_are_refused(world: World, body: dict[str, Any]) -> None:
    before = ApiToken.objects.count()
    assert problem(world.operator.post("tokens/", body), 400)["errors"]
    assert ApiToken.objects.count() == before


# --- inventory --------------------------------------------------------------------------------


def test_operators_switch_devices_and_offers_and_drain_instances(world: World) -> None:
    device, offer = Device.objects.get(name="fw1"), Offer.objects.get(device__name="fw1")
    shown = world.operator.patch(f"devices/{device.pk}/", {"is_enabled": False}).json()
    assert (shown["name"], shown["is_enabled"]) == ("fw1", False)
    shown = world.operator.patch(f"offers/{offer.pk}/", {"is_enabled": False, "cost_per_gbps": 2.5}).json()
    assert (shown["is_enabled"], shown["cost_per_gbps"], shown["cost_fixed"]) == (False, 2.5, 1)
    instance = Instance.objects.get(offer=offer)
    shown = world.operator.patch(f"instances/{instance.pk}/", {"is_draining": True}).json()
    assert (shown["is_draining"], shown["health"]) == (True, "up")
    actions = set(AuditRow.objects.values_list("action", flat=True))
    assert {"device.update", "offer.update", "instance.drain"} <= actions
    for path, body in (
        (f"devices/{device.pk}/", {"is_enabled": "yes"}),
        (f"devices/{device.pk}/", {"management": "10.0.0.1"}),
        (f"offers/{offer.pk}/", {"cost_per_gbps": -1}),
        (f"offers/{offer.pk}/", {"cost_fixed": "cheap"}),
        (f"offers/{offer.pk}/", {"capacity_mbps": 2**40}),
        (f"offers/{offer.pk}/", {"device": 1}),
        (f"instances/{instance.pk}/", {"health": "down"}),
    ):
        assert problem(world.operator.patch(path, body), 400)["errors"], path
    offer.refresh_from_db()
    assert offer.cost_per_gbps == 2.5


def test_tenants_are_created_once(world: World) -> None:
    made = world.operator.post("tenants/", {"name": "tenant-c"})
    assert made.status_code == 201
    assert world.operator.get(f"tenants/{made.json()['id']}/").json() == made.json()
    problem(world.operator.post("tenants/", {"name": "tenant-c"}), 409)
    for name in ("", "Tenant", "tenant-c\n", "-", "x" * 64, None, 7, ["x"]):
        problem(world.operator.post("tenants/", {"name": name}), 400)


# --- the description --------------------------------------------------------------------------


def test_the_description_is_valid_and_complete(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))
    text = (tmp_path / "schema.yaml").read_text()
    assert "application/problem+json" in text
    assert "bearerFormat" in text


def test_the_page_needs_no_other_server(world: World, client: Client) -> None:
    page = client.get(reverse("docs"))
    assert page.status_code == 200
    assert "http://" not in page.content.decode().replace("http://testserver", "")
    assert "https://" not in page.content.decode()
    assert client.get(reverse("schema")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v2/", "/api/v1/", "/api/v1/chains", "/api/v1/nothing/", "/api/v1//chains/"]
)
def test_what_is_no_address_is_told_in_json(world: World, path: str) -> None:
    assert problem(world.a.get(path), 404) == problem(world.nobody.get(path), 404)
