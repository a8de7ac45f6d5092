# SPDX-License-Identifier: Apache-2.0
"""Users' writes: each leaves its audit row and its bell, no packet has two chains, tenants stay apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from chains.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from chains.models import AuditRow, Chain, Change, Link, Offer, Outbox, Plan, Segment
from chains.services import intent, record
from chains.services.trail import CHANNEL, bell
from tests.builders import (
    CGN,
    NGFW,
    OPERATOR,
    allocation,
    apply,
    chain_data,
    editor,
    link_use,
    make_chain,
    make_plan,
    offer,
    offer_use,
    tenant,
    viewer,
)
from tests.races import at_once, codes

pytestmark = pytest.mark.usefixtures("fabric")


def someone_waits() -> bool:
    """For an advisory lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


def code(call: Callable[[], object]) -> str:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value.code


def update(chain: Chain, **data: Any) -> Chain:
    return intent.chain_update(actor=OPERATOR, chain=chain, data=data)


def test_a_write_leaves_an_audit_row_and_a_bell_in_its_own_transaction() -> None:
    before = AuditRow.objects.count()
    chain = intent.chain_create(actor=editor(), tenant=tenant(), data=chain_data())
    row = AuditRow.objects.latest("id")
    assert (row.actor, row.action, row.request_id) == ("editor of tenant-a", "chain.create", "request-1")
    assert row.tenant == tenant() and row.detail["after"]["name"] == "web"
    assert Outbox.objects.filter(topic="chain", ref=chain.pk, rung_at=None).exists()
    with pytest.raises(Invalid):
        intent.chain_create(actor=editor(), tenant=tenant(), data=chain_data(name="other", priority=40))
    assert AuditRow.objects.count() == before + 1


@pytest.mark.django_db(transaction=True)
def test_a_bell_outside_a_transaction_is_refused() -> None:
    with pytest.raises(RuntimeError):
        bell(Outbox.Topic.CHAIN, 1)
    assert not Outbox.objects.filter(topic="chain").exists()


def test_every_edit_is_a_new_generation_and_what_changes_nothing_is_none() -> None:
    chain = make_chain()
    assert update(chain, description="new").generation == 2
    assert update(chain, description="new").generation == 2
    assert update(chain, hops=[NGFW, NGFW]).generation == 3
    assert chain.hops.count() == 2
    detail = AuditRow.objects.filter(action="chain.update").latest("id").detail
    assert list(detail["after"]) == ["hops"]
    assert (len(detail["before"]["hops"]), len(detail["after"]["hops"])) == (1, 2)


def test_a_refused_edit_leaves_the_chain_as_it_was() -> None:
    chain = make_chain()
    with pytest.raises(Invalid):
        update(chain, hops=[NGFW, {"function": "no"}], name="renamed")
    fresh = Chain.objects.get(pk=chain.pk)
    assert (fresh.name, fresh.generation, fresh.hops.count()) == ("web", 1, 1)


def test_an_edit_of_a_chain_in_force_waits_for_a_plan() -> None:
    chain = make_chain()
    apply(make_plan(chain))
    assert update(chain, priority=3).status == Chain.Status.PENDING


def test_an_edit_from_an_old_generation_is_refused() -> None:
    chain = make_chain()
    update(chain, priority=1)
    data = {"priority": 2}
    assert code(lambda: intent.chain_update(actor=OPERATOR, chain=chain, data=data, generation=1)) == "edited"
    assert intent.chain_update(actor=OPERATOR, chain=chain, data=data, generation=2).priority == 2


def test_names_are_the_tenants_own() -> None:
    make_chain("tenant-a")
    make_chain("tenant-b")
    assert code(lambda: make_chain("tenant-a", priority=1)) == "name-taken"
    other = make_chain("tenant-a", name="other", priority=1)
    assert code(lambda: update(other, name="web")) == "name-taken"
    assert update(other, name="other", priority=2).priority == 2


OVERLAPPING: list[tuple[dict[str, Any], bool]] = [
    ({"protocol": "tcp", "destination_ports": "80"}, True),
    ({"protocol": "tcp", "destination_ports": "1-1000"}, True),
    ({"protocol": "tcp", "source_ports": "5"}, True),
    ({}, True),
    ({"dscp": 10}, True),
    ({"protocol": "tcp", "destination_ports": "81-90"}, False),
    ({"protocol": "udp", "destination_ports": "80"}, False),
    ({"family": 6}, False),
]


