# SPDX-License-Identifier: Apache-2.0
"""PAN-OS and FortiOS that send a chain's packets on by themselves: policy-based forwarding, policy routes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.appliance.policy import is_damaged
from drivers.base import Target, Unsupported
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState, Match, Rule, RuleSet, Verdict
from tests.drivers.appliance_rigs import SITE, appliance_processes, target_of
from tests.drivers.samples import sample, state, states
from tests.drivers.test_appliances import FAMILIES, GOLDEN, LANGUAGES
from tests.drivers.verify_only import VerifyRig, _without_dscp

__all__ = ["appliance_processes"]
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))
HOPS = {"in": ("10.255.1.1/24", "2001:db8:ffff::1/64"), "out": ("192.0.2.9/24", "2001:4860::9/64")}
FIRST, SECOND = sample(SITE), sample(SITE, revision=2)
WEB = Match("10.1.1.0/24", "10.2.0.0/16", "tcp", destination_ports=(80, 83))


def rule_set(match: Match, **fields: Any) -> DeviceState:
    ends = {"inside": "in", "outside": "out", **fields}
    return state([RuleSet(match, (Rule(Verdict.PERMIT, match),), Verdict.DENY, **ends)])


def steering(target: Target) -> Target:
    ports = {name: replace(port, peer_addresses=HOPS[name]) for name, port in target.ports.items()}
    return replace(target, ports=ports, settings={**target.settings, "steers": "yes"})


@pytest.fixture
def plain(request: pytest.FixtureRequest, family: str) -> VerifyRig:
    made: VerifyRig = request.getfixturevalue(f"open_{family}")
    return made


@pytest.fixture
def rig(plain: VerifyRig) -> VerifyRig:
    return replace(plain, target=steering(plain.target))


def redirects(device: Any) -> dict[str, Any]:
    """On the device, whoever made them."""
    running = device.config()["running"]
    return {name: row for name, row in running.items() if name in ("steers", "router policy", "router policy6") and row}


@every_family
def test_the_text_is_as_reviewed(family: str) -> None:
    """VIADUCT_GOLDEN=write writes it anew, to be reviewed like code."""
    target = steering(target_of(family, ""))
    native = FAMILIES[family].render(diff(EMPTY, rule_set(WEB)), target)
    native += FAMILIES[family].render(diff(rule_set(WEB), EMPTY), replace(target, held=rule_set(WEB)))
    file: Path = GOLDEN / f"{family}-steers.txt"
    if os.environ.get("VIADUCT_GOLDEN") == "write":
        file.write_text(native)
    assert native == file.read_text()


@every_family
def test_redirect_rules_come_and_go_with_the_policy(
    family: str, rig: VerifyRig, appliance_processes: dict[str, Any]
) -> None:
    rig.add_foreign()
    theirs = rig.others()
    for before, after in ((EMPTY, FIRST), (FIRST, SECOND), (SECOND, EMPTY)):
        native = rig.render(before, after)
        assert native in rig.refused(native)
        rig.paste(native)
        rig.takes(native)
        assert rig.read().state == after
        assert bool(redirects(appliance_processes[family])) is bool(after)
        assert rig.others() == theirs


@every_family
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_rendered_is_read_back(family: str, data: st.DataObject) -> None:
    wanted, target = _without_dscp(data.draw(states(SITE))), steering(target_of(family, ""))
    try:
        native = FAMILIES[family].render(diff(EMPTY, wanted), target)
    except Unsupported:
        assert family == "panos"  # it cannot tell ICMP
        return
    if native:
        made = LANGUAGES[family].parse(native, target)
        steers = [name for kind, name in made.there if kind == "steer"]
        assert len(steers) == len(wanted) * (1 if family == "panos" else 2)
        assert made.there == LANGUAGES[family].makes(wanted, target).there


@every_family
def test_what_it_leads_there_need_not_be_routed_there(family: str, plain: VerifyRig, rig: VerifyRig) -> None:
    """10.2.0.0/16 is routed inside: so it is refused, unless the firewall steers."""
    wanted = rule_set(WEB)
    routed = plain.render(EMPTY, wanted)
    plain.paste(routed)
    assert "10.2.0.0/16 is routed to" in plain.refused(routed)
    plain.paste(plain.render(wanted, EMPTY))
    steered = rig.render(EMPTY, wanted)
    rig.paste(steered)
    rig.takes(steered)


@every_family
def test_a_next_hop_that_is_elsewhere_is_refused(family: str, rig: VerifyRig) -> None:
    ports = {**rig.target.ports, "out": replace(rig.target.ports["out"], peer_addresses=("10.9.9.9/24",))}
    wrong = replace(rig, target=replace(rig.target, ports=ports))
    native = wrong.render(EMPTY, rule_set(WEB))
    wrong.paste(native)
    assert "10.9.9.9/32 is routed to" in wrong.refused(native)


PORTS = "SI-tcp-s0-65535-d80-83"
ALTERED = {
    "panos": (
        ("set rulebase pbf rules SI-c7r1f1u0-there action forward nexthop ip-address 192.0.2.66", "commit"),
        ("delete rulebase pbf rules SI-c7r1f1u0-there", "commit"),
        (f"set service {PORTS} protocol tcp port 80-99", "commit"),
    ),
    "fortios": (
        ("config router policy", "edit 41816", "set gateway 192.0.2.66", "next", "end"),
        ("config router policy", "delete 54400", "end"),
        ("config firewall service custom", f"edit {PORTS}", "set tcp-portrange 80-99", "next", "end"),
    ),
}


@every_family
def test_what_somebody_changed_is_seen_and_mended(
    family: str, rig: VerifyRig, appliance_processes: dict[str, Any]
) -> None:
    wanted = rule_set(WEB)
    rig.paste(rig.render(EMPTY, wanted))
    for lines in ALTERED[family]:
        appliance_processes[family].operator(*lines)
        seen = rig.read().state
        assert [is_damaged(item) for item in seen.values()] == [True]
        repair = rig.render(seen, wanted)
        rig.refused(repair)
        rig.paste(repair)
        rig.takes(repair)
        assert rig.read().state == wanted
    rig.paste(rig.render(wanted, EMPTY))
    assert not redirects(appliance_processes[family])


@every_family
def test_a_firewall_that_steers_no_longer_gets_rid_of_the_rules(
    family: str, plain: VerifyRig, rig: VerifyRig, appliance_processes: dict[str, Any]
) -> None:
    traffic = Match("10.1.1.0/24", "198.51.100.0/24", "tcp")  # routed right
    wanted = rule_set(traffic)
    rig.paste(rig.render(EMPTY, wanted))
    seen = plain.read().state
    assert [is_damaged(item) for item in seen.values()] == [True]
    repair = plain.render(seen, wanted)
    plain.paste(repair)
    plain.takes(repair)
    assert plain.read().state == wanted
    assert not redirects(appliance_processes[family])


THEIRS = {
    "panos": (
        "set rulebase pbf rules theirs from {0}", "set rulebase pbf rules theirs source {1}",
        "set rulebase pbf rules theirs destination any", "set rulebase pbf rules theirs application any",
        "set rulebase pbf rules theirs service any",
        "set rulebase pbf rules theirs action forward egress-interface ethernet1/9", "commit",
    ),
    "fortios": (
        "config router policy", "edit 7", "set input-device {0}", "set src {1}", "set output-device port3",
        "next", "end",
    ),
}  # fmt: skip


@every_family
@pytest.mark.parametrize("is_steered", [True, False])
def test_an_operators_redirect_rule_in_the_way_is_named(
    family: str, is_steered: bool, plain: VerifyRig, rig: VerifyRig, appliance_processes: dict[str, Any]
) -> None:
    """Of other prefixes it is in nobody's way."""
    used = rig if is_steered else plain
    end = {"panos": "zone trust", "fortios": "port1"}[family]
    wanted = rule_set(Match("10.1.1.0/24", "198.51.100.0/24", "tcp"))
    native = used.render(EMPTY, wanted)
    for source, is_met in (("10.77.0.0/16", False), ("10.1.0.0/16", True)):
        appliance_processes[family].operator(*(line.format(end, source) for line in THEIRS[family]))
        used.paste(native)
        seen = used.read()
        assert seen.state == wanted
        assert any("redirect rule" in line for line in seen.attached) is is_met
        if is_met:
            assert "leads our packets elsewhere" in used.refused(native)
        else:
            used.takes(native)
        used.paste(used.render(wanted, EMPTY))


