# SPDX-License-Identifier: Apache-2.0
"""Nobody reads, writes or infers what is another tenant's: every address, every method, every kind of caller.

The table below is the declaration. The tests compare it with the addresses that exist and with the description,
so an endpoint that is not declared here fails.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import time, timedelta
from typing import Any

import pytest
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from chains.api.urls import urlpatterns
from chains.models import (
    ApiToken,
    AuditRow,
    Chain,
    Change,
    ChangeEvent,
    ChangeWindow,
    Credential,
    Device,
    Finding,
    Instance,
    Offer,
    Plan,
    PlanStep,
    Role,
    Segment,
    Site,
    Step,
)
from tests.api.world import Api, World, api_for, chain_body, problem

VIEW, EDIT, OPERATE = "view", "edit", "operate"
# OWN: the object in the path is a tenant's. SHARED: not. Lists name no object.
OWN, SHARED, LIST = "own", "shared", "list"
POLICIES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("audit/", "GET"): (OPERATE, LIST),
    ("chains/", "GET"): (VIEW, LIST),
    ("chains/", "POST"): (EDIT, LIST),
    ("chains/{id}/", "GET"): (VIEW, OWN),
    ("chains/{id}/", "PUT"): (EDIT, OWN),
    ("chains/{id}/", "PATCH"): (EDIT, OWN),
    ("chains/{id}/", "DELETE"): (EDIT, OWN),
    ("chains/{id}/counters/", "GET"): (VIEW, OWN),
    ("chains/{id}/trace/", "GET"): (VIEW, OWN),
    ("chains/{id}/traffic/", "GET"): (VIEW, OWN),
    ("chains/{id}/explain/", "GET"): (VIEW, OWN),
    ("chains/{id}/plan/", "POST"): (EDIT, OWN),
    ("chains/{id}/why/", "GET"): (VIEW, OWN),
    ("changes/", "GET"): (VIEW, LIST),
    ("changes/{id}/", "GET"): (VIEW, OWN),
    ("changes/{id}/approve/", "POST"): (EDIT, OWN),
    ("changes/{id}/cancel/", "POST"): (EDIT, OWN),
    ("changes/{id}/events/", "GET"): (VIEW, OWN),
    ("changes/{id}/retry/", "POST"): (EDIT, OWN),
    ("changes/{id}/stream/", "GET"): (VIEW, OWN),
    ("changes/{id}/undo/", "POST"): (EDIT, OWN),
    ("credentials/", "GET"): (OPERATE, LIST),
    ("credentials/", "POST"): (OPERATE, LIST),
    ("credentials/{id}/", "GET"): (OPERATE, SHARED),
    ("credentials/{id}/", "PUT"): (OPERATE, SHARED),
    ("credentials/{id}/", "DELETE"): (OPERATE, SHARED),
    ("devices/", "GET"): (OPERATE, LIST),
    ("devices/{id}/", "GET"): (OPERATE, SHARED),
    ("devices/{id}/", "PATCH"): (OPERATE, SHARED),
    ("devices/{id}/adopt/", "POST"): (OPERATE, SHARED),
    ("devices/{id}/enforce/", "POST"): (OPERATE, SHARED),
    ("devices/{id}/save/", "POST"): (OPERATE, SHARED),
    ("devices/{id}/test-login/", "GET"): (OPERATE, SHARED),
    ("devices/{id}/test-login/", "POST"): (OPERATE, SHARED),
    ("fabric/", "GET"): (OPERATE, LIST),
    ("fabric/", "PUT"): (OPERATE, LIST),
    ("findings/", "GET"): (VIEW, LIST),
    ("freeze/", "GET"): (VIEW, LIST),
    ("freeze/", "POST"): (OPERATE, LIST),
    ("freeze/", "DELETE"): (OPERATE, LIST),
    ("functions/", "GET"): (VIEW, LIST),
    ("instances/", "GET"): (OPERATE, LIST),
    ("instances/{id}/", "GET"): (OPERATE, SHARED),
    ("instances/{id}/", "PATCH"): (OPERATE, SHARED),
    ("links/", "GET"): (OPERATE, LIST),
    ("me/", "GET"): (VIEW, LIST),
    ("offers/", "GET"): (OPERATE, LIST),
    ("offers/{id}/", "GET"): (OPERATE, SHARED),
    ("offers/{id}/", "PATCH"): (OPERATE, SHARED),
    ("plans/", "GET"): (VIEW, LIST),
    ("plans/{id}/", "GET"): (VIEW, OWN),
    ("plans/{id}/apply/", "POST"): (EDIT, OWN),
    ("prices/", "GET"): (OPERATE, LIST),
    ("prices/", "PATCH"): (OPERATE, LIST),
    ("reserve/", "GET"): (OPERATE, LIST),
    ("segments/", "GET"): (VIEW, LIST),
    ("segments/{id}/", "GET"): (VIEW, OWN),
    ("sites/", "GET"): (OPERATE, LIST),
    ("sites/{id}/", "GET"): (OPERATE, SHARED),
    ("sites/{id}/", "PATCH"): (OPERATE, SHARED),
    ("subscribers/", "GET"): (VIEW, LIST),
    ("tenants/", "GET"): (OPERATE, LIST),
    ("tenants/", "POST"): (OPERATE, LIST),
    ("tenants/{id}/", "GET"): (OPERATE, SHARED),
    ("tenants/{id}/", "PATCH"): (OPERATE, SHARED),
    ("tokens/", "GET"): (OPERATE, LIST),
    ("tokens/", "POST"): (OPERATE, LIST),
    ("tokens/{id}/", "GET"): (OPERATE, SHARED),
    ("tokens/{id}/", "DELETE"): (OPERATE, SHARED),
    ("what-if/", "POST"): (OPERATE, LIST),
    ("windows/", "GET"): (OPERATE, LIST),
    ("windows/", "POST"): (OPERATE, LIST),
    ("windows/{id}/", "GET"): (OPERATE, SHARED),
    ("windows/{id}/", "PATCH"): (OPERATE, SHARED),
    ("windows/{id}/", "DELETE"): (OPERATE, SHARED),
}
ROLES = {VIEW: {"viewer", "a", "b", "operator"}, EDIT: {"a", "b", "operator"}, OPERATE: {"operator"}}
MISSING = 987_654
# Writes that take no body.
BARE = ("plan/", "apply/", "approve/", "cancel/", "retry/", "undo/", "adopt/", "enforce/", "save/", "test-login/")
CANARY = "canary-of-b"


def addresses() -> Iterator[tuple[str, str]]:
    """What the url conf serves: (address with {id}, method)."""
    for pattern in urlpatterns:
        view = pattern.callback.view_class
        route = str(pattern.pattern).replace("<identity:id>", "{id}")
        for method in view.http_method_names:
            if method != "head" and hasattr(view, method):
                yield route, method.upper()


def make_objects(tenant: Any, word: str) -> dict[str, int]:
    """One of everything that a tenant owns, with the word in every text; by the address's first part."""
    clients, servers = (Segment.objects.get(tenant=tenant, name=name) for name in ("clients", "servers"))
    texts = {"description": word, "status_reason": word}
    chain = Chain.objects.create(tenant=tenant, name=word, source=clients, destination=servers, **texts)
    plan = Plan.objects.create(
        chain=chain,
        chain_name=word,
        tenant=tenant,
        generation=1,
        base_revision=0,
        revision=1,
        status=Plan.Status.REFUSED,
        placement={"word": word},
        errors=[{"code": "x", "detail": word, "hop": -1}],
        created_by=word,
    )
    leaf = Device.objects.get(name="leaf1")
    push = PlanStep.objects.create(
        plan=plan, wave=0, phase="build", device=leaf, changes=[], native=word, reverse=word
    )
    change = Change.objects.create(
        plan=plan, due_at=timezone.now(), error=word, request_id=word, status=Change.Status.FAILED
    )
    Step.objects.create(change=change, plan_step=push, error=word)
    ChangeEvent.objects.create(change=change, text=word)
    Finding.objects.create(code=word, chain=chain, detail=word)
    return {"chains": chain.pk, "plans": plan.pk, "changes": change.pk, "segments": clients.pk}


