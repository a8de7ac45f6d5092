# SPDX-License-Identifier: Apache-2.0
"""A small fabric on the fake drivers, two tenants with the same addresses, and a client that speaks JSON.

a1 b1 - leaf1 - leaf2 - a2 b2 inet      fw1 at leaf1, cgn1 at leaf2
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

from chains.models import (
    Attachment,
    Device,
    Function,
    Instance,
    Link,
    Offer,
    Port,
    Role,
    Segment,
    Site,
    Tenant,
    Vrf,
)
from chains.services.actor import SYSTEM
from chains.services.tokens import token_create

PORTS = {
    "leaf1": ("leaf2", "a1", "b1", "fw1-in", "fw1-out"),
    "leaf2": ("leaf1", "a2", "b2", "cgn1-in", "cgn1-out", "inet"),
    "fw1": ("in", "out"),
    "cgn1": ("in", "out"),
    "a1": ("eth0",),
    "a2": ("eth0",),
    "b1": ("eth0",),
    "b2": ("eth0",),
    "inet": ("eth0",),
}
LINKS = (
    ("leaf1:leaf2", "leaf2:leaf1"),
    ("leaf1:a1", "a1:eth0"),
    ("leaf1:b1", "b1:eth0"),
    ("leaf1:fw1-in", "fw1:in"),
    ("leaf1:fw1-out", "fw1:out"),
    ("leaf2:a2", "a2:eth0"),
    ("leaf2:b2", "b2:eth0"),
    ("leaf2:cgn1-in", "cgn1:in"),
    ("leaf2:cgn1-out", "cgn1:out"),
    ("leaf2:inet", "inet:eth0"),
)
KINDS = {"leaf": "switch", "fw1": "appliance", "cgn1": "appliance", "inet": "external"}


@dataclass
class Api:
    """JSON in, JSON out, with a token or without."""

    token: str = ""
    client: Client = field(default_factory=lambda: Client(raise_request_exception=True))

    def send(self, method: str, path: str, data: Any = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        body = data if isinstance(data, bytes) else b"" if data is None else json.dumps(data).encode()
        kind = options.pop("content_type", "application/json")
        address = path if path.startswith("/") else f"/api/v1/{path}"
        return self.client.generic(method, address, body, content_type=kind, headers=headers, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.send("GET", path, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> Any:
        return self.send("POST", path, data, **options)

    def put(self, path: str, data: Any, **options: Any) -> Any:
        return self.send("PUT", path, data, **options)

    def patch(self, path: str, data: Any, **options: Any) -> Any:
        return self.send("PATCH", path, data, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self.send("DELETE", path, **options)


@dataclass(frozen=True)
class World:
    """Who calls: editors of both tenants, a viewer of tenant-a, an operator, nobody."""

    a: Api
    b: Api
    viewer: Api
    operator: Api
    nobody: Api
    tenant_a: Tenant
    tenant_b: Tenant


def api_for(name: str, tenant: Tenant | None, role: Role) -> Api:
    return Api(token_create(actor=SYSTEM, name=name, tenant=tenant, role=role)[1])


def make_world() -> World:
    make_devices()
    make_offers()
    tenant_a, tenant_b = make_tenants()
    return World(
        a=api_for("canary-a", tenant_a, Role.EDITOR),
        b=api_for("canary-b", tenant_b, Role.EDITOR),
        viewer=api_for("viewer", tenant_a, Role.VIEWER),
        operator=api_for("operator", None, Role.OPERATOR),
        nobody=Api(),
        tenant_a=tenant_a,
        tenant_b=tenant_b,
    )


def make_devices() -> None:
    site = Site.objects.create(name="lab")
    ports: dict[str, Port] = {}
    for index, (name, names) in enumerate(PORTS.items()):
        kind = next((kind for prefix, kind in KINDS.items() if name.startswith(prefix)), "host")
        device = Device.objects.create(
            name=name,
            site=site,
            kind=kind,
            driver="" if kind == "external" else f"fake-{kind}",
            management="" if kind == "external" else f"10.250.0.{index + 11}",
        )
        for number, port in enumerate(names, start=1):
            mac = f"02:00:00:00:{index:02x}:{number:02x}"
            ports[f"{name}:{port}"] = Port.objects.create(device=device, name=port, number=number, mac=mac)
    for a, b in LINKS:
        Link.objects.create(a=ports[a], b=ports[b], capacity_mbps=10_000, latency_us=10)


def make_offers() -> None:
    capabilities = {"filter": "stateless_filter", "ngfw": "stateful_filter", "cgn": "nat"}
    functions = {
        name: Function.objects.create(name=name, capability=each) for name, each in capabilities.items()
    }
    two_armed = {
        "realm": "appliance",
        "inside": "in",
        "outside": "out",
        "capacity_mbps": 4000,
        "is_shared": True,
    }
    pool = {"pool": "198.51.100.0/28", "block_size": "256"}
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("leaf1", "filter", {"realm": "switch", "entries": 2000, "is_shared": True}),
        ("leaf2", "filter", {"realm": "switch", "entries": 2000, "is_shared": True}),
        ("fw1", "ngfw", {**two_armed, "cost_fixed": 1}),
        ("a1", "ngfw", {"realm": "host", "capacity_mbps": 2000, "cost_fixed": 50}),
        ("b1", "ngfw", {"realm": "host", "capacity_mbps": 2000, "cost_fixed": 50}),
        ("cgn1", "cgn", {**two_armed, "settings": pool}),
    ]
    for device, function, values in rows:
        offer = Offer.objects.create(
            device=Device.objects.get(name=device), function=functions[function], **values
        )
        Instance.objects.create(offer=offer, health=Instance.Health.UP)


def make_tenants() -> tuple[Tenant, Tenant]:
    internet = Vrf.objects.create(name="internet", tag=10)
    outside = Segment.objects.create(
        tenant=None, name="outside", vrf=internet, prefixes=["0.0.0.0/0", "::/0"]
    )
    Attachment.objects.create(segment=outside, port=Port.objects.get(device__name="leaf2", name="inet"))
    made = []
    for index, letter in enumerate("ab"):
        tenant = Tenant.objects.create(name=f"tenant-{letter}")
        vrf = Vrf.objects.create(name=f"vrf-{letter}", tag=101 + index)
        for number, name in ((1, "clients"), (2, "servers")):
            prefixes = [f"10.10.{number}.0/24", f"2001:db8:10:{number}::/64"]
            segment = Segment.objects.create(tenant=tenant, name=name, vrf=vrf, prefixes=prefixes)
            port = Port.objects.get(device__name=f"leaf{number}", name=f"{letter}{number}")
            Attachment.objects.create(segment=segment, port=port)
        made.append(tenant)
    return made[0], made[1]


def chain_body(name: str = "web", **values: Any) -> dict[str, Any]:
    """A valid chain through the NGFW."""
    rule = {"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}
    body: dict[str, Any] = {
        "name": name,
        "source": "clients",
        "destination": "servers",
        "classifiers": [{"protocol": "tcp", "destination_ports": "80", "family": 4}],
        "hops": [{"function": "ngfw", "policy": {"default": "deny", "rules": [rule]}}],
    }
    return {**body, **values}


def problem(response: Any, status: int) -> Mapping[str, Any]:
    """The reply's body, once it is known to be the one error shape."""
    assert response.status_code == status, (response.status_code, response.content[:500])
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    assert body["status"] == status
    assert body["type"].startswith("urn:viaduct:")
    assert all(set(each) == {"field", "code", "detail"} for each in body["errors"])
    return dict(body)
