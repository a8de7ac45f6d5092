# SPDX-License-Identifier: Apache-2.0
"""The demo fabric on fake devices, people who look at the pages, and chains in every state."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client

from chains import models
from chains.engine import observe, planner
from chains.engine.reconcile import run_change
from chains.services import intent
from chains.services.actor import SYSTEM
from drivers import fake
from drivers.state import Kind
from tests import builders
from tests.builders import CGN, IPS, NGFW, tenant

PASSWORD = "correct-horse-battery"


def load_fabric() -> None:
    """Every offer is healthy."""
    builders.make_fabric()
    models.Instance.objects.update(health=models.Instance.Health.UP)


def operator() -> Client:
    return signed_in(get_user_model().objects.create_superuser("olga", password=PASSWORD))


def member(name: str, role: str = "editor", **tenants: str) -> Client:
    """A person of one tenant, or of several with a role in each."""
    user = get_user_model().objects.create_user(name, password=PASSWORD)
    for of, as_role in (tenants or {"tenant-a": role}).items():
        models.Membership.objects.create(user=user, tenant=tenant(of.replace("_", "-")), role=as_role)
    return signed_in(user)


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def chain(*hops: dict[str, Any], name: str = "web", of: str = "tenant-a", **values: Any) -> models.Chain:
    data = {
        "name": name,
        "source": "clients",
        "destination": "servers",
        "classifiers": [{"protocol": "tcp", "destination_ports": "80", "family": 4}],
        "hops": list(hops or (NGFW,)),
    }
    return intent.chain_create(actor=SYSTEM, tenant=tenant(of), data=data | values)


def plan(row: models.Chain) -> models.Plan:
    return planner.plan_chain(row, "olga")


def apply(row: models.Chain) -> models.Change:
    """Planned, applied and ended well."""
    change = intent.change_create(actor=SYSTEM, plan=plan(row))
    run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "succeeded", change.error
    row.refresh_from_db()
    return change


def traffic(packets: int, dropped: int = 0) -> None:
    """Every device counted this, as real ones do (a guard drops what it sees), and was read."""
    for device in models.Device.objects.exclude(driver=""):
        with fake.box(device.name) as box:
            for key in box.state:
                seen = dropped if key.kind is Kind.GUARD else packets
                stops = 0 if key.kind is Kind.REDIRECT else dropped
                box.counters[str(key)] = [seen, seen * 100, stops]
        observe.observe_device(device.pk)


def internet_chain(name: str = "internet") -> models.Chain:
    """All three appliances on the way out."""
    return chain(NGFW, IPS, CGN, name=name, destination="outside")