def body_for(route: str, method: str) -> Any:
    if method in ("GET", "DELETE") or route.endswith(BARE):
        return None
    return {
        "chains/": chain_body("another"),
        "chains/{id}/": chain_body("renamed"),
        "credentials/": {"name": "another", "secret": "s3cret"},
        "credentials/{id}/": {"secret": "s3cret"},
        "devices/{id}/": {"is_enabled": True},
        "freeze/": {"reason": "maintenance"},
        "instances/{id}/": {"is_draining": False},
        "offers/{id}/": {"is_enabled": True},
        "prices/": {"core": 2},
        "sites/{id}/": {"needs_approval": True},
        "tenants/": {"name": "another"},
        "tenants/{id}/": {"needs_approval": False},
        "tokens/": {"name": "another", "role": "operator"},
        "what-if/": {"drained": ["fw1"]},
        "windows/": {"name": "another", "weekdays": [5], "opens_at": "02:00", "minutes": 60},
        "windows/{id}/": {"minutes": 90},
    }[route]


def shared_ids() -> dict[str, int]:
    return {
        "credentials": Credential.objects.get_or_create(
            name="leafs", defaults={"ciphertext": b"x", "key_id": "0" * 16, "rotated_at": timezone.now()}
        )[0].pk,
        "devices": Device.objects.get(name="leaf1").pk,
        "instances": Instance.objects.order_by("id")[0].pk,
        "offers": Offer.objects.order_by("id")[0].pk,
        "sites": Site.objects.get().pk,
        "tenants": Segment.objects.filter(tenant__isnull=False)[0].tenant_id or 0,
        "tokens": ApiToken.objects.order_by("id")[0].pk,
        "windows": ChangeWindow.objects.get_or_create(
            name="nights", defaults={"weekdays": [5], "opens_at": time(2), "minutes": 60}
        )[0].pk,
    }


