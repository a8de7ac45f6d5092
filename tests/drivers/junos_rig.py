# SPDX-License-Identifier: Apache-2.0
"""Emulated Junos boxes as rigs of the contract suite: one process for all tests, as it came before each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.base import PortInfo, Target
from drivers.switch.junos import DRIVER as JUNOS
from lab.devices.process import Emulated, emulated
from tests.drivers.contract import Rig
from tests.drivers.samples import Site

MACS = {"a": "02:00:00:00:0a:02", "b": "02:00:00:00:0b:02"}
PORTS = {
    "a": PortInfo(
        "a", 1, "", "ge-0/0/1", ("10.1.1.1/24", "2001:db8:1:1::1/64"),
        MACS["a"], ("10.1.1.2/24", "2001:db8:1:1::2/64"),
    ),
    "b": PortInfo(
        "b", 2, "", "ge-0/0/2", ("192.0.2.1/24", "2001:db8:2::1/64"),
        MACS["b"], ("192.0.2.9/24", "2001:db8:2::9/64"),
    ),
}  # fmt: skip
SITE = Site(JUNOS.caps.kinds, ("a", "b"), ("blue",), peers=MACS)
FOREIGN = (
    "set firewall family inet filter OPERATOR term 1 then accept",
    "set routing-instances red instance-type vrf",
    "commit",
)
HOSTILE = (
    "delete system host-name",
    "set system host-name pwned",
    "set groups SI-viaduct system host-name pwned",
    "set groups other interfaces ge-0/0/1 unit 0 description x",
    "set apply-groups other",
    "delete groups SI-viaduct",
    "set groups SI-viaduct firewall family inet filter SI-t-a-0-4 term SI-open then discard",
    "set groups SI-viaduct firewall family inet filter OPERATOR term 1 then discard",
    "run request system reboot",
    "rollback 1",
)


def secret_of(device: Emulated, folder: Path) -> str:
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{device.ready['port']} {device.ready['host_key']}\n")
    fields = {"user": device.ready["user"], "password": device.ready["password"], "port": device.ready["port"]}
    return json.dumps({**fields, "known_hosts_file": str(known)})


def theirs(device: Emulated) -> str:
    """The running configuration without our groups and the word that applies them, bytes as they are."""
    kept, depth = [], 0
    for line in str(device.config()["running"]).splitlines():
        if depth or line.strip() in ("SI-viaduct {", "SI-pending {"):
            depth += line.count("{") - line.count("}")
        elif line not in ("apply-groups SI-viaduct;", "groups {"):
            kept.append(line)
    return "\n".join(line for number, line in enumerate(kept) if line != "}" or kept[number - 1 : number] != ["}"])


@pytest.fixture(scope="session")
def junos_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("junos", "mx1", tmp_path_factory.mktemp("mx1")) as device:
        yield device


@pytest.fixture
def junos_box(junos_process: Emulated) -> Emulated:
    junos_process.operator("factory")
    return junos_process


def junos_target(device: Emulated, folder: Path) -> Target:
    return Target("mx1", "junos", "127.0.0.1", {}, PORTS, {"blue": 101}, secret_of(device, folder))


@pytest.fixture
def open_junos(junos_box: Emulated, tmp_path: Path) -> Rig:
    target = junos_target(junos_box, tmp_path)

    def stop() -> None:
        junos_box.fault(deaf=True)

    return Rig(
        JUNOS, target, SITE, lambda: junos_box.operator(*FOREIGN), lambda: theirs(junos_box), stop, HOSTILE,
        junos_box.elapse,
    )  # fmt: skip


def moved(target: Target, **settings: str) -> Target:
    return replace(target, settings={**target.settings, **settings})
