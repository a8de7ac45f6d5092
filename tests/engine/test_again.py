# SPDX-License-Identifier: Apache-2.0
"""Retry by hand and undo: a change that waits goes on now; a finished one is taken back by a new, planned one."""

from __future__ import annotations

import pytest

from chains import models, selectors
from chains.engine.reconcile import run_change
from chains.errors import Conflict, Forbidden, NotFound
from chains.services.actor import SYSTEM, Actor
from chains.services.again import change_retry, change_undo
from drivers import fake
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")
BY_HOSTS = {**world.NGFW, "realm": "host"}


def actor(tenant: str, role: str) -> Actor:
    return Actor("pat", models.Tenant.objects.get(name=tenant), models.Role(role))


def edited() -> tuple[models.Chain, models.Change, models.Change]:
    """A chain that was applied, edited and applied again."""
    chain = world.chain(world.NGFW, bandwidth_mbps=20)
    first = world.apply(chain)
    world.edit(chain, hops=[BY_HOSTS], bandwidth_mbps=30, description="by the hosts")
    second = world.apply(chain)
    assert (first.status, second.status) == ("succeeded", "succeeded")
    return chain, first, second


def test_a_postponed_change_is_tried_at_once(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    with fake.box("fw1") as box:
        box.faults.is_unreachable = True
    assert run_change(change.pk) is False
    with fake.box("fw1") as box:
        box.faults.is_unreachable = False
    models.Change.objects.update(due_at="2100-01-01T00:00:00Z")
    assert run_change(change.pk) is False
    change.refresh_from_db()
    assert (change.attempts, tap.pushes) == (1, [])
    assert "fw1" in change.error
    models.Outbox.objects.all().delete()
    change_retry(actor=actor("tenant-a", "editor"), change=change)
    assert models.Outbox.objects.filter(topic="change", ref=change.pk, rung_at=None).count() == 1
    assert run_change(change.pk) is True
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)
    assert models.AuditRow.objects.filter(action="change.retry", actor="pat").count() == 1
    with pytest.raises(Conflict, match="has ended"):
        change_retry(actor=SYSTEM, change=change)


def test_who_may_not() -> None:
    chain, _, second = edited()
    for other, problem in ((actor("tenant-a", "viewer"), Forbidden), (actor("tenant-b", "editor"), NotFound)):
        with pytest.raises(problem):
            change_retry(actor=other, change=second)
        with pytest.raises(problem):
            change_undo(actor=other, change=second, force=True)
    chain.refresh_from_db()
    assert chain.generation == 2


def test_an_undo_brings_back_what_was_wanted_and_what_devices_held() -> None:
    chain = world.chain(world.NGFW, bandwidth_mbps=20)
    first = world.apply(chain)
    before, held = selectors.chain_intent(chain), set(world.network())
    world.edit(chain, hops=[BY_HOSTS], bandwidth_mbps=30, description="by the hosts")
    second = world.apply(chain)
    assert set(world.network()) != held
    back = change_undo(actor=SYSTEM, change=second)
    plan = world.plan(back)
    assert world.network().keys() != held  # nothing is applied by it
    change = world.apply(back)
    assert change.status == "succeeded", world.events(change)
    assert selectors.chain_intent(models.Chain.objects.get(pk=chain.pk)) == before
    assert (set(world.network()), plan.intent, first.plan.intent) == (held, before, before)
    # The undo itself can be undone.
    again = change_undo(actor=SYSTEM, change=change)
    assert (again.bandwidth_mbps, again.description) == (30, "by the hosts")


def code_of(change: models.Change, *, force: bool = False) -> str:
    with pytest.raises(Conflict) as caught:
        change_undo(actor=SYSTEM, change=change, force=force)
    return caught.value.code


def test_what_cannot_be_undone() -> None:
    chain, first, second = edited()
    assert code_of(first, force=True) == "first-change"
    world.edit(chain, bandwidth_mbps=40)
    assert code_of(second) == "edited-since"
    waiting = world.change(chain)
    assert code_of(waiting) == "not-undoable"
    assert code_of(second, force=True) == "change-under-way"
    run_change(waiting.pk)
    assert change_undo(actor=SYSTEM, change=second, force=True).bandwidth_mbps == 20
    world.apply(chain)
    assert code_of(second, force=True) == "nothing-to-undo"
    world.delete(chain)
    assert code_of(second, force=True) == "not-undoable"


def test_a_move_by_itself_does_not_stand_in_the_way() -> None:
    """The function died after the edit and the chain was moved: that is no edit of a person's."""
    chain = world.chain(BY_HOSTS, bandwidth_mbps=20)
    world.apply(chain)
    world.edit(chain, hops=[world.NGFW], bandwidth_mbps=30)
    second = world.apply(chain)
    moved = world.apply(chain)
    assert (second.status, moved.status) == ("succeeded", "succeeded")
    assert code_of(moved) == "nothing-to-undo"
    assert change_undo(actor=SYSTEM, change=second).bandwidth_mbps == 20


def test_a_plan_from_before_the_record_is_said_so() -> None:
    _, first, second = edited()
    models.Plan.objects.filter(pk=first.plan_id).update(intent={})
    assert code_of(second) == "not-undoable"
