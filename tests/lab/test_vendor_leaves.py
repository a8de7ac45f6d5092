# SPDX-License-Identifier: Apache-2.0
"""One chain through an emulated leaf of each family that forwards: our driver's words, real packets, both directions.

client a1 - leaf1 (EOS, NX-OS or Junos) - fw1 - leaf1 - crossing - spine1 (Open vSwitch) - a2. The firewall lets 443
pass and nothing else; 80 is how a denied packet shows.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drivers.base import Counter, PortInfo, Target, Unsupported
from drivers.diff import diff
from drivers.registry import DRIVERS
from drivers.state import (
    ANY_PORT,
    EMPTY,
    KIND_OF_ITEM,
    DeviceState,
    Direction,
    Guard,
    Item,
    Key,
    Match,
    NextHop,
    Redirect,
    Rule,
    RuleSet,
    Verdict,
)
from lab import Lab
from lab.fabric import GATEWAY_MAC, Device, End, load

pytestmark = pytest.mark.lab

FABRICS = Path(__file__).resolve().parents[2] / "lab" / "fabrics"
FAMILIES = {"eos": "multivendor", "nxos": "nxos", "junos": "junos"}
VRF = "tenant-a"
CLIENTS = {4: "10.10.1.0/24", 6: "2001:db8:10:1::/64"}
SERVERS = {4: "10.10.2.0/24", 6: "2001:db8:10:2::/64"}
SERVER = {4: "10.10.2.10", 6: "2001:db8:10:2::10"}
FW_IN, FW_OUT = "02:00:00:01:01:01", "02:00:00:01:01:02"
THERE, BACK = 3001, 3002
PASSED, DENIED = 443, 80
# Families whose emulated switch counts what its data plane forwards.
COUNTING = ("nxos",)


def state(items: list[Item], stage: int = 1) -> DeviceState:
    return DeviceState(
        {Key(7, 1, Direction.FORWARD, stage, KIND_OF_ITEM[type(item)], index): item for index, item in enumerate(items)}
    )


def leaf_items() -> list[Item]:
    items: list[Item] = []
    for family, clients in CLIENTS.items():
        web = Match(clients, SERVERS[family], "tcp")
        back = web.reversed()
        items += [
            Redirect("a1", 0, web, NextHop("fw1-in", 0, FW_IN, VRF), 1),
            Redirect("fw1-out", 0, web, NextHop("spine1", THERE, GATEWAY_MAC, VRF), 1),
            Redirect("spine1", BACK, back, NextHop("fw1-out", 0, FW_OUT, VRF), 1),
            Redirect("fw1-in", 0, back, NextHop(vrf=VRF), 1),
            Guard("a1", 0, web, 1),
            Guard("fw1-out", 0, web, 1),
            Guard("fw1-in", 0, back, 1),
        ]
    return items


def spine_items() -> list[Item]:
    items: list[Item] = []
    for family, clients in CLIENTS.items():
        web = Match(clients, SERVERS[family], "tcp")
        back = web.reversed()
        items += [
            Redirect("leaf1", THERE, web, NextHop(vrf=VRF), 1),
            Redirect("a2", 0, back, NextHop("leaf1", BACK, GATEWAY_MAC), 1),
            Guard("a2", 0, back, 1),
        ]
    return items


def firewall_items() -> list[Item]:
    items: list[Item] = []
    for family, clients in CLIENTS.items():
        web = Match(clients, SERVERS[family], "tcp")
        rule = Rule(Verdict.PERMIT, Match(clients, SERVERS[family], "tcp", ANY_PORT, (PASSED, PASSED)))
        items.append(RuleSet(web, (rule,), Verdict.DENY, "in", "out"))
    return items


ITEMS = {"leaf1": leaf_items, "spine1": spine_items, "fw1": firewall_items}


@dataclass
class Site:
    """A lab, and sessions to its devices as Viaduct opens them."""

    lab: Lab

    def target(self, name: str) -> Target:
        device = self.lab.device(name)
        secret = self.lab.folder / f"{name}.credential.json"
        text = secret.read_text() if secret.exists() else ""
        ports = {port: self._port(device, port) for port in device.ports}
        vrfs = dict(self.lab.fabric.vrfs)
        return Target(name, device.driver, device.management, dict(device.settings), ports, vrfs, text)

    def _port(self, device: Device, name: str) -> PortInfo:
        port = device.ports[name]
        info = PortInfo(name, port.number, port.mac, port.interface, port.addresses, vrf=port.vrf)
        peer = self.lab.fabric.peer(End(device.name, name))
        if peer is None:
            return info
        far = self.lab.fabric.devices[peer.device].ports[peer.port]
        mac = GATEWAY_MAC if self.lab.fabric.devices[peer.device].is_bridge else far.mac
        return replace(info, peer_mac=mac, peer_addresses=far.addresses)

    def write(self, name: str, before: DeviceState, after: DeviceState) -> None:
        target = replace(self.target(name), held=before)
        driver = DRIVERS[target.driver]
        with driver.open(target, 30) as session:
            session.push(driver.render(diff(before, after), target))
            assert session.read().state == after

    def links(self) -> dict[str, bool]:
        target = self.target("leaf1")
        with DRIVERS[target.driver].open(target, 30) as session:
            return dict(session.read().links_up)

    def reaches(self, port: int, family: int) -> bool:
        return self.lab.probe("a1", SERVER[family], port, timeout_s=1.0).ok

    def crossed(self) -> int:
        """Packets of conversations that fw1 has taken in by either arm: neighbour discovery comes when it likes."""
        found = self.lab.exec("fw1", ["nft", "-j", "list", "counters", "table", "inet", "witness"]).stdout
        counters = [entry["counter"] for entry in json.loads(found)["nftables"] if "counter" in entry]
        return sum(counter["packets"] for counter in counters)


WITNESS = """table inet witness {
counter seen { packets 0 bytes 0; }
chain first {
type filter hook prerouting priority -450;
iifname { "in", "out" } meta l4proto tcp counter name seen;
}; }"""


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def site(request: pytest.FixtureRequest, ground: None) -> Iterator[Site]:
    """The chain is in force."""
    family = str(request.param)
    with ExitStack() as ends:
        lab = ends.enter_context(
            Lab.up(FABRICS / f"{FAMILIES[family]}.yaml", f"t{os.getpid()}{family[0]}", has_agents=False)
        )
        assert lab.device("leaf1").driver == family
        server = lab.serve("a2", tcp=(PASSED, DENIED), udp=())
        ends.callback(server.stop)
        made = Site(lab)
        lab.exec("fw1", ["nft", WITNESS])
        assert all(made.reaches(port, family) for port in (PASSED, DENIED) for family in (4, 6))
        assert made.crossed() < 20
        for name, items in ITEMS.items():
            made.write(name, EMPTY, state(items()))
        yield made


def until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("family", [4, 6])
def test_packets_cross_the_firewall_both_ways_and_what_it_denies_stops(site: Site, family: int) -> None:
    before = site.crossed()
    assert site.reaches(PASSED, family)
    steered = site.crossed()
    assert steered >= before + 6, "a connection is three packets each way at least"
    assert not site.reaches(DENIED, family)
    assert site.crossed() > steered


def test_what_the_leaf_counts_is_what_went_through_it(site: Site) -> None:
    """Of one connection and one that the firewall denies; items that nothing matched count nothing."""
    target = site.target("leaf1")
    if target.driver not in COUNTING:
        return
    entering = [key for key, item in state(leaf_items()).items() if isinstance(item, Redirect) and item.ingress == "a1"]
    guards = [key for key, item in state(leaf_items()).items() if isinstance(item, Guard)]

    def counters() -> Mapping[Key, Counter]:
        with DRIVERS[target.driver].open(target, 30) as session:
            return session.read().counters

    before = counters()
    assert site.reaches(PASSED, 4) and site.reaches(PASSED, 6) and not site.reaches(DENIED, 4)
    after = counters()
    grown = {key: after[key].packets - before[key].packets for key in after}
    assert all(grown[key] >= 3 for key in entering), "a connection is three packets at least"
    assert sum(grown.values()) >= 18, "both directions, on either side of the firewall"
    assert all(grown[key] == 0 and after[key].dropped == before[key].dropped for key in guards)


def test_without_its_next_hop_nothing_passes_and_it_is_back_with_it(site: Site) -> None:
    """fw1 loses power; what is in the leaf stays as it is."""
    assert site.links()["fw1-in"]
    site.lab.kill_device("fw1")
    assert until(lambda: not site.links()["fw1-in"])
    assert not site.reaches(PASSED, 4) and not site.reaches(PASSED, 6) and not site.reaches(DENIED, 4)
    site.lab.restart_device("fw1")
    assert until(lambda: site.links()["fw1-in"])
    assert until(lambda: site.reaches(PASSED, 4)) and site.reaches(PASSED, 6)
    assert not site.reaches(DENIED, 4)


def test_a_standby_is_taken_by_the_leaf_alone_or_refused(site: Site) -> None:
    """Past the firewall while that has no link, in both directions; through it again when it is back."""
    held, onward = state(leaf_items()), NextHop(vrf=VRF)
    by_itself = state([
        replace(item, standby=onward) if isinstance(item, Redirect) and item.next.port.startswith("fw1") else item
        for item in leaf_items()
    ])  # fmt: skip
    target = site.target("leaf1")
    if not DRIVERS[target.driver].caps.has_standby:
        with pytest.raises(Unsupported, match="standby"):
            DRIVERS[target.driver].render(diff(held, by_itself), replace(target, held=held))
        return
    site.write("leaf1", held, by_itself)
    assert not site.reaches(DENIED, 4) and not site.reaches(DENIED, 6)
    site.lab.kill_device("fw1")
    assert until(lambda: site.reaches(DENIED, 4)) and until(lambda: site.reaches(DENIED, 6))
    assert site.reaches(PASSED, 4) and site.reaches(PASSED, 6)
    site.lab.restart_device("fw1")
    assert until(lambda: not site.reaches(DENIED, 4)) and until(lambda: not site.reaches(DENIED, 6))
    assert until(lambda: site.reaches(PASSED, 4)) and site.reaches(PASSED, 6)
    site.write("leaf1", by_itself, held)


def test_a_leaf_that_only_guards_is_closed_and_an_empty_one_open(site: Site) -> None:
    held = state(leaf_items())
    guards = DeviceState({key: item for key, item in held.items() if isinstance(item, Guard)})
    site.write("leaf1", held, guards)
    assert not site.reaches(PASSED, 4) and not site.reaches(PASSED, 6)
    site.write("leaf1", guards, held)
    assert site.reaches(PASSED, 4) and site.reaches(PASSED, 6)
    for name, items in ITEMS.items():
        site.write(name, state(items()), EMPTY)
    before = site.crossed()
    assert site.reaches(DENIED, 4) and site.reaches(DENIED, 6) and site.crossed() == before
    for name, items in ITEMS.items():
        site.write(name, EMPTY, state(items()))


@pytest.mark.parametrize("family", ["nxos", "junos"])
def test_the_fabrics_differ_in_their_leaf_only(family: str) -> None:
    one, other = load(FABRICS / "multivendor.yaml"), load(FABRICS / f"{family}.yaml")
    assert other.devices["leaf1"].driver == family
    assert other.devices["leaf1"].ports.keys() == one.devices["leaf1"].ports.keys()
    for part in one.raw:
        if part not in ("fabric", "devices"):
            assert one.raw[part] == other.raw[part], part
    for here, there in zip(one.raw["devices"], other.raw["devices"], strict=True):
        if here["name"] != "leaf1":
            assert here == there
