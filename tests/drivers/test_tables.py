# SPDX-License-Identifier: Apache-2.0
"""Steering items as tables of a switch that routes: what none of the families may be asked for."""

from __future__ import annotations

import pytest

from drivers.base import PortInfo, Target, Unsupported
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState, Direction, Guard, Key, Kind, Match, NextHop, Pass, Redirect
from drivers.switch import eos, frr, ios, iosxr, junos, nxos
from drivers.switch.tables import tables_of

WEB = Match("10.1.1.0/24", "0.0.0.0/0", "tcp", destination_ports=(80, 80))
NAMES = {"eos": "Ethernet1", "nxos": "Ethernet1/1", "ios": "GigabitEthernet1", "iosxr": "GigabitEthernet0/0/0/1"}
FAMILIES = {one.DRIVER.name: one.DRIVER for one in (eos, nxos, ios, iosxr, junos, frr)}


def target(name: str = "eos", **settings: str) -> Target:
    ports = {"a": PortInfo("a", 1, interface=NAMES.get(name, "ge-0/0/1"))}
    return Target("leaf1", name, "192.0.2.1", settings, ports, {"blue": 101})


def key(kind: Kind, index: int = 0) -> Key:
    return Key(7, 1, Direction.FORWARD, 1, kind, index)


def test_an_exemption_at_a_stage_tag_needs_a_vrf() -> None:
    """Nothing else says it: packets would be routed in the global table."""
    alone = DeviceState({key(Kind.PASS): Pass("a", 3001, WEB)})
    with pytest.raises(Unsupported, match="nothing says in which VRF packets enter Ethernet1.3001"):
        tables_of(alone, target())
    beside = alone.merged({key(Kind.REDIRECT): Redirect("a", 3001, WEB, NextHop(vrf="blue"))})
    assert tables_of(beside, target()).crossings["a", 3001].vrf == "blue"
    closed = DeviceState({key(Kind.GUARD): Guard("a", 3001, WEB)})
    assert tables_of(closed, target()).entries, "what is dropped is in no VRF"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["198.18.0.0/33", "many", "198.18.0.1/15", "fd00::/104"])
def test_a_setting_that_is_no_prefix_is_unsupported(family: str, text: str) -> None:
    wanted = DeviceState({key(Kind.REDIRECT): Redirect("a", 3001, WEB, NextHop(vrf="blue"))})
    with pytest.raises(Unsupported, match="crossings"):
        FAMILIES[family].render(diff(EMPTY, wanted), target(family, crossings=text, global_vrf="blue"))
