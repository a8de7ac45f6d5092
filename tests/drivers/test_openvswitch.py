# SPDX-License-Identifier: Apache-2.0
"""What packets meet on a real Open vSwitch that the driver has programmed (see `openvswitch_rig`).

a (1) --- [ table 0: ours ] --- b (2)
          [ table 1: base: out of c, table 10: routed: out of c with the VRF's tag as VLAN ]
                            --- c (3)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from drivers.base import Counter, Rejected, Target, Transient
from drivers.diff import diff
from drivers.state import (
    ANY_PORT,
    EMPTY,
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
from drivers.switch.flows import torn
from drivers.switch.openvswitch import DRIVER
from tests.drivers.contract import TIMEOUT_S
from tests.drivers.frames import frame, with_destination, with_vlan
from tests.drivers.openvswitch_rig import Bridge, VirtualSwitch, until
from tests.drivers.samples import clients, state

MAC = "02:00:00:00:00:01"
ANYWHERE = Match("0.0.0.0/0", "0.0.0.0/0")
WEB = Match(clients(4), "0.0.0.0/0", "tcp", ANY_PORT, (80, 80))
CLIENT, SERVER = "10.1.1.5", "192.0.2.80"
WEB_FRAME, MAIL_FRAME = frame(CLIENT, SERVER), frame(CLIENT, SERVER, ports=(40000, 25))


@dataclass
class Switch:
    """The bridge with the operator's base pipeline, as the driver and as the wires see it."""

    bridge: Bridge

    def __post_init__(self) -> None:
        self.bridge.flows("add-flow", "table=1,priority=0,actions=output:3")
        for tag in (101, 102):
            vlan = f"push_vlan:0x8100,set_field:{4096 + tag}->vlan_vid,output:3"
            self.bridge.flows("add-flow", f"table=10,priority=1,reg0={tag},actions={vlan}")

    def move(self, before: DeviceState, after: DeviceState) -> None:
        target = self.bridge.target()
        with DRIVER.open(target, TIMEOUT_S) as session:
            session.push(DRIVER.render(diff(before, after), target))
            assert session.read().state == after

    def hold(self, *items: Item) -> DeviceState:
        wanted = state(list(items))
        self.move(EMPTY, wanted)
        return wanted

    def counters(self) -> list[Counter]:
        self.bridge.settle()
        with DRIVER.open(self.bridge.target(), TIMEOUT_S) as session:
            return list(session.read().counters.values())

    def out(self, packet: bytes, port: str = "a") -> dict[str, list[bytes]]:
        """Where one packet comes out, if anywhere: port -> frames."""
        before = {name: len(self.bridge.sent(name)) for name in self.bridge.ports}
        self.bridge.send(port, packet)
        after = {name: self.bridge.sent(name)[before[name] :] for name in self.bridge.ports}
        return {name: packets for name, packets in after.items() if packets}


@pytest.fixture
def switch(bridge: Bridge) -> Switch:
    return Switch(bridge)


def test_nothing_of_ours_is_base_forwarding(switch: Switch) -> None:
    assert switch.out(WEB_FRAME) == {"c": [WEB_FRAME]}


def test_a_redirect_takes_its_packets_and_no_others(switch: Switch) -> None:
    switch.hold(Redirect("a", 0, WEB, NextHop("b", 3001, MAC)))
    assert switch.out(WEB_FRAME) == {"b": [with_vlan(with_destination(WEB_FRAME, MAC), 3001)]}
    for other in (
        MAIL_FRAME,
        frame("10.2.1.5", SERVER),
        frame(CLIENT, SERVER, "udp", (40000, 80)),
        with_vlan(WEB_FRAME, 5),
    ):
        assert switch.out(other) == {"c": [other]}
    assert switch.out(WEB_FRAME, "b") == {"c": [WEB_FRAME]}


def test_a_redirect_back_out_of_the_same_port(switch: Switch) -> None:
    switch.hold(Redirect("a", 0, WEB, NextHop("a", 0, MAC)))
    assert switch.out(WEB_FRAME) == {"a": [with_destination(WEB_FRAME, MAC)]}


def test_a_tag_is_matched_and_taken_off(switch: Switch) -> None:
    switch.hold(Redirect("a", 3001, WEB, NextHop("b", 0, MAC)), Redirect("a", 3002, WEB, NextHop("b", 3003)))
    assert switch.out(with_vlan(WEB_FRAME, 3001)) == {"b": [with_destination(WEB_FRAME, MAC)]}
    assert switch.out(with_vlan(WEB_FRAME, 3002)) == {"b": [with_vlan(WEB_FRAME, 3003)]}
    for other in (WEB_FRAME, with_vlan(WEB_FRAME, 3004)):
        assert switch.out(other) == {"c": [other]}


