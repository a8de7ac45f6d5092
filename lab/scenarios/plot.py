# SPDX-License-Identifier: Apache-2.0
"""A fabric file by a few words: switches, boxes between them, segments. Pure text; called by the scenarios.

Hosts are drawn as `external`: they need no agent, and whole prefixes live behind them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

TENANT = "tenant-a"
CATALOGUE = {"ngfw": "stateful_filter", "ips": "ips", "cgn": "nat", "filter": "stateless_filter"}
FIRST_ARM = 11
FIRST_TRUNK = 100


class Plot:
    """Collects the sections of one fabric file. MAC and management addresses are counted up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.devices: list[dict[str, Any]] = []
        self.links: list[dict[str, Any]] = []
        self.offers: list[dict[str, Any]] = []
        self.segments: list[dict[str, Any]] = []
        self.functions = dict(CATALOGUE)
        self._ports: dict[str, list[dict[str, Any]]] = {}

    def switch(self, name: str, *, filters: bool = False) -> None:
        """filters: it offers to be a stateless filter too."""
        settings = {"bridge": name, "base_table": "1", "route_table": "10"}
        self._device(name, "switch", "openvswitch", settings=settings)
        if filters:
            more = {"entries": 2000, "latency_us": 1, "cost_per_gbps": 0.1, "cost_fixed": 1, "is_shared": True}
            self.offers.append({"device": name, "function": "filter", "realm": "switch", **more})

    def trunk(self, a: str, b: str, *, latency_us: int = 10, mtu_bytes: int = 9000) -> None:
        """A cable between two switches."""
        ends = (self._port(a, b, FIRST_TRUNK), self._port(b, a, FIRST_TRUNK))
        self._link(*ends, capacity_mbps=10000, latency_us=latency_us, mtu_bytes=mtu_bytes)

    def box(self, name: str, switch: str, arms: Sequence[str] = ("in", "out"), **settings: str) -> None:
        """An appliance with these ports, all at one switch."""
        self._device(name, "appliance", "linux", settings=settings)
        for arm in arms:
            number = len(self._ports[name]) + 1
            mac = f"02:00:00:01:{len(self.devices):02x}:{number:02x}"
            self._ports[name].append({"name": arm, "mac": mac})
            end = self._port(switch, f"{name}-{arm}", FIRST_ARM)
            self._link(end, f"{name}:{arm}", capacity_mbps=10000, latency_us=5, mtu_bytes=1500)

    def offer(self, device: str, function: str, *, cost: float = 10, **more: Any) -> None:
        """What a box can do. more: any other key of an offer."""
        arms = {"inside": "in", "outside": "out"} if "inside" not in more else {}
        fixed = {"realm": "appliance", "capacity_mbps": 4000, "latency_us": 100, "cost_per_gbps": 5}
        self.offers.append({"device": device, "function": function, **fixed, **arms, "cost_fixed": cost, **more})

    def host(self, name: str, switch: str, addresses: Sequence[str], number: int) -> str:
        """An unmanaged end system at port `number`; the switch's end of its cable."""
        mac = f"02:00:00:00:{len(self.devices):02x}:01"
        self._device(name, "external", "")
        self._ports[name].append({"name": "eth0", "mac": mac, "addresses": list(addresses)})
        self._ports[switch].append({"name": name, "number": number})
        self._link(f"{switch}:{name}", f"{name}:eth0", capacity_mbps=2000, latency_us=5, mtu_bytes=1500)
        return f"{switch}:{name}"

    def segment(
        self, name: str, port: str, prefixes: Sequence[str], *, vrf: str = TENANT, is_shared: bool = False
    ) -> None:
        """is_shared: the operator's, usable by all."""
        entry = {"tenant": None if is_shared else TENANT, "name": name, "vrf": vrf, "prefixes": list(prefixes)}
        self.segments.append({**entry, "attachments": [{"port": port}]})

    def text(self) -> str:
        """JSON is YAML."""
        document = {
            "fabric": self.name,
            "management": "10.250.0.0/24",
            "sites": [{"name": "lab"}],
            "vrfs": [{"name": "internet", "tag": 10}, {"name": TENANT, "tag": 101}],
            "tenants": [{"name": TENANT}],
            "functions": [{"name": name, "capability": kind} for name, kind in self.functions.items()],
        }
        sections = {name: getattr(self, name) for name in ("devices", "links", "offers", "segments")}
        return json.dumps(document | sections, indent=1)

    def _device(self, name: str, kind: str, driver: str, settings: dict[str, str] | None = None) -> None:
        self._ports[name] = []
        management = f"10.250.0.{10 + len(self.devices)}" if driver else ""
        entry = {"name": name, "site": "lab", "kind": kind, "driver": driver, "management": management}
        self.devices.append({**entry, "credential": "", "settings": settings or {}, "ports": self._ports[name]})

    def _port(self, switch: str, name: str, first: int) -> str:
        taken = {port["number"] for port in self._ports[switch]}
        number = next(number for number in range(first, 60000) if number not in taken)
        self._ports[switch].append({"name": name, "number": number})
        return f"{switch}:{name}"

    def _link(self, a: str, b: str, **more: int) -> None:
        self.links.append({"a": a, "b": b, **more})
