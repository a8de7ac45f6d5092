# SPDX-License-Identifier: Apache-2.0
"""Chains through the interface: create, read, replace, edit, delete, and who may."""

from __future__ import annotations

import pytest

from chains.models import AuditRow, Chain, Outbox
from tests.api.world import World, chain_body, problem


def test_a_chain_is_created_and_read_back(world: World) -> None:
    response = world.a.post("chains/", chain_body())
    assert response.status_code == 201, response.content
    made = response.json()
    assert response["Location"] == made["url"]
    assert response["ETag"]
    again = world.a.get(made["url"].removeprefix("http://testserver"))
    assert again.json() == made
    assert again["ETag"] == response["ETag"]
    assert (made["tenant"], made["name"], made["source"]) == ("tenant-a", "web", "clients")
    assert made["classifiers"] == [
        {"family": 4, "protocol": "tcp", "source_ports": "", "destination_ports": "80", "dscp": None}
    ]
    assert [hop["function"] for hop in made["hops"]] == ["ngfw"]
    assert (made["status"], made["generation"], made["observed_generation"]) == ("draft", 1, 0)
    said = {row["kind"]: (row["status"], row["reason"]) for row in made.pop("conditions")}
    assert said["ready"] == ("false", "never-applied")
    assert world.a.get("chains/").json()["results"] == [made]


def test_a_write_leaves_audit_and_bell_with_the_requests_id(world: World) -> None:
    response = world.a.post("chains/", chain_body(), headers={"X-Request-ID": "my-request-1"})
    assert response["X-Request-ID"] == "my-request-1"
    row = AuditRow.objects.get(action="chain.create")
    assert (row.actor, row.request_id) == ("token:canary-a", "my-request-1")
    assert Outbox.objects.filter(topic="chain", ref=response.json()["id"]).count() == 1


def test_replacing_sets_what_is_not_named_back_and_editing_keeps_it(world: World) -> None:
    url = f"chains/{world.a.post('chains/', chain_body(description='first', priority=3)).json()['id']}/"
    edited = world.a.patch(url, {"priority": 4}).json()
    assert (edited["description"], edited["priority"], edited["generation"]) == ("first", 4, 2)
    replaced = world.a.put(url, chain_body()).json()
    assert (replaced["description"], replaced["priority"], replaced["generation"]) == ("", 0, 3)
    body = chain_body()
    del body["source"]
    assert [each["field"] for each in problem(world.a.put(url, body), 400)["errors"]] == ["source"]


def test_an_edit_on_an_old_reading_is_refused(world: World) -> None:
    created = world.a.post("chains/", chain_body())
    url, tag = f"chains/{created.json()['id']}/", created["ETag"]
    assert world.a.patch(url, {"priority": 4}, headers={"If-Match": tag}).status_code == 200
    problem(world.a.patch(url, {"priority": 5}, headers={"If-Match": tag}), 412)
    problem(world.a.put(url, chain_body(), headers={"If-Match": '"nonsense"'}), 412)
    problem(world.a.delete(url, headers={"If-Match": tag}), 412)
    assert Chain.objects.get().priority == 4
    assert world.a.patch(url, {"priority": 5}, headers={"If-Match": "*"}).status_code == 200


def test_a_chain_that_no_device_holds_goes_at_once(world: World) -> None:
    url = f"chains/{world.a.post('chains/', chain_body()).json()['id']}/"
    assert world.a.delete(url).status_code == 204
    problem(world.a.get(url), 404)
    problem(world.a.delete(url), 404)


def test_a_taken_name_is_a_conflict_and_only_within_the_tenant(world: World) -> None:
    assert world.a.post("chains/", chain_body()).status_code == 201
    assert problem(world.a.post("chains/", chain_body()), 409)["errors"][0]["field"] == "name"
    assert world.b.post("chains/", chain_body()).status_code == 201


def test_the_tenant_comes_from_the_token_alone(world: World) -> None:
    for name in ("tenant-a", "tenant-b", "nobody"):
        body = problem(world.a.post("chains/", chain_body(tenant=name)), 400)
        assert body["errors"][0]["field"] == "tenant"
    for values in ({"status": "ready"}, {"id": 7}, {"generation": 9}, {"is_wanted": False}, {"owner": "x"}):
        problem(world.a.post("chains/", chain_body(**values)), 400)
    assert not Chain.objects.exists()


def test_an_operator_acts_for_a_named_tenant(world: World) -> None:
    assert problem(world.operator.post("chains/", chain_body()), 400)["errors"][0]["field"] == "tenant"
    assert problem(world.operator.post("chains/", chain_body(tenant="tenant-x")), 400)["errors"]
    made = world.operator.post("chains/", chain_body(tenant="tenant-b"))
    assert made.status_code == 201, made.content
    assert made.json()["tenant"] == "tenant-b"
    world.a.post("chains/", chain_body())
    assert world.operator.get("chains/").json()["count"] == 2
    found = world.operator.get("chains/?tenant=tenant-b").json()["results"]
    assert [row["url"] for row in found] == [made.json()["url"]]
    assert world.operator.patch(f"chains/{made.json()['id']}/", {"priority": 2}).status_code == 200


def test_a_viewer_reads_only(world: World) -> None:
    url = f"chains/{world.a.post('chains/', chain_body()).json()['id']}/"
    assert world.viewer.get(url).status_code == 200
    problem(world.viewer.post("chains/", chain_body("other")), 403)
    for method in ("PUT", "PATCH", "DELETE"):
        problem(world.viewer.send(method, url, chain_body()), 403)
    problem(world.viewer.post(f"{url}plan/"), 403)


@pytest.mark.parametrize("path", ["chains/", "chains/1/", "devices/", "me/"])
def test_without_a_token_nothing_is_said(world: World, path: str) -> None:
    response = world.nobody.get(path)
    problem(response, 401)
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_errors_name_every_field_at_fault(world: World) -> None:
    body = chain_body("UPPER", source="nowhere", bandwidth_mbps="10", hops=[{"function": "ngwf"}])
    errors = problem(world.a.post("chains/", body), 400)["errors"]
    assert {each["field"] for each in errors} >= {"name", "source", "bandwidth_mbps", "hops.0.function"}
    assert any("ngfw" in each["detail"] for each in errors)