@pytest.mark.parametrize("tag", [0, 3001])
def test_a_vrf_is_base_routing_in_that_vrf(switch: Switch, tag: int) -> None:
    switch.hold(Redirect("a", tag, WEB, NextHop(vrf="red")))
    arrives = with_vlan(WEB_FRAME, tag) if tag else WEB_FRAME
    assert switch.out(arrives) == {"c": [with_vlan(WEB_FRAME, 102)]}


@pytest.mark.parametrize(
    ("match", "inside", "outside"),
    [
        (
            Match("2001:db8:1:1::/64", "::/0", "tcp", ANY_PORT, (443, 443)),
            frame("2001:db8:1:1::5", "2001:db8::1", ports=(5, 443)),
            frame("2001:db8:1:1::5", "2001:db8::1", ports=(5, 444)),
        ),
        (Match("::/0", "2001:db8::1/128", "icmpv6"), frame("::1", "2001:db8::1", "icmpv6"),
         frame("::1", "2001:db8::2", "icmpv6")),
        (replace(ANYWHERE, protocol="icmp"), frame(CLIENT, SERVER, "icmp"), MAIL_FRAME),
        (replace(ANYWHERE, protocol="sctp", source_ports=(1000, 2999)), frame(CLIENT, SERVER, "sctp", (2999, 1)),
         frame(CLIENT, SERVER, "sctp", (3000, 1))),
        (replace(ANYWHERE, protocol="udp", destination_ports=(0, 9)), frame(CLIENT, SERVER, "udp", (1, 9)),
         frame(CLIENT, SERVER, "udp", (1, 10))),
        (replace(ANYWHERE, dscp=46), frame(CLIENT, SERVER, dscp=46), frame(CLIENT, SERVER, dscp=45)),
        (Match("::/0", "::/0", dscp=0), frame("::1", "::2"), frame("::1", "::2", dscp=1)),
        (ANYWHERE, frame(CLIENT, SERVER, "udp"), frame("::1", "::2")),
    ],
    ids=["tcp6", "icmpv6", "icmp", "sctp", "udp range", "dscp", "dscp6 zero", "any"],
)  # fmt: skip
def test_matches_mean_what_they_say(switch: Switch, match: Match, inside: bytes, outside: bytes) -> None:
    switch.hold(Redirect("a", 0, match, NextHop("b")))
    assert switch.out(inside) == {"b": [inside]}
    assert switch.out(outside) == {"c": [outside]}


def test_a_filter_lets_through_what_its_first_matching_rule_permits(switch: Switch) -> None:
    ours = Match(clients(4), "0.0.0.0/0", "tcp")
    rules = (
        Rule(Verdict.DENY, replace(ours, source="10.1.1.5/32", destination_ports=(80, 89))),
        Rule(Verdict.PERMIT, replace(ours, destination_ports=(80, 80))),
    )
    switch.hold(Filter("a", 0, ours, NextHop("b"), rules, Verdict.DENY))
    friend = frame("10.1.1.6", SERVER)
    assert switch.out(friend) == {"b": [friend]}
    assert switch.out(WEB_FRAME) == {}
    assert switch.out(MAIL_FRAME) == {}
    stranger = frame("10.2.1.5", SERVER)
    assert switch.out(stranger) == {"c": [stranger]}
    size = len(WEB_FRAME)
    assert switch.counters() == [Counter(packets=3, octets=3 * size, dropped=2)]


def test_a_guard_closes_behind_a_redirect_and_a_pass_opens_before_it(switch: Switch) -> None:
    friend = replace(WEB, destination="192.0.2.0/24")
    whole = switch.hold(
        Guard("a", 0, WEB, 4), Redirect("a", 0, WEB, NextHop("b"), 4), Pass("a", 0, friend, 4)
    )
    far = frame(CLIENT, "198.51.100.1")
    assert switch.out(far) == {"b": [far]}
    assert switch.out(WEB_FRAME) == {"c": [WEB_FRAME]}
    only_guard = DeviceState({key: item for key, item in whole.items() if key.kind is Kind.GUARD})
    switch.move(whole, only_guard)
    assert switch.out(far) == {}
    assert switch.out(MAIL_FRAME) == {"c": [MAIL_FRAME]}
    assert switch.counters() == [Counter(packets=1, octets=len(far), dropped=1)]


def test_the_higher_precedence_wins(switch: Switch) -> None:
    switch.hold(Guard("a", 0, WEB, 7), Redirect("a", 0, ANYWHERE, NextHop("b"), 6), Pass("a", 0, WEB, 5))
    assert switch.out(WEB_FRAME) == {}
    assert switch.out(MAIL_FRAME) == {"b": [MAIL_FRAME]}


