# SPDX-License-Identifier: Apache-2.0
"""The world that the interface's tests call into, fresh for every test."""

from __future__ import annotations

import pytest

from tests.api.world import World, make_world


@pytest.fixture
def world(db: None) -> World:
    return make_world()
