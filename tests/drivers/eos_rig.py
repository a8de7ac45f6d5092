# SPDX-License-Identifier: Apache-2.0
"""An emulated EOS as a rig of the contract suite: one process for all tests, reset for each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from napalm.eos import EOSDriver

from drivers.base import PortInfo, Target
from drivers.state import EMPTY, Kind
from drivers.switch import eos
from lab.devices.process import Emulated, emulated
from tests.drivers.contract import Rig
from tests.drivers.samples import Site, sample

PORTS = {"a": "Ethernet1", "b": "Ethernet2", "c": "Ethernet3/1"}
BLUE = "blue"
PEERS = {name: f"02:00:00:00:00:{number:02x}" for number, name in enumerate(PORTS, start=1)}
STEERING = frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS})
OPERATOR = (
    "ip access-list THEIRS", "10 permit tcp any any eq 22", "20 deny ip any any", "exit",
    "ip access-list PBR-THEIRS", "10 permit udp any any", "exit",
    "class-map type pbr match-any THEIRS", "10 match ip access-group PBR-THEIRS", "exit",
    "policy-map type pbr THEIRS", "10 class THEIRS", "set nexthop 10.9.9.9", "exit", "exit",
    "interface Ethernet7", "no switchport", "ip address 10.77.0.1/24", "service-policy type pbr input THEIRS", "exit",
    "interface Ethernet1.20", "encapsulation dot1q vlan 20", "ip address 10.78.0.1/24", "exit",
    "arp 10.77.0.9 0200.0000.7709 arpa", "router bgp 65001", "neighbor 10.77.0.2 remote-as 65002",
)  # fmt: skip


def base(vrf: str) -> str:
    """The operator's configuration before we come. vrf: "" for the default one."""
    there = f" vrf {vrf}" if vrf else ""
    lines = ["hostname leaf1", f"ip routing{there}", f"ipv6 unicast-routing{there}"]
    lines += [f"vrf instance {vrf}"] if vrf else []
    for number, name in enumerate(PORTS.values(), start=1):
        lines += [f"interface {name}", "no switchport", *([f"vrf {vrf}"] if vrf else [])]
        lines += [f"ip address 10.200.{number}.1/24", f"ipv6 address 2001:db8:200:{number}::1/64"]
    features = ("pbr ip", "pbr ipv6", "traffic-policy port ipv4", "traffic-policy port ipv6")
    lines += ["hardware tcam", "profile viaduct", *(f"feature {name}" for name in features), "exit"]
    lines += ["system profile viaduct"]
    return "".join(f"{line}\n" for line in lines)


def eos_target(device: Emulated, **settings: str) -> Target:
    ports = {
        name: PortInfo(
            name,
            number,
            interface=PORTS[name],
            peer_mac=PEERS[name],
            peer_addresses=(f"10.200.{number}.9/24", f"2001:db8:200:{number}::9/64"),
        )
        for number, name in enumerate(PORTS, start=1)
    }
    secret = {
        "user": device.ready["user"],
        "password": device.ready["password"],
        "authority_file": device.ready["authority"],
        "port": device.ready["port"],
    }
    return Target("leaf1", "eos", "127.0.0.1", settings, ports, {BLUE: 101}, json.dumps(secret))


def foreign(running: str) -> str:
    """All that is not ours: every line with the lines around it, without what our names and mark are on."""
    from drivers.switch.eos_blocks import blocks_of, paths

    ours = {path[0] for path in paths(blocks_of(running)) if path[-1] == "description Viaduct"}
    kept = []
    for path in paths(blocks_of(running)):
        is_ours = "SI-" in " ".join(path) or path[0] in ours or path == ("traffic-policies",)
        if not is_ours and not path[0].startswith(("arp vrf blue 198.18.", "arp 198.18.", "ipv6 neighbor")):
            kept.append(" / ".join(path))
    return "\n".join(kept)


def eos_rig(device: Emulated, **settings: str) -> Rig:
    site = Site(
        STEERING,
        tuple(PORTS),
        (BLUE,),
        peers=PEERS,
        protocols=("", "tcp", "udp", "icmp", "icmpv6"),
        has_dscp=True,
    )
    hostile = (
        "reload",
        "no interface Ethernet1",
        "interface Ethernet7",
        "username eve privilege 15 nopassword",
        "ip access-list THEIRS",
        "no ip access-list THEIRS",
        "!! banner",
        "banner motd",
    )
    return Rig(
        eos.DRIVER,
        eos_target(device, **settings),
        site,
        add_foreign=lambda: device.operator(*OPERATOR),
        others=lambda: foreign(device.config()["running"]),
        stop=device.kill,
        hostile=hostile,
        elapse=device.elapse,
    )


@pytest.fixture(scope="session")
def eos_first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("eos") / "first.cfg"
    file.write_text(base(BLUE))
    return file


@pytest.fixture(scope="module")
def eos_shared(eos_first: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("eos", "leaf1", tmp_path_factory.mktemp("leaf1"), str(eos_first)) as device:
        yield device


@pytest.fixture
def eos_device(request: pytest.FixtureRequest, eos_first: Path, tmp_path: Path) -> Iterator[Emulated]:
    """A test that kills it gets one of its own."""
    if "dead" in request.node.name:
        with emulated("eos", "leaf1", tmp_path / "leaf1", str(eos_first)) as own:
            yield own
        return
    shared: Emulated = request.getfixturevalue("eos_shared")
    shared.ask("/reset", {})
    yield shared


@pytest.fixture
def open_eos(eos_device: Emulated) -> Rig:
    return eos_rig(eos_device)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver waits 10 s for other sessions to end. Not here."""
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    quick = SimpleNamespace(time=lambda: clock.now, sleep=sleep, strftime=time.strftime, gmtime=time.gmtime)
    monkeypatch.setattr("napalm.eos.eos.time", quick)


@contextmanager
def bare(device: Emulated, **options: Any) -> Iterator[EOSDriver]:
    """NAPALM's driver as it comes, which verifies nobody. It is not closed."""
    ready = device.ready
    driver = EOSDriver(
        "127.0.0.1",
        ready["user"],
        ready["password"],
        timeout=10,
        optional_args={"port": ready["port"], **options},
    )
    driver.open()
    try:
        yield driver
    finally:
        driver.config_session = None


def first_step(rig: Rig) -> str:
    return rig.render(EMPTY, sample(rig.site))


def sent(device: Emulated) -> list[str]:
    return [line for line in device.transcript() if line not in ("enable", "show version")]
