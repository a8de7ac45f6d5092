# SPDX-License-Identifier: Apache-2.0
"""Items to `ovs-ofctl` text and back, without a switch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import PortInfo, Rejected, Target, Unsupported
from drivers.diff import diff
from drivers.narrow import intersection, normal
from drivers.packets import packets
from drivers.state import (
    ANY_PORT,
    EMPTY,
    MAX_PRECEDENCE,
    DeviceState,
    Direction,
    Filter,
    Guard,
    Item,
    Key,
    Kind,
    Match,
    NextHop,
    Pass,
    Redirect,
    Rule,
    Verdict,
)
from drivers.switch import openvswitch
from drivers.switch.flows import torn
from drivers.switch.openflow_text import blocks_of, cookie_of, key_of
from tests.drivers.samples import Site, clients, matches, port_ranges, rule_lists, state, states

UNHURRIED = settings(deadline=None)
SITE = Site(openvswitch.CAPS.kinds, ("a", "b", "c"), ("blue", "red"), has_standby=True, has_copies=True)
TARGET = Target(
    "leaf1",
    "openvswitch",
    "192.0.2.1",
    ports={"a": PortInfo("a", 1), "b": PortInfo("b", 2), "c": PortInfo("c", 65000), "new": PortInfo("new")},
    vrfs={"blue": 101, "red": 102},
)
WEB = Match(clients(4), "0.0.0.0/0", "tcp", ANY_PORT, (80, 80))


def many(count: int, verdict: Verdict = Verdict.PERMIT) -> tuple[Rule, ...]:
    """No two alike: a filter in normal form has no rule twice."""
    return tuple(Rule(verdict, replace(WEB, source_ports=(port, port))) for port in range(1, count + 1))


ON = "cookie=0xd500000700102000,table=0"


def lines_of(item: Item) -> list[str]:
    return openvswitch.render(diff(EMPTY, state([item])), TARGET).splitlines()


@UNHURRIED
@given(states(SITE))
def test_text_means_the_items_it_was_made_from(wanted: DeviceState) -> None:
    native = openvswitch.render(diff(EMPTY, wanted), TARGET)
    assert openvswitch.parse(native, TARGET) == (frozenset(), wanted)
    assert openvswitch.parse(openvswitch.render(diff(wanted, EMPTY), TARGET), TARGET) == (
        wanted.keys(),
        EMPTY,
    )


KEYS = st.builds(
    Key,
    st.integers(1, (1 << 24) - 1),
    st.integers(0, 4095),
    st.sampled_from(Direction),
    st.integers(0, 63),
    st.sampled_from(Kind),
    st.integers(0, 1023),
)


@UNHURRIED
@given(KEYS, KEYS)
def test_a_cookie_is_a_key(one: Key, other: Key) -> None:
    assert key_of(cookie_of(one)) == one
    assert cookie_of(one) >> 56 == 0xD5
    assert (cookie_of(one) == cookie_of(other)) == (one == other)


@UNHURRIED
@given(port_ranges())
def test_blocks_cover_a_range_exactly(ports: tuple[int, int]) -> None:
    blocks = list(blocks_of(ports))
    assert [blocks[0][0], blocks[-1][1]] == list(ports)
    assert all(high + 1 == low for (_, high), (low, _) in zip(blocks, blocks[1:], strict=False))
    for low, high in blocks:
        size = high - low + 1
        assert size & (size - 1) == 0 and low % size == 0
    assert len(blocks) <= 30


def test_lines_are_what_an_operator_would_write() -> None:
    hop = NextHop("b", 3001, "02:00:00:00:00:01")
    assert lines_of(Redirect("a", 0, replace(WEB, destination_ports=(80, 83)), hop, 2)) == [
        f"flow add {ON},priority=22049,in_port=1,vlan_tci=0x0000/0x1fff,tcp,nw_src=10.1.1.0/24,tp_dst=0x50/0xfffc,"
        "actions=set_field:02:00:00:00:00:01->eth_dst,push_vlan:0x8100,set_field:7097->vlan_vid,output:2"
    ]
    to_vrf = Redirect("c", 3001, Match("2001:db8::/32", "2001:db8:9::1/128", dscp=46), NextHop(vrf="blue"))
    assert lines_of(to_vrf) == [
        f"flow add {ON},priority=20001,in_port=65000,dl_vlan=3001,ipv6,ipv6_src=2001:db8::/32,"
        "ipv6_dst=2001:db8:9::1,ip_dscp=46,actions=pop_vlan,load:0x65->NXM_NX_REG0[],resubmit(,10)"
    ]
    assert lines_of(Redirect("a", 0, WEB, NextHop("a")))[0].endswith(",actions=IN_PORT")
    assert lines_of(Guard("a", 0, WEB))[0].endswith("priority=20000,in_port=1,vlan_tci=0x0000/0x1fff,"
                                                   "tcp,nw_src=10.1.1.0/24,tp_dst=80,actions=drop")  # fmt: skip
    settings_of = replace(TARGET, settings={"base_table": "7", "route_table": "70"})
    guarded = openvswitch.render(diff(EMPTY, state([Pass("a", 0, WEB)])), settings_of)
    assert "priority=21020," in guarded and guarded.endswith("actions=resubmit(,7)\n")


def test_a_filter_is_its_rules_from_the_highest_priority_down() -> None:
    anywhere = Match("0.0.0.0/0", "0.0.0.0/0")
    rules = (
        Rule(Verdict.DENY, replace(anywhere, destination="192.0.2.0/24")),
        Rule(Verdict.PERMIT, replace(anywhere, protocol="tcp", destination_ports=(443, 443))),
        Rule(Verdict.PERMIT, anywhere),
    )
    lines = lines_of(Filter("a", 0, WEB, NextHop("b"), rules, Verdict.DENY))
    found = [(int(line.split("priority=")[1].split(",")[0]), line.split("actions=")[1]) for line in lines]
    # The second rule cannot meet port 80, so it takes no room.
    assert found == [(20003, "drop"), (20002, "output:2"), (20001, "drop")]
    assert all("nw_src=10.1.1.0/24" in line and "tp_dst=80" in line for line in lines)


def test_deletes_come_before_adds_and_name_one_cookie() -> None:
    old, new = (
        state([Redirect("a", 0, WEB, NextHop("b"))]),
        state([Redirect("a", 0, WEB, NextHop("c"))], revision=2),
    )
    lines = openvswitch.render(diff(old, new), TARGET).splitlines()
    assert lines[0] == "flow delete cookie=0xd500000700102000/-1,table=0"
    assert lines[1].startswith("flow add cookie=0xd500000700202000,table=0,")
    assert len(lines) == 2


@UNHURRIED
@given(matches(4), matches(4))
def test_an_intersection_is_what_both_match(one: Match, other: Match) -> None:
    both, boxes = intersection(one, other), packets(one).intersect(packets(other))
    assert (None if both is None else packets(both)) == boxes


@UNHURRIED
@given(matches(6), rule_lists(6), st.sampled_from(Verdict))
def test_the_normal_form_is_stable_and_inside_the_filter(
    match: Match, rules: tuple[Rule, ...], default: Verdict
) -> None:
    once = normal(Filter("a", 0, match, NextHop("b"), rules, default))
    assert normal(once) == once
    assert all(intersection(rule.match, match) == rule.match for rule in once.rules)
    permits = default is Verdict.PERMIT or any(rule.verdict is Verdict.PERMIT for rule in once.rules)
    assert once.next == (NextHop("b") if permits else NextHop())


UNSUPPORTED = {
    "no such port": Redirect("z", 0, WEB, NextHop("b")),
    "port without a number": Redirect("new", 0, WEB, NextHop("b")),
    "no such next port": Redirect("a", 0, WEB, NextHop("z")),
    "no next hop": Redirect("a", 0, WEB, NextHop()),
    "no such VRF": Redirect("a", 0, WEB, NextHop(vrf="green")),
    "port and VRF": Redirect("a", 0, WEB, NextHop("b", vrf="blue")),
    "MAC of another form": Redirect("a", 0, WEB, NextHop("b", mac="02:00:00:00:00:0A")),
    "MAC that is syntax": Redirect("a", 0, WEB, NextHop("b", mac="02:00:00:00:00:01->eth_dst,NORMAL")),
    "tag on arrival": Redirect("a", 4095, WEB, NextHop("b")),
    "tag on departure": Redirect("a", 0, WEB, NextHop("b", 4095)),
    "precedence": Guard("a", 0, WEB, MAX_PRECEDENCE + 1),
    "rules": Filter("a", 0, WEB, NextHop("b"), many(1001), Verdict.DENY),
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_what_cannot_be_said_is_unsupported(reason: str) -> None:
    with pytest.raises(Unsupported):
        lines_of(UNSUPPORTED[reason])


def test_a_thousand_rules_stay_below_an_exception() -> None:
    full = Filter("a", 0, WEB, NextHop("b"), many(1000), Verdict.DENY, MAX_PRECEDENCE)
    priorities = [int(line.split("priority=")[1].split(",")[0]) for line in lines_of(full)]
    exception = lines_of(Pass("a", 0, WEB, MAX_PRECEDENCE))[0]
    assert max(priorities) < int(exception.split("priority=")[1].split(",")[0]) <= 65535
    wanted = state([full])
    assert openvswitch.parse(openvswitch.render(diff(EMPTY, wanted), TARGET), TARGET)[1] == wanted


def test_two_items_never_write_one_flow() -> None:
    wide, narrow = (replace(WEB, destination_ports=(80, high)) for high in (84, 83))
    with pytest.raises(Unsupported, match="need one flow"):
        openvswitch.render(diff(EMPTY, state([Guard("a", 0, wide), Guard("a", 0, narrow)])), TARGET)


@pytest.mark.parametrize(
    "target",
    [
        replace(TARGET, ports={"a": PortInfo("a", 1), "b": PortInfo("b", 1)}),
        replace(TARGET, vrfs={"blue": 1, "red": 1}),
        replace(TARGET, settings={"base_table": "0"}),
        replace(TARGET, settings={"route_table": "10),output:5,resubmit(,10"}),
    ],
)
def test_an_ambiguous_or_broken_target_is_unsupported(target: Target) -> None:
    with pytest.raises(Unsupported):
        openvswitch.render(diff(EMPTY, state([Guard("a", 0, WEB)])), target)


DUMP = (
    "OFPST_FLOW reply (OF1.4) (xid=0x2):\n"
    " cookie=0xd500000700102000, duration=1.5s, table=0, n_packets=3, n_bytes=162, idle_age=1, "
    "priority=20001,tcp,in_port=1,vlan_tci=0x0000/0x1fff,nw_src=10.1.1.0/24,tp_dst=80 actions=output:2\n"
    " cookie=0x0, duration=9.0s, table=0, n_packets=0, n_bytes=0, idle_timeout=5, arp actions=NORMAL\n"
)


def test_a_dump_is_items_counters_and_strangers() -> None:
    wanted = Redirect("a", 0, WEB, NextHop("b"))
    seen = openvswitch.parse_flows(DUMP, "", TARGET, {})
    assert seen.state == state([wanted])
    assert [(each.packets, each.octets, each.dropped) for each in seen.counters.values()] == [(3, 162, 0)]
    assert seen.foreign == 1


@pytest.mark.parametrize("actions", ["output:2,output:3", "NORMAL", "group:1", "note:00.01", ""])
def test_unknown_actions_in_a_flow_of_ours_are_a_torn_item(actions: str) -> None:
    seen = openvswitch.parse_flows(DUMP.replace("actions=output:2\n", f"actions={actions}\n"), "", TARGET, {})
    assert list(seen.state.values()) == [torn(Kind.REDIRECT)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (",tp_dst=80", ",tp_dst=80,tcp_flags=+syn"),
        (",tp_dst=80", ",tp_dst=0x50/0xf0ff"),
        ("idle_age=1, ", "idle_timeout=1, "),
        ("idle_age=1, ", "send_flow_rem "),
        ("vlan_tci=0x0000/0x1fff,", ""),
        ("vlan_tci=0x0000/0x1fff,", "vlan_tci=0x0000,"),
        ("nw_src=10.1.1.0/24", "nw_src=10.1.1.0/255.0.255.0"),
        ("tcp,", "arp,"),
        ("cookie=0xd500000700102000", "cookie=0xd500000000102000"),
        ("cookie=0xd500000700102000", "cookie=0xd500000700103c00"),
        ("in_port=1,", ""),
        ("in_port=1", "in_port=LOCAL"),
        ("OFPST_FLOW reply", "Warning: what"),
    ],
)
def test_unknown_text_in_a_flow_of_ours_is_rejected(before: str, after: str) -> None:
    assert before in DUMP
    with pytest.raises(Rejected):
        openvswitch.parse_flows(DUMP.replace(before, after), "", TARGET, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("priority=20001", "priority=20002"),
        ("priority=20001", "priority=1"),
        ("priority=20001,", ""),
        ("in_port=1", "in_port=9"),
        ("output:2", "output:9"),
        ("output:2", "output:1"),
        ("output:2", "drop"),
        ("output:2", "resubmit(,1)"),
        ("output:2", "load:0x67->NXM_NX_REG0[],resubmit(,10)"),
        ("output:2", "load:0x65->NXM_NX_REG0[],resubmit(,11)"),
        ("output:2", "pop_vlan,output:2"),
        ("tp_dst=80", "tp_dst=80 actions=drop\n cookie=0xd500000700102000, table=0, priority=20001,ip,in_port=1,"
                      "vlan_tci=0x0000/0x1fff"),
    ],
)  # fmt: skip
def test_readable_flows_that_form_no_item_are_torn_and_rewritten(before: str, after: str) -> None:
    assert before in DUMP
    seen = openvswitch.parse_flows(DUMP.replace(before, after), "", TARGET, {}).state
    wanted = state([Redirect("a", 0, WEB, NextHop("b"))])
    assert list(seen.items()) == [(next(iter(wanted)), torn(Kind.REDIRECT))]
    repair = diff(seen, wanted)
    lines = openvswitch.render(repair, TARGET).splitlines()
    # Of a torn redirect nobody knows whether it had a standby.
    assert [line.split(" ")[:2] for line in lines] == [
        ["flow", "delete"], ["group", "delete"], ["group", "delete"], ["flow", "add"]
    ]  # fmt: skip
    # To undo a repair is to take the item away: nobody wants the torn one back.
    undo = openvswitch.render(tuple(change.reversed() for change in repair), TARGET)
    assert undo.splitlines() == lines[:1]


def test_a_default_priority_that_the_dump_leaves_out() -> None:
    """20000 + 12 * 1024 + 480 is the priority that `dump-flows` does not print."""
    rules = many(479, Verdict.DENY)
    item = Filter("a", 0, WEB, NextHop("b"), rules, Verdict.PERMIT, 12)
    head = "OFPST_FLOW reply (OF1.4) (xid=0x2):\n"
    lines = "".join(
        f" {line.removeprefix('flow add ').replace(',actions=', ' actions=')}\n" for line in lines_of(item)
    )
    assert lines.count("priority=32768,") == 1
    seen = openvswitch.parse_flows(head + lines.replace("priority=32768,", ""), "", TARGET, {})
    assert seen.state == state([item])