@pytest.mark.parametrize(("classifier", "is_taken"), OVERLAPPING)
def test_two_chains_do_not_claim_the_same_packets(classifier: dict[str, Any], is_taken: bool) -> None:
    make_chain(name="first")
    if not is_taken:
        assert make_chain(name="second", classifiers=[classifier])
        return
    with pytest.raises(Invalid) as caught:
        make_chain(name="second", classifiers=[classifier])
    assert "chain first" in caught.value.detail and caught.value.errors[0].field == "classifiers.0"
    assert make_chain(name="second", classifiers=[classifier], priority=1).priority == 1


def test_the_way_back_of_one_chain_is_not_the_way_out_of_another() -> None:
    make_chain(name="first")
    turned = {"source": "servers", "destination": "clients"}
    back = [{"protocol": "tcp", "source_ports": "80"}]
    assert code(lambda: make_chain(name="second", classifiers=back, **turned)) == "overlap"
    out = [{"protocol": "tcp", "source_ports": "81-65535", "destination_ports": "80"}]
    assert make_chain(name="second", classifiers=out, **turned)


def test_another_tenants_chain_with_the_same_packets_is_none_of_its_business() -> None:
    make_chain("tenant-a")
    assert make_chain("tenant-b").tenant == tenant("tenant-b")


def test_foreign_and_missing_chains_look_the_same() -> None:
    chain = make_chain("tenant-a")
    gone = Chain(pk=chain.pk + 1, tenant=tenant("tenant-b"))
    texts = set()
    for target in (chain, gone):
        for call in (
            lambda target=target: intent.chain_update(actor=editor("tenant-b"), chain=target, data={}),
            lambda target=target: intent.chain_delete(actor=editor("tenant-b"), chain=target),
        ):
            with pytest.raises(NotFound) as caught:
                call()
            texts.add((caught.value.detail, caught.value.code, caught.value.status))
    assert len(texts) == 1


def test_viewers_read_only_and_editors_stay_at_home() -> None:
    chain = make_chain()
    for call in (
        lambda: intent.chain_create(actor=viewer(), tenant=tenant(), data=chain_data(name="x")),
        lambda: intent.chain_update(actor=viewer(), chain=chain, data={"priority": 1}),
        lambda: intent.chain_delete(actor=viewer(), chain=chain),
        lambda: intent.change_create(actor=viewer(), plan=make_plan(chain)),
    ):
        with pytest.raises(Forbidden):
            call()
    with pytest.raises(NotFound):
        intent.chain_create(actor=editor("tenant-b"), tenant=tenant("tenant-a"), data=chain_data(name="x"))
    with pytest.raises(NotFound):
        intent.change_create(actor=editor("tenant-b"), plan=make_plan(chain))


def test_another_tenants_segment_cannot_be_named() -> None:
    Segment.objects.filter(tenant__name="tenant-b", name="servers").update(name="xxxxxx1")
    told = []
    for name in ("xxxxxx1", "xxxxxx2"):
        with pytest.raises(Invalid) as caught:
            make_chain("tenant-a", destination=name)
        told.append(caught.value.detail.replace(name, "*"))
    assert told[0] == told[1]


def test_a_chain_that_was_never_applied_goes_at_once() -> None:
    chain = make_chain()
    plan = make_plan(chain)
    assert intent.chain_delete(actor=editor(), chain=chain) is None
    assert not Chain.objects.exists()
    plan.refresh_from_db()
    assert (plan.chain, plan.chain_name, plan.status) == (None, "web", Plan.Status.STALE)
    assert code(lambda: intent.change_create(actor=OPERATOR, plan=plan)) == "plan-stale"


def test_a_chain_in_force_is_marked_and_stays_until_devices_are_read_back_without_it() -> None:
    chain = make_chain()
    apply(make_plan(chain, target={"leaf1": {"c1.r1.f.0.guard.0": {}}}))
    assert intent.chain_delete(actor=editor(), chain=chain) is None
    chain.refresh_from_db()
    assert (chain.is_wanted, chain.status) == (False, Chain.Status.PENDING)
    assert intent.chain_delete(actor=editor(), chain=chain) is None  # twice is harmless
    assert code(lambda: update(chain, priority=1)) == "being-deleted"
    removal = intent.change_create(
        actor=OPERATOR,
        plan=make_plan(chain, goal=Plan.Goal.REMOVE, generation=chain.generation, base_revision=1),
    )
    assert intent.chain_delete(actor=editor(), chain=chain) == removal


