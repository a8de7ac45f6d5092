# SPDX-License-Identifier: Apache-2.0
"""What a device would lose at a reload is no goal reached: not at the first attempt, and not at the next either.

On emulated devices whose families save by a step of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from chains.engine.carry import Job, carry
from chains.engine.sessions import Fleet
from drivers.base import DriverError, Observation, Rejected
from drivers.state import EMPTY, DeviceState
from lab.devices.process import Emulated
from tests.drivers.contract import Rig
from tests.drivers.samples import sample

SECRET = "VIADUCT_TEST_SAVED"


@dataclass
class Bench:
    rig: Rig
    device: Emulated
    goal: DeviceState

    def carried(self, *, label: str = "") -> tuple[DriverError | None, str]:
        """(error, what was sent), as a worker that has only begun."""
        target = replace(self.rig.target, secret="")
        native = self.rig.render(EMPTY, self.goal)
        job = Job(target, None, EMPTY, self.goal, native, True, label, 600 if label else 0)
        with self._fleet() as fleet:
            answers = carry(fleet, {target.name: job}, lambda: None)
        arrival = answers.values.get(target.name)
        return answers.errors.get(target.name), arrival.sent if arrival else ""

    @contextmanager
    def _fleet(self) -> Iterator[Fleet]:
        target = replace(self.rig.target, secret="")
        given = ({target.name: target}, {target.name: f"env:{SECRET}"})
        with Fleet(*given, timeout_s=30, threads=1, while_waiting=lambda: None) as fleet:
            yield fleet

    def seen(self) -> Observation:
        with self.rig.driver.open(self.rig.target, 30) as session:
            return session.read()


@pytest.fixture
def bench_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bench]:
    def made(family: str) -> Bench:
        rig: Rig = request.getfixturevalue(f"open_{family}")
        monkeypatch.setenv(SECRET, rig.target.secret)
        return Bench(rig, request.getfixturevalue(f"{family}_device"), sample(rig.site))

    return made


@pytest.mark.parametrize("family", ["ios", "nxos"])
def test_what_cannot_be_saved_is_refused_every_time(bench_of: Callable[[str], Bench], family: str) -> None:
    bench = bench_of(family)
    bench.device.fault(startup_full=True)
    for _ in range(2):
        error, _ = bench.carried()
        assert isinstance(error, Rejected) and "not saved" in str(error)
        seen = bench.seen()
        assert seen.state == bench.goal and not seen.is_saved
    bench.device.fault(startup_full=None)
    assert bench.carried() == (None, ""), "nothing is sent, it is only saved"
    assert bench.seen().is_saved
    bench.device.reboot()
    assert bench.rig.read().state == bench.goal


@pytest.mark.parametrize("label", ["", "si-7-0-1"])
def test_a_cut_before_the_saving_is_made_good(bench_of: Callable[[str], Bench], label: str) -> None:
    """By the session that looks whether the lost push arrived, or by the next attempt."""
    bench = bench_of("eos")
    bench.device.fault(cut_before="write memory")
    bench.carried(label=label)
    bench.device.fault(cut_before=None)
    assert bench.carried(label=label)[0] is None
    assert bench.seen().is_saved and not bench.seen().pending
    bench.device.reboot()
    assert bench.rig.read().state == bench.goal


def test_others_work_is_not_saved_with_ours_by_a_retry(bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("ios")
    bench.device.fault(startup_full=True)
    bench.carried()
    bench.device.fault(startup_full=None)
    bench.device.operator("ntp server 203.0.113.77", is_saved=False)
    error, _ = bench.carried()
    assert isinstance(error, Rejected) and "`+ntp ...`" in str(error)
    assert "203.0.113.77" not in bench.device.config()["startup"]