def call(api: Api, route: str, method: str, key: int) -> Any:
    if route == "fabric/":
        return api.send(method, route, b"fabric: other", content_type="application/yaml")
    return api.send(method, route.replace("{id}", str(key)), body_for(route, method))


def seen(response: Any) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
    """All that a caller can tell replies apart by, but for the id that every request gets of its own."""
    headers = tuple(sorted((name, value) for name, value in response.items() if name != "X-Request-ID"))
    return response.status_code, response.content, headers


def test_every_address_is_declared() -> None:
    assert set(addresses()) == set(POLICIES)


def test_the_description_has_the_same_addresses() -> None:
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    found = {
        (path.removeprefix("/api/v1/"), method.upper())
        for path, operations in paths.items()
        if path.startswith("/api/v1/")
        for method in operations
    }
    assert found == set(POLICIES)


@pytest.fixture
def owned(world: World) -> tuple[dict[str, int], dict[str, int]]:
    """Objects of tenant A and of tenant B; the inventory's are the same for both."""
    shared = shared_ids()
    return make_objects(world.tenant_a, "canary-of-a") | shared, make_objects(world.tenant_b, CANARY) | shared


@pytest.mark.parametrize(("route", "method"), POLICIES, ids=lambda part: part)
def test_who_may_call(
    world: World, owned: tuple[dict[str, int], dict[str, int]], route: str, method: str
) -> None:
    role, kind = POLICIES[(route, method)]
    ours, theirs = owned
    part = route.split("/")[0]
    key, foreign = ours.get(part, 0), theirs.get(part, 0)
    before = counts()
    problem(call(world.nobody, route, method, key), 401)
    for refused in refused_tokens(world):
        problem(call(refused, route, method, key), 401)
    for name in {"viewer", "a", "b", "operator"} - ROLES[role]:
        # Refused before anything is looked up: what exists and what does not look the same.
        replies = {seen(call(getattr(world, name), route, method, each)) for each in (key, MISSING)}
        assert len(replies) == 1
        assert replies.pop()[0] == 403
    if kind == OWN and role != OPERATE:
        gone = max(ours.get(part, 0), theirs.get(part, 0)) + 1000
        for name in {"viewer", "a"} & ROLES[role]:
            api = getattr(world, name)
            assert seen(call(api, route, method, foreign)) == seen(call(api, route, method, MISSING))
            assert seen(call(api, route, method, foreign)) == seen(call(api, route, method, gone))
            problem(call(api, route, method, foreign), 404)
    assert counts() == before
    for name in sorted(ROLES[role] - {"b"}):
        response = call(getattr(world, name), route, method, key)
        assert response.status_code not in (401, 403, 404, 405, 415, 500), response.content


