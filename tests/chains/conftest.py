# SPDX-License-Identifier: Apache-2.0
"""The demo fabric on fake devices, for each test anew."""

from __future__ import annotations

import pytest

from tests import builders


@pytest.fixture
def fabric(db: None) -> None:
    builders.make_fabric()


@pytest.fixture
def shared_fabric(transactional_db: None) -> None:
    """The same, seen by several database connections."""
    builders.make_fabric()
