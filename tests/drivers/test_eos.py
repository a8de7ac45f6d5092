# SPDX-License-Identifier: Apache-2.0
"""EOS text without a device: reviewed cases, properties, hostile names, what is refused and what is damaged."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.base import PortInfo, Rejected, Target, Unsupported
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState, Guard, Match, NextHop, Redirect, slot
from drivers.switch import eos
from drivers.switch.eos import read
from drivers.switch.eos_blocks import DSCP_NAMES, PORT_NAMES, blocks_of, match_of, paths, permit
from drivers.switch.eos_claim import SEPARATOR, adds, check, claim, differs, needs
from drivers.switch.flows import torn
from lab.devices.eos_grammar import Console, printed, shown
from lab.devices.tree import Tree
from tests.drivers.eos_rig import BLUE, OPERATOR, PEERS, PORTS, STEERING, base
from tests.drivers.hostile import COUNT, hostile
from tests.drivers.samples import Site, matches, sample, state, states

GOLDEN = Path(__file__).parent / "golden"
SITE = Site(STEERING, tuple(PORTS), (BLUE,), peers=PEERS, protocols=("", "tcp", "udp", "icmp", "icmpv6"))
TRAFFIC = {"steering": "traffic-policy", "global_vrf": BLUE}
STYLES = {"pbr": {}, "traffic-policy": TRAFFIC}
EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
WEB = Match("10.1.1.0/24", "0.0.0.0/0", "tcp", destination_ports=(443, 443))


def target(**settings: str) -> Target:
    ports = {
        name: PortInfo(
            name,
            number,
            interface=PORTS[name],
            peer_mac=PEERS[name],
            peer_addresses=(f"10.200.{number}.9/24", f"2001:db8:200:{number}::9/64"),
        )
        for number, name in enumerate(PORTS, start=1)
    }
    return Target("leaf1", "eos", "192.0.2.1", settings, ports, {BLUE: 101})


def box(style: str = "pbr") -> Tree:
    """The running configuration of an operator, ours not in it yet."""
    tree = Tree()
    Console(tree).type_all([*base("" if style != "pbr" else BLUE).splitlines(), *OPERATOR])
    return tree


def text(tree: Tree) -> str:
    return shown(tree).text()


def typed(tree: Tree, native: str, where: Target) -> None:
    """As NAPALM types it: without indentation and comments, so that nesting is the device's falling through."""
    console = Console(tree)
    for line in native.splitlines():
        if not line.strip().startswith("!"):
            console.type(line.strip())


def said(before: str, after: str) -> str:
    """What a device says that it changes, as the box brings it."""
    old, new = (Counter(SEPARATOR.join(path) for path in paths(blocks_of(one))) for one in (before, after))
    lines = [f"-{line}\n" for line in (old - new).elements()] + [f"+{line}\n" for line in (new - old).elements()]
    return "".join(lines)


def moved(tree: Tree, before: DeviceState, after: DeviceState, where: Target) -> DeviceState:
    running = text(tree)
    native = eos.render(diff(before, after), replace(where, held=before, residue=read(running, where).residue))
    check(native, where)
    typed(tree, native, where)
    assert differs(running, native, said(running, text(tree)), where) == ""
    return read(text(tree), where).state


# --- reviewed text ----------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", ["create", "change", "remove"])
def test_reviewed_text(style: str, case: str) -> None:
    where, first, second = target(**STYLES[style]), sample(SITE, revision=1), sample(SITE, revision=2)
    before, after = {"create": (EMPTY, first), "change": (first, second), "remove": (second, EMPTY)}[case]
    native = eos.render(diff(before, after), replace(where, held=before))
    assert native == (GOLDEN / f"eos-{style}-{case}.txt").read_text()


# --- properties -------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@EXAMPLES
@given(st.data())
def test_what_is_rendered_is_parsed(style: str, data: st.DataObject) -> None:
    where, tree = target(**STYLES[style]), box(style)
    untouched = text(tree)
    first, second = data.draw(states(SITE)), data.draw(states(SITE))
    assert moved(tree, EMPTY, first, where) == first
    there = text(tree)
    assert moved(tree, first, second, where) == second
    once = text(tree)
    assert moved(tree, first, second, where) == second  # sent again: nobody heard the answer
    assert text(tree) == once
    assert moved(tree, second, first, where) == first
    assert text(tree) == there
    assert moved(tree, first, EMPTY, where) == EMPTY
    assert text(tree) == untouched


