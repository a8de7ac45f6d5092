# SPDX-License-Identifier: Apache-2.0
"""The fabric file over the wire: out, in, dry runs, and whatever is no fabric file."""

from __future__ import annotations

import pytest

from chains.models import AuditRow, Device, Offer, Price, Segment
from tests.api.world import World, chain_body, problem

YAML = "application/yaml"
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "a list": b"[1, 2]",
    "a number": b"7",
    "not yaml": b"{a: [b",
    "a tab": b"fabric:\tdemo\n\t- x",
    "not utf-8": b"fabric: \xff\xfe",
    "NUL": b"fabric: de\x00mo",
    "an object": b"!!python/object/apply:os.system ['true']",
    "bombs": b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nfabric: *c",
    "itself": b"fabric: &a [*a]",
    "deep": b"fabric: " + b"[" * 1000 + b"]" * 1000,
    "unknown section": b"fabric: demo\nrouters: []",
    "same name twice": b"fabric: demo\nfabric: demo",
    "two documents": b"fabric: demo\n---\nfabric: demo",
    "wrong types": b"fabric: demo\nsites: {name: lab}\nvrfs: 7\ndevices: [null]",
    "a huge tag": b"fabric: demo\nvrfs: [{name: x, tag: 99999999999999999999999999}]",
    "json": b'{"fabric": {"deep": {}}}',
}


def load(world: World, text: bytes | str, query: str = "", content_type: str = YAML) -> object:
    data = text if isinstance(text, bytes) else text.encode()
    return world.operator.put(f"fabric/{query}", data, content_type=content_type)


def test_what_is_read_loads_back_unchanged(world: World) -> None:
    exported = world.operator.get("fabric/")
    assert exported["Content-Type"].startswith(YAML)
    response = load(world, exported.content)
    assert response.status_code == 200, response.content
    body = response.json()
    assert body["is_dry_run"] is False
    for difference in body["differences"]:
        assert (difference["created"], difference["changed"], difference["removed"]) == ([], [], [])
    assert world.operator.get("fabric/").content == exported.content


def test_a_dry_run_shows_and_writes_nothing_and_loading_does_just_that(world: World) -> None:
    text = world.operator.get("fabric/").content.decode()
    changed = text.replace("sites:\n", "sites:\n  - {name: second}\n")
    shown = load(world, changed, "?dry_run=true").json()
    assert shown["is_dry_run"] is True
    sites = next(each for each in shown["differences"] if each["section"] == "sites")
    assert sites["created"] == ["second"]
    assert world.operator.get("fabric/").content.decode() == text
    assert not AuditRow.objects.filter(action="fabric.load").exists()
    done = load(world, changed).json()
    assert done == {**shown, "is_dry_run": False}
    assert {row["name"] for row in world.operator.get("sites/").json()["results"]} == {"lab", "second"}
    assert AuditRow.objects.get(action="fabric.load").actor == "token:operator"


def test_what_a_chain_needs_does_not_go(world: World) -> None:
    assert world.a.post("chains/", chain_body()).status_code == 201
    lines = world.operator.get("fabric/").content.decode().splitlines(keepends=True)
    without = "".join(line for line in lines if "name: servers" not in line)
    for query in ("?dry_run=true", ""):
        errors = problem(load(world, without, query), 400)["errors"]
        assert any("servers" in error["field"] for error in errors)
    assert Segment.objects.filter(name="servers").count() == 2


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_what_is_no_fabric_file_changes_nothing(world: World, name: str, query: str) -> None:
    before = Device.objects.count()
    problem(load(world, HOSTILE[name], query), 400)
    assert Device.objects.count() == before
    assert not AuditRow.objects.filter(action="fabric.load").exists()


def test_only_yaml_of_a_sane_size_is_taken(world: World) -> None:
    for kind in ("application/json", "text/plain", "", "multipart/form-data; boundary=x"):
        problem(load(world, "fabric: demo", content_type=kind), 415)
    problem(load(world, "fabric: demo\n" + "# x\n" * 2_100_000), 413)
    problem(load(world, "fabric: demo", "?dry_run=maybe"), 400)
    problem(load(world, "fabric: demo", "?force=true"), 400)


def test_prices_are_read_changed_audited_and_used(world: World) -> None:
    assert world.operator.get("prices/").json()["core"] == 0
    chain = f"chains/{world.a.post('chains/', chain_body(bandwidth_mbps=100)).json()['id']}/"
    link = world.a.get(f"{chain}why/").json()["placement"]["cost_terms"]["links"]
    assert problem(world.operator.patch("prices/", {"cores": 1}), 400)
    assert problem(world.operator.patch("prices/", {"core": -1}), 400)
    assert problem(world.a.patch("prices/", {"core": 1}), 403)
    told = world.operator.patch("prices/", {"link_per_gbps": 7, "core": 2.5}).json()
    assert (told["link_per_gbps"], told["core"], told["move"]) == (7, 2.5, 5)
    assert world.a.get(f"{chain}why/").json()["placement"]["cost_terms"]["links"] > link
    actions = [row["subject"] for row in world.operator.get("audit/?action=price.update").json()["results"]]
    assert sorted(actions) == ["price core", "price link_per_gbps"]
    text = world.operator.get("fabric/").content.decode()
    assert "  - {name: core, cost: 2.5}\n" in text
    assert load(world, text.replace("name: core, cost: 2.5", "name: core, cost: 4")).status_code == 200  # type: ignore[attr-defined]
    assert world.operator.get("prices/").json()["core"] == 4
    assert load(world, text.split("prices:")[0] + "offers:" + text.split("offers:")[1]).status_code == 200  # type: ignore[attr-defined]
    assert not Price.objects.exists()


def test_what_was_measured_stands_in_for_what_was_declared(world: World) -> None:
    chain = f"chains/{world.a.post('chains/', chain_body(bandwidth_mbps=100)).json()['id']}/"
    offer = Offer.objects.get(device__name="fw1")
    world.operator.patch("prices/", {"core": 3})
    world.operator.patch(f"offers/{offer.pk}/", {"cores_per_gbps": 2, "latency_us": 10})
    before = world.a.get(f"{chain}why/").json()["placement"]
    seen = {"measured_cores_per_gbps": 4, "measured_latency_us": 60}
    shown = world.operator.patch(f"offers/{offer.pk}/", seen).json()
    assert (shown["cores_per_gbps"], shown["measured_cores_per_gbps"]) == (2, 4)
    after = world.a.get(f"{chain}why/").json()["placement"]
    assert after["hops"][0]["chosen"]["cost_terms"]["cpu"] == 2 * before["hops"][0]["chosen"]["cost_terms"]["cpu"] > 0
    assert after["latency_us"] == before["latency_us"] + 50