def test_counters_belong_to_a_revision(switch: Switch) -> None:
    first, second = (state([Redirect("a", 0, WEB, NextHop("b"))], revision=number) for number in (1, 2))
    switch.move(EMPTY, first)
    switch.out(WEB_FRAME)
    assert switch.counters() == [Counter(1, len(WEB_FRAME), 0)]
    switch.move(first, second)
    assert switch.counters() == [Counter(0, 0, 0)]


def test_no_packet_meets_a_switch_without_the_flow(switch: Switch) -> None:
    """40 replacements while packets arrive: each leaves by the old next hop or by the new one."""
    revisions = [
        state([Redirect("a", 0, WEB, NextHop("b" if number % 2 else "a"))], revision=number)
        for number in range(41)
    ]
    switch.move(EMPTY, revisions[0])
    with ThreadPoolExecutor(1) as other:
        done = other.submit(
            lambda: [switch.move(*pair) for pair in zip(revisions, revisions[1:], strict=False)]
        )
        sent = 0
        while not done.done():
            switch.bridge.send("a", WEB_FRAME)
            sent += 1
        done.result()
    arrived = {port: len(switch.bridge.sent(port)) for port in switch.bridge.ports}
    assert arrived["a"] + arrived["b"] == sent
    assert arrived["c"] == 0
    assert min(sent, arrived["a"], arrived["b"]) > 0


def test_a_strangers_flow_before_ours_is_told(switch: Switch) -> None:
    """As a real switch prints it; it really takes the packets, and ours is still as it was written."""
    wanted = switch.hold(Redirect("a", 0, WEB, NextHop("b")), Guard("a", 0, WEB))
    switch.bridge.flows("add-flow", "cookie=0x7,priority=30000,in_port=1,udp,actions=drop")
    switch.bridge.flows("add-flow", "cookie=0x8,priority=100,in_port=1,tcp,actions=drop")
    with DRIVER.open(switch.bridge.target(), TIMEOUT_S) as session:
        assert session.read().attached == ()
        switch.bridge.flows("add-flow", f"cookie=0x9,priority=30000,in_port=1,tcp,nw_src={clients(4)},actions=drop")
        seen = session.read()
    key = next(key for key in wanted if key.kind is Kind.REDIRECT)
    assert seen.state == wanted
    assert [line.partition(": ")[0] for line in seen.attached] == [f"shadows {key}"]
    assert "cookie=0x9" in seen.attached[0]
    assert switch.out(WEB_FRAME) == {}


def test_drift_is_seen_and_repaired_and_the_stranger_stays(switch: Switch) -> None:
    wide = replace(WEB, destination_ports=(80, 84))
    wanted = switch.hold(Redirect("a", 0, wide, NextHop("b")), Guard("a", 0, wide))
    key = next(key for key in wanted if key.kind is Kind.REDIRECT)
    switch.bridge.flows("add-flow", "cookie=0x1,priority=20001,in_port=1,udp,actions=drop")
    theirs = switch.bridge.others()
    ours = "cookie=0xd500000700102000/-1,table=0"
    extra = "cookie=0xd500000700102000,table=0,priority=20001,in_port=1,vlan_tci=0/0x1fff,ip,actions=output:2"
    # What is left may well be an item, only not the wanted one; else it is torn.
    fewer = replace(wanted[key], match=replace(wide, destination_ports=(80, 83)))
    for damage, read_as in (
        (("del-flows", f"{ours},tcp,tp_dst=84"), fewer),
        (
            ("del-flows", f"{ours},tcp,tp_dst=0x50/0xfffc"),
            replace(fewer, match=replace(wide, destination_ports=(84, 84))),
        ),
        (("mod-flows", f"{ours},actions=output:3"), replace(wanted[key], next=NextHop("c"))),
        (("mod-flows", f"{ours},tcp,tp_dst=84,actions=output:3"), torn(Kind.REDIRECT)),
        (("add-flow", extra), torn(Kind.REDIRECT)),
    ):
        switch.bridge.flows(*damage)
        with DRIVER.open(switch.bridge.target(), TIMEOUT_S) as session:
            seen = session.read().state
        assert seen[key] == read_as
        switch.move(seen, wanted)
    switch.bridge.flows("del-flows", ours)
    with DRIVER.open(switch.bridge.target(), TIMEOUT_S) as session:
        assert key not in session.read().state
    switch.move(DeviceState({k: item for k, item in wanted.items() if k != key}), wanted)
    assert switch.bridge.others() == theirs