def test_a_plan_is_applied_once_and_becomes_a_change_with_a_row_for_each_step() -> None:
    chain = make_chain()
    plan = make_plan(chain, target={"leaf1": {}, "fw1": {}})
    change = intent.change_create(actor=editor(), plan=plan, request_id="r-7")
    assert intent.change_create(actor=editor(), plan=plan) == change
    assert (change.status, change.request_id) == (Change.Status.PENDING, "r-7")
    devices = [step.plan_step.device for step in change.steps.all()]
    assert [device.name if device else "" for device in devices] == ["fw1", "leaf1", ""]
    assert Outbox.objects.filter(topic="change", ref=change.pk).exists()
    chain.refresh_from_db()
    assert chain.status == Chain.Status.APPLYING


def test_a_stale_or_refused_plan_is_not_applied() -> None:
    chain = make_chain()
    plan = make_plan(chain)
    refused = make_plan(chain, status=Plan.Status.REFUSED)
    update(chain, priority=5)
    assert code(lambda: intent.change_create(actor=OPERATOR, plan=plan)) == "plan-stale"
    assert code(lambda: intent.change_create(actor=OPERATOR, plan=refused)) == "plan-refused"
    chain.refresh_from_db()
    first, second = make_plan(chain), make_plan(chain)
    change = intent.change_create(actor=OPERATOR, plan=first)
    assert code(lambda: intent.change_create(actor=OPERATOR, plan=second)) == "change-under-way"
    record.change_claim(change.pk, 60)
    record.change_reverting(change, "no")
    record.change_reverted(change, "no")
    assert code(lambda: intent.change_create(actor=OPERATOR, plan=first)) == "plan-stale"
    assert intent.change_create(actor=OPERATOR, plan=second)


