# SPDX-License-Identifier: Apache-2.0
"""The ground that every scenario stands on: the demo fabric in rows, its devices in files, and the engine's limits."""

from __future__ import annotations

from pathlib import Path

from django.db.models import Value
from django.db.models.functions import Concat

from chains import models
from chains.engine.kept import KEPT
from tests.engine import world

# Production's, but for waiting that proves nothing here. One device after the other: the same points in every run.
LIMITS = {
    "VIADUCT_DEVICE_THREADS": 1,
    "VIADUCT_DRAIN_IDLE_S": 0.0,
    "VIADUCT_LEASE_WAIT_S": 0.0,
    "VIADUCT_SOAK_S": 0.0,
    "VIADUCT_SWEEP_S": 30.0,
    "VIADUCT_OBSERVE_S": 30.0,
}
# Devices without confirmed commit, and with it.
KINDS = {"plain": "", "confirming": "-confirming"}
# No scenario goes there, and every sweep would read them.
ASIDE = ("a1", "a2", "b1", "b2", "cgn1", "ips1", "ips2")


def load(store: Path, kind: str) -> None:
    """Into an empty database. store: an empty folder."""
    KEPT.close_idle(0)
    world.load(str(store))
    models.Device.objects.filter(name__in=ASIDE).update(is_enabled=False)
    steered = models.Device.objects.exclude(driver__in=("", "fake-host"))
    steered.update(driver=Concat("driver", Value(KINDS[kind])))
