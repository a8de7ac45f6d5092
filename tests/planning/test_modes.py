# SPDX-License-Identifier: Apache-2.0
"""How functions are plugged in, taps, backups that switches take by themselves, and the largest packets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chains.planning import verify
from chains.planning.judge import Case
from chains.planning.plan import make_plan, network_of
from chains.planning.types import Capability, Fabric, Health, Mode, Plan, Realm, Refused, TapPolicy
from drivers.forward import Network, Outcome, Trace, walk, walk_all
from drivers.packets import packets
from drivers.state import Filter, Match, NextHop, Redirect
from tests.planning.fabrics import CAPABILITIES, POLICIES, Builder, chain, demo, hop
from tests.planning.test_groups import WEB, grouped
from tests.planning.test_plan import applied, in_force

CAPABILITIES["tap"] = Capability.TAP
POLICIES["tap"] = TapPolicy()
FLOW = packets(Match("10.10.1.7/32", "10.10.2.9/32", "tcp", (40000, 40000), (80, 80)))


def tapped(*leaves: str) -> Builder:
    """The demo with a tap at each of these switches."""
    builder = demo()
    for number, leaf in enumerate(leaves):
        one_armed(builder, f"tap{number}", "tap", leaf, cost_fixed=1.0 + number)
    return builder


def one_armed(builder: Builder, name: str, function: str, switch: str, **fields: object) -> None:
    builder.device(name, "appliance")
    builder.link(f"{switch}:{name}", f"{name}:port")
    builder.offer(name, function, Realm.APPLIANCE, inside="port", outside="port", mode=Mode.ONE_ARM, **fields)


def tap(position: int) -> object:
    return hop(position, "tap", blocks=False)


def network(fabric: Fabric, plan: Plan, *dead: str) -> Network:
    """dead: appliances whose cables are out."""
    base = replace(network_of(fabric), states=plan.target)
    return replace(base, dead=frozenset(end for end, other in base.peers.items() if other[0] in dead))


def both(net: Network) -> tuple[Trace, Trace]:
    (there,) = walk(net, ("leaf1", "a1"), FLOW, is_reply=False)
    (back,) = walk(net, ("leaf2", "a2"), FLOW.reversed(), is_reply=True)
    return there, back


def names(trace: Trace) -> list[str]:
    return [device for device, _ in trace.functions]


# --- taps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", ["leaf1", "leaf2", "spine1"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_tap_gets_both_directions_and_is_never_on_the_way(leaf: str, position: int) -> None:
    fabric = tapped(leaf).fabric()
    hops = ["ngfw", "ips"]
    hops.insert(position, "tap")
    wanted = chain(*(tap(i) if name == "tap" else hop(i, name) for i, name in enumerate(hops)), classifiers=WEB)
    plan = make_plan(fabric, wanted, {}, {})
    assert not plan.proof.violations
    net = network(fabric, plan)
    there, back = both(net)
    assert there.outcome is back.outcome is Outcome.ROUTED
    assert names(there) == names(back)[::-1] == ["fw1", "ips1"]
    for start, box, is_reply in ((("leaf1", "a1"), FLOW, False), (("leaf2", "a2"), FLOW.reversed(), True)):
        copies = [t for t in walk_all(net, start, box, is_reply=is_reply) if t.is_copy]
        assert [(copy.outcome, copy.device) for copy in copies] == [(Outcome.COPIED, "tap0")]
        assert copies[0].packets == box


def test_a_dead_tap_harms_nothing_and_one_that_is_down_is_left_out() -> None:
    fabric = tapped("leaf2").fabric()
    wanted = chain("ngfw", tap(1), classifiers=WEB)
    plan = make_plan(fabric, wanted, {}, {})
    assert both(network(fabric, plan, "tap0"))[0].outcome is Outcome.ROUTED
    offers = tuple(replace(o, health=Health.DOWN) if o.function == "tap" else o for o in fabric.offers)
    without = make_plan(replace(fabric, offers=offers), in_force(wanted, plan), plan.target, {})
    assert without.placement is not None and without.placement.hops[1].chosen is None
    assert "never holds up" in without.placement.hops[1].reason
    assert not any(
        item.copies for state in without.target.values() for item in state.values() if isinstance(item, Redirect)
    )


def test_any_number_of_taps_and_none_where_no_switch_copies() -> None:
    fabric = tapped("leaf1", "leaf2", "spine1").fabric()
    wanted = chain(tap(0), tap(1), "ngfw", tap(3), classifiers=WEB)
    wanted = replace(wanted, hops=(tap(0), tap(1), hop(2, "ngfw"), tap(3)))
    plan = make_plan(fabric, wanted, {}, {})
    found = [t.device for t in walk_all(network(fabric, plan), ("leaf1", "a1"), FLOW, is_reply=False) if t.is_copy]
    assert sorted(found) == ["tap0", "tap1", "tap2"]
    devices = {
        name: replace(d, caps=replace(d.caps, has_copies=False)) if d.kind == "switch" and d.caps else d
        for name, d in fabric.devices.items()
    }
    bare = make_plan(replace(fabric, devices=devices), wanted, {}, {})
    assert bare.placement is not None
    assert "can copy" in bare.placement.hops[0].rejected[0].excluded


def test_a_copy_that_gets_out_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Case] = []
    real = verify.prove
    monkeypatch.setattr("chains.planning.plan.prove", lambda case, **how: seen.append(case) or real(case, **how))
    fabric = tapped("leaf2").fabric()
    make_plan(fabric, chain("ngfw", tap(1), classifiers=WEB), {}, {})
    case = seen[-1]
    target = dict(case.target)
    for device, state in case.target.items():
        items = {
            key: replace(item, copies=(NextHop(port="a2"),))
            if isinstance(item, Redirect | Filter) and item.copies
            else item
            for key, item in state.items()
        }
        target[device] = type(state)(items)
    broken = replace(case, base=target, target=target, waves=())
    assert "leak" in {violation.code for violation in verify.prove(broken).violations}


# --- one arm, bump in the wire ----------------------------------------------------------------------


def test_one_arm_two_arms_bump_and_filter_in_one_chain_of_twelve() -> None:
    builder = tapped("leaf1")
    for number in range(9):
        leaf = f"leaf{1 + number % 2}"
        if number % 3 == 0:
            one_armed(builder, f"x{number}", "ips", leaf)
        else:
            mode = Mode.TRANSPARENT if number % 3 == 1 else Mode.TWO_ARM
            builder.appliance(f"x{number}", "ips", leaf, "leaf2" if number == 4 else "", mode=mode)
    fabric = builder.fabric()
    hops = [hop(0, "filter"), tap(1), hop(2, "ngfw"), *(hop(3 + n, "ips", device=f"x{n}") for n in range(9))]
    plan = make_plan(fabric, replace(chain("ngfw", classifiers=WEB), hops=tuple(hops)), {}, {})
    there, back = both(network(fabric, plan))
    expected = ["leaf1", "fw1", *(f"x{n}" for n in range(9))]
    assert (names(there), names(back)) == (expected, expected[::-1])
    hands = [i.next for s in plan.target.values() for i in s.values() if isinstance(i, Redirect)]
    bumps = {f"x{n}-{arm}" for n in (1, 4, 7) for arm in ("in", "out")}
    assert all(not hand.mac for hand in hands if hand.port in bumps)
    assert all(hand.mac for hand in hands if hand.port in ("x0", "x2-in", "fw1-out"))


def test_a_bump_cannot_be_at_a_switch_that_routes() -> None:
    builder = demo()
    builder.appliance("bump", "ips", "leaf1", cost_fixed=0.0, mode=Mode.TRANSPARENT)
    fabric = builder.fabric()
    leaf = fabric.devices["leaf1"]
    assert leaf.caps is not None
    devices = {**fabric.devices, "leaf1": replace(leaf, caps=replace(leaf.caps, is_routed=True))}
    with pytest.raises(Refused, match="leaf1 routes: it cannot send to a box that has no address"):
        make_plan(replace(fabric, devices=devices), chain(hop(0, "ips", device="bump")), {}, {})


# --- backups ----------------------------------------------------------------------------------------


def spare(at: str = "leaf1") -> Builder:
    builder = demo()
    builder.appliance("fw3", "ngfw", at, cost_fixed=10.5)
    return builder


@pytest.mark.parametrize("at", ["leaf1", "leaf2", "spine1"])
def test_a_switch_goes_round_a_lost_function_to_its_backup_in_both_directions(at: str) -> None:
    fabric = spare(at).fabric()
    wanted = chain(hop(0, "ngfw", standby=1), "ips", classifiers=WEB)
    plan = make_plan(fabric, wanted, {}, {})
    assert not plan.proof.violations
    there, back = both(network(fabric, plan))
    assert names(there) == names(back)[::-1] == ["fw1", "ips1"]
    there, back = both(network(fabric, plan, "fw1"))
    assert there.outcome is back.outcome is Outcome.ROUTED
    assert names(there) == names(back)[::-1] == ["fw3", "ips1"]
    uses = {use.offer: use.bandwidth_mbps for use in plan.offer_uses}
    assert uses["ngfw@fw3"] == 100
    again = make_plan(fabric, in_force(wanted, plan), plan.target, {})
    assert again.steps == ()


def test_every_member_of_a_group_has_a_backup() -> None:
    builder = demo()
    for number in range(5):
        builder.appliance(f"g{number}", "ngfw", f"leaf{1 + number % 2}", cost_fixed=1.0)
    fabric = builder.fabric()
    plan = make_plan(fabric, grouped(3, standby=2), {}, {})
    (served,) = names(both(network(fabric, plan))[0])
    there, back = both(network(fabric, plan, served))
    assert names(there) == names(back) and names(there)[0] in {"g3", "g4"}


def test_a_hop_that_may_be_bypassed_is_skipped_and_nothing_else() -> None:
    fabric = demo().fabric()
    wanted = chain("ngfw", hop(1, "ips", blocks=False), hop(2, "ngfw", device="fw2"), classifiers=WEB)
    plan = make_plan(fabric, wanted, {}, {})
    there, back = both(network(fabric, plan, "ips1"))
    assert there.outcome is back.outcome is Outcome.ROUTED
    assert names(there) == names(back)[::-1] == ["fw1", "fw2"]
    there, back = both(network(fabric, plan, "fw1"))
    assert {there.outcome, back.outcome} == {Outcome.LOST}


def test_without_switches_that_can_there_are_no_standbys() -> None:
    fabric = spare().fabric()
    devices = {
        name: replace(d, caps=replace(d.caps, has_standby=False)) if d.kind == "switch" and d.caps else d
        for name, d in fabric.devices.items()
    }
    plan = make_plan(replace(fabric, devices=devices), chain(hop(0, "ngfw", standby=1), classifiers=WEB), {}, {})
    items = [i for s in plan.target.values() for i in s.values() if isinstance(i, Redirect)]
    assert items and all(item.standby is None for item in items)


def test_an_edit_with_backups_converges() -> None:
    fabric = spare("leaf2").fabric()
    first = make_plan(fabric, chain(hop(0, "ngfw", standby=1), classifiers=WEB), {}, {})
    wanted = in_force(chain("ips", hop(1, "ngfw", standby=1), "filter", classifiers=WEB), first)
    second = make_plan(fabric, wanted, first.target, {})
    assert applied(first.target, second) == dict(second.target)


# --- the largest packets ----------------------------------------------------------------------------


def test_a_link_that_is_too_narrow_is_gone_round_or_named() -> None:
    builder = demo()
    fabric = builder.fabric()
    jumbo = replace(chain("ngfw").source, mtu_bytes=9000)
    wanted = replace(chain("ngfw"), source=jumbo, destination=replace(chain("ngfw").destination, mtu_bytes=9000))
    with pytest.raises(Refused) as refused:
        make_plan(fabric, wanted, {}, {})
    assert "carries 1500 bytes, the chain's largest packets are 9000" in refused.value.reasons[0].detail
    wide = tuple(replace(link, mtu_bytes=9000) for link in fabric.links)
    assert not make_plan(replace(fabric, links=wide), wanted, {}, {}).proof.violations
    one = tuple(replace(link, mtu_bytes=9000 if link.b.device != "spine1" else 1500) for link in fabric.links)
    with pytest.raises(Refused, match="leaf1:spine1 - spine1:leaf1 carries 1500 bytes"):
        make_plan(replace(fabric, links=one), wanted, {}, {})


def test_a_stage_tag_needs_room_where_no_tag_was() -> None:
    fabric = demo().fabric()
    leaf = fabric.devices["leaf1"]
    ports = {**leaf.ports, "spine1": replace(leaf.ports["spine1"], vrf="a")}
    untagged = replace(fabric, devices={**fabric.devices, "leaf1": replace(leaf, ports=ports)})
    with pytest.raises(Refused, match="largest packets and a stage tag are 1504"):
        make_plan(untagged, chain("ngfw"), {}, {})
