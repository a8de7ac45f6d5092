# SPDX-License-Identifier: Apache-2.0
"""A fabric file as frozen values, in canonical order. Pure: made by `schema` from text and by `export` from rows.

Two documents are equal when they say the same, wherever their lines are. Canonical order: everything by
name; ports by number, then name; the end of a link that sorts first is `a`; the operator's segments first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

Lines = Mapping[str, int]
NO_LINES: Lines = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """lines: where each field was read, "" for the entry itself; empty when it comes from rows."""

    lines: Lines = field(default_factory=lambda: NO_LINES, compare=False, repr=False)

    def line(self, name: str = "") -> int:
        return self.lines.get(name) or self.lines.get("", 0)


@dataclass(frozen=True, slots=True)
class Site(Entry):
    """needs_approval, changes_at_once: as of a tenant, for changes that write to devices of the site."""

    name: str
    needs_approval: bool = False
    changes_at_once: int = 16


@dataclass(frozen=True, slots=True)
class Vrf(Entry):
    name: str
    tag: int


@dataclass(frozen=True, slots=True)
class Tenant(Entry):
    """needs_approval: a second person has to agree. changes_at_once: that may be worked on side by side."""

    name: str
    needs_approval: bool = False
    changes_at_once: int = 4


@dataclass(frozen=True, slots=True)
class Port(Entry):
    name: str
    number: int = 0
    mac: str = ""
    interface: str = ""
    vrf: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Device(Entry):
    name: str
    site: str
    kind: str
    driver: str = ""
    management: str = ""
    credential: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    is_enabled: bool = True
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class Link(Entry):
    """a, b: "device:port"."""

    a: str
    b: str
    capacity_mbps: int
    latency_us: int
    mtu_bytes: int = 1500

    @property
    def name(self) -> str:
        return f"{self.a} - {self.b}"


@dataclass(frozen=True, slots=True)
class Function(Entry):
    """degraded_below, down_below: percent of the instances that serve a hop."""

    name: str
    capability: str
    description: str = ""
    degraded_below: int = 100
    down_below: int = 1


@dataclass(frozen=True, slots=True)
class Probe(Entry):
    """How an offer is asked whether it lives. The fields are those of `chains.planning.probes.Asked`."""

    kind: str
    by: str = ""
    destination: str = ""
    source: str = ""
    port: int = 0
    path: str = "/"
    interval_ms: int = 1000
    timeout_ms: int = 500
    rise: int = 2
    fall: int = 3
    hold_down_ms: int = 0
    fails_over: bool = False


@dataclass(frozen=True, slots=True)
class Price(Entry):
    """What one unit of `name` costs; the fields of `chains.planning.worth.Prices` are the names."""

    name: str
    cost: float


@dataclass(frozen=True, slots=True)
class Offer(Entry):
    device: str
    function: str
    realm: str
    inside: str = ""
    outside: str = ""
    mode: str = "two_arm"
    capacity_mbps: int = 0
    measured_mbps: int = 0
    entries: int = 0
    latency_us: int = 0
    cost_per_gbps: float = 0.0
    cost_fixed: float = 0.0
    licence_per_gbps: float = 0.0
    cores_per_gbps: float = 0.0
    watts_per_gbps: float = 0.0
    measured_cores_per_gbps: float = 0.0
    measured_latency_us: int = 0
    is_shared: bool = False
    is_enabled: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    is_last_resort: bool = False

    @property
    def name(self) -> str:
        return f"{self.function}@{self.device}"


@dataclass(frozen=True, slots=True)
class Attachment(Entry):
    """port: "device:port". prefixes: what lives here, () for all of the segment's."""

    port: str
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment(Entry):
    """tenant "": the operator's, usable by all."""

    tenant: str
    name: str
    vrf: str
    prefixes: tuple[str, ...]
    attachments: tuple[Attachment, ...]
    mtu_bytes: int = 1500

    @property
    def full_name(self) -> str:
        return f"{self.tenant}/{self.name}" if self.tenant else self.name


@dataclass(frozen=True, slots=True)
class Fabric(Entry):
    """A whole file. management: the prefix that the devices' addresses are of, "" if none is named."""

    fabric: str
    management: str = ""
    sites: tuple[Site, ...] = ()
    vrfs: tuple[Vrf, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    devices: tuple[Device, ...] = ()
    links: tuple[Link, ...] = ()
    functions: tuple[Function, ...] = ()
    prices: tuple[Price, ...] = ()
    offers: tuple[Offer, ...] = ()
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """line 0: not of one line. path: which entry and field. detail: the cause and the fix."""

    line: int
    path: str
    detail: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.path}: {self.detail}" if self.path else f"{place}{self.detail}"


def canonical(fabric: Fabric) -> Fabric:
    """The same document in canonical order."""
    return replace(
        fabric,
        sites=tuple(sorted(fabric.sites, key=lambda entry: entry.name)),
        vrfs=tuple(sorted(fabric.vrfs, key=lambda entry: entry.name)),
        tenants=tuple(sorted(fabric.tenants, key=lambda entry: entry.name)),
        devices=tuple(sorted(map(_device, fabric.devices), key=lambda entry: entry.name)),
        links=tuple(sorted(map(_link, fabric.links), key=lambda entry: (entry.a, entry.b))),
        functions=tuple(sorted(fabric.functions, key=lambda entry: entry.name)),
        prices=tuple(sorted(fabric.prices, key=lambda entry: entry.name)),
        offers=tuple(sorted(map(_offer, fabric.offers), key=lambda entry: (entry.device, entry.function))),
        segments=tuple(sorted(map(_segment, fabric.segments), key=lambda entry: (entry.tenant, entry.name))),
    )


def _device(entry: Device) -> Device:
    ports = tuple(sorted(entry.ports, key=lambda port: (port.number, port.name)))
    return replace(entry, ports=ports, settings=dict(sorted(entry.settings.items())))


def _link(entry: Link) -> Link:
    return entry if entry.a <= entry.b else replace(entry, a=entry.b, b=entry.a)


def _offer(entry: Offer) -> Offer:
    return replace(entry, settings=dict(sorted(entry.settings.items())))


def _segment(entry: Segment) -> Segment:
    attachments = tuple(sorted(entry.attachments, key=lambda attachment: attachment.port))
    return replace(entry, attachments=attachments)
