# SPDX-License-Identifier: Apache-2.0
"""Whole plans: what they contain, that they converge, and that the proof bites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.planning import verify
from chains.planning.judge import Case
from chains.planning.plan import make_plan, make_removal
from chains.planning.types import Attachment, Chain, Classifier, Endpoint, Fabric, Plan, Refused
from drivers.diff import patch
from drivers.forward import Network, Outcome, walk
from drivers.order import Batch, Phase
from drivers.packets import packets
from drivers.state import DeviceState, Direction, Filter, Key, Kind, Match, NextHop, Redirect
from tests.planning.fabrics import CLIENTS, SERVERS, chain, demo, hop

States = Mapping[str, DeviceState]


def applied(base: States, plan: Plan) -> dict[str, DeviceState]:
    """The states after all steps, as devices would hold them."""
    states = dict(base)
    for step in plan.steps:
        if step.device:
            states[step.device] = patch(states.get(step.device, DeviceState()), step.changes)
    return {device: state for device, state in states.items() if state}


def in_force(wanted: Chain, plan: Plan) -> Chain:
    """The chain as it is read back after the plan."""
    current: dict[int, tuple[str, ...]] = {}
    for use in plan.offer_uses:
        current[use.hop] = (*current.get(use.hop, ()), use.offer)
    return replace(wanted, revision=plan.revision, current=current, pools=plan.allocations)


CHAINS = {
    "ngfw ips cgn": chain("ngfw", "ips", "cgn"),
    "filter ngfw": chain("filter", "ngfw"),
    "host ngfw": chain(hop(0, "ngfw", realm="host")),
    "there and back": chain(hop(0, "ngfw", device="fw2"), hop(1, "ips", device="ips2"), "cgn"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_plan_reaches_its_target_and_the_second_writes_nothing(name: str):
    fabric, wanted = demo().fabric(), CHAINS[name]
    plan = make_plan(fabric, wanted, {}, {})
    assert applied({}, plan) == dict(plan.target)
    assert not plan.proof.violations
    again = make_plan(fabric, in_force(wanted, plan), plan.target, {})
    assert again.steps == () and again.revision == plan.revision


@pytest.mark.parametrize("before", CHAINS)
@pytest.mark.parametrize("after", CHAINS)
def test_any_edit_is_proved_and_there_and_back_leaves_nothing(before: str, after: str):
    """Between other segments there may be no safe order: then the plan is refused, with a witness."""
    fabric = demo().fabric()
    first = make_plan(fabric, CHAINS[before], {}, {})
    edited = replace(CHAINS[after], revision=first.revision, pools=in_force(CHAINS[before], first).pools)
    try:
        moved = make_plan(fabric, edited, first.target, {})
    except Refused as refused:
        assert CHAINS[before].destination != CHAINS[after].destination, refused.proof
        assert refused.proof is not None and refused.proof.violations[0].packet
        return
    assert applied(first.target, moved) == dict(moved.target)
    gone = make_removal(fabric, in_force(CHAINS[after], moved), moved.target, {})
    assert applied(moved.target, gone) == {}
    assert not gone.proof.violations and not moved.proof.violations


def test_policy_edit_touches_only_the_box_that_holds_it():
    fabric, wanted = demo().fabric(), chain("ngfw", "ips", "cgn")
    plan = make_plan(fabric, wanted, {}, {})
    edited = in_force(replace(wanted, hops=(replace(wanted.hops[0], policy=replace(wanted.hops[0].policy, rules=())),
                                            *wanted.hops[1:])), plan)  # fmt: skip
    again = make_plan(fabric, edited, plan.target, {})
    assert {step.device for step in again.steps} == {"fw1"}
    assert {step.phase for step in again.steps} == {Phase.SWITCH}


def test_stages_of_a_link_crossed_three_times_carry_different_tags():
    plan = make_plan(demo().fabric(), CHAINS["there and back"], {}, {})
    tags = [visit.tag for visit in plan.paths[0].forward if visit.device == "spine1"]
    assert len(tags) == 3 == len(set(tags)) and all(tag >= 3000 for tag in tags)


def test_tags_of_other_chains_on_a_link_are_left_alone():
    fabric = demo().fabric()
    links = tuple(replace(link, tags=frozenset({3000, 3001})) for link in fabric.links)
    plan = make_plan(replace(fabric, links=links), chain("ngfw"), {}, {})
    used = {i.tag for s in plan.target.values() for i in s.values() if isinstance(i, Redirect) and i.tag}
    assert used == {3002}


def test_links_whose_ends_share_no_tag_are_not_used():
    """Base forwarding may carry the same packets there: a redirect could not tell them apart."""
    with pytest.raises(Refused, match="share no tag"):
        make_plan(without_tags(demo().fabric()), chain("ngfw"), {}, {})


def without_tags(fabric: Fabric) -> Fabric:
    devices = {
        name: replace(d, caps=replace(d.caps, tags=frozenset())) if d.kind == "switch" and d.caps else d
        for name, d in fabric.devices.items()
    }
    return replace(fabric, devices=devices)


def test_a_segment_on_two_ports_needs_prefixes_of_its_own():
    fabric = demo().fabric()
    second = Attachment(Endpoint("leaf1", "a3"), SERVERS.prefixes)
    twice = replace(SERVERS, attachments=(*SERVERS.attachments, second))
    with pytest.raises(Refused) as refused:
        make_plan(fabric, chain("ngfw", destination=twice), {}, {})
    assert "its own prefixes" in refused.value.reasons[0].detail
    split = replace(SERVERS, attachments=(
        replace(SERVERS.attachments[0], prefixes=("10.10.2.0/25",)),
        Attachment(Endpoint("leaf1", "a3"), ("10.10.2.128/25",)),
    ))  # fmt: skip
    assert not make_plan(fabric, chain("ngfw", destination=split), {}, {}).proof.violations


def test_cgn_returns_to_the_pool_and_the_pool_stays():
    fabric, wanted = demo().fabric(), chain("cgn")
    plan = make_plan(fabric, wanted, {}, {})
    assert plan.allocations[0].public == "198.51.100.0/31"
    replies = [i.match.destination for i in plan.target["leaf2"].values() if isinstance(i, Redirect)]
    assert "198.51.100.0/31" in replies
    offers = tuple(replace(o, taken=frozenset({"198.51.100.0/31"})) for o in fabric.offers)
    other = make_plan(replace(fabric, offers=offers), replace(wanted, number=8), {}, {})
    assert other.allocations[0].public == "198.51.100.2/31"


def test_overlapping_chains_of_one_precedence_collide_with_a_witness():
    fabric = demo().fabric()
    first = make_plan(fabric, chain("ngfw"), {}, {})
    wider = chain("ips", number=8, classifiers=(Classifier(4, "tcp"),))
    with pytest.raises(Refused) as refused:
        make_plan(fabric, wider, {}, first.target)
    assert (
        "another chain" in refused.value.reasons[0].detail
        and "tcp 10.10.1.0" in refused.value.reasons[0].detail
    )
    busy = replace(fabric, links=tuple(replace(link, tags=frozenset({3000})) for link in fabric.links))
    make_plan(busy, replace(wider, priority=1), {}, first.target)


def test_no_traffic_and_no_attachment_are_refused_in_words():
    fabric = demo().fabric()
    nowhere = replace(SERVERS, attachments=())
    with pytest.raises(Refused, match="attached nowhere"):
        make_plan(fabric, chain("ngfw", destination=nowhere), {}, {})
    six = replace(CLIENTS, attachments=(replace(CLIENTS.attachments[0], prefixes=("2001:db8:10:1::/64",)),))
    with pytest.raises(Refused, match="no packet can match"):
        make_plan(fabric, chain("ngfw", source=six, classifiers=(Classifier(4, "tcp"),)), {}, {})


# --- the proof must bite: plant a bug into compiled states and order, expect a violation ------------


def case_of(monkeypatch: pytest.MonkeyPatch, wanted: Chain, base: States | None = None) -> Case:
    seen: list[Case] = []
    real = verify.prove

    def spy(case: Case, **how: object) -> object:
        seen.append(case)
        return real(case, **how)

    monkeypatch.setattr("chains.planning.plan.prove", spy)
    make_plan(demo().fabric(), wanted, base or {}, {})
    return seen[-1]


def codes(case: Case) -> set[str]:
    return {violation.code for violation in verify.prove(case).violations}


def planted(case: Case, device: str, change: object) -> Case:
    """The same plan, with `change(state)` as what the last wave that writes the device leaves behind."""
    broken = {**case.target, device: change(case.target[device])}  # type: ignore[operator]
    batch = Batch(Phase.BUILD, device, tuple(_diff(case.base.get(device, DeviceState()), broken[device])))
    waves = [tuple(b for b in wave if b.device != device) for wave in case.waves]
    return replace(case, target=broken, waves=((batch,), *(wave for wave in waves if wave)))


def _diff(before: DeviceState, after: DeviceState) -> object:
    from drivers.diff import diff

    return diff(before, after)


def altered(kind: Kind, direction: Direction, ingress: str, **fields: object) -> object:
    def change(state: DeviceState) -> DeviceState:
        items = dict(state)
        hits = [
            k
            for k, i in items.items()
            if k.kind is kind and k.direction is direction and i.ingress == ingress
        ]  # type: ignore[union-attr]
        assert hits
        for key in hits:
            if fields:
                items[key] = replace(items[key], **fields)  # type: ignore[arg-type]
            else:
                del items[key]
        return DeviceState(items)

    return change


F, R = Direction.FORWARD, Direction.REVERSE
BUGS = {
    "skips the ips": (
        "leaf1",
        altered(Kind.REDIRECT, F, "a1", next=NextHop(port="", vrf="internet")),
        "bypass",
    ),
    "redirect missing": ("leaf1", altered(Kind.REDIRECT, F, "a1"), "blackhole"),
    "transit missing": ("spine1", altered(Kind.REDIRECT, F, "leaf1"), "bypass"),
    "wrong arm": ("leaf1", altered(Kind.REDIRECT, F, "a1", next=NextHop(port="fw1-out")), "closed"),
    "sent back": ("spine1", altered(Kind.REDIRECT, F, "leaf1", next=NextHop(port="leaf1", tag=3000)), None),
    "no such port": ("leaf2", altered(Kind.REDIRECT, F, "spine1", next=NextHop(port="nowhere")), "lost"),
    "replies past the fw": ("leaf1", altered(Kind.REDIRECT, R, "spine1", next=NextHop(vrf="a")), "bypass"),
    "wrong vrf at the end": ("leaf2", altered(Kind.REDIRECT, F, "cgn1-out", next=NextHop(vrf="b")), "astray"),
    "function without its rule set": ("fw1", lambda state: DeviceState({}), "closed"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_proof_finds_planted_bugs(bug: str, monkeypatch: pytest.MonkeyPatch):
    device, change, code = BUGS[bug]
    case = case_of(monkeypatch, chain("ngfw", "ips", "cgn"))
    assert codes(case) == set()
    found = codes(planted(case, device, change))
    assert (code in found) if code else found


def test_the_proof_finds_a_switch_before_the_build(monkeypatch: pytest.MonkeyPatch):
    case = case_of(monkeypatch, chain("ngfw", "ips", "cgn"))
    build = [wave for wave in case.waves if wave[0].phase is Phase.BUILD]
    switch = [wave for wave in case.waves if wave[0].phase is Phase.SWITCH]
    assert codes(replace(case, waves=(*switch, *build)))


def test_the_proof_finds_removal_before_the_switch(monkeypatch: pytest.MonkeyPatch):
    fabric, wanted = demo().fabric(), chain("ngfw")
    first = make_plan(fabric, wanted, {}, {})
    moved = replace(in_force(wanted, first), hops=(hop(0, "ngfw", device="fw2"),))
    case = case_of(monkeypatch, moved, first.target)
    removal = [wave for wave in case.waves if wave[0].phase is Phase.REMOVE]
    rest = [wave for wave in case.waves if wave[0].phase is not Phase.REMOVE]
    assert removal and codes(replace(case, waves=(*removal, *rest)))


def test_the_proof_finds_transit_that_is_written_while_packets_meet_it(monkeypatch: pytest.MonkeyPatch):
    """Revision left out of the tag: the old crossing is overwritten in the build wave."""
    fabric, wanted = demo().fabric(), chain("ngfw")
    first = make_plan(fabric, wanted, {}, {})
    moved = replace(in_force(wanted, first), hops=(hop(0, "ngfw", device="fw2"),))
    case = case_of(monkeypatch, moved, first.target)
    everything = tuple(replace(batch, phase=Phase.BUILD) for wave in case.waves for batch in wave)
    merged: dict[str, list[object]] = {}
    for batch in everything:
        merged.setdefault(batch.device, []).extend(batch.changes)
    wave = tuple(Batch(Phase.BUILD, device, tuple(changes)) for device, changes in sorted(merged.items()))  # type: ignore[arg-type]
    assert "race" in codes(replace(case, waves=(wave,)))


# --- properties -------------------------------------------------------------------------------------

HOPS = st.lists(
    st.tuples(
        st.sampled_from(["filter", "ngfw", "ips"]), st.sampled_from(["", "", "host", "appliance", "switch"])
    ),
    min_size=0,
    max_size=3,
)
CLASSIFIERS = st.lists(
    st.builds(
        lambda family, protocol, first, span: Classifier(
            family, protocol, destination_ports=(first, min(65535, first + span)) if protocol else (0, 65535)
        ),
        st.sampled_from([0, 4, 6]),
        st.sampled_from(["tcp", "udp", ""]),
        st.integers(0, 65535),
        st.integers(0, 2000),
    ),
    min_size=1,
    max_size=2,
)


@settings(max_examples=60, deadline=None)
@given(before=HOPS, after=HOPS, classifiers=CLASSIFIERS, nat=st.booleans())
def test_random_edits_are_refused_in_words_or_proved(before, after, classifiers, nat):
    """Any edit of any small chain either has a proved plan that converges or a reason.

    Only where hops change places on the same boxes there may be no safe order (waypoints against loops:
    Ludwig et al., "Good Network Updates for Bad Packets", HotNets 2014).
    """
    fabric = demo().fabric()
    base: States = {}
    revision = 0
    classifiers = [replace(c, family=4) if nat else c for c in classifiers]
    for wanted_hops in (before, after, before):
        hops = [hop(i, name, realm=realm) for i, (name, realm) in enumerate(wanted_hops)]
        if nat:
            hops.append(hop(len(hops), "cgn"))
        wanted = chain(*hops, classifiers=tuple(classifiers), revision=revision)
        try:
            plan = make_plan(fabric, wanted, base, {})
        except Refused as refused:
            assert refused.reasons and all(reason.detail for reason in refused.reasons)
            is_unproven = any(reason.code == "unproven" for reason in refused.reasons)
            assert not is_unproven or changes_order(before, after), refused.proof
            continue
        assert applied(base, plan) == dict(plan.target)
        base, revision = plan.target, plan.revision
    gone = make_removal(fabric, chain("ngfw", revision=revision), base, {})
    assert applied(base, gone) == {}


def test_functions_move_from_one_host_to_an_appliance_and_the_other_host():
    """In between both hosts judge, and packets get past nothing."""
    fabric = demo().fabric()
    first = make_plan(fabric, chain(hop(0, "ngfw", realm="host"), hop(1, "ngfw", realm="host")), {}, {})
    assert set(first.target) == {"a1"}
    wanted = chain(hop(0, "ngfw"), hop(1, "ngfw", realm="host"), revision=first.revision)
    plan = make_plan(fabric, wanted, first.target, {})
    assert not plan.proof.violations and {"fw1", "a2"} <= set(plan.target) and "a1" not in plan.target


def changes_order(before, after) -> bool:
    """Do functions that both chains have come in another order?"""
    old, new = [name for name, _ in before], [name for name, _ in after]
    both = set(old) & set(new)
    return [name for name in old if name in both] != [name for name in new if name in both]


def test_walk_splits_packet_sets_exactly():
    """Half of the ports is filtered, half is not: the fates partition what was asked."""
    match = Match("10.0.0.0/24", "10.1.0.0/24", "tcp", destination_ports=(80, 90))
    key = Key(1, 1, F, 0, Kind.REDIRECT, 0)
    state = DeviceState({key: Redirect("p", 0, match, NextHop(vrf="a"))})
    network = Network({"s": "switch"}, {}, {"s": state})
    asked = packets(Match("10.0.0.0/23", "10.1.0.0/24", "tcp", destination_ports=(85, 95)))
    fates = walk(network, ("s", "p"), asked, is_reply=False)
    routed = [t for t in fates if t.outcome is Outcome.ROUTED]
    assert [t.origin.destination_ports for t in routed] == [(85, 90)]
    assert all(a.origin.intersect(b.origin) is None for a in fates for b in fates if a is not b)
    assert sum(_size(t.origin) for t in fates) == _size(asked)
    assert isinstance(next(iter(state.values())), Redirect) and not isinstance(
        next(iter(state.values())), Filter
    )


def _size(box: object) -> int:
    size = 1
    for name in ("source", "destination", "protocol", "source_ports", "destination_ports", "dscp"):
        low, high = getattr(box, name)
        size *= high - low + 1
    return size


def test_what_a_chain_of_higher_precedence_takes_is_not_asked_of_the_wider_one():
    fabric = demo().fabric()
    narrow = make_plan(fabric, chain("ngfw", priority=1), {}, {})
    busy = replace(fabric, links=tuple(replace(link, tags=frozenset({3000})) for link in fabric.links))
    wide = make_plan(busy, chain("ips", number=8, classifiers=(Classifier(4, "tcp"),)), {}, narrow.target)
    assert not wide.proof.violations


def test_chains_to_the_outside_and_to_own_segments_live_side_by_side():
    """Of equal priority the tenant's own segments come first, and a box that judges both is not shared."""
    fabric = demo().fabric()
    outside = make_plan(fabric, chain("ngfw", "cgn"), {}, {})
    busy = replace(fabric, links=tuple(replace(link, tags=frozenset({3000})) for link in fabric.links))
    inside = make_plan(busy, chain("ngfw", number=8, classifiers=(Classifier(4, "tcp"),)), {}, outside.target)
    assert inside.placement is not None and inside.placement.hops[0].chosen is not None
    assert inside.placement.hops[0].chosen.offers == ("ngfw@fw2",)
    refused = {c.offers[0]: c.excluded for c in inside.placement.hops[0].rejected}
    assert "another chain has rules" in refused["ngfw@fw1"]
    now = replace(fabric, links=tuple(replace(link, tags=frozenset({3001})) for link in fabric.links))
    again = make_plan(now, in_force(chain("ngfw", "cgn"), outside), outside.target, inside.target)
    assert again.steps == ()


def test_two_hops_change_places_on_the_same_devices():
    """The rule set keeps its place and gets another key: that is no moment without it."""
    fabric = demo().fabric()
    anything = (Classifier(0, ""),)
    first = make_plan(fabric, chain("filter", "ngfw", classifiers=anything), {}, {})
    swapped = replace(in_force(chain("ngfw", "filter", classifiers=anything), first), current={})
    assert not make_plan(fabric, swapped, first.target, {}).proof.violations
