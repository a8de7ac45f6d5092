# SPDX-License-Identifier: Apache-2.0
"""The contract suite, on every registered driver."""

from __future__ import annotations

import pytest

from tests.drivers.confirming import ConfirmingContract
from tests.drivers.contract import Contract, Rig

# Driver -> the fixture (tests/drivers/conftest.py) that gives a `Rig` with a clean device.
RIGS = {
    "openvswitch": "open_openvswitch",
    "frr": "open_frr",
    "junos": "open_junos",
    "linux": "open_linux",
    "srx": "open_srx",
    "host": "open_host",
    "eos": "open_eos",
    "fake-switch": "open_fake_switch",
    "fake-appliance": "open_fake_appliance",
    "fake-host": "open_fake_host",
    "fake-switch-confirming": "open_confirming_switch",
    "fake-appliance-confirming": "open_confirming_appliance",
}
# Those that have confirmed commit.
CONFIRMING = {"eos", "fake-appliance-confirming", "fake-switch-confirming", "junos", "srx"}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest) -> Rig:
    made: Rig = request.getfixturevalue(RIGS[request.param])
    assert made.driver.name == request.param
    return made


@pytest.fixture(params=sorted(CONFIRMING))
def confirming_rig(request: pytest.FixtureRequest) -> Rig:
    made: Rig = request.getfixturevalue(RIGS[request.param])
    return made


class TestContract(Contract):
    pass


class TestConfirmingContract(ConfirmingContract):
    pass


def test_every_driver_has_a_rig() -> None:
    # Here and not above: one driver that does not import must not hide the others.
    from drivers.registry import DRIVERS

    assert RIGS.keys() == DRIVERS.keys()
    assert {name for name in DRIVERS if DRIVERS[name].caps.has_confirmed_commit} == CONFIRMING
