# SPDX-License-Identifier: Apache-2.0
"""The fakes as rigs of the contract suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers import fake
from drivers.base import Driver, PortInfo, Target
from tests.drivers.contract import Rig
from tests.drivers.samples import Site


def _rig(driver: Driver, site: Site) -> Rig:
    ports = {name: PortInfo(name, number) for number, name in enumerate(site.ports, start=1)}
    target = Target("device", driver.name, "192.0.2.1", ports=ports, vrfs=dict.fromkeys(site.vrfs, 101))

    def add_foreign() -> None:
        with fake.box(target.name) as held:
            held.foreign.append("theirs")

    def others() -> str:
        with fake.box(target.name) as held:
            return "\n".join(held.foreign)

    def stop() -> None:
        with fake.box(target.name) as held:
            held.faults.is_unreachable = True

    hostile = ("reload", "+ c1.r1.f.0.redirect.0 {}", "- c1.r1.f.0.shutdown.0 {}")
    return Rig(driver, target, site, add_foreign, others, stop, hostile)


@pytest.fixture
def clean_fakes() -> Iterator[None]:
    fake.reset()
    yield
    fake.reset()


SWITCH_PORTS, SWITCH_VRFS = ("a", "b", "c"), ("blue",)


@pytest.fixture
def open_fake_switch(clean_fakes: None) -> Rig:
    return _rig(fake.SWITCH, Site(fake.SWITCH.caps.kinds, SWITCH_PORTS, SWITCH_VRFS))


@pytest.fixture
def open_fake_appliance(clean_fakes: None) -> Rig:
    return _rig(fake.APPLIANCE, Site(fake.APPLIANCE.caps.kinds, ("in", "out"), (), "in", "out"))


@pytest.fixture
def open_fake_host(clean_fakes: None) -> Rig:
    return _rig(fake.HOST, Site(fake.HOST.caps.kinds, ("eth0", "eth1")))


@pytest.fixture
def open_confirming_switch(clean_fakes: None) -> Rig:
    return _rig(fake.CONFIRMING_SWITCH, Site(fake.CONFIRMING_SWITCH.caps.kinds, SWITCH_PORTS, SWITCH_VRFS))


@pytest.fixture
def open_confirming_appliance(clean_fakes: None) -> Rig:
    kinds = fake.CONFIRMING_APPLIANCE.caps.kinds
    return _rig(fake.CONFIRMING_APPLIANCE, Site(kinds, ("in", "out"), (), "in", "out"))
