# SPDX-License-Identifier: Apache-2.0
"""Groups: which member meets a flow, there and back; what moves when members come and go."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from chains.planning.buckets import assigned, buckets_from_json, buckets_to_json
from chains.planning.plan import make_plan, network_of
from chains.planning.types import Buckets, Chain, Classifier, Fabric, Health, Plan, Refused
from drivers.forward import Outcome, walk
from drivers.order import Phase
from drivers.packets import packets
from drivers.state import Match
from tests.planning.fabrics import Builder, chain, demo, hop
from tests.planning.test_plan import applied, in_force

WEB = (Classifier(4, "tcp", destination_ports=(80, 80)),)


def farm(count: int, **fields: object) -> Builder:
    """The demo with `count` more firewalls on both leaves, cheaper than its own."""
    builder = demo()
    for number in range(count):
        builder.appliance(f"g{number}", "ngfw", f"leaf{1 + number % 2}", cost_fixed=1.0, **fields)
    return builder


def grouped(count: int, standby: int = 0, **fields: object) -> Chain:
    return chain(hop(0, "ngfw", instances=count, standby=standby), **{"classifiers": WEB, **fields})


def met(fabric: Fabric, plan: Plan, client: str, server: str = "10.10.2.9") -> tuple[str, ...]:
    """The functions that a flow and its replies meet, which must be the same."""
    network = replace(network_of(fabric), states=plan.target)
    there = packets(Match(f"{client}/32", f"{server}/32", "tcp", (40000, 40000), (80, 80)))
    (out,) = walk(network, ("leaf1", "a1"), there, is_reply=False)
    (back,) = walk(network, ("leaf2", "a2"), there.reversed(), is_reply=True)
    assert (out.outcome, back.outcome) == (Outcome.ROUTED, Outcome.ROUTED), (out, back)
    names = [device for device, _ in out.functions]
    assert [device for device, _ in back.functions] == names[::-1]
    return tuple(names)


def kept(wanted: Chain, plan: Plan) -> Chain:
    return replace(in_force(wanted, plan), buckets=plan.buckets)


def clients(seed: int = 1, count: int = 200) -> list[str]:
    return [f"10.10.1.{last}" for last in random.Random(seed).choices(range(256), k=count)]


def test_every_flow_meets_one_member_the_same_in_both_directions() -> None:
    fabric = farm(5).fabric()
    plan = make_plan(fabric, grouped(5), {}, {})
    served = Counter(met(fabric, plan, client) for client in clients())
    assert {names for names in served} == {(f"g{number}",) for number in range(5)}
    assert not plan.proof.violations
    assert max(served.values()) < 2 * 200 / 5


def test_on_loss_only_the_lost_members_flows_move_and_on_return_its_own_come_back() -> None:
    builder, count = farm(4), 4
    fabric = builder.fabric()
    wanted = grouped(count)
    first = make_plan(fabric, wanted, {}, {})
    before = {client: met(fabric, first, client) for client in clients()}
    whole = replace(fabric, offers=tuple(o for o in fabric.offers if o.device[0] == "g"))
    offers = tuple(replace(o, health=Health.DOWN) if o.device == "g2" else o for o in whole.offers)
    lost = replace(fabric, offers=offers)
    second = make_plan(lost, kept(wanted, first), first.target, {})
    after = {client: met(fabric, second, client) for client in before}
    moved = {client for client in before if before[client] != after[client]}
    assert moved == {client for client in before if before[client] == ("g2",)}
    assert len(moved) <= len(before) / count * 1.5
    third = make_plan(whole, kept(wanted, second), second.target, {})
    assert {client: met(fabric, third, client) for client in before} == before


def test_who_joins_takes_its_part_and_no_more() -> None:
    fabric = farm(4).fabric()
    first = make_plan(fabric, grouped(3), {}, {})
    before = {client: met(fabric, first, client) for client in clients()}
    second = make_plan(fabric, kept(grouped(4), first), first.target, {})
    after = {client: met(fabric, second, client) for client in before}
    moved = [client for client in before if before[client] != after[client]]
    assert moved and {after[client] for client in moved} == {("g3",)}
    assert len(moved) <= len(before) / 4 * 1.5
    assert applied(first.target, second) == dict(second.target)
    third = make_plan(fabric, kept(grouped(4), second), second.target, {})
    assert third.steps == ()


def test_parts_are_by_what_was_measured() -> None:
    builder = farm(2)
    builder.offers[-1] = replace(builder.offers[-1], measured_mbps=3000)
    builder.offers[-2] = replace(builder.offers[-2], capacity_mbps=1000)
    plan = make_plan(builder.fabric(), grouped(2), {}, {})
    uses = {use.offer: use.bandwidth_mbps for use in plan.offer_uses}
    assert uses == {"ngfw@g0": 25, "ngfw@g1": 75}


def test_a_group_may_carry_what_none_of_its_members_can() -> None:
    fabric = farm(4, capacity_mbps=400).fabric()
    few = farm(2, capacity_mbps=400).fabric()
    few = replace(few, offers=tuple(o for o in few.offers if o.device[0] == "g"))
    with pytest.raises(Refused, match="needs 750 Mb/s, 400 Mb/s are left"):
        make_plan(few, grouped(2, bandwidth_mbps=1500), {}, {})
    plan = make_plan(fabric, grouped(4, bandwidth_mbps=1500), {}, {})
    assert sorted(use.bandwidth_mbps for use in plan.offer_uses) == [375] * 4


def test_a_group_behind_a_group_and_a_nat_group() -> None:
    builder = farm(3)
    for number in range(2):
        pool = {"pool": f"203.0.113.{64 * number}/26", "block_size": 256}
        builder.appliance(f"nat{number}", "cgn", "leaf2", cost_fixed=1.0, **pool)
    fabric = builder.fabric()
    wanted = chain(hop(0, "ngfw", instances=3), hop(1, "cgn", instances=2), classifiers=WEB)
    plan = make_plan(fabric, wanted, {}, {})
    assert not plan.proof.violations
    by_offer = Counter(allocation.offer for allocation in plan.allocations)
    assert set(by_offer) == {"cgn@nat0", "cgn@nat1"}
    again = make_plan(fabric, kept(replace(wanted, pools=plan.allocations), plan), plan.target, {})
    assert again.steps == ()


def test_who_is_left_of_a_nat_group_keeps_its_addresses_and_nothing_is_held() -> None:
    builder = demo()
    for number in range(2):
        pool = {"pool": f"203.0.113.{64 * number}/26", "block_size": 256}
        builder.appliance(f"nat{number}", "cgn", "leaf2", cost_fixed=1.0, **pool)
    whole = builder.fabric()
    whole = replace(whole, offers=tuple(offer for offer in whole.offers if offer.device != "cgn1"))
    wanted = chain(hop(0, "ngfw"), hop(1, "cgn", instances=2), hop(2, "ips"), classifiers=WEB)
    first = make_plan(whole, wanted, {}, {})
    offers = tuple(replace(o, health=Health.DOWN) if o.device == "nat0" else o for o in whole.offers)
    again = kept(replace(wanted, pools=first.allocations), first)
    second = make_plan(replace(whole, offers=offers), again, first.target, {})
    assert not second.proof.violations and not second.target.get("nat0")
    kept_on = {allocation for allocation in first.allocations if allocation.offer == "cgn@nat1"}
    assert kept_on and kept_on <= set(second.allocations)
    # Only those of the lost one break, and nobody waits for it.
    assert {reason.code for reason in second.breaks} == {"addresses"}
    lost = {allocation.subscribers for allocation in first.allocations} - {each.subscribers for each in kept_on}
    assert all(any(prefix in reason.detail for prefix in lost) for reason in second.breaks)
    assert [step.phase for step in second.steps if step.device == "nat0"] == [Phase.REMOVE]


def test_who_serves_no_more_is_cleaned_when_closed_doors_are_open_again() -> None:
    """It may be dead, and nothing would pass while it is waited for."""
    fabric = demo().fabric()
    first = make_plan(fabric, chain("ngfw", "ips", "cgn", classifiers=WEB), {}, {})
    wanted = replace(chain("ips", "ngfw", classifiers=WEB), pools=first.allocations)
    second = make_plan(fabric, kept(wanted, first), first.target, {})
    assert not second.proof.violations and "held" in {reason.code for reason in second.breaks}
    assert [step.phase for step in second.steps if step.device == "cgn1"] == [Phase.REMOVE]


def test_three_hundred_members_are_told_apart() -> None:
    fabric = farm(300).fabric()
    wide = ("10.0.0.0/16",)
    source = replace(chain("ngfw").source, prefixes=wide)
    source = replace(source, attachments=(replace(source.attachments[0], prefixes=wide),))
    plan = make_plan(fabric, grouped(300, source=source, bandwidth_mbps=3000), {}, {})
    assert len({use.offer for use in plan.offer_uses}) == 300
    flows = [f"10.0.{a}.{b}" for a, b in zip(range(0, 256, 7), range(0, 256, 7), strict=True)]
    assert len({met(fabric, plan, client) for client in flows}) > 25


def test_too_small_a_source_is_refused_with_the_reason() -> None:
    narrow = ("10.10.1.0/31",)
    source = replace(chain("ngfw").source, prefixes=narrow)
    source = replace(source, attachments=(replace(source.attachments[0], prefixes=narrow),))
    with pytest.raises(Refused, match="10.10.1.0/31 has 2 addresses"):
        make_plan(farm(3).fabric(), grouped(3, source=source), {}, {})
    with pytest.raises(Refused, match="wants 9 instances, 5 can serve"):
        make_plan(farm(3).fabric(), grouped(9), {}, {})


def test_a_drained_member_hands_its_buckets_over() -> None:
    fabric = farm(3).fabric()
    only = replace(fabric, offers=tuple(o for o in fabric.offers if o.device[0] == "g"))
    first = make_plan(only, grouped(3), {}, {})
    offers = tuple(replace(o, is_draining=o.device == "g1") for o in only.offers)
    second = make_plan(replace(only, offers=offers), kept(grouped(3), first), first.target, {})
    assert {met(fabric, second, client) for client in clients()} == {("g0",), ("g2",)}


@pytest.mark.parametrize("count", [2, 3, 7, 12])
def test_buckets_move_as_little_as_can_be(count: int) -> None:
    draw, size = random.Random(count), 64
    weights = {f"m{number}": draw.choice([1, 1, 2, 5]) for number in range(count)}
    held = assigned(weights, size, None)
    assert buckets_from_json(buckets_to_json(held)) == held
    lost = draw.choice(sorted(weights))
    rest = {name: weight for name, weight in weights.items() if name != lost}
    without = assigned(rest, size, held)
    moved = [b for b in range(size) if without.owners[b] != held.owners[b]]
    assert moved == [b for b in range(size) if held.owners[b] == lost]
    assert len(moved) <= size * weights[lost] / sum(weights.values()) + 1
    assert assigned(weights, size, without) == held
    finer = assigned(weights, 2 * size, held)
    assert isinstance(finer, Buckets)
    assert [finer.owners[2 * b] for b in range(size)].count(held.owners[0]) >= 1


@pytest.mark.parametrize(("down_below", "is_served"), [(50, True), (51, False)])
def test_a_group_of_which_too_few_live_counts_as_down(down_below: int, is_served: bool) -> None:
    fabric = farm(4).fabric()
    dead = {"g0", "g1"}
    offers = [replace(o, health=Health.DOWN if o.device in dead else o.health) for o in fabric.offers]
    offers = [o for o in offers if o.function != "ngfw" or o.device.startswith("g")]
    half = replace(fabric, offers=tuple(offers))
    wanted = chain(hop(0, "ngfw", instances=4, down_below=down_below), classifiers=WEB)
    if is_served:
        assert {met(half, make_plan(half, wanted, {}, {}), client) for client in clients()} == {("g2",), ("g3",)}
        return
    with pytest.raises(Refused, match="less than 51 % the hop counts as down"):
        make_plan(half, wanted, {}, {})
