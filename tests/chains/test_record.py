# SPDX-License-Identifier: Apache-2.0
"""The machine's writes: a decision takes over everything at once, its end releases what only the old path took."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from chains.errors import Conflict
from chains.models import (
    AuditRow,
    Chain,
    Change,
    Contribution,
    DeviceStatus,
    Finding,
    Instance,
    LinkUse,
    Outbox,
    Plan,
    PoolAllocation,
    Step,
    Use,
)
from chains.selectors import chain_contributions, desired_state
from chains.services import intent, record
from drivers.base import Counter, Observation
from drivers.codec import state_to_json
from drivers.state import DeviceState, Direction, Guard, Key, Kind, Match
from tests.builders import (
    OPERATOR,
    allocation,
    apply,
    decide,
    device,
    link_use,
    make_chain,
    make_plan,
    offer,
    offer_use,
)

pytestmark = pytest.mark.usefixtures("fabric")
TRUNK = ("leaf1:spine1", "spine1:leaf1")


def guards(chain: Chain, *ports: int, revision: int = 1) -> DeviceState:
    """One item for each destination port."""
    return DeviceState(
        {
            Key(chain.pk, revision, Direction.FORWARD, 0, Kind.GUARD, port): Guard(
                "a1", 0, Match("10.10.1.0/24", "10.10.2.0/24", "tcp", destination_ports=(port, port))
            )
            for port in ports
        }
    )


def target(chain: Chain, **devices: tuple[int, ...]) -> dict[str, Any]:
    return {name: state_to_json(guards(chain, *ports)) for name, ports in devices.items()}


def taken(chain: Chain) -> dict[str, Any]:
    return {
        "offers": {str(use.offer): use.bandwidth_mbps for use in Use.objects.filter(chain=chain)},
        "tags": {str(use.link.a): use.tags for use in LinkUse.objects.filter(chain=chain)},
        "public": set(PoolAllocation.objects.filter(until=None).values_list("public", flat=True)),
    }


def desired_generations() -> dict[str, int]:
    return dict(
        DeviceStatus.objects.filter(desired_generation__gt=0).values_list(
            "device__name", "desired_generation"
        )
    )


def test_the_decision_takes_over_everything_at_once() -> None:
    chain = make_chain()
    plan = make_plan(
        chain,
        target=target(chain, leaf1=(1, 2), fw1=(3,)),
        offer_uses=[offer_use("ngfw@fw1")],
        link_uses=[link_use(*TRUNK, 3000, 3001)],
        allocations=[allocation("198.51.100.0/32")],
    )
    change = decide(plan)
    chain.refresh_from_db()
    assert change.decided_at is not None and chain.revision == 1
    assert chain_contributions(chain) == {"leaf1": guards(chain, 1, 2), "fw1": guards(chain, 3)}
    assert desired_state(device("leaf1")) == guards(chain, 1, 2)
    tags = {"leaf1:spine1": [3000, 3001]}
    assert taken(chain) == {"offers": {"ngfw@fw1": 10}, "tags": tags, "public": {"198.51.100.0/32"}}
    assert desired_generations() == {"leaf1": 1, "fw1": 1}
    assert AuditRow.objects.filter(action="change.decide").count() == 1
    record.decision_record(change)  # twice is harmless
    assert desired_generations() == {"leaf1": 1, "fw1": 1}
    assert AuditRow.objects.filter(action="change.decide").count() == 1


def test_only_devices_whose_part_changed_get_a_new_generation() -> None:
    chain = make_chain()
    apply(make_plan(chain, target=target(chain, leaf1=(1,), leaf2=(2,), fw1=(3,))))
    chain.refresh_from_db()
    apply(make_plan(chain, target=target(chain, leaf1=(1,), leaf2=(5,), spine1=(4,))))
    assert desired_generations() == {"leaf1": 1, "leaf2": 2, "fw1": 2, "spine1": 1}
    assert set(chain_contributions(chain)) == {"leaf1", "leaf2", "spine1"}


def test_between_decision_and_end_the_old_path_still_counts() -> None:
    """Both are on devices: a tag that was given away here could lead another tenant's packets astray."""
    chain = make_chain()
    old = {"offer_uses": [offer_use("ngfw@fw1")], "link_uses": [link_use(*TRUNK, 3000)]}
    apply(make_plan(chain, allocations=[allocation("198.51.100.0/32")], **old))
    chain.refresh_from_db()
    new = {"offer_uses": [offer_use("ngfw@a1")], "link_uses": [link_use(*TRUNK, 3001)]}
    change = decide(make_plan(chain, allocations=[allocation("198.51.100.1/32")], **new))
    both = {"offers": {"ngfw@fw1": 10, "ngfw@a1": 10}, "tags": {"leaf1:spine1": [3000, 3001]}}
    assert taken(chain) == {**both, "public": {"198.51.100.0/32", "198.51.100.1/32"}}
    other = make_chain(name="other", priority=1)
    plan = make_plan(other, link_uses=[link_use(*TRUNK, 3000)])
    with pytest.raises(Conflict):
        intent.change_create(actor=OPERATOR, plan=plan)
    record.change_succeeded(change)
    after = {"offers": {"ngfw@a1": 10}, "tags": {"leaf1:spine1": [3001]}, "public": {"198.51.100.1/32"}}
    assert taken(chain) == after
    assert intent.change_create(actor=OPERATOR, plan=plan)


