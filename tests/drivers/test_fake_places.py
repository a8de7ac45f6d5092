# SPDX-License-Identifier: Apache-2.0
"""The contract suite on fakes that live in files and behind a socket; `test_contract.py` has those in memory."""

from __future__ import annotations

import pytest

from drivers import fake
from drivers.registry import DRIVERS
from tests.drivers.confirming import ConfirmingContract
from tests.drivers.contract import Contract, Rig
from tests.drivers.fake_rigs import Clock, fake_rig

CONFIRMING = sorted(name for name, family in fake.FAMILIES.items() if family.is_confirming)


@pytest.fixture(params=sorted(fake.FAMILIES))
def rig(request: pytest.FixtureRequest, fake_clock: Clock, far_fakes: dict[str, str]) -> Rig:
    return fake_rig(DRIVERS[request.param], fake_clock, **far_fakes)


@pytest.fixture(params=CONFIRMING)
def confirming_rig(request: pytest.FixtureRequest, fake_clock: Clock, far_fakes: dict[str, str]) -> Rig:
    return fake_rig(DRIVERS[request.param], fake_clock, **far_fakes)


class TestContract(Contract):
    pass


class TestConfirmingContract(ConfirmingContract):
    pass
