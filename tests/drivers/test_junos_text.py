# SPDX-License-Identifier: Apache-2.0
"""The words of the `junos` and `srx` drivers: round trips, golden texts, hostile names, and a second opinion.

No device: the emulated box's own parser and printer stand between rendering and reading.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from aerleon import api
from aerleon.lib import naming
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.appliance import srx, srx_text
from drivers.base import Driver, Rejected, Target, Unsupported
from drivers.diff import diff
from drivers.junos_lines import GROUP, changes_of, differs, lines_of, pending_label
from drivers.state import ANY_PORT, ANYWHERE, EMPTY, DeviceState, Match, Redirect, RuleSet, Verdict
from drivers.switch import junos, junos_text
from drivers.switch.tables import Action, Entry, Place, Tables, address_of, crossing_addresses, tables_of
from lab.devices import junos_config as configs
from lab.devices.junos_check import errors
from lab.devices.junos_plane import plane_of
from lab.devices.junos_schema import statements
from lab.devices.plane import Clause, Fate
from tests.drivers import junos_rig, srx_rig
from tests.drivers.hostile import COUNT
from tests.drivers.samples import sample, states

GOLDEN = Path(__file__).with_name("golden")
MANY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SWITCH = Target("mx1", "junos", "127.0.0.1", {}, junos_rig.PORTS, {"blue": 101})
WALL = Target("srx1", "srx", "127.0.0.1", srx_rig.SETTINGS, srx_rig.PORTS)
FAMILIES = {"junos": (junos.DRIVER, SWITCH, junos_rig.SITE), "srx": (srx.DRIVER, WALL, srx_rig.SITE)}
OPERATORS = """
set interfaces ge-0/0/1 flexible-vlan-tagging
set interfaces ge-0/0/1 unit 0 family inet address 10.1.1.1/24
set interfaces ge-0/0/1 native-vlan-id 1
set interfaces ge-0/0/1 unit 0 vlan-id 1
set interfaces ge-0/0/2 flexible-vlan-tagging
set interfaces ge-0/0/2 native-vlan-id 1
set interfaces ge-0/0/2 unit 0 vlan-id 1
set interfaces ge-0/0/1 unit 0 family inet6 address 2001:db8:1:1::1/64
set interfaces ge-0/0/2 unit 0 family inet address 192.0.2.1/24
set interfaces ge-0/0/2 unit 0 family inet6 address 2001:db8:2::1/64
set routing-instances blue instance-type virtual-router
set routing-instances blue interface ge-0/0/1.0
set routing-instances blue interface ge-0/0/2.0
set security zones security-zone trust interfaces ge-0/0/1.0
set security zones security-zone untrust interfaces ge-0/0/2.0
"""
KNOWN = statements(is_secure=True)
both = pytest.mark.parametrize("family", FAMILIES)


def boxed(native: str, config: configs.Config | None = None) -> configs.Config:
    """What the emulated box holds afterwards."""
    held = configs.copied(config or {})
    if config is None:
        configs.load_set(held, KNOWN, OPERATORS)
    configs.load_set(held, KNOWN, native)
    return held


def printed(config: configs.Config) -> str:
    return "".join(f"{line}\n" for line in configs.lines(config, KNOWN))


def rendered(driver: Driver, target: Target, before: DeviceState, after: DeviceState) -> str:
    return driver.render(diff(before, after), replace(target, held=before))


def reading(driver: Driver, running: str, target: Target) -> DeviceState:
    return (junos.read if driver is junos.DRIVER else srx.read)(running, target).state


@both
@MANY
@given(st.data())
def test_what_is_rendered_is_read_and_taken(family: str, data: st.DataObject) -> None:
    driver, target, site = FAMILIES[family]
    first, second = data.draw(states(site)), data.draw(states(site))
    there = boxed(rendered(driver, target, EMPTY, first))
    assert reading(driver, printed(there), target) == first
    assert list(errors(configs.expanded(there, KNOWN))) == []
    text = rendered(driver, target, first, second)
    if text:
        (junos.check if family == "junos" else srx.check)(text, target)
    moved = boxed(text, there)
    assert reading(driver, printed(moved), target) == second
    assert boxed(text, moved) == moved
    if text:
        told = changes_of("\n".join(configs.compare(there, moved, KNOWN)))
        assert differs(printed(there), text, told, "x") == ""


@both
@MANY
@given(st.data())
def test_text_can_be_loaded_in_braces_too(family: str, data: st.DataObject) -> None:
    """What the box prints, it takes again, and means the same."""
    driver, target, site = FAMILIES[family]
    there = boxed(rendered(driver, target, EMPTY, data.draw(states(site))))
    again: configs.Config = {}
    configs.load_text(again, KNOWN, printed(there))
    assert again == there


@both
def test_the_order_of_changes_does_not_matter(family: str) -> None:
    driver, target, site = FAMILIES[family]
    changes = diff(EMPTY, sample(site))[:5]
    assert len({driver.render(order, target) for order in permutations(changes)}) == 1


@both
@pytest.mark.parametrize("case", ["create", "update", "delete"])
def test_golden_texts(family: str, case: str) -> None:
    """Reviewed by eye. To change one on purpose: delete the file and run this test twice."""
    driver, target, site = FAMILIES[family]
    first, second = sample(site, revision=1), sample(site, revision=2)
    before, after = {"create": (EMPTY, first), "update": (first, second), "delete": (first, EMPTY)}[case]
    text = rendered(driver, target, before, after)
    file = GOLDEN / f"{family}-{case}.txt"
    if not file.exists():
        file.write_text(text)
        pytest.fail(f"{file.name} is new: review it")
    assert text == file.read_text()


# --- what the operator has stays --------------------------------------------------------------------


@both
def test_all_of_it_goes_and_nothing_else(family: str) -> None:
    driver, target, site = FAMILIES[family]
    empty = boxed("")
    there = boxed(rendered(driver, target, EMPTY, sample(site)))
    assert there != empty
    gone = boxed(rendered(driver, target, sample(site), EMPTY), there)
    assert printed(gone) == printed(empty)


def test_a_list_of_groups_keeps_the_operators() -> None:
    theirs = boxed("set groups base system host-name x\nset apply-groups base\n")
    there = boxed(rendered(junos.DRIVER, SWITCH, EMPTY, sample(junos_rig.SITE)), theirs)
    assert "apply-groups [ base SI-viaduct ];" in printed(there)
    told = changes_of("\n".join(configs.compare(theirs, there, KNOWN)))
    assert "+ apply-groups SI-viaduct\n" in told
    assert "apply-groups base" not in told
    assert reading(junos.DRIVER, printed(there), SWITCH) == sample(junos_rig.SITE)


def test_a_difference_that_is_not_ours_is_known() -> None:
    there = boxed(rendered(junos.DRIVER, SWITCH, EMPTY, sample(junos_rig.SITE)))
    other = boxed("delete routing-instances blue interface ge-0/0/2.0\nset system host-name y\n", there)
    told = changes_of("\n".join(configs.compare(there, other, KNOWN))).splitlines()
    assert told == ["+ system host-name y", "- routing-instances blue interface ge-0/0/2.0"]
    same = rendered(junos.DRIVER, SWITCH, EMPTY, sample(junos_rig.SITE))
    assert "also change '+system ...'" in differs(printed(there), same, "\n".join(told), "x")
    assert "which is not ours" in differs(printed(there), same, "! firewall family inet filter F term x", "x")


def test_terms_that_only_moved_are_a_difference() -> None:
    line = "set firewall family inet filter F term {} then accept\n"
    one, other = (boxed("".join(line.format(name) for name in names)) for names in ("xy", "yx"))
    told = changes_of("\n".join(configs.compare(one, other, KNOWN)))
    assert told.splitlines() == [f"! firewall family inet filter F term {name} then accept" for name in "yx"]


def test_a_label_is_found_only_where_the_last_commit_brought_it() -> None:
    brought = "[edit groups]\n+  SI-pending {\n+     apply-macro a-1 {\n+       since re0-1-2;\n+     }\n+  }\n"
    assert pending_label(changes_of(brought)) == "a-1"
    assert pending_label(changes_of(brought.replace("+", "-"))) == ""


@pytest.mark.parametrize("text", ["a {", "a; }", "a { b; } }", "a { b }"])
def test_a_configuration_that_is_cut_off_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        lines_of(text)


@both
def test_what_was_switched_off_is_not_believed(family: str) -> None:
    """`deactivate` is printed as a word before the statement."""
    driver, target, site = FAMILIES[family]
    text = printed(boxed(rendered(driver, target, EMPTY, sample(site))))
    off = reading(driver, text.replace("\napply-groups", "\ninactive: apply-groups"), target)
    assert off.keys() == sample(site).keys()
    assert not set(off.values()) & set(sample(site).values())
    with pytest.raises(Rejected, match="inactive"):
        reading(driver, text.replace("    then {", "    inactive: then {", 1), target)


# --- hostile names ----------------------------------------------------------------------------------

PIECES = (
    "\n", ";", " ", "}", "{", "]", '"', "/*", "#", "set system root-authentication", "delete", "a", "ge-0/0/1", ".0",
    "SI-viaduct", "\t", "\x00", "é", "\u2028", "$(reboot)", "%", "to-zone", "[ a b ]", "..", "-", "1", "\\",
)  # fmt: skip


def hostile(number: int) -> str:
    made = random.Random(number)
    return "".join(made.choice(PIECES) for _ in range(made.randint(1, 6)))


def one_redirect() -> DeviceState:
    items = sample(junos_rig.SITE).items()
    key, item = next((key, item) for key, item in items if isinstance(item, Redirect) and item.next.port)
    return DeviceState({key: item})


def test_hostile_interface_names_never_become_syntax() -> None:
    wanted, refused = one_redirect(), 0
    for number in range(COUNT):
        name = hostile(number)
        ports = {**SWITCH.ports, "a": replace(SWITCH.ports["a"], interface=name)}
        if junos_text.IFNAME.fullmatch(name):
            continue
        refused += 1
        with pytest.raises(Unsupported):
            rendered(junos.DRIVER, replace(SWITCH, ports=ports), EMPTY, wanted)
    assert refused > COUNT * 9 // 10


def test_hostile_vrf_names_never_become_syntax() -> None:
    ((key, item),) = one_redirect().items()
    assert isinstance(item, Redirect)
    plain = len(rendered(junos.DRIVER, SWITCH, EMPTY, one_redirect()).splitlines())
    taken = 0
    for number in range(COUNT):
        state = DeviceState({key: replace(item, next=replace(item.next, vrf=hostile(number)))})
        try:
            text = rendered(junos.DRIVER, SWITCH, EMPTY, state)
        except Unsupported:
            continue
        taken += 1
        assert item.next.vrf and len(text.splitlines()) == plain
        assert reading(junos.DRIVER, printed(boxed(text)), SWITCH).keys() == {key}
    assert 0 < taken < COUNT // 10


def test_hostile_zones_never_become_syntax() -> None:
    wanted = sample(srx_rig.SITE)
    for number in range(COUNT):
        name = hostile(number)
        if srx_text.ZONE.fullmatch(name):
            continue
        wall = replace(WALL, settings={**WALL.settings, ("zone_in", "zone_out")[number % 2]: name})
        with pytest.raises(Unsupported):
            rendered(srx.DRIVER, wall, EMPTY, wanted)


def test_native_text_of_others_is_refused() -> None:
    for family, (driver, target, site) in FAMILIES.items():
        good = rendered(driver, target, EMPTY, sample(site))
        check = junos.check if family == "junos" else srx.check
        check(good, target)
        lines = good.splitlines(keepends=True)
        # Less, twice, in another order, in another group: none is what we write.
        for bad in (
            "".join(lines[:-1]), good + lines[-1], "".join([*lines[:3], lines[4], lines[3], *lines[5:]]),
            good.replace(GROUP, "SI-other"), good + "\n", good.replace("set ", "set  ", 1), lines[0],
        ):  # fmt: skip
            with pytest.raises(Rejected):
                check(bad, target)


# --- SRX --------------------------------------------------------------------------------------------


def test_what_an_srx_cannot_match_is_unsupported() -> None:
    (key, item), *_ = sample(srx_rig.SITE).items()
    assert isinstance(item, RuleSet)
    for other in (
        replace(item, traffic=replace(item.traffic, dscp=46)),
        replace(item, inside="out"),
        replace(item, outside="nowhere"),
    ):
        with pytest.raises(Unsupported):
            rendered(srx.DRIVER, WALL, EMPTY, DeviceState({key: other}))


def decisions(lines: tuple[str, ...]) -> list[tuple[frozenset[str], frozenset[str], frozenset[str], str]]:
    """(sources, destinations, applications, verdict) of each policy from trust to untrust, whoever wrote them."""
    addresses: dict[str, set[str]] = {"any": {"any"}, "any-ipv4": {"any"}}
    applications: dict[str, set[str]] = {"any": {"any"}}
    policies: dict[str, list[str]] = {}
    for line in lines:
        words = line.split(" ")
        if words[:2] == ["security", "address-book"] and words[3] == "address":
            addresses.setdefault(words[4], set()).add(words[5])
        elif words[:2] == ["security", "address-book"]:
            addresses.setdefault(words[4], set()).update(addresses[words[6]])
        elif words[:2] == ["applications", "application"]:
            said = [word for word in words[3:] if word not in ("term", "t1", "protocol", "destination-port")]
            applications[words[2]] = {" ".join([*applications.get(words[2], ()), *said])}
        elif words[0] == "applications":
            applications.setdefault(words[2], set()).update(applications[words[4]])
        elif line.startswith("security policies from-zone trust to-zone untrust policy "):
            policies.setdefault(words[7], []).append(" ".join(words[8:]))
    found = []
    for said in policies.values():
        meant = {"source-address": addresses, "destination-address": addresses, "application": applications}
        parts = [
            frozenset(one for line in said if f" {name} " in line for one in known[line.split(" ")[2]])
            for name, known in meant.items()
        ]
        verdict = next(line.split(" ")[1] for line in said if line.startswith("then "))
        found.append((parts[0], parts[1], frozenset(" ".join(sorted(one.split())) for one in parts[2]), verdict))
    return found


def test_aerleon_would_permit_and_deny_the_same() -> None:
    """A second generator for the same rules. Its text is never sent: it replaces all of the operator's policies."""
    key, item = next(iter(sample(srx_rig.SITE).items()))
    assert isinstance(item, RuleSet)
    known: dict[str, str] = {}

    def token(prefix: str) -> str:
        return known.setdefault(prefix, f"NET{len(known)}")

    services = {}
    terms = []
    for number, (_, match, verdict) in enumerate(srx_text.parts_of(key, item)):
        term: dict[str, str] = {"name": f"t{number}", "protocol": match.protocol}
        term["action"] = "accept" if verdict is Verdict.PERMIT else "deny"
        for name, prefix in (("source-address", match.source), ("destination-address", match.destination)):
            if not prefix.endswith("/0"):
                term[name] = token(prefix)
        if match.destination_ports != ANY_PORT:
            low, high = match.destination_ports
            services[f"PORTS{number}"] = [{"protocol": match.protocol, "port": f"{low}-{high}"}]
            term["destination-port"] = f"PORTS{number}"
        terms.append(term)
    names = naming.Naming()
    networks = {name: {"values": [{"address": prefix}]} for prefix, name in known.items()}
    names.ParseDefinitionsObject({"networks": networks, "services": services}, "")
    header = {"targets": {"srx": "from-zone trust to-zone untrust"}}
    policy = {"filename": "policy", "filters": [{"header": header, "terms": terms}]}
    theirs = next(iter(api.Generate([policy], names).values()))
    assert "replace: policies" in theirs  # the hazard: never load this
    plain = theirs.replace("replace: ", "")
    ours = srx_text.text_of(DeviceState({key: item}), WALL)
    assert decisions(lines_of(plain)) == decisions(ours)