@EXAMPLES
@given(st.data())
def test_the_order_of_changes_says_nothing(data: st.DataObject) -> None:
    first, second = data.draw(states(SITE)), data.draw(states(SITE))
    changes = diff(first, second)
    shuffled = tuple(data.draw(st.permutations(changes)))
    where = replace(target(), held=first)
    assert eos.render(changes, where) == eos.render(shuffled, where)


@EXAMPLES
@given(st.sampled_from([4, 6]).flatmap(lambda family: matches(family, site=SITE)))
def test_a_line_of_an_access_list_comes_back_as_the_device_prints_it(match: Match) -> None:
    line = f"20 {permit(match, 'leaf1')}"
    assert match_of(printed(line).partition(" ")[2], match.family) == match


def test_ports_and_codes_come_back_by_name() -> None:
    assert printed("20 permit tcp 10.0.0.1/32 0.0.0.0/0 range 22 443 dscp 46") == (
        "20 permit tcp host 10.0.0.1 any range ssh https dscp ef"
    )
    for name, port in PORT_NAMES.items():
        assert match_of(f"permit tcp any any eq {name}", 4).destination_ports == (port, port)
    for name, code in DSCP_NAMES.items():
        assert match_of(f"permit ip any any dscp {name}", 4).dscp == code


def test_no_deny_stands_in_an_access_list_of_a_policy() -> None:
    """A class map of type pbr does not take one; what is denied is a class of its own that drops."""
    native = eos.render(diff(EMPTY, sample(SITE)), target())
    assert " deny " not in native
    assert not eos.CAPS.takes_deny


def test_an_unchanged_entry_is_not_touched() -> None:
    redirect, guard = Redirect("a", 0, WEB, SITE.hop("b", 0, "")), Guard("b", 0, WEB)
    both, stays = state([redirect, guard]), state([redirect])
    native = eos.render(diff(both, stays), replace(target(), held=both))
    assert "SI-c7r1f1r0p0" not in native
    assert "no ip access-list SI-c7r1f1g1p0" in native


# --- refusals ---------------------------------------------------------------------------------

def named(text: str, place: int) -> tuple[Target, DeviceState]:
    """A state with the text where a person may put one: VRF, interface, MAC, port, global VRF."""
    given = [text if place == number else "" for number in range(5)]
    vrf, mac, port = given[0] or BLUE, given[2] or PEERS["b"], given[3] or "b"
    where = target(**({"global_vrf": given[4]} if given[4] else {}))
    info = replace(where.ports["b"], name=port, interface=given[1] or "Ethernet2", peer_mac=mac)
    ports = {**where.ports, port: info}
    return replace(where, ports=ports), state([Redirect("a", 0, WEB, NextHop(port, 0, mac, vrf))])


def test_hostile_names_make_no_lines() -> None:
    """Refused, or one more word of the same line."""
    plain = [line.split()[0] for line in eos.render(diff(EMPTY, named("", 0)[1]), target()).splitlines()]
    refused = 0
    for number, text in enumerate(hostile(COUNT)):
        if text in PORTS:
            continue  # another port is another place
        where, wanted = named(text, number % 5)
        try:
            native = eos.render(diff(EMPTY, wanted), where)
        except Unsupported:
            refused += 1
            continue
        assert [line.split()[0] for line in native.splitlines()] == plain, text
        check(native, where)
    assert refused > COUNT // 2


@pytest.mark.parametrize(
    "line",
    [
        "reload",
        "! clear c7.r1.f.1.redirect.0 ",
        "! vrf blue",
        "no ip access-list THEIRS",
        "no policy-map type pbr SI-t-",
        "interface Ethernet1\n   shutdown",
        "interface Ethernet1\n   service-policy type pbr input THEIRS",
        "interface Ethernet1.20\n   vrf red",
        "no interface Ethernet1.20",
        "no interface Ethernet1",
        "interface Ethernet9\n   service-policy type pbr input SI-t-a-0",
        "ip access-list SI-c7r1f1r0p3\n   20 deny ip any any",
        "policy-map type pbr SI-t-a-0\n   10 class THEIRS",
        "policy-map type pbr SI-t-a-0\n   10 class SI-closed-4\n      set nexthop-group X",
        "arp vrf blue 10.0.0.1 02:00:00:00:00:01 arpa",
        "traffic-policies\n   traffic-policy THEIRS",
        "traffic-policies\n   no traffic-policy THEIRS",
        "nexthop-group THEIRS type ip\n   size 1",
        "ip access-list SI-c7r1f1r0p3\x0breload",
        "banner motd\nreload\nEOF",
        "!! SI",
        "ip access-list SI-c99999999r1f1r0p3",
    ],
)
def test_only_lines_of_ours_are_sent(line: str) -> None:
    good = eos.render(diff(EMPTY, sample(SITE)), target())
    check(good, target())
    for native in (line, f"{good}{line}\n", f"{line}\n{good}"):
        with pytest.raises(Rejected):
            check(native, target())


