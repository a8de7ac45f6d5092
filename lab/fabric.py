# SPDX-License-Identifier: Apache-2.0
"""The fabric file as the lab needs it: plain frozen values, lightly checked.

Read by `lab.network` and the generators of configuration. The full check, with line numbers, is
that of the importer in the domain; here only what the lab would trip over.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

GATEWAY_MAC = "02:00:00:00:ff:01"
MANAGEMENT_PORT = "mgmt"
# Drivers of switches that route: emulated vendor devices with a data plane, and FRR.
EMULATED = frozenset({"eos", "nxos", "junos"})
ROUTERS = EMULATED | {"frr"}
INTERFACE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,14}")


class FabricError(Exception):
    """The fabric file cannot be built. The text names the file, the place and the fix."""


@dataclass(frozen=True, slots=True)
class Port:
    """number: the switch's own, 0 if none. addresses: with prefix length. interface: the device's own name of it."""

    name: str
    number: int = 0
    mac: str = ""
    addresses: tuple[str, ...] = ()
    interface: str = ""
    vrf: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    kind: str
    driver: str
    management: str
    settings: Mapping[str, str]
    ports: Mapping[str, Port]
    # (inside, outside) of each function of an appliance
    arms: tuple[tuple[str, str], ...] = ()

    @property
    def is_bridge(self) -> bool:
        """A switch of the lab's Open vSwitch. Other switches are routers in namespaces of their own."""
        return self.kind == "switch" and self.driver not in ROUTERS

    @property
    def bridge(self) -> str:
        return self.settings.get("bridge", self.name)


@dataclass(frozen=True, slots=True, order=True)
class End:
    """One end of a link."""

    device: str
    port: str

    @classmethod
    def parse(cls, text: str) -> End:
        device, _, port = text.partition(":")
        return cls(device, port)


@dataclass(frozen=True, slots=True)
class Link:
    a: End
    b: End
    mtu_bytes: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """Prefixes of a VRF that live behind a switch port."""

    vrf: str
    port: End
    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fabric:
    """raw: the file's own content, for writing it back with the lab's addresses."""

    name: str
    management: str
    vrfs: Mapping[str, int]
    devices: Mapping[str, Device]
    links: tuple[Link, ...]
    attachments: tuple[Attachment, ...]
    raw: Mapping[str, Any]

    @property
    def switches(self) -> tuple[Device, ...]:
        """Bridges of Open vSwitch."""
        return tuple(device for device in self.devices.values() if device.is_bridge)

    @property
    def routers(self) -> tuple[Device, ...]:
        """Switches of other families, each with a namespace of its own."""
        return tuple(device for device in self.devices.values() if device.kind == "switch" and not device.is_bridge)

    @property
    def boxes(self) -> tuple[Device, ...]:
        """Hosts, appliances and external boxes."""
        return tuple(device for device in self.devices.values() if device.kind != "switch")

    def peer(self, end: End) -> End | None:
        """What the cable in this port leads to."""
        for link in self.links:
            if end in (link.a, link.b):
                return link.b if end == link.a else link.a
        return None


