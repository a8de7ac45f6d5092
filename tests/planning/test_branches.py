# SPDX-License-Identifier: Apache-2.0
"""Branches: packets that a function marks take another tail, everything else and all replies stay on the main way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chains.planning.plan import make_plan, make_removal, network_of
from chains.planning.types import Branch, Chain, Classifier, Fabric, Hop, Plan, Refused
from drivers.forward import Outcome, walk
from drivers.packets import packets
from drivers.state import Match
from tests.planning.fabrics import Builder, chain, demo, hop
from tests.planning.test_groups import WEB
from tests.planning.test_plan import applied, in_force
from tests.planning.test_properties import ground_of
from tests.planning.walker import Packet, travel

MARK = 10


def scrubbed() -> Builder:
    """The demo with two more IPS, where suspicious packets go."""
    builder = demo()
    builder.appliance("deep1", "ips", "leaf1", cost_fixed=40.0)
    builder.appliance("deep2", "ips", "spine1", cost_fixed=41.0)
    return builder


def branching(*tail: Hop, rest: tuple[str, ...] = ("filter",), **fields: object) -> Chain:
    hops = ["ngfw", hop(1, "ips", device="ips1", branch=Branch(MARK, tail)), *rest]
    return chain(*hops, **{"classifiers": WEB, **fields})


def deep(number: int) -> Hop:
    return hop(11 + number, "ips", device=f"deep{number}")


def ways(fabric: Fabric, plan: Plan) -> tuple[list[str], list[str], list[str]]:
    """What an unmarked packet meets, a marked one, and a reply; by the walker that shares nothing with the proof."""
    found = []
    for marks, packet, start, is_reply in (
        ({}, Packet("10.10.1.7", "10.10.2.9"), ("leaf1", "a1"), False),
        ({"ips1": MARK}, Packet("10.10.1.7", "10.10.2.9"), ("leaf1", "a1"), False),
        ({}, Packet("10.10.1.7", "10.10.2.9").reply(), ("leaf2", "a2"), True),
    ):
        fate = travel(replace(ground_of(fabric), marks=marks), plan.target, start, packet, is_reply)
        assert fate.end == "delivered", fate
        found.append(fate.met)
    return found[0], found[1], found[2]


def test_marked_packets_take_the_branch_and_nothing_else_does() -> None:
    fabric = scrubbed().fabric()
    wanted = branching(deep(1), deep(2))
    plan = make_plan(fabric, wanted, {}, {})
    assert not plan.proof.violations
    plain, marked, reply = ways(fabric, plan)
    assert plain == ["fw1", "ips1", "leaf1"] and reply == plain[::-1]
    assert marked == ["fw1", "ips1", "deep1", "deep2"]
    assert {use.offer for use in plan.offer_uses} >= {"ips@deep1", "ips@deep2"}
    again = make_plan(fabric, in_force(wanted, plan), plan.target, {})
    assert again.steps == ()
    gone = make_removal(fabric, in_force(wanted, plan), plan.target, {})
    assert applied(plan.target, gone) == {}


def test_a_branch_may_have_no_hops_or_filters_in_switches() -> None:
    fabric = scrubbed().fabric()
    assert ways(fabric, make_plan(fabric, branching(), {}, {}))[1] == ["fw1", "ips1"]
    plan = make_plan(fabric, branching(hop(12, "filter"), rest=()), {}, {})
    assert ways(fabric, plan) == (["fw1", "ips1"], ["fw1", "ips1", "leaf1"], ["ips1", "fw1"])


def test_a_branch_comes_and_goes_under_traffic() -> None:
    fabric = scrubbed().fabric()
    without = chain("ngfw", hop(1, "ips", device="ips1"), "filter", classifiers=WEB)
    first = make_plan(fabric, without, {}, {})
    second = make_plan(fabric, in_force(branching(deep(1)), first), first.target, {})
    assert ways(fabric, second)[1] == ["fw1", "ips1", "deep1"] and not second.breaks
    third = make_plan(fabric, in_force(without, second), second.target, {})
    assert applied(second.target, third) == dict(third.target) and not third.breaks
    assert ways(fabric, third)[1] == ["fw1", "ips1", "leaf1"]


def test_the_proof_walks_marked_packets_too() -> None:
    """A branch that would lead them past the tail is found: the walk gives every packet the mark as well."""
    fabric = scrubbed().fabric()
    plan = make_plan(fabric, branching(deep(1)), {}, {})
    net = replace(network_of(fabric), states=plan.target, marks={"ips1": frozenset({MARK})})
    flow = packets(Match("10.10.1.7/32", "10.10.2.9/32", "tcp", (40000, 40000), (80, 80)))
    fates = walk(net, ("leaf1", "a1"), flow, is_reply=False)
    marked = [trace for trace in fates if trace.marked == "ips1"]
    assert marked and all(trace.outcome is Outcome.ROUTED for trace in marked)
    assert {tuple(device for device, _ in trace.functions) for trace in marked} == {("fw1", "ips1", "deep1")}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"priority": 15}, "lower its priority"),
        ({"classifiers": (Classifier(4, "tcp", dscp=MARK),)}, "with the mark 10 already"),
    ],
)
def test_what_cannot_branch_is_refused_in_words(fields: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        make_plan(scrubbed().fabric(), branching(deep(1), **fields), {}, {})
