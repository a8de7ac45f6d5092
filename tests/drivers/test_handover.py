# SPDX-License-Identifier: Apache-2.0
"""Standbys and copies on a real Open vSwitch with dummy ports: what packets meet, and what is repaired.

a (1) --- [ table 0: ours ] --- b (2)     table 1, base: out of d; table 10, routed: out of d with the VRF's tag
                            --- c (3)
                            --- d (4)
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from drivers.base import PortInfo, Rejected, Target, Unsupported
from drivers.diff import diff
from drivers.state import (
    ANY_PORT,
    EMPTY,
    DeviceState,
    Filter,
    Guard,
    Item,
    Kind,
    Match,
    NextHop,
    Redirect,
    Rule,
    Verdict,
)
from drivers.switch import openvswitch
from drivers.switch.flows import torn
from drivers.switch.handover import mark_of, numbers_of
from drivers.switch.openflow_text import cookie_of
from tests.drivers.contract import TIMEOUT_S
from tests.drivers.frames import frame, with_destination, with_vlan
from tests.drivers.openvswitch_rig import Bridge, VirtualSwitch
from tests.drivers.samples import clients, state

MAC, FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
WEB = Match(clients(4), "0.0.0.0/0", "tcp", ANY_PORT, (80, 80))
CLIENT, SERVER = "10.1.1.5", "192.0.2.80"
PACKET = frame(CLIENT, SERVER)
NEXT, FAR = NextHop("b", 0, MAC), NextHop("c", 3001, FAR_MAC)
TO_NEXT, TO_FAR = with_destination(PACKET, MAC), with_vlan(with_destination(PACKET, FAR_MAC), 3001)
SAFE = Redirect("a", 0, WEB, NEXT, standby=FAR)


@dataclass
class Switch:
    bridge: Bridge

    def __post_init__(self) -> None:
        self.bridge.flows("add-flow", "table=1,priority=0,actions=output:4")
        vlan = "push_vlan:0x8100,set_field:4198->vlan_vid,output:4"
        self.bridge.flows("add-flow", f"table=10,priority=1,reg0=102,actions={vlan}")

    def move(self, before: DeviceState, after: DeviceState) -> None:
        target = self.bridge.target()
        with openvswitch.DRIVER.open(target, TIMEOUT_S) as session:
            session.push(openvswitch.DRIVER.render(diff(before, after), target))
            assert session.read().state == after

    def hold(self, *items: Item, revision: int = 1) -> DeviceState:
        wanted = state(list(items), revision=revision)
        self.move(EMPTY, wanted)
        return wanted

    def read(self) -> DeviceState:
        with openvswitch.DRIVER.open(self.bridge.target(), TIMEOUT_S) as session:
            return session.read().state

    def groups(self) -> list[str]:
        return [line.strip() for line in self.bridge.flows("dump-groups").splitlines() if "group_id" in line]

    def link(self, port: str, *, is_up: bool) -> None:
        """Until the daemon has seen it: it looks at its ports when it answers."""
        self.bridge.switch.control(
            "netdev-dummy/set-admin-state", self.bridge.interface(port), "up" if is_up else "down"
        )
        self.bridge.switch.vsctl("set", "Open_vSwitch", ".", f"external_ids:seen={port}{is_up}")

    def out(self, packet: bytes = PACKET) -> dict[str, list[bytes]]:
        before = {name: len(self.bridge.sent(name)) for name in self.bridge.ports}
        self.bridge.send("a", packet)
        after = {name: self.bridge.sent(name)[before[name] :] for name in self.bridge.ports}
        return {name: packets for name, packets in after.items() if packets}


@pytest.fixture
def switch(virtual_switch: VirtualSwitch) -> Iterator[Switch]:
    made = virtual_switch.add_bridge(("a", "b", "c", "d"))
    yield Switch(made)
    made.remove()


def test_the_standby_is_taken_while_the_link_is_down_and_left_when_it_is_back(switch: Switch) -> None:
    switch.hold(SAFE, Guard("a", 0, WEB))
    assert switch.out() == {"b": [TO_NEXT]}
    switch.link("b", is_up=False)
    assert switch.out() == {"c": [TO_FAR]}
    switch.link("c", is_up=False)
    assert switch.out() == {}
    switch.link("b", is_up=True)
    assert switch.out() == {"b": [TO_NEXT]}
    switch.link("c", is_up=True)
    assert switch.out() == {"b": [TO_NEXT]}


def test_a_standby_that_is_base_forwarding_skips_the_hop(switch: Switch) -> None:
    switch.hold(replace(SAFE, tag=3005, standby=NextHop(vrf="red")))
    tagged = with_vlan(PACKET, 3005)
    assert switch.out(tagged) == {"b": [TO_NEXT]}
    switch.link("b", is_up=False)
    assert switch.out(tagged) == {"d": [with_vlan(PACKET, 102)]}


def test_a_filter_with_a_standby_still_filters(switch: Switch) -> None:
    deny = Rule(Verdict.DENY, replace(WEB, source="10.1.1.5/32"))
    switch.hold(Filter("a", 0, WEB, NEXT, (deny,), Verdict.PERMIT, standby=FAR))
    friend = frame("10.1.1.6", SERVER)
    for is_up, out in ((True, {"b": [with_destination(friend, MAC)]}),
                       (False, {"c": [with_vlan(with_destination(friend, FAR_MAC), 3001)]})):  # fmt: skip
        switch.link("b", is_up=is_up)
        assert switch.out(friend) == out
        assert switch.out() == {}


def test_a_mark_is_a_link_that_is_down(switch: Switch) -> None:
    """How a prober on the switch fails a function over that hangs behind a port with a link."""
    wanted = switch.hold(SAFE, replace(SAFE, tag=3005, standby=NextHop(vrf="red")))
    mark = f"group_id={mark_of(2)}"
    for _ in range(2):
        assert switch.out() == {"b": [TO_NEXT]}
        switch.bridge.flows("add-group", f"{mark},type=indirect,bucket=actions=drop")
        assert switch.out() == {"c": [TO_FAR]}
        assert switch.out(with_vlan(PACKET, 3005)) == {"d": [with_vlan(PACKET, 102)]}
        with openvswitch.DRIVER.open(switch.bridge.target(), TIMEOUT_S) as session:
            seen = session.read()
        assert (seen.state, seen.attached) == (wanted, ())
        switch.bridge.flows("del-groups", mark)
    assert switch.out() == {"b": [TO_NEXT]}


def test_copies_are_sent_beside_the_packet_and_a_dead_port_harms_nobody(switch: Switch) -> None:
    copies = (NextHop("c", 0, "02:00:00:00:00:0c"), NextHop("a"), NextHop("d", 3900))
    switch.hold(Redirect("a", 3005, WEB, NextHop("b", 3006, MAC), copies=copies))
    arrives, main = with_vlan(PACKET, 3005), with_vlan(TO_NEXT, 3006)
    copied = with_destination(PACKET, "02:00:00:00:00:0c")
    assert switch.out(arrives) == {"a": [PACKET], "b": [main], "c": [copied], "d": [with_vlan(PACKET, 3900)]}
    # A dummy sends all the same; what a card without a link does is in test_wired_switch.
    switch.link("c", is_up=False)
    switch.bridge.switch.vsctl("del-port", switch.bridge.interface("d"))
    out = switch.out(arrives)
    assert (out["a"], out["b"]) == ([PACKET], [main])


def test_copies_follow_to_the_standby_and_what_is_denied_is_not_copied(switch: Switch) -> None:
    rules = (Rule(Verdict.DENY, replace(WEB, source="10.1.1.6/32")),)
    switch.hold(Filter("a", 0, WEB, NEXT, rules, Verdict.PERMIT, standby=FAR, copies=(NextHop("d"),)))
    assert switch.out() == {"b": [TO_NEXT], "d": [PACKET]}
    assert switch.out(frame("10.1.1.6", SERVER)) == {}
    switch.link("b", is_up=False)
    assert switch.out() == {"c": [TO_FAR], "d": [PACKET]}


def test_groups_go_with_their_items_and_those_of_others_stay(switch: Switch) -> None:
    theirs = "group_id=5,type=select,bucket=actions=output:2"
    switch.bridge.flows("add-group", theirs)
    first = switch.hold(SAFE, replace(SAFE, tag=3005, standby=NextHop(vrf="red")))
    assert len(switch.groups()) == 4
    second = state([replace(SAFE, standby=None), replace(SAFE, tag=3005, next=FAR, standby=NEXT)])
    switch.move(first, second)
    assert len(switch.groups()) == 2
    switch.move(second, EMPTY)
    assert switch.groups() == [theirs]


def _changed(group: str, was: str, now: str) -> str:
    assert was in group
    return group.replace(was, now)


@pytest.mark.parametrize("damage", ["another next hop", "no standby", "no note", "another kind", "gone", "orphan"])
def test_a_group_that_somebody_changed_is_torn_and_repaired(switch: Switch, damage: str) -> None:
    wanted = switch.hold(SAFE, Guard("a", 0, WEB))
    key = next(key for key in wanted if key.kind is Kind.REDIRECT)
    number, _ = numbers_of(cookie_of(key))
    (group,) = switch.groups()
    if damage == "another next hop":
        switch.bridge.flows("mod-group", _changed(group, "output:2", "output:4"))
    elif damage == "no standby":
        switch.bridge.flows("mod-group", group[: group.rindex(",bucket=")])
    elif damage == "no note":
        switch.bridge.flows("mod-group", f"group_id={number},type=ff,bucket=watch_port:4,actions=output:4")
    elif damage == "another kind":
        note = group[group.index("note:") : group.index(",set_field")]
        switch.bridge.flows("mod-group", f"group_id={number},type=all,bucket=actions={note},output:2")
    elif damage == "gone":
        switch.bridge.flows("del-groups", f"group_id={number}")
    else:
        switch.bridge.flows("del-flows", f"cookie={cookie_of(key):#x}/-1")
    seen = switch.read()
    assert seen.get(key) == (None if damage == "gone" else torn(Kind.REDIRECT))
    switch.move(seen, wanted)
    assert switch.groups() == [group]
    assert switch.out() == {"b": [TO_NEXT]}


def test_what_is_left_of_an_item_that_nobody_wants_is_taken_away(switch: Switch) -> None:
    wanted = switch.hold(replace(SAFE, standby=NextHop(vrf="red")))
    switch.bridge.flows("del-flows", f"cookie={cookie_of(next(iter(wanted))):#x}/-1")
    seen = switch.read()
    assert dict(seen) == {next(iter(wanted)): torn(Kind.REDIRECT)}
    switch.move(seen, EMPTY)
    assert switch.groups() == []


def test_a_number_that_another_has_taken_is_refused_and_nothing_changes(switch: Switch) -> None:
    wanted = state([SAFE])
    key, target = next(iter(wanted)), switch.bridge.target()
    theirs = f"group_id={numbers_of(cookie_of(key))[0]},type=all,bucket=actions=output:4"
    switch.bridge.flows("add-group", theirs)
    switch.bridge.flows("add-flow", f"table=2,actions=group:{numbers_of(cookie_of(key))[0]}")
    with openvswitch.DRIVER.open(target, TIMEOUT_S) as session:
        with pytest.raises(Rejected, match="GROUP_EXISTS"):
            session.push(openvswitch.DRIVER.render(diff(EMPTY, wanted), target))
        with pytest.raises(Rejected, match="somebody else's"):
            session.push(openvswitch.DRIVER.render(diff(wanted, EMPTY), target))
        assert session.read().state == EMPTY
    assert switch.groups() == [theirs]
    assert "table=2" in switch.bridge.others()


def test_no_packet_is_lost_while_groups_are_replaced(switch: Switch) -> None:
    """40 replacements while packets arrive, by new items and under one key: one of two next hops has each packet."""
    hops = (NextHop("b"), NextHop("c"))
    states = [
        state([Redirect("a", 0, WEB, hops[number % 2], standby=hops[1 - number % 2])], revision=number // 2)
        for number in range(41)
    ]
    switch.move(EMPTY, states[0])
    with ThreadPoolExecutor(1) as other:
        done = other.submit(lambda: [switch.move(*pair) for pair in zip(states, states[1:], strict=False)])
        sent = 0
        while not done.done():
            switch.bridge.send("a", PACKET)
            sent += 1
        done.result()
    arrived = {port: len(switch.bridge.sent(port)) for port in switch.bridge.ports}
    assert arrived["b"] + arrived["c"] == sent
    assert min(sent, arrived["b"], arrived["c"]) > 0


PORTS = {name: PortInfo(name, number) for number, name in enumerate("abcd", 1)}
TARGET = Target("leaf1", "openvswitch", "192.0.2.1", ports=PORTS, vrfs={"red": 102})


@pytest.mark.parametrize(
    "item",
    [
        replace(SAFE, standby=NextHop("z")),
        replace(SAFE, standby=NextHop()),
        replace(SAFE, standby=NextHop(vrf="green")),
        replace(SAFE, standby=NextHop("c", 4095)),
        replace(SAFE, next=NextHop(vrf="red")),
        replace(SAFE, copies=(NextHop(vrf="red"),)),
        replace(SAFE, copies=(NextHop("z"),)),
        replace(SAFE, copies=(NextHop("c", mac="02:00:00:00:00:01->eth_dst,NORMAL"),)),
    ],
)
def test_what_cannot_be_said_is_unsupported(item: Redirect) -> None:
    assert openvswitch.render(diff(EMPTY, state([SAFE])), TARGET)
    with pytest.raises(Unsupported):
        openvswitch.render(diff(EMPTY, state([item])), TARGET)


def test_lines_are_what_an_operator_would_write() -> None:
    wanted = state([replace(SAFE, copies=(NextHop("d", 3900, MAC),))])
    group, flow = openvswitch.render(diff(EMPTY, wanted), TARGET).splitlines()
    number, mark = numbers_of(cookie_of(next(iter(wanted))))[0], 0xD6000002
    note = "note:d5.00.00.07.00.10.20.00.00.00.00.00.00.00"
    away = f"set_field:{FAR_MAC}->eth_dst,push_vlan:0x8100,set_field:7097->vlan_vid,output:3"
    assert group == (
        f"group add group_id={number},type=ff,bucket=watch_group:{mark},actions={note},{away},"
        f"bucket=watch_port:2,actions=set_field:{MAC}->eth_dst,output:2,bucket=watch_port:3,actions={away}"
    )
    copy = f"clone(set_field:{MAC}->eth_dst,push_vlan:0x8100,set_field:7996->vlan_vid,output:4)"
    assert flow.endswith(f",actions={copy},group:{number}")
    gone = openvswitch.render(diff(wanted, EMPTY), TARGET).splitlines()
    assert gone == ["flow delete cookie=0xd500000700102000/-1,table=0", f"group delete group_id={number}"]
