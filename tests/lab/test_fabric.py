# SPDX-License-Identifier: Apache-2.0
"""The fabric file as the lab reads it, and the operator's forwarding that follows from it. No root needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.fabric import FabricError, instantiate, load, parse
from lab.forwarding import base_flows
from lab.network import DEMO
from lab.wiring import switch_interface

DEMO_FABRIC = load(DEMO)


def test_demo_has_the_same_addresses_in_two_tenants() -> None:
    ports = {name: DEMO_FABRIC.devices[name].ports["eth0"].addresses for name in ("a1", "a2", "b1", "b2")}
    assert ports["a1"] == ports["b1"] != ports["a2"] == ports["b2"]


def test_every_switch_port_has_a_cable_and_every_cable_is_used_once() -> None:
    ends = [end for link in DEMO_FABRIC.links for end in (link.a, link.b)]
    assert len(ends) == len(set(ends))
    expected = {(device.name, port) for device in DEMO_FABRIC.devices.values() for port in device.ports}
    assert {(end.device, end.port) for end in ends} == expected


def test_instance_gets_addresses_endpoints_and_credentials() -> None:
    made = instantiate(DEMO_FABRIC, 7, {"fw1": "file:/secret"})
    assert made.management == "10.250.7.0/24"
    assert made.devices["leaf2"].management == "10.250.7.12"
    assert made.devices["leaf2"].settings["ovsdb"] == "tcp:10.250.7.12:6640"
    assert made.devices["leaf2"].settings["openflow"] == "tcp:10.250.7.12:6653"
    assert made.devices["inet"].management == ""
    credentials = {entry["name"]: entry["credential"] for entry in made.raw["devices"]}
    assert credentials["fw1"] == "file:/secret"
    assert credentials["fw2"] == ""
    assert DEMO_FABRIC.devices["leaf2"].management == "10.250.0.12", "the file as read must not change"
    assert parse(made.raw) == made


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('a: "leaf1:a1"', 'a: "leaf1:nowhere"', "there is no port leaf1:nowhere"),
        ("management: 10.250.0.22", "management: 10.99.0.22", "10.99.0.22 is outside"),
        ("vrf: tenant-b", "vrf: tenant-x", "there is no vrf tenant-x"),
        ("{name: a1, number: 1}", "{name: a1}", "a switch port needs a number"),
        ("{name: in, mac:", "{name: mgmt, mac:", "port fw1:mgmt: not usable"),
        ("devices:", "boxes:", "not a fabric file"),
        ("fabric: demo", "fabric: [", "demo.yaml"),
    ],
)
def test_bad_file_is_refused_in_one_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "demo.yaml"
    text = DEMO.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FabricError) as caught:
        load(path)
    assert complaint in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FabricError, match="nothing.yaml"):
        load(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("switch", [switch.name for switch in DEMO_FABRIC.switches])
def test_base_flows_leave_table_0_to_viaduct(switch: str) -> None:
    flows = base_flows(DEMO_FABRIC, DEMO_FABRIC.devices[switch])
    assert all(flow.startswith("cookie=0x0b,") for flow in flows)
    assert [flow for flow in flows if "table=0," in flow] == [
        "cookie=0x0b,table=0,priority=0,actions=resubmit(,1)"
    ]


def test_ports_of_functions_are_in_no_vrf() -> None:
    leaf = DEMO_FABRIC.devices["leaf2"]
    functions = {port.number for name, port in leaf.ports.items() if name.endswith(("-in", "-out"))}
    assert functions
    classified = [flow for flow in base_flows(DEMO_FABRIC, leaf) if "table=1," in flow]
    for number in functions:
        assert not any(f"in_port={number}," in flow for flow in classified)


def test_interface_names_fit_the_kernel_and_stay_apart() -> None:
    names = [switch_interface(end) for link in DEMO_FABRIC.links for end in (link.a, link.b)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 15
