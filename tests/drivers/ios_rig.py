# SPDX-License-Identifier: Apache-2.0
"""The rig of `ios`: an emulated device in a process of its own, and Target of three ports."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from netmiko import base_connection

from drivers.base import PortInfo, Target
from drivers.switch.ios import DRIVER
from lab.devices.process import Emulated, emulated
from tests.drivers.contract import Rig
from tests.drivers.samples import Site

PEERS = {"client": "02:aa:00:00:00:01", "firewall": "02:aa:00:00:00:02"}
PROTOCOLS = ("", "tcp", "udp", "icmp", "icmpv6")
SITE = Site(DRIVER.caps.kinds, ("client", "firewall"), ("blue",), peers=PEERS, protocols=PROTOCOLS, has_standby=True)
PORTS = {
    "client": PortInfo(
        "client",
        1,
        interface="GigabitEthernet1",
        addresses=("10.1.1.1/24", "2001:db8:1::1/64"),
        peer_mac=PEERS["client"],
        peer_addresses=("10.1.1.10/24", "2001:db8:1::10/64"),
    ),
    "firewall": PortInfo(
        "firewall",
        2,
        interface="GigabitEthernet2",
        addresses=("192.0.2.1/24", "2001:db8:2::1/64"),
        peer_mac=PEERS["firewall"],
        peer_addresses=("192.0.2.9/24", "2001:db8:2::9/64"),
    ),
}
THEIRS = (
    "ip access-list extended SI-operator",
    "10 permit ip any any",
    "20 deny ip any host 203.0.113.7",
    "ip access-list extended guests",
    "10 permit tcp 172.16.0.0 0.0.255.255 any eq 80",
    "route-map to-proxy permit 10",
    "match ip address guests",
    "set ip next-hop 203.0.113.2",
    "ip sla 7",
    "icmp-echo 203.0.113.2",
    "frequency 30",
    "ip sla schedule 7 life forever start-time now",
    "track 7 ip sla 7 reachability",
    "interface GigabitEthernet3",
    "ip policy route-map to-proxy",
)
HOSTILE = (
    "hostname owned",
    "no ip access-list extended guests",
    "interface GigabitEthernet3\n no ip policy route-map to-proxy",
    "route-map to-proxy permit 10\n set interface Null0",
    "ip access-list extended SI-c7r1f1r9p3\n 10 deny ip any any",
    "username owner privilege 15 secret 9 x",
    "no ip scp server enable",
    "! forget c7.r1.f.1.redirect",
)


def secret(device: Emulated, folder: Path, **changes: object) -> str:
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{device.ready['port']} {device.ready['host_key']}\n")
    fields = {"user": "admin", "password": device.ready["users"]["admin"], "known_hosts_file": str(known)}
    return json.dumps({**fields, "port": device.ready["port"], **changes})


def target_of(device: Emulated, folder: Path) -> Target:
    return Target("edge1", "ios", "127.0.0.1", {"pace": "0.005"}, PORTS, {"blue": 10}, secret(device, folder))


def others(device: Emulated) -> str:
    """All that is not ours in the running configuration."""
    found, is_ours = [], False
    for line in device.config()["running"].splitlines():
        if not line.startswith(" "):
            is_ours = "SI-" in line and "SI-operator" not in line
            is_ours = is_ours or re.fullmatch(r"interface \S+\.[34]\d{3}", line) is not None
            is_ours = is_ours or line.startswith(
                ("ip sla 300", "ip sla schedule 300", "track 50", "arp ", "ipv6 neighbor")
            )
        if not is_ours and "route-map SI-t-" not in line:
            found.append(line)
    return "\n".join(found)


class _Impatient:
    """Netmiko's clock: it looks for an answer every 2 ms, not every 10 to 100. What it looks for stays the same."""

    time = staticmethod(time.time)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, 0.002))


@pytest.fixture(scope="session")
def ios_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("ios", "edge1", tmp_path_factory.mktemp("edge1")) as device:
        yield device


@pytest.fixture
def ios_device(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulated]:
    """One process for a session's tests, clean for each; a test that kills it gets one of its own."""
    monkeypatch.setattr(base_connection, "time", _Impatient)
    if "dead" in request.node.name:
        with emulated("ios", "edge1", tmp_path / "edge1") as own:
            yield own
        return
    shared: Emulated = request.getfixturevalue("ios_shared")
    shared.ask("/reset", {})
    yield shared


@pytest.fixture
def ios_target(ios_device: Emulated, tmp_path: Path) -> Target:
    return target_of(ios_device, tmp_path)


@pytest.fixture
def open_ios(ios_device: Emulated, ios_target: Target) -> Rig:
    def add_foreign() -> None:
        ios_device.operator(*THEIRS)

    return Rig(DRIVER, ios_target, SITE, add_foreign, lambda: others(ios_device), ios_device.kill, HOSTILE)
