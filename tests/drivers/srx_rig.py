# SPDX-License-Identifier: Apache-2.0
"""An emulated SRX as a rig of the contract suite: one process for all tests, as it came before each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.appliance.srx import DRIVER as SRX
from drivers.base import PortInfo, Target
from lab.devices.process import Emulated, emulated
from tests.drivers.contract import Rig
from tests.drivers.junos_rig import secret_of, theirs
from tests.drivers.samples import Site

PORTS = {"in": PortInfo("in", 1, "", "ge-0/0/1"), "out": PortInfo("out", 2, "", "ge-0/0/2")}
SETTINGS = {"zone_in": "trust", "zone_out": "untrust"}
WALL = Target("srx1", "srx", "127.0.0.1", SETTINGS, PORTS)
SITE = Site(SRX.caps.kinds, inside="in", outside="out", has_dscp=False)
FOREIGN = (
    "set security zones security-zone dmz",
    "set security policies from-zone dmz to-zone untrust policy theirs match source-address any",
    "set security policies from-zone dmz to-zone untrust policy theirs match destination-address any",
    "set security policies from-zone dmz to-zone untrust policy theirs match application any",
    "set security policies from-zone dmz to-zone untrust policy theirs then deny",
    "commit",
)
HOSTILE = (
    "delete security policies",
    "set security policies default-policy permit-all",
    "set groups SI-viaduct security policies default-policy permit-all",
    "set groups SI-viaduct security policies from-zone trust to-zone untrust policy SI-c7r1f1s0-0 then permit",
    "set groups SI-viaduct security policies from-zone dmz to-zone untrust policy theirs then permit",
    "set groups SI-viaduct applications application junos-http destination-port 1",
    'set groups SI-viaduct apply-macro SI-c7r1f1s0 traffic "0.0.0.0/0 0.0.0.0/0 any 0-65535 0-65535 -1"',
    "rollback 1",
)


@pytest.fixture(scope="session")
def srx_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("junos", "srx1", tmp_path_factory.mktemp("srx1"), "srx") as device:
        yield device


@pytest.fixture
def srx_box(srx_process: Emulated) -> Emulated:
    srx_process.operator("factory")
    return srx_process


def srx_target(device: Emulated, folder: Path) -> Target:
    return Target("srx1", "srx", "127.0.0.1", SETTINGS, PORTS, {}, secret_of(device, folder))


@pytest.fixture
def open_srx(srx_box: Emulated, tmp_path: Path) -> Rig:
    return Rig(
        SRX, srx_target(srx_box, tmp_path), SITE, lambda: srx_box.operator(*FOREIGN), lambda: theirs(srx_box),
        lambda: srx_box.fault(deaf=True), HOSTILE, srx_box.elapse,
    )  # fmt: skip
