# SPDX-License-Identifier: Apache-2.0
"""The emulated PAN-OS and FortiOS as rigs of the verify-only suite: a process each, clean for every test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from drivers.appliance import fortios, panos
from drivers.base import Driver, PortInfo, Target
from drivers.state import Kind
from lab.devices.process import Emulated, emulated
from tests.drivers.samples import Site
from tests.drivers.verify_only import VerifyRig

SITE = Site(frozenset({Kind.RULESET}), inside="in", outside="out", has_dscp=False)
PANOS_BASE = (
    "set zone trust network layer3 ethernet1/1",
    "set zone untrust network layer3 ethernet1/2",
    *(
        f"set network virtual-router default routing-table {ip} static-route {name} destination {to} interface {there}"
        for ip, name, to, there in (
            ("ip", "r1", "0.0.0.0/0", "ethernet1/2"),
            ("ip", "r2", "10.0.0.0/8", "ethernet1/1"),
            ("ipv6", "r3", "::/0", "ethernet1/2"),
            ("ipv6", "r4", "2001:db8::/32", "ethernet1/1"),
        )
    ),
    "commit",
)
FORTIOS_BASE = (
    "config system interface",
    *(line for name in ("port1", "port2", "port3") for line in (f"edit {name}", "next")),
    "end",
    "config system zone",
    *(line for zone, name in (("trust", "port1"), ("untrust", "port2")) for line in (
        f"edit {zone}", f"set interface {name}", "next")),
    "end",
    "config router static",
    *(
        line
        for number, (to, there) in enumerate(
            (("0.0.0.0/0", "port2"), ("10.0.0.0/8", "port1"), ("::/0", "port2"), ("2001:db8::/32", "port1")), start=1
        )
        for line in (f"edit {number}", f"set dst {to}", f"set device {there}", "next")
    ),
    "end",
)  # fmt: skip
PANOS_THEIRS = (
    "set rulebase security rules {0} from {1}",
    "set rulebase security rules {0} to {2}",
    "set rulebase security rules {0} source any",
    "set rulebase security rules {0} destination any",
    "set rulebase security rules {0} application any",
    "set rulebase security rules {0} service any",
    "set rulebase security rules {0} action allow",
    "commit",
)
FORTIOS_THEIRS = (
    "config firewall policy",
    "edit {3}",
    "set name {0}",
    "set srcintf {1}",
    "set dstintf {2}",
    "set srcaddr all",
    "set dstaddr all",
    "set action accept",
    "set schedule always",
    "set service ALL",
    "next",
    "end",
)
HOSTILE: Mapping[str, tuple[str, ...]] = {
    "panos": (
        "set rulebase security rules allow-all action allow",
        "delete rulebase security rules theirs",
        "set rulebase security rules SI-c1r1f1u0-0 action allow; request restart system",
        "set mgt-config users admin password",
        "commit force",
        "",
    ),
    "fortios": (
        "execute factoryreset",
        "config system admin",
        "config firewall policy\n    delete 1\nend",
        'config firewall policy\n    edit 1\n        set name "theirs"\n    next\nend',
        'config firewall address\n    edit "all"\n        set subnet 1.2.3.4 255.255.255.255\n    next\nend',
        "end",
        "",
    ),
}


def target_of(family: str, secret: str) -> Target:
    names = {"panos": ("ethernet1/1", "ethernet1/2"), "fortios": ("port1", "port2")}[family]
    ports = {port: PortInfo(port, interface=name) for port, name in zip(("in", "out"), names, strict=True)}
    settings = {"zone_in": "trust", "zone_out": "untrust"}
    return Target("fw9", family, "127.0.0.1", settings, ports=ports, secret=secret)


@pytest.fixture(scope="session")
def appliance_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Emulated]]:
    with (
        emulated("panos", "fw9", tmp_path_factory.mktemp("panos")) as one,
        emulated("fortios", "fw9", tmp_path_factory.mktemp("fortios")) as other,
    ):
        yield {"panos": one, "fortios": other}


def rig_of(family: str, driver: Driver, device: Emulated) -> VerifyRig:
    device.ask("/reset", {})
    device.operator(*(PANOS_BASE if family == "panos" else FORTIOS_BASE))
    theirs = PANOS_THEIRS if family == "panos" else FORTIOS_THEIRS

    def paste(native: str) -> None:
        device.operator(*native.splitlines(), *(["commit"] if family == "panos" else []))

    def others() -> str:
        running = device.config()["running"]
        kept = {
            table: {name: row for name, row in rows.items() if "SI-" not in json.dumps([name, row])}
            for table, rows in running.items()
            if isinstance(rows, dict)
        }
        return json.dumps(kept)

    def rule(name: str, source: str, destination: str, number: int) -> list[str]:
        return [line.format(name, source, destination, number) for line in theirs]

    def shadow() -> None:
        device.operator(*rule("early", "any", "untrust", 7))
        if family == "panos":
            device.operator("move rulebase security rules early top", "commit")
        else:
            first = next(iter(device.config()["running"]["firewall policy"]))
            device.operator("config firewall policy", f"move 7 before {first}", "end")

    return VerifyRig(
        driver,
        target_of(family, str(device.ready["secret"])),
        SITE,
        paste,
        lambda: device.operator(*rule("theirs", "untrust", "trust", 5)),
        others,
        device.transcript,
        lambda: device.fault(silent=10**6),
        shadow,
        device.fault,
        HOSTILE[family],
    )


@pytest.fixture
def open_panos(appliance_processes: dict[str, Emulated]) -> VerifyRig:
    return rig_of("panos", panos.DRIVER, appliance_processes["panos"])


@pytest.fixture
def open_fortios(appliance_processes: dict[str, Emulated]) -> VerifyRig:
    return rig_of("fortios", fortios.DRIVER, appliance_processes["fortios"])