def test_a_change_that_was_taken_back_leaves_what_was_in_force() -> None:
    chain = make_chain()
    apply(make_plan(chain, target=target(chain, leaf1=(1,)), allocations=[allocation("198.51.100.0/32")]))
    chain.refresh_from_db()
    before = (taken(chain), chain_contributions(chain), chain.revision)
    changed = [allocation("198.51.100.6/31", block_size=512), allocation("198.51.100.4/32")]
    change = intent.change_create(actor=OPERATOR, plan=make_plan(chain, allocations=changed))
    record.change_claim(change.pk, 60)
    record.allocations_record(change.plan)
    assert PoolAllocation.objects.filter(until=None).count() == 3
    record.change_reverting(change, "leaf1 refused")
    record.change_reverted(change, "leaf1 refused")
    chain.refresh_from_db()
    assert (taken(chain), chain_contributions(chain), chain.revision) == before
    assert PoolAllocation.objects.get(until=None).block_size == 256
    assert chain.status == Chain.Status.ERROR and "leaf1 refused" in chain.status_reason
    assert Change.objects.get(pk=change.pk).status == Change.Status.REVERTED


def test_every_allocation_is_kept_and_the_times_do_not_overlap() -> None:
    chain = make_chain()
    publics = ["198.51.100.0/32", "198.51.100.1/32", "198.51.100.0/32"]
    for public in publics:
        apply(make_plan(chain, allocations=[allocation(public)]))
        chain.refresh_from_db()
    rows = list(PoolAllocation.objects.order_by("id"))
    assert [row.public for row in rows] == publics
    assert [row.until is None for row in rows] == [False, False, True]
    assert all(row.until is None or row.since <= row.until for row in rows)
    assert rows[0].until <= rows[2].since  # one address never had two owners


def test_the_same_allocation_again_is_the_same_row() -> None:
    chain = make_chain()
    for _ in range(2):
        apply(make_plan(chain, allocations=[allocation("198.51.100.0/32")]))
        chain.refresh_from_db()
    assert PoolAllocation.objects.count() == 1


def test_a_removed_chain_leaves_nothing_but_history() -> None:
    chain = make_chain()
    uses = {"offer_uses": [offer_use("ngfw@fw1")], "link_uses": [link_use(*TRUNK, 3000)]}
    apply(
        make_plan(
            chain, target=target(chain, leaf1=(1,)), allocations=[allocation("198.51.100.0/32")], **uses
        )
    )
    chain.refresh_from_db()
    intent.chain_delete(actor=OPERATOR, chain=chain)
    chain.refresh_from_db()
    change = decide(make_plan(chain, goal=Plan.Goal.REMOVE))
    assert not Contribution.objects.exists() and Use.objects.exists()
    record.change_succeeded(change)
    assert not Chain.objects.exists() and not Use.objects.exists() and not LinkUse.objects.exists()
    allocations = PoolAllocation.objects.get()
    assert allocations.until is not None and allocations.chain_number == chain.pk
    assert Plan.objects.filter(chain=None, chain_name="web").count() == 2
    assert AuditRow.objects.filter(action="chain.removed").exists()


