# SPDX-License-Identifier: Apache-2.0
"""`?dry_run=true`: every write answers as if it were done, and the database holds what it held."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from chains import models
from tests.api.world import World, chain_body, problem
from tests.builders import make_plan

LAST_USE = "chains_apitoken"  # every request is noted there


def rows() -> dict[str, str]:
    """Everything that is stored, by table, as one number each."""
    tables = sorted(model._meta.db_table for model in apps.get_app_config("chains").get_models())
    found = {}
    with connection.cursor() as cursor:
        for table in tables:
            if table != LAST_USE:
                cursor.execute(
                    f"SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t"
                )  # noqa: S608
                found[table] = cursor.fetchone()[0]
    return found


@pytest.fixture
def chain(world: World) -> int:
    return int(world.a.post("chains/", chain_body()).json()["id"])


WRITES = (
    ("a", "POST", "chains/", chain_body("other", priority=7)),
    ("a", "PATCH", "chains/{chain}/", {"priority": 3}),
    ("a", "PUT", "chains/{chain}/", chain_body("renamed")),
    ("a", "DELETE", "chains/{chain}/", None),
    ("a", "POST", "chains/{chain}/plan/", None),
    ("a", "POST", "plans/{plan}/apply/", None),
    ("operator", "POST", "freeze/", {"reason": "core reboot"}),
    ("operator", "POST", "tokens/", {"name": "ci", "tenant": "tenant-a", "role": "viewer"}),
)


@pytest.mark.parametrize(("who", "method", "path", "body"), WRITES, ids=lambda value: str(value)[:24])
def test_it_answers_as_the_write_does_and_keeps_nothing(
    world: World, chain: int, who: str, method: str, path: str, body: Any
) -> None:
    api, plan = getattr(world, who), make_plan(models.Chain.objects.get(pk=chain))
    path = path.format(chain=chain, plan=plan.pk)
    before = rows()
    tried = api.send(method, f"{path}?dry_run=true", body)
    assert rows() == before
    assert "Location" not in tried.headers and "ETag" not in tried.headers
    meant = api.send(method, path, body)
    assert tried.status_code == meant.status_code < 300, tried.content
    assert rows() != before
    if body and method == "PATCH":
        assert tried.json()["priority"] == 3


def test_what_the_write_would_be_refused_for_is_said(world: World, chain: int) -> None:
    fault = problem(world.a.post("chains/?dry_run=true", chain_body()), 409)
    assert fault == problem(world.a.post("chains/", chain_body()), 409)
    problem(world.viewer.post("chains/?dry_run=true", chain_body("other", priority=7)), 403)
    problem(world.b.patch(f"chains/{chain}/?dry_run=true", {"priority": 3}), 404)


def test_with_a_key_the_trial_is_answered_again_and_never_taken_for_the_write(world: World) -> None:
    key = {"Idempotency-Key": "try-1"}
    tried = [world.a.post("chains/?dry_run=true", chain_body(), headers=key) for _ in range(2)]
    assert tried[0].content == tried[1].content and tried[0].status_code == 201
    assert not models.Chain.objects.exists()
    problem(world.a.post("chains/", chain_body(), headers=key), 422)
    for wrong in ("maybe", ""):
        problem(world.a.post(f"chains/?dry_run={wrong}", chain_body()), 400)
    problem(world.a.get("chains/?dry_run=true"), 400)
