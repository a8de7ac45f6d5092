# SPDX-License-Identifier: Apache-2.0
"""`Idempotency-Key`: one object however often a write is sent, and nobody else's answer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import F

from chains.engine import planner
from chains.models import ApiToken, AuditRow, Chain, KeptReply, Plan, Role, Tenant
from chains.services import intent, replies
from chains.services.replies import Key, replies_prune, reply_claim
from tests.api.world import Api, World, api_for, chain_body, make_world, problem

KEY = {"Idempotency-Key": "9f0c-once"}


def told(response: Any) -> tuple[int, bytes, str | None, str | None, str | None]:
    headers = response.headers
    return (
        response.status_code,
        response.content,
        headers.get("Location"),
        headers.get("ETag"),
        headers.get("Content-Type"),
    )


def test_sent_twice_is_done_once_and_answered_alike(world: World) -> None:
    first = world.a.post("chains/", chain_body(), headers=KEY)
    audited = AuditRow.objects.count()
    again = world.a.post("chains/", chain_body(), headers=KEY)
    assert first.status_code == 201 and first["Location"]
    assert told(first) == told(again)
    assert (Chain.objects.count(), AuditRow.objects.count()) == (1, audited)
    plain = world.a.get(first["Location"].removeprefix("http://testserver"))
    assert plain.json() == first.json()


def test_another_body_path_or_method_is_refused(world: World) -> None:
    chain = world.a.post("chains/", chain_body(), headers=KEY).json()
    for reply in (
        world.a.post("chains/", chain_body("other"), headers=KEY),
        world.a.post(f"chains/{chain['id']}/plan/", headers=KEY),
        world.a.delete(f"chains/{chain['id']}/", headers=KEY),
    ):
        assert problem(reply, 422)["type"] == "urn:viaduct:idempotency-mismatch"
    assert [Chain.objects.count(), Plan.objects.count()] == [1, 0]


def test_every_kind_of_write_takes_a_key(world: World) -> None:
    chain = world.a.post("chains/", chain_body()).json()["id"]
    writes = (
        ("PATCH", f"chains/{chain}/", {"priority": 3}),
        ("PUT", f"chains/{chain}/", chain_body("renamed")),
        ("POST", f"chains/{chain}/plan/", None),
        ("DELETE", f"chains/{chain}/", None),
    )
    for number, (method, path, body) in enumerate(writes):
        headers = {"Idempotency-Key": f"write-{number}"}
        first, again = (world.a.send(method, path, body, headers=headers) for _ in range(2))
        assert first.status_code in (200, 201, 204), first.content
        assert told(first) == told(again)
    assert Plan.objects.count() == 1


def test_keys_of_one_owner_never_answer_another(world: World) -> None:
    first = world.a.post("chains/", chain_body(), headers=KEY)
    other = api_for("second", world.tenant_a, Role.EDITOR)
    for api in (world.b, other, world.operator, world.viewer, world.nobody):
        reply = api.post("chains/", chain_body(), headers=KEY)
        assert reply.content != first.content
    assert problem(other.post("chains/", chain_body(), headers=KEY), 409)["type"] == "urn:viaduct:name-taken"
    assert Chain.objects.filter(tenant=world.tenant_b).count() == 1
    assert KeptReply.objects.filter(key=KEY["Idempotency-Key"]).count() == 4  # not the viewer's, nor nobody's


def test_a_revoked_token_is_not_answered(world: World) -> None:
    world.a.post("chains/", chain_body(), headers=KEY)
    ApiToken.objects.filter(name="canary-a").update(revoked_at=F("created_at"))
    problem(world.a.post("chains/", chain_body(), headers=KEY), 401)


def test_a_refusal_is_an_answer_too(world: World) -> None:
    wrong = chain_body(source="nowhere")
    first, again = (world.a.post("chains/", wrong, headers=KEY) for _ in range(2))
    problem(first, 400)
    assert told(first) == told(again)


def test_a_write_that_breaks_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies when the chain is written and the reply is not kept yet: both go, and the next try does it."""

    def die(*_: Any) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr("chains.api.manners.once.reply_keep", die)
        with pytest.raises(SystemExit):
            world.a.post("chains/", chain_body(), headers=KEY)
    assert (Chain.objects.count(), KeptReply.objects.count()) == (0, 0)
    assert world.a.post("chains/", chain_body(), headers=KEY).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 129, "two words", "caf\u00e9", "line\ttab"])
