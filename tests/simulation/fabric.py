# SPDX-License-Identifier: Apache-2.0
"""The rows before a schedule: the demo fabric with nothing on it, some of its devices switched off."""

from __future__ import annotations

import random

from django.apps import apps
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Concat

from chains import models
from drivers import fake
from tests.simulation.clock import EPOCH

# By device: how often it is switched off in a schedule. The other devices are always there.
SPARE = {"a1": 0.8, "a2": 0.8, "b1": 0.8, "b2": 0.8, "fw2": 0.4, "ips1": 0.2, "ips2": 0.8, "cgn1": 0.7}
INVENTORY = (
    models.Fabric, models.Tenant, models.Site, models.Vrf, models.Device, models.Port, models.Link,
    models.Function, models.Offer, models.Instance, models.Segment, models.Attachment,
)  # fmt: skip
CONFIRMING = ("fake-switch", "fake-appliance")
AS_LOADED = """
UPDATE chains_device SET driver = replace(driver, '-confirming', '') WHERE driver LIKE '%%-confirming';
UPDATE chains_device SET is_enabled = true WHERE NOT is_enabled;
UPDATE chains_offer SET is_enabled = true WHERE NOT is_enabled;
UPDATE chains_instance SET health = 'unknown', health_reason = '', health_at = NULL WHERE health <> 'unknown';
"""


def forget() -> None:
    """All that a schedule wrote, in rows and in devices; numbers begin at 1 again."""
    tables = [
        model._meta.db_table for model in apps.get_app_config("chains").get_models() if model not in INVENTORY
    ]
    wiped = "".join(f"DELETE FROM {table};" for table in tables)
    numbers = ", ".join(f"setval(pg_get_serial_sequence('{table}', 'id'), 1, false)" for table in tables)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(wiped + AS_LOADED + f"SELECT {numbers}")
    fake.reset()


def draw(chosen: random.Random) -> tuple[list[str], list[str]]:
    """Switch some devices off; give some to a family with confirmed commit. The names of the devices that are on and
    programmed, and of those of them with confirmed commit.
    """
    off = [name for name, share in SPARE.items() if chosen.random() < share]
    models.Device.objects.filter(name__in=off).update(is_enabled=False)
    if chosen.random() < 0.8:  # else nobody has looked yet
        _looked_at()
    rows = models.Device.objects.filter(is_enabled=True).exclude(driver="").order_by("name")
    drivers = dict(rows.values_list("name", "driver"))
    share = chosen.choice((0.0, 0.5, 1.0))
    confirming = [
        name for name, driver in drivers.items() if driver in CONFIRMING and chosen.random() < share
    ]
    models.Device.objects.filter(name__in=confirming).update(driver=Concat("driver", Value("-confirming")))
    return list(drivers), confirming


def _looked_at() -> None:
    """Every device was read, and nothing was on it."""
    models.Instance.objects.update(health=models.Instance.Health.UP)
    rows = models.Device.objects.exclude(driver="").prefetch_related("ports").order_by("pk")
    models.DeviceStatus.objects.bulk_create(
        models.DeviceStatus(
            device=row,
            observed={},
            links_up={port.name: True for port in row.ports.all()},
            condition=models.DeviceStatus.Condition.IN_SYNC,
            observed_at=EPOCH,
        )
        for row in rows
    )
