# SPDX-License-Identifier: Apache-2.0
"""Rows for tests: the demo fabric on fake devices, chains through the services, plans as the planner would store them.

Used by tests that need a database; every value can be overridden by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from chains import models
from chains.fabric.document import Fabric
from chains.fabric.load import apply as apply_fabric
from chains.fabric.load import read
from chains.services import intent, record
from chains.services.actor import SYSTEM, Actor

DEMO = Path(__file__).resolve().parents[1] / "lab" / "fabrics" / "demo.yaml"
REAL_TO_FAKE = {"openvswitch": "fake-switch", "linux": "fake-appliance", "host": "fake-host"}
PERMIT_WEB = {
    "default": "deny",
    "rules": [{"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}],
}
NGFW = {"function": "ngfw", "policy": PERMIT_WEB}
IPS = {"function": "ips", "policy": {"patterns": [{"text": "attack-signature"}]}}
CGN = {"function": "cgn", "policy": {"block_size": 256}}
FILTER = {"function": "filter", "policy": PERMIT_WEB}


def fabric_text() -> str:
    """The demo fabric file on fake drivers."""
    text = _demo()
    for real, fake in REAL_TO_FAKE.items():
        text = text.replace(f"driver: {real}\n", f"driver: {fake}\n")
    return text


@cache
def document(text: str) -> Fabric:
    """Read once for each text: that takes longer than writing the rows."""
    return read(text)


@cache
def _demo() -> str:
    return DEMO.read_text()


def swapped(text: str, *pairs: tuple[str, str]) -> str:
    """The text with each first `old` replaced; an `old` that is not there is a mistake of the test."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def make_fabric(*pairs: tuple[str, str]) -> None:
    """The demo fabric on fake drivers as rows, with texts swapped before it is loaded."""
    apply_fabric(document(swapped(fabric_text(), *pairs)))


def tenant(name: str = "tenant-a") -> models.Tenant:
    return models.Tenant.objects.get(name=name)


def editor(of: str = "tenant-a") -> Actor:
    return Actor(f"editor of {of}", tenant(of), models.Role.EDITOR, "request-1")


def viewer(of: str = "tenant-a") -> Actor:
    return Actor(f"viewer of {of}", tenant(of), models.Role.VIEWER)


OPERATOR = Actor("operator", None, models.Role.OPERATOR)


def chain_data(**values: Any) -> dict[str, Any]:
    """TCP 80 over IPv4 between the tenant's segments, through the NGFW."""
    data: dict[str, Any] = {
        "name": "web",
        "source": "clients",
        "destination": "servers",
        "classifiers": [{"protocol": "tcp", "destination_ports": "80", "family": 4}],
        "hops": [NGFW],
    }
    return {**data, **values}


def make_chain(of: str = "tenant-a", **values: Any) -> models.Chain:
    return intent.chain_create(actor=SYSTEM, tenant=tenant(of), data=chain_data(**values))


def offer(name: str) -> models.Offer:
    function, _, device = name.partition("@")
    return models.Offer.objects.get(function__name=function, device__name=device)


def device(name: str) -> models.Device:
    return models.Device.objects.get(name=name)


def make_plan(
    chain: models.Chain,
    *,
    target: Mapping[str, Mapping[str, Any]] | None = None,
    offer_uses: Sequence[Mapping[str, Any]] = (),
    link_uses: Sequence[Mapping[str, Any]] = (),
    **values: Any,
) -> models.Plan:
    """A READY plan, with one step for each device of the target and a drain step between."""
    target = target or {}
    devices = sorted(target)
    steps = [
        {"wave": 0, "phase": "build", "device": name, "changes": [], "native": f"build {name}", "reverse": ""}
        for name in devices
    ]
    steps.append({"wave": 1, "phase": "drain", "device": "", "changes": [], "native": "", "reverse": ""})
    fields: dict[str, Any] = {
        "chain": chain,
        "chain_name": chain.name,
        "tenant": chain.tenant,
        "generation": chain.generation,
        "base_revision": chain.revision,
        "revision": chain.revision + 1,
        "status": models.Plan.Status.READY,
        "target": target,
        "summary": {"offer_uses": list(offer_uses), "link_uses": list(link_uses)},
    }
    return record.plan_store(steps=steps, **{**fields, **values})


def offer_use(name: str, hop: int = 0, bandwidth_mbps: int = 10, entries: int = 0) -> dict[str, Any]:
    return {"hop": hop, "offer": name, "bandwidth_mbps": bandwidth_mbps, "entries": entries}


def link_use(a: str, b: str, *tags: int, from_a_mbps: int = 10, from_b_mbps: int = 10) -> dict[str, Any]:
    return {"a": a, "b": b, "from_a_mbps": from_a_mbps, "from_b_mbps": from_b_mbps, "tags": list(tags)}


def allocation(public: str, subscribers: str = "10.10.1.0/24", block_size: int = 256) -> dict[str, Any]:
    return {
        "hop": 0,
        "offer": "cgn@cgn1",
        "subscribers": subscribers,
        "public": public,
        "block_size": block_size,
    }


def decide(plan: models.Plan) -> models.Change:
    """Applied up to the decision, as the engine does it."""
    change = intent.change_create(actor=SYSTEM, plan=plan)
    assert record.change_claim(change.pk, 60.0).change is not None
    record.allocations_record(plan)
    record.decision_record(change)
    return change


def apply(plan: models.Plan) -> models.Change:
    """Applied to its end."""
    change = decide(plan)
    record.change_succeeded(change)
    return change