def counts() -> tuple[int, ...]:
    """What a refused call must not change."""
    kinds = (Chain, Plan, Change, AuditRow, Device, Offer, ApiToken)
    return (
        *(kind.objects.count() for kind in kinds),
        sum(Chain.objects.values_list("generation", flat=True)),
    )


def refused_tokens(world: World) -> Iterator[Api]:
    yield Api("vdt_0123456789abcdef." + "A" * 43)
    expired, revoked = (Api(world.a.token) for _ in range(2))
    row = ApiToken.objects.get(key_id=world.a.token[4:20])
    past = timezone.now() - timedelta(seconds=1)
    ApiToken.objects.filter(pk=row.pk).update(expires_at=past)
    yield expired
    ApiToken.objects.filter(pk=row.pk).update(expires_at=row.expires_at, revoked_at=past)
    yield revoked
    ApiToken.objects.filter(pk=row.pk).update(revoked_at=None)


def test_no_reply_to_a_holds_anything_of_b(
    world: World, owned: tuple[dict[str, int], dict[str, int]]
) -> None:
    """Lists, searches, filters and orderings, with B's words and ids in every place that takes one."""
    ours, theirs = owned
    assert CANARY in world.b.get("chains/").content.decode()
    tries = 0
    for route, method in POLICIES:
        if method != "GET" or "{id}" in route or POLICIES[(route, method)][0] == OPERATE:
            continue
        for query in (
            "",
            f"?q={CANARY}",
            f"?name={CANARY}",
            "?tenant=tenant-b",
            f"?chain={theirs['chains']}",
            f"?code={CANARY}",
            "?ordering=-id",
            "?limit=1000",
        ):
            response = world.a.get(f"{route}{query}")
            assert response.status_code in (200, 400)
            # A refused query may repeat no word of it either, but that one A sent by itself.
            assert response.status_code == 400 or CANARY not in response.content.decode()
            if "tenant=tenant-b" in query and response.status_code == 200:
                assert response.json()["count"] == 0
            tries += 1
    assert tries > 40


def test_random_attempts_on_foreign_objects_look_like_missing_ones(
    world: World, owned: tuple[dict[str, int], dict[str, int]]
) -> None:
    dice = random.Random(20)
    _, theirs = owned
    own = [key for key, (role, kind) in POLICIES.items() if kind == OWN and role != OPERATE]
    for _ in range(200):
        route, method = dice.choice(own)
        if route == "segments/{id}/" and dice.random() < 0.5:
            continue
        headers = dice.choice(({}, {"If-Match": '"1-1"'}, {"If-Match": "*"}, {"X-Tenant": "tenant-b"}))
        query = dice.choice(("", "?tenant=tenant-b", "?after=0", "?fields=id"))
        body = dice.choice((None, {}, chain_body(), {"tenant": "tenant-b"}, {"priority": 1}))
        data = None if method == "GET" else body
        replies = [
            seen(world.a.send(method, route.replace("{id}", str(key)) + query, data, headers=headers))
            for key in (theirs[route.split("/")[0]], MISSING)
        ]
        assert replies[0] == replies[1]
        assert replies[0][0] in (400, 404)
        assert CANARY.encode() not in replies[0][1]


def test_names_of_one_tenant_say_nothing_to_another(world: World) -> None:
    """A globally unique name would be an oracle; so would a segment that is known to exist."""
    assert world.b.post("chains/", chain_body("secret")).status_code == 201
    assert world.a.post("chains/", chain_body("secret")).status_code == 201
    Segment.objects.create(
        tenant=world.tenant_b, name="vault", vrf=Segment.objects.all()[0].vrf, prefixes=["10.9.0.0/24"]
    )
    foreign = problem(world.a.post("chains/", chain_body("x", destination="vault")), 400)
    missing = problem(world.a.post("chains/", chain_body("x", destination="vaulx")), 400)
    assert str(foreign).replace("vault", "vaulx") == str(missing)


def test_an_operator_role_within_a_tenant_is_no_operator(world: World) -> None:
    """The database refuses such a token; the check does not lean on it alone."""
    editor = api_for("plain", world.tenant_a, Role.EDITOR)
    problem(editor.get("devices/"), 403)
    problem(editor.get("tokens/"), 403)
