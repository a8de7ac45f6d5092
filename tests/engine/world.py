# SPDX-License-Identifier: Apache-2.0
"""The demo fabric on fake devices, chains that use it, and what the tests look at: the devices' own states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db.models import F

from chains import models
from chains.engine import claims, planner
from chains.engine.reconcile import run_change
from chains.engine.sweep import sweep
from chains.services import intent
from chains.services.actor import SYSTEM
from drivers import fake
from drivers.state import DeviceState
from tests.engine.wire import Died, Tap

FABRIC = Path(__file__).resolve().parents[2] / "lab" / "fabrics" / "demo.yaml"
FAKES = {"openvswitch": "fake-switch", "linux": "fake-appliance", "host": "fake-host", "": ""}
PERMIT_WEB = {"default": "deny", "rules": [{"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}]}
NGFW = {"function": "ngfw", "failure_mode": "block", "policy": PERMIT_WEB}
IPS = {"function": "ips", "failure_mode": "block", "policy": {"patterns": [{"text": "attack-signature"}]}}
CGN = {"function": "cgn", "failure_mode": "block", "policy": {"block_size": 256}}
FILTER = {"function": "filter", "failure_mode": "block", "policy": PERMIT_WEB}


def load(store: str = "") -> None:
    """All rows of the demo fabric. store: a folder through which several processes see the same fake devices."""
    data = yaml.safe_load(FABRIC.read_text())
    vrfs = {row["name"]: models.Vrf.objects.create(**row) for row in data["vrfs"]}
    tenants = {row["name"]: models.Tenant.objects.create(**row) for row in data["tenants"]}
    sites = {row["name"]: models.Site.objects.create(**row) for row in data["sites"]}
    ports: dict[str, models.Port] = {}
    devices = {}
    for row in data["devices"]:
        device = devices[row["name"]] = models.Device.objects.create(
            name=row["name"],
            site=sites[row["site"]],
            kind=row["kind"],
            driver=FAKES[row["driver"]],
            management=row["management"],
            settings={"store": store} if store else {},
        )
        for port in row["ports"]:
            ports[f"{device.name}:{port['name']}"] = models.Port.objects.create(device=device, **port)
    for row in data["links"]:
        models.Link.objects.create(**{**row, "a": ports[row["a"]], "b": ports[row["b"]]})
    functions = {row["name"]: models.Function.objects.create(**row) for row in data["functions"]}
    for row in data["offers"]:
        values = {**row, "device": devices[row["device"]], "function": functions[row["function"]]}
        models.Instance.objects.create(offer=models.Offer.objects.create(**values))
    for row in data["segments"]:
        attachments = row.pop("attachments")
        values = {**row, "tenant": tenants.get(row["tenant"] or ""), "vrf": vrfs[row["vrf"]]}
        segment = models.Segment.objects.create(**values)
        for attachment in attachments:
            models.Attachment.objects.create(segment=segment, port=ports[attachment["port"]])


def chain(
    *hops: dict[str, Any], name: str = "web", tenant: str = "tenant-a", destination: str = "servers", **values: Any
) -> models.Chain:
    """TCP 80 over IPv4 from the tenant's clients."""
    data = {
        "name": name,
        "source": "clients",
        "destination": destination,
        "classifiers": [{"protocol": "tcp", "destination_ports": "80", "family": 4}],
        "hops": list(hops),
        **values,
    }
    return intent.chain_create(actor=SYSTEM, tenant=models.Tenant.objects.get(name=tenant), data=data)


def plan(row: models.Chain) -> models.Plan:
    """A READY plan of the chain as it is now."""
    made = planner.plan_chain(row, "tester")
    assert made.status == models.Plan.Status.READY, made.errors
    return made


def change(row: models.Chain) -> models.Change:
    """A change that applies such a plan, not attempted yet."""
    return intent.change_create(actor=SYSTEM, plan=plan(row))


def apply(row: models.Chain) -> models.Change:
    """Planned, applied, ended."""
    made = change(row)
    run_change(made.pk)
    made.refresh_from_db()
    row.refresh_from_db()
    return made


def half_done(row: models.Chain, tap: Tap) -> None:
    """A change to fw2 whose worker dies right after it wrote to leaf1."""
    made = change(edit(row, hops=[{**NGFW, "device": "fw2"}]))

    def die(moment: str, device: str, number: int) -> None:
        if (moment, device) == ("pushed", "leaf1"):
            raise Died

    tap.at = die
    with pytest.raises(Died):
        run_change(made.pk)
    tap.at = lambda moment, device, number: None


def edit(row: models.Chain, **data: Any) -> models.Chain:
    return intent.chain_update(actor=SYSTEM, chain=row, data=data)


def delete(row: models.Chain) -> None:
    intent.chain_delete(actor=SYSTEM, chain=row)


def held(device: str) -> DeviceState:
    """What the device holds, asked at the device itself."""
    with fake.box(device) as box:
        return box.state


def network() -> dict[str, DeviceState]:
    """What all devices hold; empty ones are left out."""
    names = models.Device.objects.exclude(driver="").values_list("name", flat=True)
    return {name: held(name) for name in names if held(name)}


def events(made: models.Change) -> str:
    return "\n".join(f"{event.level} {event.device}: {event.text}" for event in made.events.all())


def device(name: str) -> models.Device:
    return models.Device.objects.get(name=name)


def offer(name: str) -> models.Offer:
    function, _, on = name.partition("@")
    return models.Offer.objects.get(function__name=function, device__name=on)


def due_now() -> None:
    """Time passes: everything that waits is due, every bell is old enough."""
    models.DeviceStatus.objects.update(due_at=None)
    models.DeviceStatus.objects.exclude(closed_until=None).update(closed_until="2000-01-01T00:00:00Z")
    models.Change.objects.filter(status__in=claims.UNDER_WAY).update(due_at=F("created_at"))
    for bell in models.Outbox.objects.filter(rung_at=None):
        models.Outbox.objects.filter(pk=bell.pk).update(created_at=bell.created_at.replace(year=2000))


def sweep_on(times: int = 1) -> None:
    """Time passes and a worker sweeps, several times."""
    for _ in range(times):
        due_now()
        sweep()