def test_what_cannot_be_said_is_unsupported() -> None:
    def refused(item: Redirect, **settings: str) -> str:
        with pytest.raises(Unsupported) as caught:
            eos.render(diff(EMPTY, state([item])), target(**settings))
        return str(caught.value)

    hop = SITE.hop("b", 0, "")
    assert "sctp" in refused(Redirect("a", 0, Match("10.0.0.0/8", "0.0.0.0/0", "sctp"), hop))
    assert "steering" in refused(Redirect("a", 0, WEB, hop), steering="openflow")
    assert "default VRF only" in refused(Redirect("a", 0, WEB, hop), steering="traffic-policy")


def test_a_port_in_two_vrfs_is_unsupported() -> None:
    items = [
        Redirect("a", 0, WEB, NextHop("b", 0, PEERS["b"], vrf), index)
        for index, vrf in enumerate(("red", BLUE))
    ]
    with pytest.raises(Unsupported, match="in VRF"):
        eos.render(diff(EMPTY, state([*items])), target())


PREREQUISITES = {
    "no policy-map type pbr THEIRS|": "",
    "no vrf instance blue|": "`vrf instance blue`",
    "no ip routing vrf blue|": "`ip routing vrf blue`",
    "no ipv6 unicast-routing vrf blue|": "`ipv6 unicast-routing vrf blue`",
    "interface Ethernet1|switchport": "`no switchport` to interface Ethernet1",
    "interface Ethernet1|vrf red": "interface Ethernet1 is in VRF red and must be in blue",
    "interface Ethernet2|no vrf blue": "interface Ethernet2 is in VRF default and must be in blue",
    "interface Ethernet1|service-policy type pbr input THEIRS": "`no service-policy type pbr input THEIRS`",
    "hardware tcam|profile viaduct|no feature pbr ipv6": "`feature pbr ipv6` to `profile viaduct`",
    "ip access-list SI-c7r1f1g0p3|10 permit tcp any any": "ip access-list SI-c7r1f1g0p3 is there without our mark",
    "policy-map type pbr SI-t-a-0|10 class THEIRS": "policy-map type pbr SI-t-a-0 is there and holds no class of ours",
    "interface Ethernet2.3001|encapsulation dot1q vlan 3001": "interface Ethernet2.3001 is there without our mark",
}


def in_the_way(tree: Tree, native: str, where: Target) -> tuple[str, ...]:
    """As the session asks: prerequisites only where something is brought."""
    running = text(tree)
    wanted = needs(running, native, where) if adds(running, native, where) else ()
    return (*claim(running, native, where), *wanted)


@pytest.mark.parametrize("lines", PREREQUISITES)
def test_what_stands_in_the_way_is_named_with_its_remedy(lines: str) -> None:
    tree = box()
    native = eos.render(diff(EMPTY, sample(SITE)), target())
    assert in_the_way(tree, native, target()) == ()
    Console(tree).type_all(lines.split("|"))
    found = in_the_way(tree, native, target())
    expected = PREREQUISITES[lines]
    assert any(expected in each for each in found) if expected else found == ()


def test_removal_needs_no_prerequisite() -> None:
    tree, wanted = box(), sample(SITE)
    moved(tree, EMPTY, wanted, target())
    Console(tree).type_all(["no ip routing vrf blue", "hardware tcam", "no profile viaduct"])
    assert in_the_way(tree, eos.render(diff(wanted, EMPTY), replace(target(), held=wanted)), target()) == ()
    one = DeviceState(dict(list(wanted.items())[:1]))
    native = eos.render(diff(one, EMPTY), replace(target(), held=wanted))
    assert in_the_way(tree, native, target()) == (), "what stays at that interface only gets other numbers"