@every_family
def test_what_cannot_be_steered_is_said_while_planning(family: str) -> None:
    target, driver = steering(target_of(family, "")), FAMILIES[family]
    unknown = {name: replace(port, peer_addresses=()) for name, port in target.ports.items()}
    with pytest.raises(Unsupported, match="the IPv4 address behind port in"):
        driver.render(diff(EMPTY, rule_set(WEB)), replace(target, ports=unknown))
    ports = {**target.ports, "third": replace(target.ports["out"], name="third", peer_addresses=("203.0.113.1/24",))}
    both = state([next(iter(rule_set(WEB).values())), next(iter(rule_set(WEB, outside="third").values()))])
    third = {**target.settings, "zone_third": "dmz"}
    with pytest.raises(Unsupported, match="two ways"):
        driver.render(diff(EMPTY, both), replace(target, ports=ports, settings=third))
    if family == "panos":
        with pytest.raises(Unsupported, match="cannot tell icmp"):
            driver.render(diff(EMPTY, rule_set(Match("10.1.1.0/24", "0.0.0.0/0", "icmp"))), target)


def test_a_number_that_the_operator_took_is_seen(open_fortios: VerifyRig, appliance_processes: Any) -> None:
    rig = replace(open_fortios, target=steering(open_fortios.target))
    native = rig.render(EMPTY, rule_set(WEB))
    number = native.split("config router policy\n    edit ")[1].split("\n")[0]
    rig.paste(native)
    device = appliance_processes["fortios"]
    device.operator("config router policy", f"edit {number}", "set comments mine", "next", "end")
    assert [is_damaged(item) for item in rig.read().state.values()] == [True]
    assert f"router policy {number}" in rig.refused(native)


def test_hostile_names_never_become_redirect_rules() -> None:
    """Interfaces are the only text that reaches them."""
    for family, good in (("panos", "ethernet1/1"), ("fortios", "port1")):
        target = steering(target_of(family, ""))
        lines = FAMILIES[family].render(diff(EMPTY, rule_set(WEB)), target).count("\n")
        for hostile in ("\n", '"', " commit", "\nend\n", "é", "$(reboot)", ";", "-", "a" * 40):
            for name in (good + hostile, hostile + good):
                port = replace(target.ports["in"], interface=name)
                try:
                    native = FAMILIES[family].render(
                        diff(EMPTY, rule_set(WEB)), replace(target, ports={**target.ports, "in": port})
                    )
                except Unsupported:
                    continue
                assert native.count("\n") == lines, json.dumps(name)