TRUNK = ("leaf1:spine1", "spine1:leaf1")


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ({"offer_uses": [offer_use("ips@ips1", 0, 1000)]}, {"offer_uses": [offer_use("ips@ips1", 0, 600)]}, "500 Mb/s"),
        ({"offer_uses": [offer_use("filter@spine1", 0, 1, 300)]},
         {"offer_uses": [offer_use("filter@spine1", 0, 1, 201)]}, "200 table entries"),
        ({"link_uses": [link_use(*TRUNK, 3000)]}, {"link_uses": [link_use(*TRUNK, 3001, 3000)]}, "tags"),
        ({"link_uses": [link_use(*TRUNK, from_a_mbps=9000)]}, {"link_uses": [link_use(*TRUNK, from_a_mbps=1001)]},
         "1000 Mb/s left"),
        ({"allocations": [allocation("198.51.100.0/31")]}, {"allocations": [allocation("198.51.100.1/32")]}, "public"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_decided", [False, True], ids=["promised", "in force"])
def test_what_one_plan_took_the_next_cannot_take(
    first: dict[str, Any], second: dict[str, Any], word: str, is_decided: bool
) -> None:
    """Both were planned while it was free."""
    one, other = make_chain(), make_chain(name="other", priority=1)
    plans = make_plan(one, **first), make_plan(other, **second)
    if is_decided:
        apply(plans[0])
    else:
        intent.change_create(actor=OPERATOR, plan=plans[0])
    with pytest.raises(Conflict) as caught:
        intent.change_create(actor=OPERATOR, plan=plans[1])
    assert caught.value.code == "room-taken" and word in caught.value.detail
    assert not Change.objects.filter(plan=plans[1]).exists()


def test_an_exclusive_appliance_serves_one_tenant_and_does_not_say_which() -> None:
    one, other = make_chain("tenant-a"), make_chain("tenant-b")
    plan = make_plan(other, offer_uses=[offer_use("ngfw@fw1")])
    apply(make_plan(one, offer_uses=[offer_use("ngfw@fw1")]))
    with pytest.raises(Conflict) as caught:
        intent.change_create(actor=editor("tenant-b"), plan=plan)
    assert "tenant-a" not in caught.value.detail
    same = make_chain("tenant-a", name="other", priority=1)
    assert intent.change_create(actor=OPERATOR, plan=make_plan(same, offer_uses=[offer_use("ngfw@fw1")]))


def test_an_offer_that_was_switched_off_is_not_applied() -> None:
    plan = make_plan(make_chain(), offer_uses=[offer_use("ngfw@fw1")])
    row = offer("ngfw@fw1")
    row.is_enabled = False
    row.save()
    assert code(lambda: intent.change_create(actor=OPERATOR, plan=plan)) == "room-taken"


def test_a_chain_through_nat_may_lead_out_of_its_vrf() -> None:
    assert make_chain(destination="outside", hops=[NGFW, CGN]).destination.tenant is None


@pytest.mark.usefixtures("shared_fabric")
class TestRaces:
    def test_one_name_and_one_claim_for_many_at_once(self) -> None:
        found = codes(at_once(*[make_chain] * 8))
        assert sorted(found) == ["", *["name-taken"] * 7]
        overlapping = at_once(
            *(partial(make_chain, name=f"n{index}", priority=2) for index in range(6))
        )
        assert sum(isinstance(each, Chain) for each in overlapping) == 1
        assert Chain.objects.count() == 2

    def test_the_last_room_goes_to_one(self) -> None:
        plans = []
        for index in range(6):
            chain = make_chain(name=f"n{index}", priority=index)
            plans.append(make_plan(chain, offer_uses=[offer_use("ips@ips1", 0, 800)]))
        found = codes(
            at_once(*(partial(intent.change_create, actor=OPERATOR, plan=plan) for plan in plans))
        )
        assert sorted(found) == ["", *["room-taken"] * 5]

    @pytest.mark.parametrize("what", ["bandwidth", "entries", "link"])
    def test_not_one_unit_more_than_there_is_is_promised(self, what: str) -> None:
        """Needs of 1, 2, 3, ... that were all planned while everything was free; what is let through fits exactly."""
        ends = ("leaf1:spine1", "spine1:leaf1")
        for name, fields in (("ips@ips1", {"capacity_mbps": 10}), ("filter@leaf1", {"entries": 10})):
            Offer.objects.filter(pk=offer(name).pk).update(is_shared=True, **fields)
        Link.objects.filter(a__device__name="leaf1", a__name="spine1").update(capacity_mbps=10)
        plans, needs = [], [1, 2, 3, 4, 5, 6]
        for need in needs:
            chain = make_chain(("tenant-a", "tenant-b")[need % 2], name=f"n{need}", priority=need)
            taken = {
                "bandwidth": {"offer_uses": [offer_use("ips@ips1", 0, need)]},
                "entries": {"offer_uses": [offer_use("filter@leaf1", 0, 0, need)]},
                "link": {"link_uses": [link_use(*ends, from_a_mbps=need, from_b_mbps=1)]},
            }[what]
            plans.append(make_plan(chain, **taken))
        found = codes(at_once(*(partial(intent.change_create, actor=OPERATOR, plan=plan) for plan in plans)))
        promised = sum(need for need, code in zip(needs, found, strict=True) if not code)
        refused = [need for need, code in zip(needs, found, strict=True) if code]
        assert set(found) == {"", "room-taken"} and promised <= 10
        assert refused and min(refused) + promised > 10, "who was refused did not fit"

    def test_who_asks_while_another_is_let_through_waits_and_sees_what_it_took(self) -> None:
        """The first is let through but not committed yet; without the wait the second would see the room as free.

        Two tenants: changes of one wait for each other anyway.
        """
        Offer.objects.filter(pk=offer("ips@ips1").pk).update(is_shared=True)
        plans = []
        for of in ("tenant-a", "tenant-b"):
            chain = make_chain(of)
            plans.append(make_plan(chain, offer_uses=[offer_use("ips@ips1", 0, 800)]))
        second = threading.Thread(
            target=lambda: found.extend(at_once(partial(intent.change_create, actor=OPERATOR, plan=plans[1])))
        )
        found: list[object] = []
        with transaction.atomic():
            intent.change_create(actor=OPERATOR, plan=plans[0])
            second.start()
            deadline = time.monotonic() + 60
            while not found and not someone_waits() and time.monotonic() < deadline:
                time.sleep(0.01)
        second.join(60)
        assert codes(found) == ["room-taken"]

    def test_a_committed_write_wakes_the_relay_and_a_rolled_back_one_does_not(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        heard = connection.connection.notifies
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            make_chain(name="lost")
            raise ZeroDivisionError
        assert not list(heard(timeout=0.2))
        make_chain()
        assert [note.channel for note in heard(timeout=5, stop_after=1)] == [CHANNEL]
