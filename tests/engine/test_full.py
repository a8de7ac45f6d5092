# SPDX-License-Identifier: Apache-2.0
"""A plan that would overflow a device's table is refused when it is made, and names device, limit and need."""

from __future__ import annotations

import pytest

from chains import models
from chains.engine import planner
from tests.engine import world

pytestmark = pytest.mark.usefixtures("fabric")


def table_lines(device: str, most: int) -> None:
    row = world.device(device)
    row.settings = {**row.settings, "table_lines": str(most)}
    row.save(update_fields=["settings"])


def planned(chain: models.Chain) -> models.Plan:
    """READY or REFUSED."""
    return planner.plan_chain(chain, "tester")


def reasons(plan: models.Plan) -> list[tuple[str, str]]:
    return [(reason["code"], reason["detail"]) for reason in plan.errors]


def test_what_fits_exactly_is_planned_and_one_more_is_not() -> None:
    chain = world.chain({**world.NGFW, "device": "fw1"})
    need = len(planned(chain).target["leaf1"])
    table_lines("leaf1", need)
    assert planned(chain).status == models.Plan.Status.READY
    table_lines("leaf1", need - 1)
    refused = planned(chain)
    assert refused.status == models.Plan.Status.REFUSED
    said = f"leaf1 would need {need} lines in all its tables, and {need - 1} fit (its setting `table_lines`)"
    assert reasons(refused) == [("table-full", said)]


def test_where_a_table_is_full_the_next_place_is_taken() -> None:
    chain = world.chain(world.NGFW)
    first = planned(chain)
    assert first.placement["hops"][0]["chosen"]["offers"] == ["ngfw@fw1"]
    table_lines("leaf1", len(first.target["leaf1"]) - 1)
    plan = planned(chain)
    assert plan.status == models.Plan.Status.READY, plan.errors
    hop = plan.placement["hops"][0]
    assert hop["chosen"]["offers"] == ["ngfw@fw2"]
    (why,) = [other["excluded"] for other in hop["rejected"] if other["offers"] == ["ngfw@fw1"]]
    assert why.startswith("the tables of leaf1 would be too full: leaf1 would need")
    assert len(plan.target["leaf1"]) < len(first.target["leaf1"])
    table_lines("leaf1", 1)
    assert [code for code, _ in reasons(planned(chain))] == ["table-full"], "nothing needs so little"


def test_others_are_counted_and_old_beside_new() -> None:
    first = world.chain(world.NGFW)
    world.apply(first)
    held = len(world.network()["leaf1"])
    table_lines("leaf1", held)
    other = world.chain(world.NGFW, name="other", tenant="tenant-b")
    assert [code for code, _ in reasons(planned(other))] == ["table-full"]
    world.edit(first, hops=[{**world.NGFW, "device": "fw2"}])
    moved = planned(first)
    assert [code for code, _ in reasons(moved)] == ["table-full"], "the new items stand beside the old ones"
    world.delete(first)
    first.refresh_from_db()
    assert planned(first).status == models.Plan.Status.READY, "what is there can always be taken away"