def test_a_traffic_policy_needs_its_tcam_profile() -> None:
    where, tree = target(**TRAFFIC), box("traffic-policy")
    native = eos.render(diff(EMPTY, sample(SITE)), where)
    assert in_the_way(tree, native, where) == ()
    Console(tree).type_all(["no hardware tcam"])
    assert "traffic-policy port ipv4" in in_the_way(tree, native, where)[0]


@pytest.mark.parametrize(("stands", "says"), [("pbr", "traffic-policy"), ("traffic-policy", "pbr")])
def test_another_style_than_items_stand_in_is_refused_with_the_way_out(stands: str, says: str) -> None:
    """They would be invisible, and stay in force."""
    tree = box(stands)
    moved(tree, EMPTY, sample(SITE), target(**STYLES[stands]))
    where = target(**{**TRAFFIC, "steering": says})
    with pytest.raises(Rejected, match=f"set `steering: {stands}` again") as caught:
        read(text(tree), where)
    commands = str(caught.value).partition("by hand: ")[2]
    Console(tree).type_all(re.findall(r"`([^`]+)`", commands))
    assert read(text(tree), target(**STYLES[stands])).state != sample(SITE)


# --- damage -----------------------------------------------------------------------------------

DAMAGE = (
    "no ip access-list SI-c7r1f1r1p3",
    "no class-map type pbr match-any SI-c7r1f1r1p3",
    "no policy-map type pbr SI-t-a-0",
    "no policy-map type pbr SI-t-b-3001",
    "no interface Ethernet2.3001",
    "ip access-list SI-c7r1f1g0p3|30 permit tcp any any eq 25",
    "ip access-list SI-c7r1f1g0p3|30 deny tcp any any eq 25",
    "no ip access-list SI-closed-4|ip access-list SI-closed-4|10 remark Viaduct|20 permit tcp any any",
    "class-map type pbr match-any SI-c7r1f1r1p3|20 match ip access-group THEIRS",
    "policy-map type pbr SI-t-a-0|5 class THEIRS",
    "policy-map type pbr SI-t-a-0|30 class SI-c7r1f1r1p3|set nexthop 10.66.66.66",
    "policy-map type pbr SI-t-a-0|30 class SI-c7r1f1r1p3|set nexthop recursive 10.200.2.9",
    "policy-map type pbr SI-t-a-0|no 50 class SI-c7r1f1g0p3",
    "policy-map type pbr SI-t-b-0|70 class SI-c7r1f1g0p3|drop",
    "interface Ethernet1|no service-policy type pbr input SI-t-a-0",
    "interface Ethernet2.3001|no service-policy type pbr input SI-t-b-3001",
    "interface Ethernet2.3001|no ip address 198.18.8.144/31",
    "interface Ethernet2.3001|vrf red",
    "no arp vrf blue 198.18.8.145 02:00:00:01:0b:b9 arpa",
    "arp vrf blue 198.18.8.145 02:66:66:66:66:66 arpa",
)


@pytest.mark.parametrize("lines", DAMAGE)
def test_damage_is_seen_and_repaired(lines: str) -> None:
    """Seen as torn items, written anew, and gone without a trace when the chain goes."""
    tree, wanted, where = box(), sample(SITE), target()
    untouched = text(tree)
    moved(tree, EMPTY, wanted, where)
    whole = text(tree)
    Console(tree).type_all(lines.split("|"))
    seen = read(text(tree), where).state
    assert seen != wanted
    assert all(seen[key] == wanted.get(key) or seen[key] == torn(key.kind) for key in seen)
    damaged = tree.copy()
    assert moved(tree, seen, wanted, where) == wanted
    assert text(tree) == whole
    assert moved(damaged, seen, EMPTY, where) == EMPTY
    assert text(damaged) == untouched


def test_traffic_policies_are_repaired_too() -> None:
    where, wanted = target(**TRAFFIC), sample(SITE)
    for lines in (
        "traffic-policies|no traffic-policy SI-t-a-0",
        "traffic-policies|traffic-policy SI-t-a-0|match SI-c7r1f1g0p3 ipv4|dscp 7",
        "traffic-policies|traffic-policy SI-t-b-3001|match ipv4-all-default ipv4|no actions",
        "traffic-policies|traffic-policy SI-t-a-0|match THEIRS ipv4|actions|drop",
        "no nexthop-group SI-c7r1f1r1p3 type ip",
        "nexthop-group SI-c7r1f1r1p3 type ip|entry 0 nexthop 10.66.66.66",
        "nexthop-group SI-c7r1f1r1p3 type ip|entry 1 nexthop 10.66.66.66",
        "interface Ethernet1|no traffic-policy input SI-t-a-0",
    ):
        tree = box("traffic-policy")
        moved(tree, EMPTY, wanted, where)
        whole = text(tree)
        Console(tree).type_all(lines.split("|"))
        seen = read(text(tree), where).state
        assert seen != wanted, lines
        assert moved(tree, seen, wanted, where) == wanted, lines
        assert text(tree) == whole, lines


