# SPDX-License-Identifier: Apache-2.0
"""Approval by a second person, down to the devices: nothing is sent before it, everything after; who may, who not."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User

from chains import models
from chains.engine.reconcile import run_change
from chains.errors import Conflict, Forbidden, NotFound
from chains.services import approval, intent
from chains.services.actor import SYSTEM, Actor, actor_of_token, person_of
from chains.services.again import change_retry, change_undo
from chains.services.freeze import freeze_lift, freeze_set
from chains.services.tokens import token_create
from tests.engine import world
from tests.engine.wire import Tap
from tests.races import at_once, codes

BY_HOSTS = {**world.NGFW, "realm": "host"}


def person(name: str, tenant: str = "tenant-a", role: str = "editor") -> Actor:
    user, _ = User.objects.get_or_create(username=name)
    of = models.Tenant.objects.get(name=tenant) if tenant else None
    return Actor(name, of, models.Role(role), person=person_of(user.pk))


def operator(name: str) -> Actor:
    return person(name, "", "operator")


def tenant_demands(is_so: bool = True) -> None:
    models.Tenant.objects.filter(name="tenant-a").update(needs_approval=is_so)


def site_demands(is_so: bool = True) -> None:
    models.Site.objects.update(needs_approval=is_so)


def asked(row: models.Chain, by: Actor) -> models.Change:
    return intent.change_create(actor=by, plan=world.plan(row))


def status(row: Any) -> str:
    row.refresh_from_db()
    return str(row.status)


@pytest.mark.usefixtures("fabric")
class TestOne:
    def test_nothing_is_sent_before_the_second_person_and_everything_after(self, tap: Tap) -> None:
        tenant_demands()
        chain = world.chain(world.NGFW)
        change = asked(chain, person("ann"))
        assert (change.status, change.needs_approval) == ("waiting", "tenant tenant-a demands it")
        assert (status(chain), f"change {change.pk} waits for approval" in chain.status_reason) == ("pending", True)
        freeze_set(actor=SYSTEM, reason="x")
        freeze_lift(actor=SYSTEM)
        assert run_change(change.pk) is False
        world.sweep_on(3)
        assert (status(change), change.attempts, tap.pushes) == ("waiting", 0, [])
        bob = person("bob")
        approval.change_approve(actor=bob, change=change)
        assert (status(change), change.approved_by, change.approved_at is not None) == ("pending", "bob", True)
        assert models.Outbox.objects.filter(topic="change", ref=change.pk, rung_at=None).count() == 1
        world.sweep_on()
        assert (status(change), status(chain)) == ("succeeded", "ready"), world.events(change)
        assert world.network()
        rows = models.AuditRow.objects.filter(action="change.approve", actor="bob", tenant__name="tenant-a")
        assert [row.detail["change"] for row in rows] == [change.pk]
        with pytest.raises(Conflict, match="approved by bob"):
            approval.change_approve(actor=bob, change=change)

    def test_nobody_is_their_own_second_person_under_no_name(self) -> None:
        tenant_demands()
        ann = person("ann")
        tenant = models.Tenant.objects.get(name="tenant-a")
        token, _ = token_create(actor=ann, name="ci", tenant=tenant, role=models.Role.EDITOR)
        inherited, _ = token_create(actor=actor_of_token(token), name="cd", tenant=tenant, role=models.Role.EDITOR)
        unknown, _ = token_create(actor=SYSTEM, name="nobody", tenant=tenant, role=models.Role.EDITOR)
        faces = [ann, actor_of_token(token), actor_of_token(inherited), operator("ann")]
        for number, first in enumerate(faces):
            change = asked(world.chain(world.NGFW, name=f"n{number}", priority=number), first)
            for second in faces:
                with pytest.raises(Forbidden, match="somebody else"):
                    approval.change_approve(actor=second, change=change)
            with pytest.raises(Forbidden, match="has an owner"):
                approval.change_approve(actor=actor_of_token(unknown), change=change)
            assert status(change) == "waiting"
        approval.change_approve(actor=person("bob"), change=change)

    def test_same_name_other_person(self) -> None:
        """Names of tokens are not unique; persons are."""
        tenant_demands()
        tenant = models.Tenant.objects.get(name="tenant-a")
        tokens = [
            token_create(actor=person(name), name="ci", tenant=tenant, role=models.Role.EDITOR)[0]
            for name in ("ann", "bob")
        ]
        change = asked(world.chain(world.NGFW), actor_of_token(tokens[0]))
        assert change.created_by == "token:ci"
        approval.change_approve(actor=actor_of_token(tokens[1]), change=change)

    def test_who_may_not(self) -> None:
        tenant_demands()
        change = asked(world.chain(world.NGFW), person("ann"))
        with pytest.raises(Forbidden, match="Viewers"):
            approval.change_approve(actor=person("vi", role="viewer"), change=change)
        with pytest.raises(Forbidden, match="Viewers"):
            approval.change_cancel(actor=person("vi", role="viewer"), change=change)
        for act in (approval.change_approve, approval.change_cancel):
            with pytest.raises(NotFound):
                act(actor=person("eve", "tenant-b"), change=change)
        assert status(change) == "waiting"

    def test_a_sites_demand_is_an_operators_to_grant(self) -> None:
        site_demands()
        change = asked(world.chain(world.NGFW), person("ann"))
        assert (change.status, "site lab" in change.needs_approval) == ("waiting", True)
        with pytest.raises(Forbidden, match="an operator has to approve"):
            approval.change_approve(actor=person("bob"), change=change)
        approval.change_approve(actor=operator("olga"), change=change)
        assert run_change(change.pk) is True

    def test_only_sites_that_are_written_to_demand(self) -> None:
        models.Site.objects.create(name="elsewhere", needs_approval=True)
        assert asked(world.chain(world.NGFW), person("ann")).status == "pending"

    def test_taking_away_much_needs_somebody(self, settings: Any) -> None:
        chain = world.chain(world.NGFW, world.IPS, world.CGN, destination="outside")
        world.apply(chain)
        removed = len([key for state in world.network().values() for key in state])
        settings.VIADUCT_APPROVAL_REMOVALS = removed
        world.edit(chain, hops=[world.NGFW, world.CGN])
        assert asked(chain, person("ann")).status == "pending"  # as many come as go
        world.sweep_on()
        settings.VIADUCT_APPROVAL_REMOVALS = 5
        intent.chain_delete(actor=person("ann"), chain=chain)
        world.sweep_on()
        change = models.Change.objects.latest("id")
        assert (change.status, change.created_by) == ("waiting", "ann")
        assert "it takes away" in change.needs_approval

    def test_a_deletion_waits_for_another_than_who_deleted(self) -> None:
        chain = world.chain(world.NGFW)
        world.apply(chain)
        tenant_demands()
        before = world.network()
        ann = person("ann")
        assert intent.chain_delete(actor=ann, chain=chain) is None
        world.sweep_on(3)
        change = models.Change.objects.get(plan__goal="remove")
        assert (change.status, change.created_by, world.network()) == ("waiting", "ann", before)
        with pytest.raises(Forbidden, match="somebody else"):
            approval.change_approve(actor=ann, change=change)
        approval.change_approve(actor=person("bob"), change=change)
        world.sweep_on()
        assert (world.network(), models.Chain.objects.count()) == ({}, 0)

    def test_a_deletion_that_is_cancelled_leaves_the_chain_in_force_and_guarded(self) -> None:
        chain = world.chain(world.NGFW)
        world.apply(chain)
        before = world.network()
        tenant_demands()
        for _ in range(2):
            intent.chain_delete(actor=person("ann"), chain=chain)
            world.sweep_on(2)
            change = models.Change.objects.filter(plan__goal="remove").latest("id")
            approval.change_cancel(actor=person("bob"), change=change)
            assert status(change) == "cancelled"
        world.sweep_on(3)
        assert (status(chain), chain.is_wanted, world.network()) == ("ready", True, before)
        assert models.Change.objects.filter(plan__goal="remove").count() == 2
        # It is moved by itself when a function dies, as any chain that is applied as wanted.
        models.Instance.objects.filter(offer=world.offer("ngfw@fw1")).update(health="down")
        world.sweep_on(1)
        moved = models.Change.objects.latest("id")
        assert (moved.plan.goal, moved.created_by, moved.is_urgent) == ("apply", "viaduct", True)

    def test_the_machine_moves_a_cut_chain_without_anybody_and_what_waits_gives_way(self) -> None:
        chain = world.chain(world.NGFW)
        world.apply(chain)
        tenant_demands()
        site_demands()
        waits = asked(chain, person("ann"))
        models.Instance.objects.filter(offer=world.offer("ngfw@fw1")).update(health="down")
        world.sweep_on()
        moved = models.Change.objects.latest("id")
        assert (status(waits), moved.status, moved.is_urgent) == ("cancelled", "succeeded", True)
        assert not world.held("fw1")
        assert "gave way" in world.events(waits)

    def test_an_offer_that_is_switched_off_is_left_without_haste(self) -> None:
        chain = world.chain(world.NGFW)
        world.apply(chain)
        models.Offer.objects.filter(pk=world.offer("ngfw@fw1").pk).update(is_enabled=False)
        world.sweep_on()
        moved = models.Change.objects.latest("id")
        assert (moved.created_by, moved.status, moved.is_urgent) == ("viaduct", "succeeded", False)

    def test_it_holds_its_chain_and_its_room(self) -> None:
        tenant_demands()
        chain = world.chain(world.NGFW, bandwidth_mbps=4000)
        ann = person("ann")
        plan, again = world.plan(chain), world.plan(chain)
        change = intent.change_create(actor=ann, plan=plan)
        assert intent.change_create(actor=ann, plan=plan) == change
        with pytest.raises(Conflict, match="waits for approval"):
            intent.change_create(actor=ann, plan=again)
        with pytest.raises(Conflict, match="waits for approval"):
            change_retry(actor=ann, change=change)
        used = {use["offer"] for use in plan.summary["offer_uses"]}
        other = world.plan(world.chain(world.NGFW, name="other", tenant="tenant-b", bandwidth_mbps=4000))
        assert used.isdisjoint(use["offer"] for use in other.summary["offer_uses"])
        approval.change_cancel(actor=ann, change=change)
        free = world.plan(world.chain(world.NGFW, name="later", tenant="tenant-b", bandwidth_mbps=4000, priority=1))
        assert used == {use["offer"] for use in free.summary["offer_uses"]}
        with pytest.raises(Conflict, match="cancelled"):
            intent.change_create(actor=ann, plan=plan)
        assert asked(chain, ann).status == "waiting"

    def test_what_was_edited_meanwhile_is_not_approved(self) -> None:
        tenant_demands()
        chain = world.chain(world.NGFW)
        change = asked(chain, person("ann"))
        world.edit(chain, bandwidth_mbps=33)
        with pytest.raises(Conflict, match="edited since"):
            approval.change_approve(actor=person("bob"), change=change)
        approval.change_cancel(actor=person("bob"), change=change)
        assert (status(chain), "not applied" in chain.status_reason) == ("pending", True)

    def test_a_deletion_calls_off_what_was_not_begun(self) -> None:
        tenant_demands()
        chain = world.chain(world.NGFW)
        change = asked(chain, person("ann"))
        intent.chain_delete(actor=person("bob"), chain=chain)
        assert (status(change), models.Chain.objects.count()) == ("cancelled", 0)

    def test_cancelled_before_it_began_never_after(self, tap: Tap) -> None:
        chain = world.chain(world.NGFW)
        change = asked(chain, person("ann"))
        approval.change_cancel(actor=person("ann"), change=change)
        assert (status(change), models.Plan.objects.get().status) == ("cancelled", "stale")
        assert run_change(change.pk) is True
        world.sweep_on(2)
        assert (tap.pushes, status(change)) == ([], "cancelled")
        begun = world.apply(chain)
        for made in (change, begun):
            with pytest.raises(Conflict):
                approval.change_cancel(actor=person("ann"), change=made)

    def test_undo_waits_as_well(self) -> None:
        chain = world.chain(world.NGFW)
        world.apply(chain)
        world.edit(chain, hops=[BY_HOSTS])
        second = world.apply(chain)
        tenant_demands()
        ann = person("ann")
        change_undo(actor=ann, change=second)
        back = asked(chain, ann)
        assert back.status == "waiting"
        with pytest.raises(Conflict):
            change_undo(actor=ann, change=second)
        approval.change_approve(actor=person("bob"), change=back)
        world.sweep_on()
        assert (status(back), bool(world.held("fw1"))) == ("succeeded", True)


@pytest.mark.usefixtures("shared_fabric")
class TestRaces:
    def test_of_two_approvers_at_once_one_approves(self) -> None:
        tenant_demands()
        change = asked(world.chain(world.NGFW), person("ann"))
        others = [person(f"p{number}") for number in range(6)]
        found = codes(at_once(*(partial(approval.change_approve, actor=by, change=change) for by in others)))
        assert sorted(found) == ["", *["not-waiting"] * 5]
        assert models.AuditRow.objects.filter(action="change.approve").count() == 1

    @pytest.mark.parametrize("number", range(6))
    def test_of_approve_and_cancel_at_once_the_change_ends_in_one_way(self, number: int) -> None:
        """Approved and then cancelled before it began is one after the other, not both at once."""
        tenant_demands()
        chain = world.chain(world.NGFW)
        change = asked(chain, person("ann"))
        bob, carl = person("bob"), person("carl")
        found = codes(
            at_once(
                lambda: approval.change_approve(actor=bob, change=change),
                lambda: approval.change_cancel(actor=carl, change=change),
            )
        )
        world.sweep_on()
        ends = status(change)
        if found == ["not-waiting", ""]:
            assert (ends, change.approved_by, world.network()) == ("cancelled", "", {})
        elif found == ["", ""]:
            assert (ends, change.approved_by, world.network()) == ("cancelled", "bob", {})
        else:
            assert found == ["", "not-cancellable"] and ends == "succeeded"

    @pytest.mark.parametrize("number", range(4))
    def test_of_cancel_and_an_attempt_at_once_one_wins(self, number: int) -> None:
        change = asked(world.chain(world.NGFW), person("ann"))
        ann = person("ann")
        both = at_once(lambda: approval.change_cancel(actor=ann, change=change), lambda: run_change(change.pk))
        told, _ = codes(both)
        world.sweep_on()
        assert (status(change), told, bool(world.network())) in (
            ("cancelled", "", False),
            ("succeeded", "not-cancellable", True),
        )
