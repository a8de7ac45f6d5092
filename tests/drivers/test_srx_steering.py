# SPDX-License-Identifier: Apache-2.0
"""The SRX that sends packets on by itself, and the routes that it must have: on an emulated box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.appliance import srx
from drivers.appliance.srx import DAMAGED, DRIVER, render
from drivers.base import PortInfo, Rejected, Target, Unsupported
from drivers.diff import diff
from drivers.junos_lines import lines_of, ours
from drivers.state import EMPTY, DeviceState, Match, Rule, RuleSet, Verdict
from lab.devices import junos_config as configs
from lab.devices.junos_check import errors
from lab.devices.junos_plane import plane_of
from lab.devices.junos_schema import statements
from lab.devices.junos_startup import IN_ZONES, STARTUP
from lab.devices.plane import Clause, Fate
from lab.devices.process import Emulated
from tests.drivers.samples import sample, state, states
from tests.drivers.srx_rig import SITE, WALL, srx_target
from tests.drivers.verify_only import _without_dscp

FIRST, SECOND = sample(SITE, revision=1), sample(SITE, revision=2)
KNOWN = statements(is_secure=True)
HOPS = {"in": ("10.1.1.254/24", "2001:db8:1:1::fe/64"), "out": ("192.0.2.9/24", "2001:db8:2::9/64")}
OURS = "groups SI-viaduct"
WEB = Match("10.1.1.0/24", "10.3.0.0/16", "tcp", destination_ports=(80, 83))


def steering(target: Target) -> Target:
    ports = {name: replace(port, peer_addresses=HOPS[name]) for name, port in target.ports.items()}
    return replace(target, ports=ports, settings={**target.settings, "steers": "yes"})


@pytest.fixture
def plain(srx_box: Emulated, tmp_path: Path) -> Target:
    return srx_target(srx_box, tmp_path)


@pytest.fixture
def target(plain: Target) -> Target:
    return steering(plain)


def rule_set(match: Match) -> DeviceState:
    return state([RuleSet(match, (Rule(Verdict.PERMIT, match),), Verdict.DENY, "in", "out")])


def push(target: Target, before: DeviceState, after: DeviceState) -> None:
    with DRIVER.open(target, 30) as session:
        session.push(render(diff(before, after), replace(target, held=before)))


def held(target: Target) -> DeviceState:
    with DRIVER.open(target, 30) as session:
        return session.read().state


def refused(target: Target, wanted: DeviceState) -> str:
    with DRIVER.open(target, 30) as session, pytest.raises(Rejected) as caught:
        session.push(render(diff(EMPTY, wanted), target))
    return str(caught.value)


def test_redirect_rules_come_and_go_and_nothing_else_is_touched(srx_box: Emulated, target: Target) -> None:
    before = srx_box.config()["running"]
    for old, new in ((EMPTY, FIRST), (FIRST, SECOND), (SECOND, FIRST), (FIRST, EMPTY)):
        push(target, old, new)
        assert held(target) == new
    assert srx_box.config()["running"] == before


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_rendered_is_read_back_and_taken_by_the_box(data: st.DataObject) -> None:
    wanted, target = _without_dscp(data.draw(states(SITE))), steering(WALL)
    native = render(diff(EMPTY, wanted), target)
    config: configs.Config = {}
    configs.load_set(config, KNOWN, (STARTUP + IN_ZONES).format(name="srx1") + native)
    assert not list(errors(configs.expanded(config, KNOWN)))
    body = ours(lines_of("".join(f"{line}\n" for line in configs.lines(config, KNOWN))))
    assert srx.read_lines(tuple(line for line in body if not line.startswith("apply-macro viaduct")), target) == wanted


def test_packets_go_where_the_text_says() -> None:
    """Read by the emulator's data plane, in Junos's words: what the item means to the next hop, the rest by routes."""
    config: configs.Config = {}
    native = render(diff(EMPTY, rule_set(WEB)), steering(WALL))
    configs.load_set(config, KNOWN, (STARTUP + IN_ZONES).format(name="srx1") + native)
    policy = plane_of(configs.expanded(config, KNOWN)).interfaces["ge-0/0/1"].policy
    assert [one for one in policy if one.match.family == 4][:2] == [
        Clause(WEB, Fate.NEXT, "192.0.2.9"),
        Clause(Match("0.0.0.0/0", "0.0.0.0/0"), Fate.ROUTE),
    ]
    # The subnet of the next hop is gone: dropped, not routed.
    configs.load_set(config, KNOWN, "delete interfaces ge-0/0/2 unit 0 family inet address 192.0.2.1/24")
    policy = plane_of(configs.expanded(config, KNOWN)).interfaces["ge-0/0/1"].policy
    assert policy[0] == Clause(WEB, Fate.DROP)


def test_routes_are_asked_for_with_the_exact_line(srx_box: Emulated, plain: Target) -> None:
    """10.3.0.0/16 is routed inside by 10.0.0.0/8."""
    said = refused(plain, rule_set(WEB))
    assert "10.3.0.0/16 is routed to ge-0/0/1.0, not to ge-0/0/2.0: set routing-options static route" in said
    line = "set routing-options static route 10.3.0.0/16 next-hop "
    assert f"{line}ADDRESS-BEHIND-out" in said
    ports = {name: replace(port, peer_addresses=HOPS[name]) for name, port in plain.ports.items()}
    assert f"{line}192.0.2.9" in refused(replace(plain, ports=ports), rule_set(WEB))
    srx_box.operator(f"{line}192.0.2.9", "commit")
    push(plain, EMPTY, rule_set(WEB))
    assert held(plain) == rule_set(WEB)


def test_routes_of_the_ports_own_instance_count(srx_box: Emulated, plain: Target) -> None:
    srx_box.operator(
        "set routing-instances blue instance-type virtual-router",
        "set routing-instances blue interface ge-0/0/1.0", "set routing-instances blue interface ge-0/0/2.0", "commit",
    )  # fmt: skip
    line = "set routing-instances blue routing-options static route 10.3.0.0/16 next-hop"
    assert line in refused(plain, rule_set(WEB))
    srx_box.operator(f"{line} 192.0.2.9", "commit")
    push(plain, EMPTY, rule_set(WEB))
    assert "port out is in routing instance blue" in refused(steering(plain), FIRST)


def test_what_it_leads_there_need_not_be_routed_there(target: Target) -> None:
    push(target, EMPTY, rule_set(WEB))
    assert held(target) == rule_set(WEB)


def test_the_way_back_must_be_routed_though_it_steers(srx_box: Emulated, target: Target) -> None:
    said = refused(target, rule_set(Match("172.16.0.0/24", "10.3.0.0/16")))
    assert "172.16.0.0/24 is routed to ge-0/0/2.0, not to ge-0/0/1.0: set routing-options static route" in said
    srx_box.operator("delete interfaces ge-0/0/2 unit 0 family inet address 192.0.2.1/24", "commit")
    assert "192.0.2.9, which is behind port out, is in no subnet of ge-0/0/2.0: set interfaces" in refused(
        target, rule_set(WEB)
    )


def test_where_a_protocol_runs_routes_are_not_judged() -> None:
    running = IN_ZONES.split("set routing-options")[0].replace("set ", "").strip().replace("\n", ";\n") + ";\n"
    native = render(diff(EMPTY, rule_set(WEB)), WALL)
    assert "static route" in " ".join(srx.needs(running, native, WALL))
    assert not srx.needs(running + "protocols ospf area 0.0.0.0 interface ge-0/0/2.0;\n", native, WALL)


FILTER = (
    "set firewall family inet filter mine term t then accept",
    "set interfaces ge-0/0/1 unit 0 family inet filter input mine",
)


def test_an_operators_filter_at_the_inside_is_refused(srx_box: Emulated, target: Target) -> None:
    srx_box.operator(*FILTER, "commit")
    before = srx_box.config()
    assert "filter input mine' is the operator's" in refused(target, FIRST)
    assert srx_box.config() == before


HOP = f"{OURS} routing-instances SI-h-out routing-options static route 0.0.0.0/1"
TERM = f"{OURS} firewall family inet filter SI-f-in-4 term SI-c7r1f1s0"
DAMAGES = {
    "another next hop": (f"delete {HOP} next-hop 192.0.2.9", f"set {HOP} next-hop 192.0.2.66"),
    "a term that redirects nothing": (f"delete {TERM} then routing-instance SI-h-out", f"set {TERM} then accept"),
    "a term that means more": (f"delete {TERM} from source-address 10.1.1.0/24",),
    "no filter at the interface": (f"delete {OURS} interfaces ge-0/0/1 unit 0 family inet filter",),
    "what is open comes first": (f"delete {TERM}", f"set {TERM} from source-address 10.1.1.0/24",
                                 f"set {TERM} from protocol tcp", f"set {TERM} then routing-instance SI-h-out"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_somebody_damaged_is_seen_and_repaired(name: str, srx_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    srx_box.operator(*DAMAGES[name], "commit")
    seen = held(target)
    assert seen.keys() == FIRST.keys()
    assert DAMAGED in seen.values()
    push(target, seen, FIRST)
    assert held(target) == FIRST


def test_an_srx_that_steers_no_longer_gets_rid_of_the_rules(srx_box: Emulated, plain: Target) -> None:
    push(steering(plain), EMPTY, FIRST)
    seen = held(plain)
    assert set(seen.values()) == {DAMAGED}
    push(plain, seen, FIRST)
    assert held(plain) == FIRST
    assert "SI-h-out" not in srx_box.config()["running"]


def test_unknown_text_among_the_redirect_rules_is_refused_by_name(srx_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    srx_box.operator(f"set {TERM} then count mine", "commit")
    with pytest.raises(Rejected, match="then count mine"):
        held(target)


def test_what_cannot_be_steered_is_said_while_planning() -> None:
    with pytest.raises(Unsupported, match="the IPv4 address behind port out"):
        render(diff(EMPTY, rule_set(WEB)), replace(WALL, settings={**WALL.settings, "steers": "yes"}))
    target = steering(WALL)
    ports = {**target.ports, "dmz": PortInfo("dmz", 3, "", "ge-0/0/3", peer_addresses=("203.0.113.9/24",))}
    both = state([RuleSet(WEB, (), Verdict.DENY, "in", outside) for outside in ("out", "dmz")])
    with pytest.raises(Unsupported, match="two ways"):
        render(diff(EMPTY, both), replace(target, ports=ports, settings={**target.settings, "zone_dmz": "dmz"}))
    for hostile in ("a b", "x;y", "é", "a\n", "A", "-"):
        item = RuleSet(WEB, (), Verdict.DENY, hostile, "out")
        ports = {**target.ports, hostile: replace(target.ports["in"], name=hostile)}
        named = replace(target, ports=ports, settings={**target.settings, f"zone_{hostile}": "trust"})
        with pytest.raises(Unsupported, match="cannot be in a filter's name"):
            render(diff(EMPTY, state([item])), named)
