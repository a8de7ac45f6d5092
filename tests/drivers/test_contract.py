# SPDX-License-Identifier: Apache-2.0
"""The contract suite, on every registered driver."""

from __future__ import annotations

import pytest

from tests.drivers.confirming import ConfirmingContract
from tests.drivers.contract import Contract, Rig
from tests.drivers.verify_only import VerifyOnlyContract, VerifyRig

# Driver -> the fixture (tests/drivers/conftest.py) that gives a `Rig` with a clean device.
RIGS = {
    "openvswitch": "open_openvswitch",
    "frr": "open_frr",
    "junos": "open_junos",
    "ios": "open_ios",
    "nxos": "open_nxos",
    "linux": "open_linux",
    "srx": "open_srx",
    "host": "open_host",
    "eos": "open_eos",
    "iosxr": "open_iosxr",
    "fake-switch": "open_fake_switch",
    "fake-appliance": "open_fake_appliance",
    "fake-host": "open_fake_host",
    "fake-switch-confirming": "open_confirming_switch",
    "fake-appliance-confirming": "open_confirming_appliance",
}
# Those that are read and verified, never written: a suite of their own.
VERIFY_ONLY = {"panos": "open_panos", "fortios": "open_fortios"}
# Those that have confirmed commit.
CONFIRMING = {"eos", "iosxr", "fake-appliance-confirming", "fake-switch-confirming", "junos", "srx"}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest) -> Rig:
    made: Rig = request.getfixturevalue(RIGS[request.param])
    assert made.driver.name == request.param
    return made


@pytest.fixture(params=sorted(CONFIRMING))
def confirming_rig(request: pytest.FixtureRequest) -> Rig:
    made: Rig = request.getfixturevalue(RIGS[request.param])
    return made


@pytest.fixture(params=sorted(VERIFY_ONLY))
def verify_rig(request: pytest.FixtureRequest) -> VerifyRig:
    made: VerifyRig = request.getfixturevalue(VERIFY_ONLY[request.param])
    assert made.driver.name == request.param
    return made


class TestContract(Contract):
    pass


class TestConfirmingContract(ConfirmingContract):
    pass


class TestVerifyOnlyContract(VerifyOnlyContract):
    pass


def test_every_driver_has_a_rig() -> None:
    # Here and not above: one driver that does not import must not hide the others.
    from drivers.registry import DRIVERS

    writable = {name for name in DRIVERS if DRIVERS[name].caps.is_writable}
    assert RIGS.keys() == writable
    assert VERIFY_ONLY.keys() == DRIVERS.keys() - writable
    assert {name for name in DRIVERS if DRIVERS[name].caps.has_confirmed_commit} == CONFIRMING
