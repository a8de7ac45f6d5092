# SPDX-License-Identifier: Apache-2.0
"""Who sees what: lists and single rows are cut to the tenant, the inventory is the operators'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chains import models, selectors
from chains.errors import Forbidden, NotFound
from chains.selectors import tenancy
from chains.services import record
from chains.services.actor import Actor
from tests.builders import OPERATOR, apply, device, editor, make_chain, make_plan, tenant, viewer

pytestmark = pytest.mark.usefixtures("fabric")
NO_KEYS = (10**9, 1 << 63, 1 << 70, 0, -1, "", "x", "1e1", "٣", "1\0", None, True, 1.0)
GETS: dict[str, Callable[[Any, Any], Any]] = {
    "chain": selectors.chain_get,
    "plan": selectors.plan_get,
    "change": selectors.change_get,
}
LISTS: dict[str, Callable[[Any], Any]] = {
    "chain": selectors.chain_list,
    "plan": selectors.plan_list,
    "change": selectors.change_list,
    "finding": selectors.finding_list,
}


@pytest.fixture
def both_tenants() -> dict[str, dict[str, Any]]:
    """For each tenant one of everything that belongs to it."""
    made = {}
    for name in ("tenant-a", "tenant-b"):
        chain = make_chain(name)
        apply(make_plan(chain))
        chain.refresh_from_db()
        change = models.Change.objects.get(plan__chain=chain)
        record.event_log(change, f"canary of {name}")
        finding, _ = record.finding_open(code="drift", detail=f"canary of {name}", chain=chain)
        made[name] = {"chain": chain, "plan": change.plan, "change": change, "finding": finding}
    record.finding_open(code="drift", detail="of a device", device=device("leaf1"))
    return made


def test_every_get_knows_the_own_and_nothing_else(both_tenants: dict[str, dict[str, Any]]) -> None:
    texts = set()
    for kind, get in GETS.items():
        own, foreign = both_tenants["tenant-a"][kind], both_tenants["tenant-b"][kind]
        for actor in (editor("tenant-a"), viewer("tenant-a")):
            assert get(actor, own.pk) == own and get(actor, str(own.pk)) == own
            for key in (foreign.pk, str(foreign.pk), *NO_KEYS):
                with pytest.raises(NotFound) as caught:
                    get(actor, key)
                texts.add((caught.value.detail, caught.value.code, caught.value.errors))
        assert get(OPERATOR, foreign.pk) == foreign
    assert len(texts) == 1


def test_every_list_is_the_own_part(both_tenants: dict[str, dict[str, Any]]) -> None:
    for kind, rows in LISTS.items():
        assert [row.pk for row in rows(editor("tenant-a"))] == [both_tenants["tenant-a"][kind].pk]
        assert {made[kind].pk for made in both_tenants.values()} <= {row.pk for row in rows(OPERATOR)}
    assert {row.tenant.name for row in selectors.audit_list(viewer("tenant-b"))} == {"tenant-b"}
    names = [(row.tenant and row.tenant.name, row.name) for row in selectors.segment_list(editor("tenant-b"))]
    assert sorted(names, key=str) == [("tenant-b", "clients"), ("tenant-b", "servers"), (None, "outside")]
    assert [row.name for row in selectors.tenant_list(editor("tenant-a"))] == ["tenant-a"]
    assert selectors.chain_find(editor("tenant-b"), "web") == both_tenants["tenant-b"]["chain"]
    with pytest.raises(NotFound):
        selectors.chain_find(editor("tenant-a"), "web\0")


def test_the_inventory_is_the_operators() -> None:
    for read in (selectors.device_list, selectors.offer_list, selectors.instance_list, selectors.link_list,
                 selectors.site_list):  # fmt: skip
        assert read(OPERATOR).exists()
        for actor in (editor(), viewer()):
            with pytest.raises(Forbidden):
                read(actor)
    for read_one in (
        selectors.device_get,
        selectors.device_view,
        selectors.offer_get,
        selectors.instance_get,
        selectors.site_get,
        selectors.window_get,
    ):
        with pytest.raises(Forbidden):
            read_one(editor(), 1)
    assert selectors.function_list(viewer()).count() == 4


def test_the_operators_role_inside_a_tenant_opens_nothing_outside(
    both_tenants: dict[str, dict[str, Any]],
) -> None:
    """Such a row cannot come from a token; a membership could say it."""
    insider = Actor("x", tenant("tenant-a"), models.Role.OPERATOR)
    assert selectors.chain_list(insider).count() == 1
    with pytest.raises(Forbidden):
        selectors.device_list(insider)
    nobody = Actor("x", None, models.Role.EDITOR)
    assert not selectors.chain_list(nobody).exists() and not tenancy.tenant_list(nobody).exists()


def test_events_go_on_after_the_last_one(both_tenants: dict[str, dict[str, Any]]) -> None:
    change = both_tenants["tenant-a"]["change"]
    first = selectors.events_after(change).get()
    second = record.event_log(change, "more")
    assert list(selectors.events_after(change, first.pk)) == [second]
