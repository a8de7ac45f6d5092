# SPDX-License-Identifier: Apache-2.0
"""Flows of others beside ours: which of them would take packets that an item of ours means."""

from __future__ import annotations

import pytest

from drivers.base import SHADOWS
from drivers.state import ANY_PORT, Direction, Key, Kind, Match
from drivers.switch.openflow_text import DROP, Flow, cookie_of
from drivers.switch.strangers import attached

KEY = Key(7, 1, Direction.FORWARD, 0, Kind.REDIRECT, 0)
WEB = Match("10.10.1.0/24", "10.10.2.0/24", "tcp", ANY_PORT, (80, 80))
UNTAGGED = Flow(cookie_of(KEY), 21025, 1, 0, WEB, "output:2")
TAGGED = Flow(cookie_of(KEY), 21025, 1, 3000, WEB, "output:2")
SIX = Flow(cookie_of(KEY), 21025, 1, 0, Match("2001:db8:1::/64", "::/0", "", ANY_PORT, ANY_PORT), DROP)
HEAD = "cookie=0x0, duration=1.5s, table=0, n_packets=3, n_bytes=99, "


@pytest.mark.parametrize(
    "match",
    [
        "priority=30000,in_port=1",
        "priority=21025,in_port=1",
        "priority=30000",
        "in_port=1",
        "priority=30000,ip,nw_src=10.10.1.7",
        "priority=30000,ip,nw_src=10.0.0.0/8,nw_dst=10.10.2.128/25",
        "priority=30000,tcp,tp_dst=80",
        "priority=30000,tcp,tp_dst=0x40/0xffc0",
        "priority=30000,ip,nw_proto=6",
        "priority=30000,in_port=1,dl_dst=02:00:00:00:00:01",
        "priority=30000,in_port=1,dl_vlan=65535",
        "priority=30000,in_port=1,vlan_tci=0x0000",
        "priority=30000,in_port=1,vlan_tci=0x0000/0x1fff",
        "priority=30000,ip,nw_src=10.10.1.0/255.0.255.0",
        "priority=30000,ct_state=+trk,in_port=1",
    ],
)
def test_in_the_way(match: str) -> None:
    assert attached([f"{HEAD}{match} actions=drop"], [UNTAGGED]) == (
        f"{SHADOWS}{KEY}: cookie=0x0,table=0,{match} actions=drop",
    )


@pytest.mark.parametrize(
    "match",
    [
        "priority=0",
        "priority=21024,in_port=1",
        "priority=30000,in_port=2",
        "priority=30000,in_port=LOCAL",
        "priority=30000,arp",
        "priority=30000,ipv6",
        "priority=30000,udp",
        "priority=30000,icmp",
        "priority=30000,ip,nw_proto=17",
        "priority=30000,ip,nw_src=10.10.3.0/24",
        "priority=30000,tcp,tp_dst=81",
        "priority=30000,tcp,tp_dst=0x80/0xff80",
        "priority=30000,in_port=1,dl_vlan=3000",
        "priority=30000,in_port=1,vlan_tci=0x1000/0x1000",
    ],
)
def test_beside_ours(match: str) -> None:
    assert attached([f"{HEAD}{match} actions=drop"], [UNTAGGED]) == ()


def test_tags() -> None:
    lines = [
        f"{HEAD}priority=30000,in_port=1,{tag} actions=drop" for tag in ("dl_vlan=3000", "vlan_tci=0x1bb8/0x1fff")
    ]
    assert len(attached(lines, [TAGGED])) == 2
    assert attached([f"{HEAD}priority=30000,in_port=1,dl_vlan=3001 actions=drop"], [TAGGED]) == ()
    assert attached([f"{HEAD}priority=30000,in_port=1,vlan_tci=0x0000/0x1fff actions=drop"], [TAGGED]) == ()


def test_ipv6() -> None:
    assert attached([f"{HEAD}priority=30000,ipv6,ipv6_src=2001:db8:1::7 actions=drop"], [SIX])
    assert not attached([f"{HEAD}priority=30000,ipv6,ipv6_src=2001:db8:2::7 actions=drop"], [SIX])


def test_nothing_of_ours_nothing_in_the_way() -> None:
    assert attached([f"{HEAD}priority=30000 actions=drop"], []) == ()
