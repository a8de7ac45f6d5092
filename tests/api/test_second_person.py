# SPDX-License-Identifier: Apache-2.0
"""Approval, cancelling, windows and bounds over the wire: what is answered, and to whom."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains.models import ApiToken, AuditRow, Change, ChangeWindow, Role, Site, Tenant
from chains.services.actor import SYSTEM
from chains.services.tokens import token_create
from tests.api.world import Api, World, chain_body, problem

NIGHTS: dict[str, Any] = {"name": "nights", "weekdays": [5], "opens_at": "02:00", "minutes": 120}


def of(name: str, tenant: Tenant | None, role: Role = Role.EDITOR) -> Api:
    """A token of this person."""
    owner, _ = User.objects.get_or_create(username=name)
    return Api(token_create(actor=SYSTEM, name="ci", tenant=tenant, role=role, owner=owner)[1])


def waiting(world: World, by: Api, name: str = "web", **values: Any) -> str:
    """Planned, applied, waiting; the change's address."""
    Tenant.objects.filter(pk=world.tenant_a.pk).update(needs_approval=True)
    chain = by.post("chains/", chain_body(name, **values)).json()["id"]
    plan = by.post(f"chains/{chain}/plan/").json()["id"]
    change = by.post(f"plans/{plan}/apply/")
    assert (change.status_code, change.json()["status"]) == (202, "waiting"), change.content
    return f"changes/{change.json()['id']}/"


def test_asked_refused_approved(world: World) -> None:
    ann, bob = of("ann", world.tenant_a), of("bob", world.tenant_a)
    address = waiting(world, ann)
    seen = world.viewer.get(address).json()
    assert (seen["needs_approval"], seen["next_try_at"], seen["approved_by"], seen["approved_at"]) == (
        "tenant tenant-a demands it", None, "", None
    )  # fmt: skip
    own = problem(ann.post(f"{address}approve/"), 403)
    assert (own["type"], "somebody else has to approve" in own["detail"]) == ("urn:viaduct:own-change", True)
    assert problem(world.a.post(f"{address}approve/"), 403)["type"] == "urn:viaduct:no-person"
    problem(world.viewer.post(f"{address}approve/"), 403)
    problem(bob.post(f"{address}approve/", {"force": True}), 400)
    key = {"Idempotency-Key": "approve-1"}
    approved, again = (bob.post(f"{address}approve/", headers=key) for _ in range(2))
    assert (approved.status_code, approved["Location"], approved.json()["status"]) == (202, seen["url"], "pending")
    assert (again.status_code, again.content) == (202, approved.content)
    assert approved.json()["approved_by"] == "token:ci"
    assert problem(bob.post(f"{address}approve/"), 409)["type"] == "urn:viaduct:not-waiting"
    assert AuditRow.objects.filter(action="change.approve").count() == 1


def test_cancelled_and_not_twice(world: World) -> None:
    ann = of("ann", world.tenant_a)
    address = waiting(world, ann)
    busy = ann.get("chains/").json()["results"][0]["id"]
    plan = ann.post(f"chains/{busy}/plan/").json()["id"]
    assert problem(ann.post(f"plans/{plan}/apply/"), 409)["type"] == "urn:viaduct:change-waiting"
    problem(world.viewer.post(f"{address}cancel/"), 403)
    done = ann.post(f"{address}cancel/")
    assert (done.status_code, done.json()["status"], done.json()["error"]) == (200, "cancelled", "")
    assert problem(ann.post(f"{address}cancel/"), 409)["type"] == "urn:viaduct:not-cancellable"
    assert problem(of("bob", world.tenant_a).post(f"{address}approve/"), 409)["type"] == "urn:viaduct:not-waiting"
    listed = ann.get("changes/?status=cancelled").json()
    assert [row["status"] for row in listed["results"]] == ["cancelled"]
    assert ann.get("changes/?status=waiting").json()["count"] == 0


def test_a_sites_demand_needs_an_operator(world: World) -> None:
    ann, bob = of("ann", world.tenant_a), of("bob", world.tenant_a)
    site = world.operator.get("sites/").json()["results"][0]
    patched = world.operator.patch(f"sites/{site['id']}/", {"needs_approval": True, "changes_at_once": 3})
    assert patched.json() == site | {"needs_approval": True, "changes_at_once": 3}
    address = waiting(world, ann)
    assert problem(bob.post(f"{address}approve/"), 403)["type"] == "urn:viaduct:operator-needed"
    assert problem(of("ann", None, Role.OPERATOR).post(f"{address}approve/"), 403)["type"] == "urn:viaduct:own-change"
    assert of("olga", None, Role.OPERATOR).post(f"{address}approve/").status_code == 202


