# SPDX-License-Identifier: Apache-2.0
"""Credentials and test log-ins over the wire: a secret goes in and never comes out; web processes ask no device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from chains.engine import vault
from chains.engine.credentials import resolve
from chains.engine.logins import log_in_once
from chains.models import AuditRow, Device, KeptReply, Role
from drivers import fake
from tests.api.world import World, api_for, make_world, problem

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "canary-77aa-canary"


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    fake.reset()
    yield make_world()
    fake.reset()


def leaf() -> str:
    return f"devices/{Device.objects.get(name='leaf1').pk}/"


def test_a_secret_goes_in_and_no_reply_has_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replies: list[Any] = []

    def call(method: str, path: str, data: Any = None, status: int = 200, **options: Any) -> Any:
        reply = world.operator.send(method, path, data, **options)
        assert reply.status_code == status, reply.content
        replies.append(reply)
        return reply

    key = {"headers": {"Idempotency-Key": "one"}}
    body = {"name": "leafs", "secret": SECRET}
    made = call("POST", "credentials/", body, 201, **key).json()
    again = call("POST", "credentials/", body, 201, **key).json()
    assert made == again
    assert (made["reference"], made["devices"]) == ("vault:leafs", [])
    assert sorted(made) == [
        "created_at", "devices", "display", "id", "key_id", "name", "reference", "rotated_at", "url"
    ]  # fmt: skip
    one = f"credentials/{made['id']}/"
    for method in ("GET", "POST", "PATCH"):
        call(method, one, {"secret": SECRET} if method != "GET" else None, 200 if method == "GET" else 405)
    call("POST", "credentials/", body, 409)
    call("POST", "credentials/", {"name": "Leafs", "secret": SECRET}, 400)
    call("POST", "credentials/", {"name": "b", "secret": SECRET * 5000}, 400)
    call("POST", "credentials/", {"name": "b", "secret": SECRET, SECRET[:8]: 1}, 400)
    call("PUT", one, {"secret": [SECRET]}, 400)
    call("PUT", one, {"secret": f"{SECRET}\nline two\n"})
    Device.objects.filter(name="leaf1").update(credential="vault:leafs")
    assert call("GET", "credentials/?q=leaf").json()["results"][0]["devices"] == ["leaf1"]
    call("DELETE", one, None, 409)
    call("GET", leaf())
    call("GET", "audit/")
    call("GET", "fabric/")
    for reply in replies:
        text = reply.content.decode() + str(dict(reply.items()))
        assert "canary-77" not in text
    assert "canary-77" not in caplog.text
    assert all("canary-77" not in str(row) for row in KeptReply.objects.values_list())
    assert all("canary-77" not in str(row) for row in AuditRow.objects.values_list())
    assert resolve("vault:leafs", "leaf1", vault.sealed_of(["vault:leafs"])) == f"{SECRET}\nline two\n"


def test_the_fingerprint_of_a_kept_write_is_keyed(world: World, settings: Any) -> None:
    """A plain hash of a body would let whoever reads the database guess a weak secret."""
    headers = {"Idempotency-Key": "one"}
    world.operator.post("credentials/", {"name": "leafs", "secret": "1234"}, headers=headers)
    first = KeptReply.objects.get().fingerprint
    settings.SECRET_KEY = "another"
    KeptReply.objects.all().delete()
    fresh = api_for("fresh", None, Role.OPERATOR)  # tokens are keyed too
    fresh.post("credentials/", {"name": "leafs", "secret": "1234"}, headers=headers)
    assert KeptReply.objects.get().fingerprint != first


def test_without_a_public_key_nothing_is_stored(world: World, settings: Any) -> None:
    settings.VIADUCT_CREDENTIAL_KEY = settings.VIADUCT_CREDENTIAL_PUBLIC = ""
    told = problem(world.operator.post("credentials/", {"name": "leafs", "secret": SECRET}), 409)
    assert told["type"] == "urn:viaduct:no-credential-key"
    assert world.operator.get("credentials/").json()["count"] == 0


def test_a_log_in_is_asked_for_polled_and_told(world: World) -> None:
    address = f"{leaf()}test-login/"
    assert world.operator.get(address).json()["login"]["status"] == "never"
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = True  # the web process does not notice
    taken = world.operator.post(address)
    assert (taken.status_code, taken.json()["login"]["status"]) == (202, "pending")
    assert taken["Location"].endswith(f"/api/v1/{address}")
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = False
        box.faults.lacks = "no SLA responder; add: ip sla responder"
    log_in_once(Device.objects.get(name="leaf1").pk)
    said = world.operator.get(address).json()["login"]
    assert (said["status"], said["platform"], said["version"], said["items"]) == ("succeeded", "fake", "1", 0)
    assert said["missing"] == ["no SLA responder; add: ip sla responder"]
    assert said["verified"] and said["asked_by"] == "token:operator" and said["ended_at"]
    assert world.operator.get(leaf()).json()["login"] == said
    problem(world.a.post(address), 403)
    outside = Device.objects.filter(driver="")[0]
    assert problem(world.operator.post(f"devices/{outside.pk}/test-login/"), 409)["type"] == "urn:viaduct:not-managed"


def test_caps_and_whether_it_is_verified(world: World) -> None:
    reply = world.operator.get(leaf()).json()
    assert reply["is_verified"] is True
    assert (reply["caps"]["tier"], reply["caps"]["kinds"]) == ("B", ["filter", "guard", "pass", "redirect"])
    Device.objects.filter(name="leaf1").update(settings={"unverified": "yes"}, driver="fake-switch-confirming")
    reply = world.operator.get(leaf()).json()
    assert (reply["is_verified"], reply["caps"]["tier"], reply["caps"]["has_confirmed_commit"]) == (False, "A", True)
    listed = world.operator.get("devices/?name=leaf1").json()["results"][0]
    assert listed["is_verified"] is False
    outside = Device.objects.filter(driver="")[0]
    assert world.operator.get(f"devices/{outside.pk}/").json()["caps"] is None


def test_limits_and_what_happens_when_something_is_dead(world: World) -> None:
    caps = world.operator.get(leaf()).json()["caps"]
    assert (caps["when_dead"], caps["when_unreachable"], caps["buckets"]) == ("drop", "keep", ["prefix"])
    assert [(one["name"], one["most"]) for one in caps["limits"]] == [("lines", None)]
    Device.objects.filter(name="leaf1").update(settings={"table_lines": "512"})
    assert world.operator.get(leaf()).json()["caps"]["limits"][0]["most"] == 512
