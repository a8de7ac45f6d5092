# SPDX-License-Identifier: Apache-2.0
"""A fresh fabric of fake devices for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache

from drivers import fake
from tests.frontend import world


@pytest.fixture
def fabric(db: None, settings: Any) -> Iterator[None]:
    fake.reset()
    cache.clear()
    settings.VIADUCT_DRAIN_IDLE_S = 0.0
    world.load_fabric()
    yield
    fake.reset()
