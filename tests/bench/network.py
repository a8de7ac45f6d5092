# SPDX-License-Identifier: Apache-2.0
"""A leaf-spine fabric of 100 fake devices as a fabric file, and the chains that are put on it."""

from __future__ import annotations

import json
from typing import Any

SPINES, LEAVES, TENANTS, FIREWALLS, INSPECTORS = 4, 12, 20, 28, 16
DEVICES = SPINES + LEAVES + 2 * TENANTS + FIREWALLS + INSPECTORS
# Room for a thousand chains of 10 Mb/s, with little to spare: the last ones have to go further.
FIREWALL_MBPS, INSPECTOR_MBPS, CHAIN_MBPS = 400, 700, 10
FIRST_PORT = 10_000


class _File:
    """Collects the sections."""

    def __init__(self) -> None:
        self.devices: list[dict[str, Any]] = []
        self.links: list[dict[str, Any]] = []
        self.offers: list[dict[str, Any]] = []
        self.ports: dict[str, list[dict[str, Any]]] = {}

    def device(self, name: str, kind: str) -> None:
        self.ports[name] = []
        number = len(self.devices) + 1
        self.devices.append(
            {
                "name": name,
                "site": "lab",
                "kind": kind,
                "driver": f"fake-{kind}",
                "management": f"10.250.{number // 250}.{number % 250 + 1}",
                "ports": self.ports[name],
            }
        )

    def link(self, a: str, b: str, capacity_mbps: int, latency_us: int) -> None:
        for end in (a, b):
            device, _, port = end.partition(":")
            number = len(self.ports[device]) + 1
            mac = f"02:00:00:00:{len(self.links):02x}:{number:02x}"
            self.ports[device].append({"name": port, "number": number, "mac": mac})
        self.links.append({"a": a, "b": b, "capacity_mbps": capacity_mbps, "latency_us": latency_us})

    def appliance(self, name: str, function: str, leaf: str, capacity_mbps: int, cost: int) -> None:
        self.device(name, "appliance")
        for arm in ("in", "out"):
            self.link(f"{leaf}:{name}-{arm}", f"{name}:{arm}", 10_000, 5)
        self.offers.append(
            {
                "device": name, "function": function, "realm": "appliance", "inside": "in", "outside": "out",
                "capacity_mbps": capacity_mbps, "latency_us": 100, "cost_per_gbps": 5, "cost_fixed": cost,
                "is_shared": True,
            }
        )  # fmt: skip


def fabric_text() -> str:
    """Every tenant has one client and one server, on two leaves, all with the same addresses."""
    file = _File()
    leaves = [f"leaf{number:02d}" for number in range(LEAVES)]
    spines = [f"spine{number}" for number in range(SPINES)]
    for name in (*spines, *leaves):
        file.device(name, "switch")
    for i, leaf in enumerate(leaves):
        for j, spine in enumerate(spines):
            file.link(f"{leaf}:{spine}", f"{spine}:{leaf}", 100_000, 10 + (i + j) % SPINES)
        file.offers.append(
            {"device": leaf, "function": "filter", "realm": "switch", "cost_fixed": 1, "is_shared": True}
        )
    for number in range(FIREWALLS):
        file.appliance(f"fw{number:02d}", "ngfw", leaves[number % LEAVES], FIREWALL_MBPS, 10)
    for number in range(INSPECTORS):
        file.appliance(f"ips{number:02d}", "ips", leaves[number % LEAVES], INSPECTOR_MBPS, 15)
    segments = []
    for number in range(TENANTS):
        tenant = tenant_name(number)
        for role, leaf in (("clients", leaves[number % LEAVES]), ("servers", leaves[(number + 5) % LEAVES])):
            host = f"{role[0]}{number:02d}"
            file.device(host, "host")
            file.link(f"{leaf}:{host}", f"{host}:eth0", 10_000, 5)
            file.offers.append(
                {"device": host, "function": "ngfw", "realm": "host", "cost_per_gbps": 12, "cost_fixed": 30}
            )
            network = 1 if role == "clients" else 2
            prefixes = [f"10.10.{network}.0/24", f"2001:db8:10:{network}::/64"]
            segments.append(
                {
                    "tenant": tenant, "name": role, "vrf": tenant, "prefixes": prefixes,
                    "attachments": [{"port": f"{leaf}:{host}"}],
                }
            )  # fmt: skip
    assert len(file.devices) == DEVICES
    names = [{"name": tenant_name(number)} for number in range(TENANTS)]
    document = {
        "fabric": "bench",
        "sites": [{"name": "lab"}],
        "vrfs": [{"name": tenant_name(number), "tag": 100 + number} for number in range(TENANTS)],
        "tenants": names,
        "devices": file.devices,
        "links": file.links,
        "functions": [
            {"name": "filter", "capability": "stateless_filter"},
            {"name": "ngfw", "capability": "stateful_filter"},
            {"name": "ips", "capability": "ips"},
        ],
        "offers": file.offers,
        "segments": segments,
    }
    return json.dumps(document, indent=1)  # JSON is YAML


def tenant_name(number: int) -> str:
    return f"tenant-{number:02d}"


def chain_data(index: int, port: int) -> dict[str, Any]:
    """The chain's intent as a user sends it: TCP on one port, both families, three hops."""
    permit = [{"verdict": "permit", "protocol": "tcp", "destination_ports": str(port)}]
    return {
        "name": f"chain-{index:04d}",
        "source": "clients",
        "destination": "servers",
        "bandwidth_mbps": CHAIN_MBPS,
        "classifiers": [{"protocol": "tcp", "destination_ports": str(port)}],
        "hops": [
            {"function": "filter", "policy": {"default": "deny", "rules": permit}},
            {"function": "ngfw", "policy": {"default": "deny", "rules": permit}},
            {"function": "ips", "policy": {"patterns": [{"text": "attack-signature"}]}},
        ],
    }