def test_ready_only_for_the_generation_that_was_read_back() -> None:
    chain = make_chain()
    change = decide(make_plan(chain))
    chain.refresh_from_db()
    intent.chain_update(actor=OPERATOR, chain=chain, data={"priority": 3})
    record.change_succeeded(change)
    chain.refresh_from_db()
    assert (chain.status, chain.generation, chain.observed_generation) == (Chain.Status.PENDING, 2, 1)
    apply(make_plan(chain))
    chain.refresh_from_db()
    assert (chain.status, chain.observed_generation) == (Chain.Status.READY, 2)


def test_a_chain_deleted_while_its_change_ran_is_rung_for_again() -> None:
    chain = make_chain()
    change = decide(make_plan(chain))
    chain.refresh_from_db()
    intent.chain_delete(actor=OPERATOR, chain=chain)
    Outbox.objects.all().delete()
    record.change_succeeded(change)
    assert Outbox.objects.filter(topic="chain", ref=chain.pk).exists()


def test_the_decision_is_the_point_of_no_return() -> None:
    chain = make_chain()
    change = decide(make_plan(chain))
    with pytest.raises(Conflict):
        record.change_reverting(change, "too late")
    with pytest.raises(Conflict):
        record.change_reverted(change, "too late")
    record.change_succeeded(change)
    with pytest.raises(Conflict):
        record.change_succeeded(change)
    chain.refresh_from_db()
    early = intent.change_create(actor=OPERATOR, plan=make_plan(chain))
    with pytest.raises(Conflict):
        record.change_succeeded(early)  # nothing was decided
    with pytest.raises(Conflict):
        record.decision_record(early)  # nobody works on it
    assert not Contribution.objects.exists()


def test_a_decision_needs_the_chain_that_the_plan_started_from() -> None:
    chain = make_chain()
    change = intent.change_create(actor=OPERATOR, plan=make_plan(chain))
    record.change_claim(change.pk, 60)
    Chain.objects.filter(pk=chain.pk).update(revision=7)
    with pytest.raises(Conflict):
        record.decision_record(change)
    assert Change.objects.get(pk=change.pk).decided_at is None


def test_an_attempt_is_claimed_counted_and_due_again_by_itself() -> None:
    change = intent.change_create(actor=OPERATOR, plan=make_plan(make_chain()))
    claimed = record.change_claim(change.pk, 60).change
    assert claimed is not None
    assert (claimed.status, claimed.attempts, claimed.broken) == (Change.Status.RUNNING, 1, 1)
    assert 55 < (claimed.due_at - record.now()).total_seconds() <= 60
    started = claimed.started_at
    assert record.change_claim(change.pk, 60) == record.Claim(None, is_over=False), "it is being attempted"
    record.change_postpone(change.pk, 0, error="busy")
    claimed = record.change_claim(change.pk, 60).change
    assert claimed is not None and (claimed.attempts, claimed.broken, claimed.started_at, claimed.error) == (
        2,
        1,
        started,
        "busy",
    )
    record.change_crashed(change.pk, "KeyError: x", 4, 5)
    row = Change.objects.get(pk=change.pk)
    assert (row.error, row.broken) == ("KeyError: x", 1)
    assert 2 < (row.due_at - record.now()).total_seconds() <= 4
    record.change_reverting(change, "no")
    record.change_reverted(change, "no")
    assert record.change_claim(change.pk, 60) == record.Claim(None, is_over=True)
    assert record.change_claim(10**9, 60) == record.Claim(None, is_over=True)


def test_steps_are_set_in_rows_and_in_hand() -> None:
    change = intent.change_create(actor=OPERATOR, plan=make_plan(make_chain(), target={"leaf1": {}}))
    steps = list(change.steps.all())
    record.steps_set(steps, Step.Status.SENT, error="slow")
    assert {(step.status, step.error) for step in steps} == {("sent", "slow")}
    assert set(change.steps.values_list("status", "error")) == {("sent", "slow")}


def reading(*ports: int, chain: Chain) -> Observation:
    state = guards(chain, *ports)
    return Observation(state, {key: Counter(1, 100, 1) for key in state}, {"a1": True}, foreign=2)