def test_a_malformed_key_is_refused(world: World, key: str) -> None:
    reply = world.a.post("chains/", chain_body(), headers={"Idempotency-Key": key})
    assert problem(reply, 400)["type"] == "urn:viaduct:invalid-idempotency-key"
    assert not Chain.objects.exists()


def test_a_token_shown_once_is_not_stored_in_clear(world: World) -> None:
    body = {"name": "ci", "role": "operator"}
    first, again = (world.operator.post("tokens/", body, headers=KEY) for _ in range(2))
    plain = first.json()["token"]
    assert again.json()["token"] == plain
    assert ApiToken.objects.filter(name="ci").count() == 1
    row = KeptReply.objects.get()
    assert plain.encode() not in bytes(row.sealed)
    assert plain not in str(row.headers)


def test_keys_are_forgotten_after_a_day(world: World) -> None:
    world.a.post("chains/", chain_body(), headers=KEY)
    assert replies_prune() == 0
    KeptReply.objects.update(created_at="2000-01-01T00:00:00Z")
    assert replies_prune() == 1


def test_a_key_outside_a_transaction_is_a_bug(transactional_db: None) -> None:
    with pytest.raises(RuntimeError):
        reply_claim(Key("token:1/tenant:1", "k", "0" * 64))


def test_a_twin_in_flight_is_told_so(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is held in the middle of its write; meanwhile its twins are refused, afterwards answered."""
    world = make_world()
    inside, go_on, answers = threading.Event(), threading.Event(), []
    real = intent.chain_create

    def slow(**values: Any) -> Chain:
        made = real(**values)
        inside.set()
        assert go_on.wait(20)
        return made

    def first() -> None:
        answers.append(Api(world.a.token).post("chains/", chain_body(), headers=KEY))
        connections.close_all()

    with monkeypatch.context() as patched:
        patched.setattr(intent, "chain_create", slow)
        thread = threading.Thread(target=first)
        thread.start()
        assert inside.wait(20)
        twin = world.a.post("chains/", chain_body(), headers=KEY)
        go_on.set()
        thread.join(20)
    assert problem(twin, 409)["type"] == "urn:viaduct:idempotency-in-flight"
    assert answers[0].status_code == 201
    assert told(world.a.post("chains/", chain_body(), headers=KEY)) == told(answers[0])
    assert Chain.objects.count() == 1


def test_many_at_once_make_one(transactional_db: None) -> None:
    world, codes, lock = make_world(), [], threading.Lock()

    def send() -> None:
        reply = Api(world.a.token).post("chains/", chain_body(), headers=KEY)
        with lock:
            codes.append(reply.status_code)
        connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(codes) == 12 and set(codes) <= {201, 409} and 201 in codes
    assert Chain.objects.count() == 1


def test_a_keyed_plan_reads_one_moment(transactional_db: None) -> None:
    world = make_world()
    chain = world.a.post("chains/", chain_body()).json()["id"]
    levels = []
    real = replies.reply_claim

    def noted(key: Key) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            levels.append(cursor.fetchone()[0])
        return real(key)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chains.api.manners.once.reply_claim", noted)
        assert world.a.post(f"chains/{chain}/plan/", headers=KEY).status_code == 201
    assert levels == ["repeatable read"]
    assert not transaction.get_connection().in_atomic_block
    assert Tenant.objects.count() == 2


@pytest.mark.parametrize("times", [1, 3])
def test_a_keyed_plan_goes_on_where_a_worker_wrote_the_chain_meanwhile(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """PostgreSQL ends the later of the two; the client must not be told of it."""
    world = make_world()
    chain = world.a.post("chains/", chain_body()).json()["id"]
    left = [times]
    store = planner.store

    def write() -> None:
        Chain.objects.filter(pk=chain).update(revision=F("revision"), status_reason=f"{left[0]} left")
        connections.close_all()

    def disturbed(*args: Any, **names: Any) -> Any:
        if left[0]:
            left[0] -= 1
            thread = threading.Thread(target=write)
            thread.start()
            thread.join(30)
        return store(*args, **names)

    monkeypatch.setattr(planner, "store", disturbed)
    reply = world.a.post(f"chains/{chain}/plan/", headers=KEY)
    assert reply.status_code == 201, reply.content
    assert left == [0] and Plan.objects.count() == 1
    assert KeptReply.objects.filter(status=201).count() == 1