@pytest.mark.parametrize(
    "inside",
    [
        "interface Ethernet2.3001|ip ospf area 0",
        "policy-map type pbr SI-t-a-0|mystery",
        "ip access-list SI-c7r1f1r1p3|20 frobnicate",
    ],
)
def test_unknown_text_inside_ours_is_refused(inside: str) -> None:
    tree = box()
    moved(tree, EMPTY, sample(SITE), target())
    header, line = inside.split("|")
    held = tree.at(header)
    assert held is not None
    held.lines[line] = Tree()
    with pytest.raises(Rejected, match=line.split()[-1]):
        read(text(tree), target())


def test_what_has_lost_our_mark_is_not_touched() -> None:
    """It may be somebody else's by now: a person decides."""
    tree, wanted = box(), sample(SITE)
    moved(tree, EMPTY, wanted, target())
    Console(tree).type_all(
        ["ip access-list SI-c7r1f1r1p3", "no 10 remark Viaduct", "30 permit tcp any any eq 25"]
    )
    seen = read(text(tree), target()).state
    assert {key for key in seen if seen[key] == torn(key.kind)} == {
        key for key in wanted if wanted[key].ingress == "a"
    }
    native = eos.render(diff(seen, wanted), replace(target(), held=seen))
    assert "add `10 remark Viaduct`" in "".join(claim(text(tree), native, target()))


def test_addresses_in_other_spellings_are_the_same() -> None:
    tree, wanted = box(), sample(SITE)
    moved(tree, EMPTY, wanted, target())
    running = text(tree)
    for ours, theirs in (
        ("02:00:00:01:0b:b9", "0200.0001.0bb9"),
        ("fd76:6961:6475:6374::890/127", "fd76:6961:6475:6374:0:0:0:890/127"),
        ("set nexthop fd76:6961:6475:6374::891", "set nexthop FD76:6961:6475:6374:0::891"),
    ):
        assert ours in running
        running = running.replace(ours, theirs)
    assert read(running, target()).state == wanted


def test_a_banner_is_not_configuration() -> None:
    running = text(box()) + "banner motd\nip access-list SI-c7r1f1r1p3\n   10 remark Viaduct\nEOF\n"
    assert read(running, target()).state == EMPTY


def test_others_in_our_way_are_shown() -> None:
    tree, wanted = box(), sample(SITE)
    moved(tree, EMPTY, wanted, target())
    Console(tree).type_all(["interface Ethernet1", "service-policy type pbr input THEIRS"])
    Console(tree).type_all(["interface Ethernet7", "service-policy type pbr input SI-t-b-0"])
    assert read(text(tree), target()).attached == (
        "shadows SI-t-a-0: interface Ethernet1: THEIRS",
        "interface Ethernet7: service-policy type pbr input SI-t-b-0",
    )


def test_items_of_one_slot_do_not_meet() -> None:
    """What the contract's random states rely on."""
    assert len({slot(item) for item in sample(SITE).values()}) == len(sample(SITE))


def test_damage_elsewhere_leaves_the_text_as_planned() -> None:
    """A chain that shares no object with what drifted is not held up by it."""
    tree, wanted, where = box(), sample(SITE), target()
    moved(tree, EMPTY, wanted, where)
    ours = DeviceState({key: item for key, item in wanted.items() if (item.ingress, item.tag) == ("b", 0)})  # type: ignore[union-attr]
    planned = eos.render(diff(ours, EMPTY), replace(where, held=wanted))
    Console(tree).type_all(["no class-map type pbr match-any SI-c7r1f1r1p3"])
    seen = read(text(tree), where)
    assert seen.state != wanted
    again = eos.render(diff(ours, EMPTY), replace(where, held=seen.state, residue=seen.residue))
    assert ours and again == planned
    running = text(tree)
    typed(tree, planned, where)
    assert differs(running, planned, said(running, text(tree)), where) == ""
    assert not ours.keys() & read(text(tree), where).state.keys()
