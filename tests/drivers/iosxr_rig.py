# SPDX-License-Identifier: Apache-2.0
"""The emulated IOS-XR as a rig of the contract suite: one process for a session's tests, clean for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.base import PortInfo, Target
from drivers.switch import iosxr
from lab.devices.process import Emulated, emulated
from tests.drivers.contract import Rig
from tests.drivers.samples import Site

PEERS = {name: f"02:00:00:00:00:{number:02x}" for number, name in enumerate("abc", start=10)}
OPERATOR = (
    "vrf blue",
    "address-family ipv4 unicast",
    "address-family ipv6 unicast",
    *(
        line
        for number in (1, 2, 3)
        for line in (
            f"interface GigabitEthernet0/0/0/{number}",
            f"description link {number}",
            "vrf blue",
            f"ipv4 address 10.{number}.0.1 255.255.255.0",
            f"ipv6 address 2001:db8:{number}::1/64",
        )
    ),
    "router static",
    "address-family ipv4 unicast",
    "192.0.2.0/24 Null0",
)
FOREIGN = (
    "ipv4 access-list management",
    "10 permit tcp any any eq 22 log",
    "interface GigabitEthernet0/0/0/9",
    "ipv4 access-group management ingress",
    "interface GigabitEthernet0/0/0/1.100",
    "encapsulation dot1q 100",
    "vrf blue",
    "arp vrf blue 10.1.0.77 0200.0000.0077 ARPA",
    "router static",
    "vrf blue",
    "address-family ipv4 unicast",
    "203.0.113.0/24 GigabitEthernet0/0/0/3 10.3.0.2",
)
HOSTILE = (
    "hostname owned",
    "no router static",
    "ipv4 access-list management",
    "interface MgmtEth0/RP0/CPU0/0",
    "interface GigabitEthernet0/0/0/1\n shutdown",
    "interface GigabitEthernet0/0/0/1\n ipv4 access-group management ingress",
    "no interface GigabitEthernet0/0/0/1",
    "vrf blue",
    "router static\n vrf blue\n  address-family ipv4 unicast\n   0.0.0.0/0 Null0 254",
    "</cli></config><config><cli>",
    "no arp vrf blue 10.1.0.77 0200.0000.0077 ARPA",
)


def target_of(device: Emulated, **changes: object) -> Target:
    ports = {
        name: PortInfo(
            name,
            number,
            interface=f"GigabitEthernet0/0/0/{number}",
            addresses=(f"10.{number}.0.1/24", f"2001:db8:{number}::1/64"),
            peer_mac=PEERS[name],
            peer_addresses=(f"10.{number}.0.2/24", f"2001:db8:{number}::2/64"),
        )
        for number, name in enumerate("abc", start=1)
    }
    fields = {"ports": ports, "vrfs": {"blue": 101}, "secret": str(device.ready["secret"]), **changes}
    return Target("xr1", "iosxr", "127.0.0.1", **fields)  # type: ignore[arg-type]


SITE = Site(
    iosxr.CAPS.kinds, ("a", "b", "c"), ("blue",), peers=PEERS, protocols=("", "tcp", "udp", "icmp", "icmpv6")
)


@pytest.fixture(scope="session")
def iosxr_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("iosxr", "xr1", tmp_path_factory.mktemp("iosxr")) as device:
        yield device


@pytest.fixture
def iosxr_device(iosxr_process: Emulated) -> Emulated:
    iosxr_process.ask("/reset", {})
    iosxr_process.operator(*OPERATOR)
    return iosxr_process


def others(device: Emulated) -> str:
    """The running configuration without our blocks."""
    kept: list[str] = []
    skipped = -1
    for line in device.config()["running"].splitlines():
        depth = len(line) - len(line.lstrip())
        if skipped >= 0 and (depth > skipped or line.strip() == "!"):
            skipped = -1 if depth == skipped else skipped
            continue
        skipped = -1
        is_ours = "SI-" in line or any(f".{tag}" in line for tag in range(3000, 4095)) or "198.18." in line
        if is_ours and line.lstrip().startswith(("vrf", "ipv4 access-list", "ipv6 access-list", "interface")):
            skipped = depth
        if not is_ours:
            kept.append(line)
    return "\n".join(kept)


@pytest.fixture
def open_iosxr(iosxr_device: Emulated, tmp_path: Path) -> Iterator[Rig]:
    device = iosxr_device

    def stop() -> None:
        device.fault(silent=10**6)

    yield Rig(
        iosxr.DRIVER,
        target_of(device),
        SITE,
        lambda: device.operator(*FOREIGN),
        lambda: others(device),
        stop,
        HOSTILE,
        device.elapse,
    )
    device.fault(silent=0)
