# SPDX-License-Identifier: Apache-2.0
"""Switches that route: next hops carry the VRF and the MAC that the far end answers to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chains.planning.plan import draft_plan, make_plan, shared
from chains.planning.types import Device, Endpoint, Fabric, Refused
from drivers.base import Target
from drivers.diff import diff
from drivers.registry import DRIVERS
from drivers.state import EMPTY, Redirect
from tests.planning.fabrics import chain, demo, hop

GATEWAY = "02:00:00:00:ff:01"


def routed(fabric: Fabric, *names: str, mac: str = GATEWAY, vrf: str = "a") -> Fabric:
    """The fabric with these switches routing; every port of theirs has one MAC, those of functions a VRF."""
    devices = dict(fabric.devices)
    for name in names:
        device = devices[name]
        assert device.caps is not None
        ports = {
            port: replace(info, mac=mac, vrf=vrf if "fw" in port else "") for port, info in device.ports.items()
        }
        caps = replace(device.caps, is_routed=True, shares_objects=True)
        devices[name] = Device(name, device.kind, device.driver, caps, ports, device.is_enabled)
    return replace(fabric, devices=devices)


def redirects(fabric: Fabric, device: str) -> list[Redirect]:
    plan = make_plan(fabric, chain("ngfw"), {}, {})
    return [item for item in plan.target[device].values() if isinstance(item, Redirect)]


def test_on_a_switch_that_routes_every_next_hop_has_its_vrf() -> None:
    assert all(not item.next.vrf for item in redirects(demo().fabric(), "leaf1") if item.next.port)
    found = redirects(routed(demo().fabric(), "leaf1"), "leaf1")
    assert found and all(item.next.vrf == "a" for item in found)


def test_whoever_sends_to_a_switch_that_routes_writes_its_address() -> None:
    plain = [item.next for item in redirects(demo().fabric(), "spine1") if item.next.tag]
    assert plain and all(not hop.mac for hop in plain)
    towards = [item.next for item in redirects(routed(demo().fabric(), "leaf1"), "spine1") if item.next.port == "leaf1"]
    assert towards and all(hop.mac == GATEWAY and not hop.vrf for hop in towards)


def test_without_that_address_the_plan_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        make_plan(routed(demo().fabric(), "leaf1", mac=""), chain("ngfw"), {}, {})
    assert [reason.code for reason in refused.value.reasons] == ["no-mac"]


def test_a_function_in_another_vrf_is_excluded_with_the_reason() -> None:
    plan = make_plan(routed(demo().fabric(), "leaf1", vrf="b"), chain("ngfw"), {}, {})
    assert plan.placement is not None
    hop = plan.placement.hops[0]
    assert hop.chosen is not None and "ngfw@fw1" not in hop.chosen.offers
    reasons = {candidate.offers: candidate.excluded for candidate in hop.rejected}
    assert "is in VRF b; the chain is in a there" in reasons[("ngfw@fw1",)]


def test_devices_where_items_share_objects_are_named() -> None:
    fabric = routed(demo().fabric(), "leaf1")
    assert shared(draft_plan(fabric, chain("ngfw"), {})) == ("leaf1",)
    assert shared(draft_plan(demo().fabric(), chain("ngfw"), {})) == ()


def nxos(fabric: Fabric, name: str) -> Target:
    """The switch as one of NX-OS, with an address behind every port."""
    ports = {}
    for number, (port, info) in enumerate(sorted(fabric.devices[name].ports.items()), 1):
        end = Endpoint(name, port)
        peer = next((link.b if link.a == end else link.a for link in fabric.links if end in (link.a, link.b)), None)
        far = fabric.devices[peer.device].ports.get(peer.port) if peer else None
        ports[port] = replace(
            info,
            number=number,
            interface=f"Ethernet1/{number}",
            peer_mac=far.mac if far else "",
            peer_addresses=(f"192.0.2.{number}/24", f"2001:db8:ffff::{number}/64"),
        )
    return Target(name, "nxos", "192.0.2.250", {}, ports, {"a": 101})


@pytest.mark.parametrize("way", ["backup", "past"])
def test_a_standby_that_is_planned_is_one_that_nxos_holds(way: str) -> None:
    """In the VRF of the next hop, to its backup or past it; what is rendered is what the plan says."""
    builder = demo()
    builder.appliance("fw3", "ngfw", "leaf1", cost_fixed=10.5)
    fabric = routed(builder.fabric(), "leaf1")
    first = hop(0, "ngfw", standby=1) if way == "backup" else hop(0, "ngfw", blocks=False)
    plan = make_plan(fabric, chain(first), {}, {})
    assert not plan.proof.violations
    state = plan.target["leaf1"]
    items = [item for item in state.values() if isinstance(item, Redirect) and item.standby is not None]
    assert items and all(item.standby and item.standby.vrf == item.next.vrf == "a" for item in items)
    assert {bool(item.standby and item.standby.port) for item in items} >= {way == "backup"}
    target = nxos(fabric, "leaf1")
    text = DRIVERS["nxos"].render(diff(EMPTY, state), target)
    tracked = [line for line in text.splitlines() if "next-hop" in line]
    assert tracked and ("force-order" in text if way == "backup" else any("drop-on-fail" not in t for t in tracked))
