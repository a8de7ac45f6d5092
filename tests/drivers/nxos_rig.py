# SPDX-License-Identifier: Apache-2.0
"""The rig of `nxos`: an emulated device in a process of its own, with NX-API over verified TLS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.base import Target
from drivers.switch.nxos import DRIVER
from lab.devices.process import Emulated, emulated
from tests.drivers import ios_rig
from tests.drivers.contract import Rig

SITE = replace(ios_rig.SITE, kinds=DRIVER.caps.kinds)
PORTS = {name: replace(port, interface=f"Ethernet1/{port.number}") for name, port in ios_rig.PORTS.items()}
THEIRS = (
    "ip access-list SI-operator",
    "10 permit ip any any",
    "20 deny ip any 203.0.113.7/32",
    "ip access-list guests",
    "10 permit tcp 172.16.0.0/16 any eq 80",
    "route-map to-proxy permit 10",
    "match ip address guests",
    "set ip next-hop 203.0.113.2",
    "ip sla 7",
    "icmp-echo 203.0.113.2",
    "frequency 30",
    "ip sla schedule 7 life forever start-time now",
    "track 7 ip sla 7 reachability",
    "interface Ethernet1/3",
    "ip policy route-map to-proxy",
)
HOSTILE = (
    "hostname owned",
    "no ip access-list guests",
    "interface Ethernet1/3\n no ip policy route-map to-proxy",
    "route-map to-proxy permit 10\n set interface null0",
    "ip access-list SI-c7r1f1r9p3\n 10 deny ip any any",
    "username owner password 5 x role network-admin",
    "no feature pbr",
    "! forget c7.r1.f.1.redirect",
)


def secret(device: Emulated, **changes: object) -> str:
    fields = {
        "user": "admin",
        "password": device.ready["users"]["admin"],
        "authority_file": device.ready["certificate"],
    }
    return json.dumps({**fields, "port": device.ready["port"], **changes})


def others(device: Emulated) -> str:
    """All that is not ours in the running configuration."""
    found, is_ours = [], False
    for line in device.config()["running"].splitlines():
        if not line.startswith(" "):
            is_ours = "SI-" in line and "SI-operator" not in line
            is_ours = is_ours or re.fullmatch(r"interface \S+\.[34]\d{3}", line) is not None
            is_ours = is_ours or line.startswith(("ip sla 30", "ip sla schedule 30", "track 30"))
        if not is_ours and "route-map SI-t-" not in line:
            found.append(line)
    return "\n".join(found)


@pytest.fixture(scope="session")
def nxos_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("nxos", "leaf1", tmp_path_factory.mktemp("leaf1")) as device:
        yield device


@pytest.fixture
def nxos_device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Emulated]:
    """One process for a session's tests, clean for each; a test that kills it gets one of its own."""
    if "dead" in request.node.name:
        with emulated("nxos", "leaf1", tmp_path / "leaf1") as own:
            yield own
        return
    shared: Emulated = request.getfixturevalue("nxos_shared")
    shared.ask("/reset", {})
    yield shared


@pytest.fixture
def nxos_target(nxos_device: Emulated) -> Target:
    return Target("leaf1", "nxos", "127.0.0.1", {}, PORTS, {"blue": 10}, secret(nxos_device))


@pytest.fixture
def open_nxos(nxos_device: Emulated, nxos_target: Target) -> Rig:
    def add_foreign() -> None:
        nxos_device.operator(*THEIRS)

    return Rig(DRIVER, nxos_target, SITE, add_foreign, lambda: others(nxos_device), nxos_device.kill, HOSTILE)
