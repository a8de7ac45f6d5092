# SPDX-License-Identifier: Apache-2.0
"""The fakes can be as bad as vendors' devices: one test for each fault shows it, in memory and behind a socket.

That a fake without faults behaves is the contract suite's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from drivers import fake
from drivers.base import Introspective, Rejected, Saving, Target, Transient
from drivers.fake.device import DEFAULTS
from drivers.fake.server import serving
from drivers.state import EMPTY, DeviceState
from tests.drivers.confirming import LABEL, TIMER_S, commit, held, opened
from tests.drivers.contract import Rig
from tests.drivers.fake_rigs import Clock, fake_rig
from tests.drivers.samples import sample


@dataclasses.dataclass(frozen=True)
class Bench:
    """A confirming switch that holds `first`, with hands on it."""

    rig: Rig
    store: str
    clock: Clock
    first: DeviceState
    second: DeviceState

    def box(self) -> AbstractContextManager[fake.Box]:
        return fake.box(self.rig.target.name, self.store)

    def spoil(self, **faults: object) -> None:
        with self.box() as device:
            device.faults = fake.Faults(**faults)  # type: ignore[arg-type]

    def push(self) -> None:
        self.rig.push(self.rig.render(self.first, self.second))

    def commit(self, label: str = LABEL) -> None:
        commit(self.rig, self.first, self.second, label)

    def confirm(self, label: str = LABEL) -> None:
        with opened(self.rig) as session:
            session.confirm(label)

    def end(self) -> DeviceState:
        """What the device holds when every timer has run out."""
        self.clock.elapse(TIMER_S)
        with self.box() as device:
            return device.state

    def happened(self) -> list[str]:
        with self.box() as device:
            return [event.what for event in device.history]


@pytest.fixture(params=["memory", "socket"])
def bench(request: pytest.FixtureRequest, fake_clock: Clock, tmp_path: Path) -> Iterator[Bench]:
    with made(fake_clock, str(tmp_path) if request.param == "socket" else "") as found:
        yield found


@contextmanager
def made(clock: Clock, store: str) -> Iterator[Bench]:
    with serving(store) as server:
        rig = fake_rig(fake.CONFIRMING_SWITCH, clock, store=store, address=server.address if store else "")
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        rig.push(rig.render(EMPTY, first))
        yield Bench(rig, store, clock, first, second)


def test_every_fault_has_a_test() -> None:
    tests = [name for name in globals() if name.startswith("test_")]
    assert not [fault for fault in DEFAULTS if not any(name.startswith(f"test_{fault}") for name in tests)]


def test_is_unreachable(bench: Bench) -> None:
    with opened(bench.rig) as session:
        bench.spoil(is_unreachable=True)
        with pytest.raises(Transient):
            session.read()
    for work in (bench.push, bench.commit, bench.confirm, bench.rig.read):
        with pytest.raises(Transient):
            work()
    bench.spoil()
    assert held(bench.rig) == (bench.first, "")


def test_reject(bench: Bench) -> None:
    bench.spoil(reject="% Table full")
    for work in (bench.push, bench.commit):
        with pytest.raises(Rejected, match="% Table full"):
            work()
    assert held(bench.rig) == (bench.first, "")


def test_is_unsaved_and_saved(bench: Bench) -> None:
    bench.spoil(is_unsaved=True)
    with opened(bench.rig) as session:
        assert isinstance(session, Saving)
        assert not session.read().is_saved
        session.save()
        assert session.read().is_saved
    assert held(bench.rig) == (bench.first, "")


def test_will_not_save(bench: Bench) -> None:
    bench.spoil(is_unsaved=True, will_not_save="% Permission denied")
    with opened(bench.rig) as session:
        assert isinstance(session, Saving)
        with pytest.raises(Rejected, match="% Permission denied"):
            session.save()
        assert not session.read().is_saved
    assert held(bench.rig) == (bench.first, "")


def test_lacks() -> None:
    with fake.box("d1") as device:
        device.faults.lacks = "no feature pbr; add: feature pbr"
    with fake.SWITCH.open(Target("d1", "fake-switch", "192.0.2.1"), 1.0) as session:
        assert isinstance(session, Introspective)
        assert session.login().missing == ("no feature pbr; add: feature pbr",)
    fake.reset()


def test_refused_stays_pending(bench: Bench) -> None:
    bench.spoil(reject="% Table full", refused_stays_pending=True)
    with pytest.raises(Rejected, match="% Table full"):
        bench.commit()
    assert held(bench.rig) == (bench.first, LABEL)
    bench.spoil()
    with pytest.raises(Rejected, match="pending"):
        bench.commit("another")


def test_loses_reply_of_a_push(bench: Bench) -> None:
    bench.spoil(loses_reply=True)
    with pytest.raises(Transient, match="the connection was lost"):
        bench.push()
    assert held(bench.rig) == (bench.second, "")


def test_loses_reply_of_a_commit(bench: Bench) -> None:
    bench.spoil(loses_reply=True)
    with pytest.raises(Transient, match="the connection was lost"):
        bench.commit()
    assert held(bench.rig) == (bench.second, LABEL)
    assert bench.end() == bench.first


def test_is_silent(bench: Bench) -> None:
    bench.spoil(is_silent=True)
    bench.push()
    bench.commit()
    assert held(bench.rig) == (bench.first, "")
    with pytest.raises(Rejected):
        bench.confirm()


def test_swallows_error_whole(bench: Bench) -> None:
    bench.spoil(swallows_error="whole")
    bench.push()
    assert held(bench.rig) == (bench.first, "")
    bench.commit()
    assert held(bench.rig) == (bench.first, LABEL)


def test_swallows_error_half(bench: Bench) -> None:
    bench.spoil(swallows_error="half")
    bench.commit()
    # The lines that delete come first, and there are as many as lines that create.
    assert held(bench.rig) == (EMPTY, LABEL)
    assert bench.end() == bench.first
    bench.push()
    assert held(bench.rig) == (EMPTY, "")


def test_verification_failed(bench: Bench) -> None:
    bench.spoil(verification_failed=True)
    before = len(bench.happened())
    bench.push()
    bench.commit()
    assert held(bench.rig) == (bench.first, "")
    assert bench.happened()[before:] == ["pushed", "rolled back", "committed", "rolled back"]


def test_cuts_management_until_the_commit_is_taken_back(bench: Bench) -> None:
    bench.spoil(cuts_management=True, counts={"cuts_management": 1})
    with pytest.raises(Transient):
        bench.commit()
    with bench.box() as device:
        assert device.state == bench.second
    bench.clock.elapse(TIMER_S - 1)
    for work in (bench.rig.read, bench.confirm):
        with pytest.raises(Transient):
            work()
    bench.clock.elapse(1)
    assert held(bench.rig) == (bench.first, "")
    bench.commit()
    bench.confirm()
    assert held(bench.rig) == (bench.second, "")


def test_cuts_management_until_a_reboot(bench: Bench) -> None:
    bench.spoil(cuts_management=True)
    with pytest.raises(Transient):
        bench.commit()
    with bench.box() as device:
        device.reboot()
    assert held(bench.rig) == (bench.first, "")


def test_cuts_management_for_good_after_a_push(bench: Bench) -> None:
    bench.spoil(cuts_management=True)
    with pytest.raises(Transient):
        bench.push()
    bench.clock.elapse(24 * 3600)
    with pytest.raises(Transient):
        bench.rig.read()
    bench.spoil()
    assert held(bench.rig) == (bench.second, "")


def test_any_commit_confirms(bench: Bench) -> None:
    with bench.box() as device:
        device.commit(bench.second, "theirs", TIMER_S)
    with pytest.raises(Rejected, match="theirs is pending"):
        bench.rig.push("")
    assert held(bench.rig) == (bench.second, "theirs")
    bench.spoil(any_commit_confirms=True)
    with pytest.raises(Rejected, match="theirs is pending"):
        bench.commit()
    bench.rig.push("")
    assert held(bench.rig) == (bench.second, "")
    assert bench.end() == bench.second


def test_late_confirm_ok(bench: Bench) -> None:
    bench.spoil(late_confirm_ok=True)
    bench.commit()
    assert bench.end() == bench.first
    bench.confirm()
    assert held(bench.rig) == (bench.first, "")


def test_late_confirm_ok_makes_a_strangers_commit_stay(bench: Bench) -> None:
    bench.spoil(late_confirm_ok=True)
    with bench.box() as device:
        device.commit(bench.second, "theirs", TIMER_S)
    bench.confirm()
    assert bench.end() == bench.second


def test_confirm_lies(bench: Bench) -> None:
    bench.spoil(confirm_lies=True)
    bench.commit()
    bench.confirm()
    assert held(bench.rig) == (bench.second, LABEL)
    assert bench.end() == bench.first


def test_confirm_loses_reply(bench: Bench) -> None:
    bench.spoil(confirm_loses_reply=True)
    bench.commit()
    with pytest.raises(Transient, match="the connection was lost"):
        bench.confirm()
    assert held(bench.rig) == (bench.second, "")
    assert bench.end() == bench.second


def test_aborts_on_close(bench: Bench) -> None:
    bench.spoil(aborts_on_close=True)
    with opened(bench.rig) as session:
        session.commit(bench.rig.render(bench.first, bench.second), LABEL, TIMER_S)
        assert held(bench.rig) == (bench.second, LABEL), "another session's end harms nothing"
    assert held(bench.rig) == (bench.first, "")


def test_aborts_on_close_only_what_is_pending(bench: Bench) -> None:
    bench.spoil(aborts_on_close=True)
    with opened(bench.rig) as session:
        session.commit(bench.rig.render(bench.first, bench.second), LABEL, TIMER_S)
        session.confirm(LABEL)
    assert held(bench.rig) == (bench.second, "")


def test_aborts_on_close_nothing_of_others(bench: Bench) -> None:
    bench.spoil(aborts_on_close=True)
    with opened(bench.rig) as session:
        session.commit(bench.rig.render(bench.first, bench.first), LABEL, TIMER_S)
        session.confirm(LABEL)
        with bench.box() as device:
            device.commit(bench.second, "theirs", TIMER_S)
    assert held(bench.rig) == (bench.second, "theirs")


def test_hidden_pending(bench: Bench) -> None:
    bench.spoil(hidden_pending=True)
    bench.commit()
    assert held(bench.rig) == (bench.second, "")
    assert bench.end() == bench.first


def test_hangs_s(fake_clock: Clock) -> None:
    """In memory; what a socket makes of it is in test_fake_socket.py."""
    with made(fake_clock, "") as bench:
        bench.spoil(hangs_s=29.0)
        before_s = fake_clock.now_s
        bench.rig.read()
        assert fake_clock.now_s == before_s + 29
        bench.spoil(hangs_s=31.0)
        with pytest.raises(Transient, match="no answer within 30 s"):
            bench.commit()
        assert fake_clock.now_s == before_s + 59, "nobody waits longer than the time-out"
        bench.spoil()
        assert held(bench.rig) == (bench.second, LABEL), "it was taken nevertheless"


def test_delay_s(fake_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def sleep(seconds: float) -> None:
        if seconds:
            seen.append(held(bench.rig))
        fake_clock.elapse(seconds)

    with made(fake_clock, "") as bench:
        monkeypatch.setattr(fake, "sleep", sleep)
        bench.spoil(delay_s=5.0)
        before_s = fake_clock.now_s
        bench.commit()
        assert fake_clock.now_s == before_s + 5
        assert seen == [(bench.first, "")], "others may read meanwhile, and see the old state"
        assert held(bench.rig) == (bench.second, LABEL)
        fake_clock.elapse(TIMER_S - 1)
        assert held(bench.rig) == (bench.second, LABEL), "the timer runs from when it is in force"


def test_counted_faults_end_by_themselves(bench: Bench) -> None:
    bench.spoil(is_silent=True, counts={"is_silent": 2})
    for wanted in (bench.first, bench.first, bench.second):
        bench.push()
        assert held(bench.rig) == (wanted, "")
    with bench.box() as device:
        assert device.faults == fake.Faults()


def test_what_is_attached_is_told(bench: Bench) -> None:
    with bench.box() as device:
        device.foreign += ["theirs", "attached route-map X to our ACL"]
    seen = bench.rig.read()
    assert (seen.foreign, seen.attached) == (2, ("attached route-map X to our ACL",))


def test_all_goes_back_whoever_wrote_since(bench: Bench) -> None:
    with bench.box() as device:
        device.foreign.append("before")
    bench.commit()
    with bench.box() as device:
        device.state = EMPTY
        device.foreign.append("after")
    assert bench.end() == bench.first
    with bench.box() as device:
        assert device.foreign == ["before"]


def test_a_reboot_takes_back_and_counts_anew(bench: Bench) -> None:
    bench.commit()
    with bench.box() as device:
        device.counters = {str(next(iter(bench.second))): [1, 2, 3]}
        device.reboot()
        assert (device.state, device.pending, device.counters) == (bench.first, None, {})
    with pytest.raises(Rejected):
        bench.confirm()


@pytest.mark.parametrize(
    "quirks", ["is_slient", "is_silent=1", "delay_s", "delay_s=x", "counts=1", "__init__", "swallows_error"]
)
def test_a_quirk_that_is_none_is_refused(bench: Bench, quirks: str) -> None:
    target = dataclasses.replace(bench.rig.target, settings={**bench.rig.target.settings, "quirks": quirks})
    with pytest.raises(Rejected, match="quirk"):
        dataclasses.replace(bench.rig, target=target).read()


def test_the_setting_makes_quirks_that_stay(bench: Bench) -> None:
    settings = {**bench.rig.target.settings, "quirks": "hidden_pending swallows_error=half delay_s=0.5"}
    bad = dataclasses.replace(bench.rig, target=dataclasses.replace(bench.rig.target, settings=settings))
    before_s = bench.clock.now_s
    commit(bad, bench.first, bench.second)
    assert held(bad) == (EMPTY, "")
    assert held(bench.rig) == (EMPTY, LABEL), "they are of the target, not of the device"
    assert bench.clock.now_s == before_s + 0.5