def load(path: Path) -> Fabric:
    """Errors: FabricError."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FabricError(f"{path}: {error}") from error
    try:
        fabric = parse(raw)
        problems = check(fabric)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FabricError(f"{path}: not a fabric file: {type(error).__name__}: {error}") from error
    if problems:
        raise FabricError(f"{path}: {'; '.join(problems)}")
    return fabric


def parse(raw: Mapping[str, Any]) -> Fabric:
    """Errors: KeyError, TypeError, ValueError, AttributeError for what is missing or of another shape."""
    arms: dict[str, tuple[tuple[str, str], ...]] = {}
    for offer in raw.get("offers", ()):
        if offer.get("inside") and offer.get("outside"):
            pair = (offer["inside"], offer["outside"])
            arms[offer["device"]] = tuple(dict.fromkeys((*arms.get(offer["device"], ()), pair)))
    devices = {entry["name"]: _device(entry, arms.get(entry["name"], ())) for entry in raw["devices"]}
    links = tuple(
        Link(End.parse(entry["a"]), End.parse(entry["b"]), int(entry.get("mtu_bytes", 1500)))
        for entry in raw["links"]
    )
    attachments = tuple(
        Attachment(entry["vrf"], End.parse(place["port"]), tuple(place.get("prefixes") or entry["prefixes"]))
        for entry in raw.get("segments", ())
        for place in entry.get("attachments", ())
    )
    vrfs = {entry["name"]: int(entry["tag"]) for entry in raw["vrfs"]}
    management = str(ipaddress.IPv4Network(raw["management"]))
    return Fabric(str(raw["fabric"]), management, vrfs, devices, links, attachments, raw)


def _device(entry: Mapping[str, Any], arms: tuple[tuple[str, str], ...]) -> Device:
    ports = (
        Port(
            item["name"],
            int(item.get("number", 0)),
            item.get("mac", ""),
            tuple(item.get("addresses", ())),
            item.get("interface") or item["name"],
            item.get("vrf", ""),
        )
        for item in entry.get("ports", ())
    )
    return Device(
        name=entry["name"],
        kind=entry["kind"],
        driver=entry.get("driver", ""),
        management=entry.get("management", ""),
        settings={key: str(value) for key, value in (entry.get("settings") or {}).items()},
        ports={port.name: port for port in ports},
        arms=arms,
    )


def check(fabric: Fabric) -> tuple[str, ...]:
    """What the lab could not build, one line for each problem."""
    problems: list[str] = []
    network = ipaddress.IPv4Network(fabric.management)
    if network.prefixlen != 24:
        problems.append(f"management {network}: the lab needs a /24")
    for device in fabric.devices.values():
        if device.management and ipaddress.ip_address(device.management) not in network:
            problems.append(f"device {device.name}: {device.management} is outside {network}")
        problems += _port_problems(device)
    ends = [end for link in fabric.links for end in (link.a, link.b)]
    ends += [attachment.port for attachment in fabric.attachments]
    unknown = {end for end in ends if end.port not in getattr(fabric.devices.get(end.device), "ports", ())}
    problems += [f"there is no port {end.device}:{end.port}" for end in sorted(unknown)]
    for link in fabric.links:
        kinds = {fabric.devices[end.device].kind for end in (link.a, link.b) if end not in unknown}
        if kinds and "switch" not in kinds:
            problems.append(f"link {link.a.device} - {link.b.device}: one end must be a switch")
    for attachment in fabric.attachments:
        if attachment.vrf not in fabric.vrfs:
            problems.append(f"there is no vrf {attachment.vrf}")
    return tuple(problems)


def _port_problems(device: Device) -> Iterator[str]:
    for port in device.ports.values():
        name = f"port {device.name}:{port.name}"
        if device.kind == "switch":
            if not port.number:
                yield f"{name}: a switch port needs a number"
            continue
        if port.name in (MANAGEMENT_PORT, "lo") or not INTERFACE_NAME.fullmatch(port.name):
            yield f"{name}: not usable as the name of an interface"
        if not port.mac:
            yield f"{name}: needs a mac"
    for arm in (port for pair in device.arms for port in pair if port not in device.ports):
        yield f"an offer of {device.name} names {arm}, which is no port of it"


def instantiate(fabric: Fabric, number: int, credentials: Mapping[str, str]) -> Fabric:
    """The same fabric at 10.250.<number>.0/24, with the switches' endpoints and credentials filled in."""
    network = f"10.250.{number}"
    devices: list[dict[str, Any]] = []
    for entry in fabric.raw["devices"]:
        device = dict(entry)
        if device.get("management"):
            address = f"{network}.{str(device['management']).rsplit('.', 1)[1]}"
            device["management"] = address
            if device["kind"] == "switch" and device.get("driver") not in ROUTERS:
                endpoints = {"ovsdb": f"tcp:{address}:6640", "openflow": f"tcp:{address}:6653"}
                device["settings"] = {**(device.get("settings") or {}), **endpoints}
        if device["name"] in credentials:
            device["credential"] = credentials[device["name"]]
        devices.append(device)
    return parse({**fabric.raw, "management": f"{network}.0/24", "devices": devices})


def write(fabric: Fabric, path: Path) -> None:
    """The fabric file that Viaduct imports."""
    text = yaml.safe_dump(dict(fabric.raw), sort_keys=False, default_flow_style=None, width=160)
    path.write_text(f"# Written by the lab: the fabric as it runs now.\n{text}", encoding="utf-8")
