# SPDX-License-Identifier: Apache-2.0
"""Every planted bug still fits the source, and names a suite that is there. `./run soak --planted` puts them in."""

from __future__ import annotations

import pytest

from orchestrator.services.places import CHECKOUT
from tests.planted.bugs import BUGS, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_it_fits_the_source(bug: Bug) -> None:
    assert (CHECKOUT / bug.path).read_text().count(bug.old) == 1
    assert bug.old != bug.new
    for argument in bug.suite:
        if argument.startswith("tests/"):
            assert (CHECKOUT / argument).exists()


def test_there_are_enough_of_them() -> None:
    assert len({bug.name for bug in BUGS}) >= 12
