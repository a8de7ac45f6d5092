# SPDX-License-Identifier: Apache-2.0
"""PAN-OS and FortiOS: the text, against aerleon's, hostile names, and what is checked beside the policy."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aerleon import api
from aerleon.lib import naming
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.appliance import fortios, panos
from drivers.appliance.policy import is_damaged, items_of, lines_of
from drivers.base import Driver, Rejected, Unsupported
from drivers.diff import diff
from drivers.state import EMPTY, Match, Rule, RuleSet, Verdict
from tests.drivers.appliance_rigs import SITE, appliance_processes, target_of
from tests.drivers.hostile import COUNT
from tests.drivers.samples import sample, state, states
from tests.drivers.verify_only import VerifyRig, _without_dscp

__all__ = ["appliance_processes"]
GOLDEN = Path(__file__).parent / "golden"
FAMILIES = {"panos": panos.DRIVER, "fortios": fortios.DRIVER}
LANGUAGES = {"panos": panos.LANGUAGE, "fortios": fortios.LANGUAGE}
FIRST, SECOND = sample(SITE), sample(SITE, revision=2)
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))
TRAFFIC = Match("10.1.1.0/24", "0.0.0.0/0", "tcp")


@pytest.fixture
def rig(request: pytest.FixtureRequest, family: str) -> VerifyRig:
    made: VerifyRig = request.getfixturevalue(f"open_{family}")
    return made


@every_family
@pytest.mark.parametrize(
    ("case", "before", "after"), [("create", EMPTY, FIRST), ("change", FIRST, SECOND), ("remove", FIRST, EMPTY)]
)
def test_the_text_is_as_reviewed(family: str, case: str, before: Any, after: Any) -> None:
    """VIADUCT_GOLDEN=write writes it anew, to be reviewed like code."""
    text = FAMILIES[family].render(diff(before, after), replace(target_of(family, ""), held=before))
    file = GOLDEN / f"{family}-{case}.txt"
    if os.environ.get("VIADUCT_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


@every_family
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_rendered_is_read_back(family: str, data: st.DataObject) -> None:
    wanted, target = _without_dscp(data.draw(states(SITE))), target_of(family, "")
    native = FAMILIES[family].render(diff(EMPTY, wanted), target)
    if not native:
        assert not wanted
        return
    made = LANGUAGES[family].parse(native, target)
    rules = [(name, said) for (kind, name), said in made.there.items() if kind == "rule"]
    assert items_of([LANGUAGES[family].line(name, said, target) for name, said in rules], target) == wanted
    assert not made.gone


HOSTILE = ("\n", "\r", '"', "'", " ", ";", "\nend\n", "commit", "delete", "$(reboot)", "<", "\x1b", "é", "a" * 60)


@every_family
def test_hostile_names_never_become_commands(family: str) -> None:
    """Zones are the only text that reaches the renderer."""
    seeded, target, driver = random.Random(7), target_of(family, ""), FAMILIES[family]
    changes = diff(EMPTY, FIRST)
    lines = driver.render(changes, target).count("\n")
    for _ in range(COUNT):
        zone = "".join(seeded.choices([*HOSTILE, "a", "0", "-"], k=seeded.randint(1, 4)))
        hostile = replace(target, settings={**target.settings, "zone_in": zone})
        try:
            native = driver.render(changes, hostile)
        except Unsupported:
            continue
        assert native.count("\n") == lines
        LANGUAGES[family].parse(native, hostile)


# --- against aerleon --------------------------------------------------------------------------

POLICY = RuleSet(
    TRAFFIC,
    (
        Rule(Verdict.PERMIT, Match("0.0.0.0/0", "10.2.0.0/16", "tcp", destination_ports=(443, 443))),
        Rule(Verdict.DENY, Match("10.1.1.64/26", "0.0.0.0/0", "tcp", destination_ports=(80, 83))),
        Rule(Verdict.PERMIT, Match("0.0.0.0/0", "198.51.100.0/24")),
    ),
    Verdict.DENY,
    "in",
    "out",
)
Said = tuple[str, str, str, tuple[int, int]]  # action, source, destination, ports


def by_aerleon(platform: str) -> str:
    """The same lines, each already narrowed, as aerleon renders them."""
    target = target_of("panos", "")
    networks, services, terms = {}, {}, []
    for number, line in enumerate(lines_of(state([POLICY]), target)):
        networks[f"S{number}"] = {"values": [{"address": line.match.source}]}
        networks[f"D{number}"] = {"values": [{"address": line.match.destination}]}
        low, high = line.match.destination_ports
        # It knows no port 0.
        low = max(low, 1)
        services[f"P{number}"] = [{"port": f"{low}-{high}" if low < high else str(low), "protocol": "tcp"}]
        terms.append(
            {
                "name": f"t{number}",
                "source-address": f"S{number}",
                "destination-address": f"D{number}",
                "destination-port": f"P{number}",
                "protocol": "tcp",
                "action": "accept" if line.verdict is Verdict.PERMIT else "deny",
            }
        )
    definitions = naming.Naming()
    definitions.ParseDefinitionsObject({"networks": networks, "services": services}, "definitions")
    header = {"targets": {platform: "from-zone trust to-zone untrust"}}
    policy = {"filename": "p", "filters": [{"header": header, "terms": terms}]}
    return str(next(iter(api.Generate([policy], definitions).values())))


def ours(family: str) -> list[Said]:
    target = target_of(family, "")
    made = LANGUAGES[family].parse(FAMILIES[family].render(diff(EMPTY, state([POLICY])), target), target)
    found = []
    for (kind, name), said in made.there.items():
        if kind == "rule":
            line = LANGUAGES[family].line(name, said, target)
            action = "allow" if line.verdict is Verdict.PERMIT else "deny"
            found.append((action, line.match.source, line.match.destination, line.match.destination_ports))
    return found


def test_aerleon_reads_the_policy_as_we_do_on_panos() -> None:
    root = ET.fromstring(by_aerleon("paloalto"))
    addresses = {one.get("name"): one.findtext("ip-netmask", "") for one in root.iterfind(".//address/entry")}
    groups = {one.get("name"): one.findtext("static/member", "") for one in root.iterfind(".//address-group/entry")}
    ports = {one.get("name"): one.findtext("protocol/tcp/port", "") for one in root.iterfind(".//service/entry")}
    found = []
    for rule in root.iterfind(".//security/rules/entry"):
        ends = [_netmask(rule.findtext(f"{end}/member", ""), groups, addresses) for end in ("source", "destination")]
        found.append((rule.findtext("action", ""), *ends, _span(ports.get(rule.findtext("service/member"), ""))))
    assert found == ours("panos")


def test_aerleon_reads_the_policy_as_we_do_on_fortios() -> None:
    """Its hazards on the way: numbers from 1, and no `set action` for a denial."""
    text = by_aerleon("fortigate")
    assert re.search(r"edit 1\n\s+set name", text)
    assert "set action deny" not in text
    table = dict(re.findall(r"edit (\w+)\n\s+set type ipmask\n\s+set subnet (.+)", text))
    group = dict(re.findall(r'edit (\w+)\n\s+set member "(\w+)"', text))
    ports = dict(re.findall(r"edit (\w+)\n\s+set tcp-portrange (\S+)", text))
    found = []
    for block in re.findall(r"set name .*?next", text, re.DOTALL):
        said = dict(re.findall(r'set (\S+) "?([^"\n]+)"?', block))
        ends = [_netmask(said[end], group, table) for end in ("srcaddr", "dstaddr")]
        found.append(("allow" if said.get("action") == "accept" else "deny", *ends, _span(ports[said["service"]])))
    assert found == ours("fortios")


def _netmask(name: str, groups: Any, addresses: Any) -> str:
    found = addresses.get(groups.get(name, name), name)
    return "0.0.0.0/0" if found in ("any", "all") else str(ipaddress.ip_network(found.replace(" ", "/")))


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return (0 if low == "1" and high == "65535" else int(low)), int(high or low)


# --- what is checked beside the policy --------------------------------------------------------


@every_family
def test_zones_and_routes_are_checked_with_the_policy(family: str, rig: VerifyRig) -> None:
    native = rig.render(EMPTY, FIRST)
    rig.paste(native)
    rig.takes(native)
    ports = {**rig.target.ports, "in": replace(rig.target.ports["in"], interface="port3")}
    elsewhere = replace(rig, target=replace(rig.target, ports=ports))
    said = elsewhere.refused(native)
    assert "interface port3 is not in zone trust" in said
    assert "10.1.1.0/24 is routed to" in said


@every_family
@pytest.mark.parametrize(
    ("old", "new", "is_item"), [("allow|accept", "drop|deny", True), (r"10\.9\.1", "10.8.1", False)]
)
def test_a_rule_that_was_altered_is_seen_and_mended(
    family: str, rig: VerifyRig, old: str, new: str, is_item: bool
) -> None:
    native = rig.render(EMPTY, FIRST)
    new = new.split("|")[family != "panos"] if is_item else new
    altered = re.sub(old, new, native, count=1 if is_item else 0).replace("SI 0.0.0.0/0 10.8", "SI 0.0.0.0/0 10.9")
    assert altered != native
    rig.paste(altered)
    seen = rig.read().state
    assert seen.keys() == FIRST.keys()
    assert seen != FIRST
    assert any(is_damaged(item) for item in seen.values()) is not is_item
    rig.refused(native)
    repair = rig.render(seen, FIRST)
    rig.refused(repair)
    rig.paste(repair)
    rig.takes(repair)
    assert rig.read().state == FIRST


@every_family
def test_what_is_damaged_and_unwanted_goes(family: str, rig: VerifyRig) -> None:
    native = rig.render(EMPTY, FIRST)
    rig.paste(re.sub(r"10\.9\.1", "10.8.1", native).replace("0 10.8", "0 10.7"))
    seen = rig.read().state
    rig.paste(rig.render(seen, EMPTY))
    assert rig.read().state == EMPTY


def test_a_setting_that_we_never_write_is_named(open_panos: VerifyRig) -> None:
    open_panos.paste(open_panos.render(EMPTY, FIRST))
    name = re.findall(r"rules (\S+) from", open_panos.render(EMPTY, FIRST))[0]
    open_panos.paste(f"set rulebase security rules {name} negate-source yes")
    with pytest.raises(Rejected, match="negate-source in rule SI-"):
        open_panos.read()


def test_pasted_and_not_committed_is_told_apart(open_panos: VerifyRig, appliance_processes: Any) -> None:
    native = open_panos.render(EMPTY, FIRST)
    appliance_processes["panos"].operator(*native.splitlines())
    assert "not committed; give `commit`" in open_panos.refused(native)


def test_a_number_that_is_taken_is_seen(open_fortios: VerifyRig, appliance_processes: Any) -> None:
    native = open_fortios.render(EMPTY, FIRST)
    number = re.findall(r"edit (\d{10})", native)[0]
    rule = ("set name theirs", "set srcintf trust", "set dstintf untrust", "set srcaddr all", "set dstaddr all")
    appliance_processes["fortios"].operator("config firewall policy", f"edit {number}", *rule, "next", "end")
    assert f"number {number} says" in open_fortios.refused(native)


@every_family
def test_a_dscp_is_refused_while_planning(family: str) -> None:
    driver: Driver = FAMILIES[family]
    item = replace(POLICY, traffic=replace(TRAFFIC, dscp=46))
    with pytest.raises(Unsupported, match="DSCP"):
        driver.render(diff(EMPTY, state([item])), target_of(family, ""))


@every_family
def test_without_an_authority_nothing_is_asked(family: str, rig: VerifyRig) -> None:
    fields = {**json.loads(rig.target.secret), "authority_file": ""}
    target = replace(rig.target, secret=json.dumps(fields))
    with pytest.raises(Rejected, match="authority_file"), rig.driver.open(target, 30):
        pass
    with rig.driver.open(replace(target, settings={**target.settings, "unverified": "yes"}), 30) as session:
        assert session.read().state == EMPTY
