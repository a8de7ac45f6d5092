# SPDX-License-Identifier: Apache-2.0
"""A fresh fabric of fake devices for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chains import models
from chains.engine.kept import KEPT
from drivers import fake
from tests.drivers.eos_rig import eos_device, eos_first, eos_shared, open_eos
from tests.drivers.frr_rig import frr, frr_lab, open_frr
from tests.engine import world
from tests.engine.wire import tap

__all__ = [
    "eos_device",
    "eos_first",
    "eos_shared",
    "fabric",
    "frr",
    "frr_lab",
    "open_eos",
    "open_frr",
    "shared_fabric",
    "tap",
]


@pytest.fixture
def fabric(db: None, settings: Any) -> Iterator[None]:
    yield from _loaded(settings)


@pytest.fixture
def confirming(fabric: None) -> None:
    """Its switches and appliances have confirmed commit."""
    for kind in ("switch", "appliance"):
        models.Device.objects.filter(driver=f"fake-{kind}").update(driver=f"fake-{kind}-confirming")


@pytest.fixture
def shared_fabric(transactional_db: None, settings: Any) -> Iterator[None]:
    """The same, seen by several database connections."""
    yield from _loaded(settings)


def _loaded(settings: Any) -> Iterator[None]:
    fake.reset()
    KEPT.close_idle(0)
    settings.VIADUCT_DRAIN_IDLE_S = 0.0
    settings.VIADUCT_LEASE_WAIT_S = 0.2
    world.load()
    yield
    fake.reset()
