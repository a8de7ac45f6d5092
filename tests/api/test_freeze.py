# SPDX-License-Identifier: Apache-2.0
"""The freeze switch over the wire: who sets it, who sees it, what the audit says."""

from __future__ import annotations

import pytest

from chains.models import AuditRow, Freeze
from tests.api.world import World, problem


def test_set_seen_lifted(world: World) -> None:
    assert world.a.get("freeze/").json() == {
        "is_frozen": False, "reason": "", "created_by": "", "created_at": None
    }  # fmt: skip
    first = world.operator.post("freeze/", {"reason": "core reboot"})
    assert (first.status_code, first["Location"]) == (201, "http://testserver/api/v1/freeze/")
    again = world.operator.post("freeze/", {"reason": "another"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert world.viewer.get("freeze/").json()["reason"] == "core reboot"
    assert world.operator.delete("freeze/").status_code == 204
    assert world.operator.delete("freeze/").status_code == 204
    assert world.a.get("freeze/").json()["is_frozen"] is False
    assert world.operator.post("freeze/", {"reason": "another"}).status_code == 201
    actions = AuditRow.objects.filter(action__startswith="freeze").order_by("id")
    assert [row.action for row in actions] == ["freeze.set", "freeze.lift", "freeze.set"]
    assert actions[0].detail == {"reason": "core reboot"}
    row = Freeze.objects.earliest("id")
    assert (row.created_by, row.lifted_by) == ("token:operator", "token:operator")


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 256, 7, None])
def test_a_reason_is_one_line(world: World, reason: object) -> None:
    problem(world.operator.post("freeze/", {"reason": reason}), 400)
    assert not Freeze.objects.exists()


def test_an_editor_may_not(world: World) -> None:
    problem(world.a.post("freeze/", {"reason": "no"}), 403)
    world.operator.post("freeze/", {"reason": "yes"})
    problem(world.a.delete("freeze/"), 403)
    assert Freeze.objects.filter(lifted_at=None).count() == 1
