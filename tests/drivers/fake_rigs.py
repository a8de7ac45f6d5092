# SPDX-License-Identifier: Apache-2.0
"""The fakes as rigs of the contract suite: in memory, as files and behind a socket, with a clock of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers import fake
from drivers.base import Driver, PortInfo, Target
from drivers.fake.server import serving
from tests.drivers.contract import Rig
from tests.drivers.samples import Site

HOSTILE = ("reload", "+ c1.r1.f.0.redirect.0 {}", "- c1.r1.f.0.shutdown.0 {}")
NAMES = {
    "fake-switch": (("a", "b", "c"), ("blue",)),
    "fake-appliance": (("in", "out"), (), "in", "out"),
    "fake-host": (("eth0", "eth1"),),
}


@dataclass
class Clock:
    """Starts at no special time; `elapse` is how time passes."""

    now_s: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def elapse(self, seconds: float) -> None:
        self.now_s += seconds


def fake_rig(driver: Driver, clock: Clock, *, store: str = "", address: str = "") -> Rig:
    """store: where the device lives, "" for memory. address: of the server that is asked for it."""
    caps = driver.caps
    names = NAMES[driver.name.removesuffix("-confirming")]
    site = Site(caps.kinds, *names, has_standby=caps.has_standby, has_copies=caps.has_copies)
    ports = {name: PortInfo(name, number) for number, name in enumerate(site.ports, start=1)}
    settings = {"address": address} if address else {"store": store} if store else {}
    vrfs = dict.fromkeys(site.vrfs, 101)
    target = Target("device", driver.name, "192.0.2.1", settings, ports=ports, vrfs=vrfs)

    def add_foreign() -> None:
        with fake.box(target.name, store) as held:
            held.foreign.append("theirs")

    def others() -> str:
        with fake.box(target.name, store) as held:
            return "\n".join(held.foreign)

    def stop() -> None:
        with fake.box(target.name, store) as held:
            held.faults.is_unreachable = True

    return Rig(driver, target, site, add_foreign, others, stop, HOSTILE, clock.elapse)


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Clean fakes of this process, whose time stands still unless it is made to pass."""
    clock = Clock()
    monkeypatch.setattr(fake, "clock", clock)
    monkeypatch.setattr(fake, "sleep", clock.elapse)
    fake.reset()
    yield clock
    fake.reset()


@pytest.fixture(params=["store", "socket"])
def far_fakes(request: pytest.FixtureRequest, fake_clock: Clock, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The other places where fakes live: what `fake_rig` needs to know of them."""
    store = str(tmp_path)
    if request.param == "store":
        yield {"store": store}
        return
    with serving(store) as server:
        yield {"store": store, "address": server.address}


@pytest.fixture
def open_fake_switch(fake_clock: Clock) -> Rig:
    return fake_rig(fake.SWITCH, fake_clock)


@pytest.fixture
def open_fake_appliance(fake_clock: Clock) -> Rig:
    return fake_rig(fake.APPLIANCE, fake_clock)


@pytest.fixture
def open_fake_host(fake_clock: Clock) -> Rig:
    return fake_rig(fake.HOST, fake_clock)


@pytest.fixture
def open_confirming_switch(fake_clock: Clock) -> Rig:
    return fake_rig(fake.CONFIRMING_SWITCH, fake_clock)


@pytest.fixture
def open_confirming_appliance(fake_clock: Clock) -> Rig:
    return fake_rig(fake.CONFIRMING_APPLIANCE, fake_clock)