def test_a_reading_is_in_sync_only_if_it_equals_what_is_wanted() -> None:
    chain = make_chain()
    apply(make_plan(chain, target=target(chain, leaf1=(1, 2))))
    leaf = device("leaf1")
    status = record.observation_record(leaf, reading(1, 2, chain=chain))
    assert (status.condition, status.observed_generation, status.foreign) == ("in_sync", 1, 2)
    assert status.links_up == {"a1": True} and len(status.counters) == 2
    for wrong in (reading(1, chain=chain), reading(1, 2, 3, chain=chain), reading(chain=chain)):
        assert record.observation_record(leaf, wrong).condition == "drifted"
    status = record.device_unreachable(leaf, "no route")
    assert (status.condition, status.links_up) == ("unreachable", {})
    assert record.observation_record(leaf, reading(1, 2, chain=chain)).condition == "in_sync"


def test_readings_of_many_devices_are_judged_each_by_itself_with_as_many_queries_as_one() -> None:
    chain = make_chain()
    apply(make_plan(chain, target=target(chain, leaf1=(1, 2), leaf2=(1,), spine1=(3,))))
    seen = {
        device("leaf1"): reading(1, 2, chain=chain),
        device("leaf2"): reading(1, 2, chain=chain),
        device("spine1"): reading(3, chain=chain),
    }
    with CaptureQueriesContext(connection) as one:
        record.observations_record({device("fw1"): reading(chain=chain)})
    with CaptureQueriesContext(connection) as many:
        record.observations_record(seen)
    assert len(many) == len(one) - 1  # but for looking up fw1
    found = dict(DeviceStatus.objects.exclude(observed=None).values_list("device__name", "condition"))
    assert found == {"fw1": "in_sync", "leaf1": "in_sync", "leaf2": "drifted", "spine1": "in_sync"}
    held = DeviceStatus.objects.get(device__name="leaf2")
    assert (len(held.observed or {}), held.observed_generation) == (2, 0)
    assert desired_generations() == {"leaf1": 1, "leaf2": 1, "spine1": 1}  # not written by a reading


def test_a_half_done_change_is_no_drift() -> None:
    chain = make_chain()
    change = intent.change_create(actor=OPERATOR, plan=make_plan(chain, target=target(chain, leaf1=(1,))))
    leaf = device("leaf1")
    assert record.observation_record(leaf, reading(1, chain=chain)).condition == "drifted"  # nobody has begun
    record.observation_record(leaf, reading(chain=chain))
    record.change_claim(change.pk, 60)
    record.steps_set(change.steps.all(), Step.Status.SENT)
    assert record.observation_record(leaf, reading(1, chain=chain)).condition == "in_sync"  # as it was


def test_one_finding_is_open_for_one_subject() -> None:
    leaf, chain = device("leaf1"), make_chain()
    first, is_new = record.finding_open(code="drift", detail="one", device=leaf)
    again, is_new_again = record.finding_open(code="drift", detail="two", device=leaf, witness={"key": "x"})
    assert (is_new, is_new_again) == (True, False) and again.pk == first.pk
    assert Finding.objects.get().detail == "two"
    record.finding_open(code="drift", detail="x", device=device("leaf2"))
    record.finding_open(code="drift", detail="x", device=leaf, chain=chain)
    assert record.finding_close(code="drift", device=leaf) == 1
    assert record.finding_close(code="drift", device=leaf) == 0
    assert record.finding_open(code="drift", detail="back", device=leaf)[1]
    assert Finding.objects.filter(closed_at=None).count() == 3


def test_health_is_dated_by_its_last_change() -> None:
    instance = offer("ips@ips1").instance
    assert instance.health == Instance.Health.UNKNOWN
    assert record.instance_health_set(instance, "up")
    since = instance.health_at
    assert not record.instance_health_set(instance, "up", "again")
    assert instance.health_at == since and instance.health_reason == "again"
    assert record.instance_health_set(instance, "down", "no link")
    assert instance.health_at > since


def test_status_is_not_touched_while_a_change_says_how_it_ends() -> None:
    chain = make_chain()
    assert record.chain_status_set(chain, Chain.Status.DEGRADED, "a hop is down")
    assert not record.chain_status_set(chain, Chain.Status.DEGRADED, "a hop is down")
    intent.change_create(actor=OPERATOR, plan=make_plan(chain))
    assert not record.chain_status_set(chain, Chain.Status.READY)
    assert Chain.objects.get().status == Chain.Status.APPLYING


def test_bells_that_were_rung_are_dropped_later() -> None:
    make_chain()
    assert Outbox.objects.exists() and record.outbox_prune(0) == 0
    rung = Outbox.objects.update(rung_at=Now())
    assert record.outbox_prune() == 0 and record.outbox_prune(0) == rung
