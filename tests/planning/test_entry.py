# SPDX-License-Identifier: Apache-2.0
"""Live flows and a firewall that has not seen them: it must meet what they send before any reply to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from chains.planning.plan import make_plan, network_of
from chains.planning.types import Chain, Fabric, Plan
from drivers.diff import patch
from drivers.forward import Network, Outcome, walk
from drivers.order import Phase
from drivers.packets import packets
from drivers.state import DeviceState, Match
from tests.planning.fabrics import Builder, chain, demo, hop
from tests.planning.test_plan import in_force

CLIENTS, SERVERS, WEB = "10.10.1.0/24", "10.10.2.0/24", (80, 80)
ASKED = packets(Match(CLIENTS, SERVERS, "tcp", destination_ports=WEB))
ANSWERED = packets(Match(SERVERS, CLIENTS, "tcp", source_ports=WEB))
FIREWALLS = {"fw1", "fw2"}


def moments(plan: Plan) -> Iterator[Mapping[str, DeviceState]]:
    """The states of the devices before, between and after the waves of switches."""
    states = dict(plan.base)
    yield dict(states)
    for number in sorted({step.wave for step in plan.steps}):
        wave = [step for step in plan.steps if step.wave == number and step.device]
        for step in wave:
            states[step.device] = patch(states.get(step.device, DeviceState()), step.changes)
        if wave and wave[0].phase is Phase.SWITCH:
            yield dict(states)


def firewalls(fabric: Fabric, states: Mapping[str, DeviceState]) -> tuple[set[str], set[str]]:
    """Those that packets of permitted flows pass now, and those that the answers pass."""
    bare = network_of(fabric)
    network = Network(bare.kinds, bare.peers, states)
    found = []
    for place, asked, is_reply in ((("leaf1", "a1"), ASKED, False), (("leaf2", "a2"), ANSWERED, True)):
        passed = set()
        for trace in walk(network, place, asked, is_reply=is_reply):
            assert trace.outcome in (Outcome.ROUTED, Outcome.BASE), trace
            passed |= {device for device, _ in trace.functions} & FIREWALLS
        found.append(passed)
    return found[0], found[1]


def together() -> Builder:
    """Both firewalls, the client and the server at one leaf: one push could switch both directions."""
    builder = Builder()
    for name in ("leaf1", "leaf2"):
        builder.device(name, "switch")
    builder.link("leaf1:leaf2", "leaf2:leaf1")
    for host, leaf in (("a1", "leaf1"), ("a2", "leaf2")):
        builder.device(host, "host")
        builder.link(f"{leaf}:{host}", f"{host}:eth0")
    for name in ("fw1", "fw2"):
        builder.appliance(name, "ngfw", "leaf1")
    builder.appliance("ips1", "ips", "leaf1")
    return builder


EDITS = {
    "moved": (chain(hop(0, "ngfw", device="fw1")), chain(hop(0, "ngfw", device="fw2"))),
    "moved beside another": (
        chain(hop(0, "ngfw", device="fw1"), hop(1, "ips", device="ips1")),
        chain(hop(0, "ngfw", device="fw2"), hop(1, "ips", device="ips1")),
    ),
    "inserted": (chain(hop(0, "ips")), chain(hop(0, "ips"), hop(1, "ngfw", device="fw2"))),
}


@pytest.mark.parametrize("fabric", [demo, together])
@pytest.mark.parametrize("edit", EDITS)
def test_a_firewall_meets_live_flows_before_it_meets_their_answers(edit: str, fabric) -> None:
    """Answers that were on their way when the switch was written had been asked by the way before it."""
    before, after = EDITS[edit]
    place = fabric().fabric()
    first = make_plan(place, before, {}, {})
    plan = make_plan(place, _edited(after, before, first), first.target, {})
    known, _ = firewalls(place, plan.base)
    asking = set(known)
    for states in moments(plan):
        earlier = set(asking)
        asking, answering = firewalls(place, states)
        assert answering <= earlier | known, f"{answering} meet answers, asked were {earlier}"
        known |= asking
    assert asking == answering, "the two directions part"


def test_a_firewall_that_is_only_left_is_left_by_the_answers_first() -> None:
    """Else it would see answers to flows that began without it."""
    place = demo().fabric()
    before, after = chain(hop(0, "ngfw"), hop(1, "ips")), chain(hop(0, "ips"))
    first = make_plan(place, before, {}, {})
    plan = make_plan(place, _edited(after, before, first), first.target, {})
    for states in moments(plan):
        asking, answering = firewalls(place, states)
        assert answering <= asking


def test_a_nat_is_replaced_by_one_with_another_pool() -> None:
    """Nobody means packets to the old pool any more: they are the operator's, not a way past a function."""
    builder = demo()
    builder.appliance("cgn2", "cgn", "leaf2", pool="198.51.100.16/28", cost_fixed=12.0)
    place = builder.fabric()
    before = chain("ngfw", "cgn", "ips")
    first = make_plan(place, before, {}, {})
    left = replace(place, offers=tuple(offer for offer in place.offers if offer.device != "cgn1"))
    plan = make_plan(left, in_force(before, first), first.target, {})
    assert not plan.proof.violations


def _edited(after: Chain, before: Chain, plan: Plan) -> Chain:
    """The wanted chain, with what is in force of the one before."""
    now = in_force(before, plan)
    return replace(after, revision=now.revision, current=now.current, pools=now.pools)