# --- what it says about packets ---------------------------------------------------------------------


@MANY
@given(st.data())
def test_the_configuration_in_force_says_what_the_items_say(data: st.DataObject) -> None:
    """Read by another reader, which knows Junos and none of our names: every table, in order, with its next hops."""
    state = data.draw(states(junos_rig.SITE))
    there = boxed(rendered(junos.DRIVER, SWITCH, EMPTY, state))
    plane = plane_of(configs.expanded(there, KNOWN))
    tables = tables_of(state, SWITCH)
    for place, entries in tables.entries.items():
        found = plane.interfaces[f"ge-0/0/{SWITCH.ports[place[0]].number}{f'.{place[1]}' if place[1] else ''}"]
        assert (found.vlan, found.vrf) in ((0, "blue"), (place[1], tables_vrf(tables, place)))
        for family in sorted({entry.family for entry in entries}):
            wanted = [one for entry in entries if entry.family == family for one in clauses(entry, place)]
            if not place[1]:  # what no term means is routed
                wanted.append(Clause(Match(ANYWHERE[family], ANYWHERE[family]), Fate.ROUTE))
            wanted.append(Clause(Match(ANYWHERE[family], ANYWHERE[family]), Fate.DROP))
            assert [one for one in found.policy if one.match.family == family] == wanted
    for place, crossing in tables.crossings.items():
        if place not in tables.entries:  # packets leave by it, and none comes in
            fates = [one.fate for one in plane.interfaces[f"ge-0/0/{SWITCH.ports[place[0]].number}.{place[1]}"].policy]
            assert set(fates) == {Fate.DROP}
        for family in (4, 6):
            far = crossing_addresses(SWITCH, place, family)[1]
            assert plane.neighbours.get((crossing.vrf, far), "") == crossing.mac


def tables_vrf(tables: Tables, place: Place) -> str:
    return tables.crossings[place].vrf if place in tables.crossings else ""


def clauses(entry: Entry, place: Place) -> Iterator[Clause]:
    for match in entry.matches:
        if entry.action is Action.REDIRECT:
            yield Clause(match, Fate.NEXT, address_of(SWITCH, entry.hop, entry.family))
        else:
            yield Clause(match, Fate.DROP if entry.action is Action.DROP else Fate.ROUTE)


def test_a_next_hop_whose_subnet_is_gone_drops() -> None:
    there = boxed(rendered(junos.DRIVER, SWITCH, EMPTY, sample(junos_rig.SITE)))
    fates = {one.fate for one in plane_of(configs.expanded(there, KNOWN)).interfaces["ge-0/0/2"].policy}
    assert Fate.NEXT in fates
    for family in ("inet address 192.0.2.1/24", "inet6 address 2001:db8:2::1/64"):
        there = boxed(f"delete interfaces ge-0/0/2 unit 0 family {family}\n", there)
    after = plane_of(configs.expanded(there, KNOWN)).interfaces["ge-0/0/2"].policy
    assert Fate.NEXT not in {one.fate for one in after}