def test_a_token_made_over_the_wire_belongs_to_who_made_it(world: World) -> None:
    olga = of("olga", None, Role.OPERATOR)
    made = olga.post("tokens/", {"name": "x", "tenant": "tenant-a", "role": "editor"}).json()
    assert (made["owner"], ApiToken.objects.get(pk=made["id"]).owner.username) == ("olga", "olga")  # type: ignore[union-attr]
    address = waiting(world, Api(made["token"]))
    assert problem(olga.post(f"{address}approve/"), 403)["type"] == "urn:viaduct:own-change"


def test_foreign_and_missing_are_the_same_bytes(world: World) -> None:
    address = waiting(world, of("ann", world.tenant_a))
    bob = of("bob", world.tenant_b)
    for act in ("approve", "cancel"):
        foreign, missing = bob.post(f"{address}{act}/"), bob.post(f"changes/987654/{act}/")
        assert (foreign.status_code, foreign.content) == (404, missing.content)
    assert Change.objects.get().status == "waiting"


def test_windows_are_made_read_changed_and_deleted(world: World) -> None:
    api = world.operator
    made = api.post("windows/", NIGHTS | {"tenant": "tenant-a", "timezone": "Europe/Berlin"})
    assert (made.status_code, made["Location"]) == (201, made.json()["url"])
    row = made.json()
    assert {name: row[name] for name in (*NIGHTS, "tenant", "site", "timezone")} == {
        **NIGHTS, "tenant": "tenant-a", "site": None, "timezone": "Europe/Berlin"
    }  # fmt: skip
    assert row["next_opening"] is not None
    assert problem(api.post("windows/", NIGHTS), 409)["type"] == "urn:viaduct:name-taken"
    always = {"weekdays": [0, 1, 2, 3, 4, 5, 6], "minutes": 10_080, "tenant": None, "site": "lab"}
    changed = api.patch(f"windows/{row['id']}/", always).json()
    assert {name: changed[name] for name in always} == always
    assert changed["next_opening"] is None
    assert api.get("windows/?site=lab").json()["results"] == [changed]
    assert api.delete(f"windows/{row['id']}/").status_code == 204
    problem(api.delete(f"windows/{row['id']}/"), 404)
    for method, path, data in (("GET", "windows/", None), ("POST", "windows/", NIGHTS)):
        problem(world.a.send(method, path, data), 403)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"weekdays": [7]}, "weekdays.0"),
        ({"weekdays": ["5"]}, "weekdays.0"),
        ({"weekdays": []}, "weekdays"),
        ({"opens_at": "25:00"}, "opens_at"),
        ({"opens_at": 200}, "opens_at"),
        ({"minutes": 0}, "minutes"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"tenant": "nobody"}, "tenant"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_makes_no_sense_is_named(world: World, values: dict[str, Any], field: str) -> None:
    told = problem(world.operator.post("windows/", NIGHTS | values), 400)
    assert field in {error["field"] for error in told["errors"]}
    assert not ChangeWindow.objects.exists()


def test_bounds_of_tenants_and_sites(world: World) -> None:
    for path, row in (("tenants", world.tenant_a), ("sites", Site.objects.get())):
        address = f"{path}/{row.pk}/"
        changed = world.operator.patch(address, {"needs_approval": True, "changes_at_once": 2}).json()
        assert (changed["needs_approval"], changed["changes_at_once"]) == (True, 2)
        assert world.operator.get(address).json() == changed
        for wrong in ({"changes_at_once": 0}, {"changes_at_once": 40_000}, {"needs_approval": 1}, {"name": "x"}):
            problem(world.operator.patch(address, wrong), 400)
        problem(world.a.patch(address, {"needs_approval": False}), 403)
        row.refresh_from_db()
        assert (row.needs_approval, row.changes_at_once) == (True, 2)
    assert AuditRow.objects.filter(action__in=("tenant.update", "site.update")).count() == 2


def test_lists_cost_the_same_however_long_they_are(world: World) -> None:
    ann = of("ann", world.tenant_a)
    waiting(world, ann)
    world.operator.post("windows/", NIGHTS | {"tenant": "tenant-a"})
    paths = ("changes/?status=waiting", "windows/", "sites/", "tenants/", "tokens/")
    few = [queries(world.operator, path) for path in paths]
    for number in range(5):
        waiting(world, of(f"p{number}", world.tenant_a), name=f"n{number}", priority=number + 1)
        world.operator.post("windows/", NIGHTS | {"name": f"n{number}", "site": "lab"})
    assert [queries(world.operator, path) for path in paths] == few


def queries(api: Api, path: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert api.get(path).status_code == 200
    return len(seen)