@pytest.mark.parametrize("actions", ["output:2,output:3", "goto_table:1", "NORMAL", "CONTROLLER"])
def test_a_hand_made_action_in_our_flow_is_torn_and_gets_repaired(switch: Switch, actions: str) -> None:
    """Whatever was put there may be a way past a function: it must not stay because we cannot read it."""
    wanted = switch.hold(Redirect("a", 0, WEB, NextHop("b")))
    switch.bridge.flows("mod-flows", f"cookie=0xd500000700102000/-1,table=0,actions={actions}")
    with DRIVER.open(switch.bridge.target(), TIMEOUT_S) as session:
        seen = session.read().state
    assert dict(seen) == {next(iter(wanted)): torn(Kind.REDIRECT)}
    switch.move(seen, wanted)


def test_a_bundle_that_the_switch_refuses_changes_nothing(switch: Switch) -> None:
    """The text is good; the table is full after two more flows."""
    first = switch.hold(Redirect("a", 0, WEB, NextHop("b")))
    switch.bridge.switch.vsctl(
        "--id=@full", "create", "Flow_Table", "flow_limit=3", "overflow_policy=refuse", "--",
        "set", "Bridge", switch.bridge.name, "flow_tables:0=@full",
    )  # fmt: skip
    others = [
        Redirect("a", 0, replace(WEB, destination_ports=(port, port)), NextHop("b")) for port in range(5)
    ]
    second = state(list(others), revision=2)
    target = switch.bridge.target()
    with DRIVER.open(target, TIMEOUT_S) as session:
        with pytest.raises(Rejected, match="TABLE_FULL"):
            session.push(DRIVER.render(diff(first, second), target))
        assert session.read().state == first
    assert switch.out(WEB_FRAME) == {"b": [WEB_FRAME]}


def test_a_port_without_a_link_is_down(switch: Switch) -> None:
    bridge = switch.bridge
    target = bridge.target()
    with DRIVER.open(target, TIMEOUT_S) as session:
        assert dict(session.read().links_up) == {"a": True, "b": True, "c": True}
    bridge.switch.control("netdev-dummy/set-admin-state", bridge.interface("b"), "down")
    bridge.switch.vsctl("del-port", bridge.interface("c"))
    bridge.switch.vsctl("set", "Open_vSwitch", ".", "external_ids:seen=1")
    with DRIVER.open(target, TIMEOUT_S) as session:
        assert dict(session.read().links_up) == {"a": True, "b": False, "c": False}


def test_the_wrong_bridge_is_never_programmed(virtual_switch: VirtualSwitch, switch: Switch) -> None:
    other = virtual_switch.add_bridge(("a", "b"))
    good = switch.bridge.target()
    swapped = {**good.settings, "openflow": other.target().settings["openflow"]}
    for settings, why in (
        (swapped, "is datapath"),
        ({**good.settings, "bridge": "nosuch"}, "no bridge 'nosuch'"),
    ):
        with pytest.raises(Rejected, match=why), DRIVER.open(replace(good, settings=settings), TIMEOUT_S):
            pass
    other.remove()


def answers(target: Target) -> bool:
    try:
        with DRIVER.open(target, TIMEOUT_S):
            return True
    except Transient:
        return False


@pytest.mark.parametrize("daemon", ["ovs-vswitchd", "ovsdb-server"])
def test_a_daemon_that_dies_is_transient_and_its_flows_can_be_pushed_again(
    tmp_path_factory: pytest.TempPathFactory, daemon: str
) -> None:
    private = VirtualSwitch(tmp_path_factory.mktemp("ovs"))
    private.start()
    try:
        switch = Switch(private.add_bridge(("a", "b", "c")))
        target = switch.bridge.target()
        wanted = state([Redirect("a", 0, WEB, NextHop("b"))])
        native = DRIVER.render(diff(EMPTY, wanted), target)
        with DRIVER.open(target, TIMEOUT_S) as session:
            session.push(native)
            private.kill(daemon)
            with pytest.raises(Transient):
                session.read()
        with pytest.raises(Transient), DRIVER.open(target, TIMEOUT_S) as session:
            session.push(native)
        private.restart(daemon)
        until(lambda: answers(target), "the switch answers")
        with DRIVER.open(target, TIMEOUT_S) as session:
            # A restarted switch daemon has lost its flows; a restarted database loses nothing.
            assert session.read().state == (EMPTY if daemon == "ovs-vswitchd" else wanted)
            session.push(native)
            assert session.read().state == wanted
    finally:
        private.stop()


def test_keys_of_every_shape_come_back(switch: Switch) -> None:
    keys = [
        Key(chain, revision, direction, stage, Kind.REDIRECT, index)
        for chain, revision, stage, index in ((1, 0, 0, 0), ((1 << 24) - 1, 4095, 63, 1023))
        for direction in Direction
    ]
    items = [Redirect("a", 0, WEB, NextHop("b"), number) for number in range(len(keys))]
    switch.move(EMPTY, DeviceState(dict(zip(keys, items, strict=True))))
