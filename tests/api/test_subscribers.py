# SPDX-License-Identifier: Apache-2.0
"""Who had a public port, over REST: the answer, who is told what, and the audit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from chains import models
from tests.api.world import World, chain_body, problem
from tests.builders import apply as applied
from tests.builders import make_plan

ASKED = {"address": "198.51.100.0", "port": "1280", "protocol": "tcp"}


@pytest.fixture
def translated(world: World) -> models.Chain:
    """10.10.1.1 of tenant A has 198.51.100.0 ports 1280 to 1535."""
    made = world.a.post("chains/", chain_body())
    chain = models.Chain.objects.get(pk=made.json()["id"])
    subscribers = {"hop": 0, "offer": "cgn@cgn1", "subscribers": "10.10.1.0/24", "public": "198.51.100.0/31"}
    known = {"block_size": 256, "vrf": "a", "protocols": ["tcp"]}
    applied(make_plan(chain, allocations=[{**subscribers, **known}]))
    return chain


def ask(api: Any, **values: str) -> Any:
    return api.get(f"subscribers/?{urlencode({**ASKED, **values})}")


def test_operators_and_the_tenant_itself_are_told_and_every_question_is_in_the_audit(
    world: World, translated: models.Chain
) -> None:
    for api in (world.operator, world.a, world.viewer):
        answer = ask(api, reason="case 4711").json()
        assert (answer["address"], answer["port"], answer["protocol"]) == ("198.51.100.0", 1280, "tcp")
        found = answer["subscriber"]
        assert (found["tenant"], found["vrf"], found["address"], found["chain"]) == (
            translated.tenant.name, "a", "10.10.1.1", translated.pk
        )  # fmt: skip
        assert (found["first_port"], found["last_port"], found["until"]) == (1280, 1535, None)
    rows = models.AuditRow.objects.filter(action="subscriber.ask")
    assert rows.count() == 3
    assert {row.detail["reason"] for row in rows} == {"case 4711"}
    assert all("10.10.1.1" in row.detail["answer"] for row in rows)


def test_another_tenants_subscriber_looks_like_nobodys(world: World, translated: models.Chain) -> None:
    theirs, nobodys = ask(world.b).json(), ask(world.b, address="203.0.113.5").json()
    assert theirs["subscriber"] is nobodys["subscriber"] is None
    assert {**theirs, "at": "", "address": ""} == {**nobodys, "at": "", "address": ""}


def test_the_moment_counts(world: World, translated: models.Chain) -> None:
    since = models.PoolAllocation.objects.get().since
    for at, is_known in ((since, True), (since - timedelta(microseconds=1), False)):
        found = ask(world.operator, at=at.isoformat()).json()["subscriber"]
        assert (found is not None) == is_known
    east = ask(world.operator, at=since.isoformat().replace("+00:00", "+02:00"))
    assert east.json()["subscriber"] is None  # two hours before


@pytest.mark.parametrize(
    "values",
    [
        {"address": ""}, {"address": "2001:db8::1"}, {"address": "198.51.100"}, {"address": "0198.51.100.1"},
        {"port": "65536"}, {"port": "-1"}, {"port": "1e3"}, {"port": "\u0663"},
        {"protocol": "sctp"}, {"at": "2026-03-01T12:00:00"}, {"at": "yesterday"}, {"at": "2999-01-01T00:00:00Z"},
        {"reason": "x" * 256}, {"reason": "a\nb"}, {"whose": "a"},
    ],
    ids=str,
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused_and_names_its_part(world: World, values: dict[str, str]) -> None:
    fault = problem(ask(world.operator, **values), 400)
    assert fault["errors"][0]["field"] == next(iter(values))
    assert not models.AuditRow.objects.filter(action="subscriber.ask").exists()


def test_what_is_left_out_is_named_together(world: World) -> None:
    fault = problem(world.operator.get("subscribers/"), 400)
    assert {error["field"] for error in fault["errors"]} == {"address", "port", "protocol"}
