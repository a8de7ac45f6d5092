# SPDX-License-Identifier: Apache-2.0
"""What every driver with confirmed commit promises, on top of `contract.Contract`, as one suite.

Takes the same rigs; `Rig.elapse` lets time pass on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from drivers.base import ConfirmingSession, Rejected
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState
from tests.drivers.contract import TIMEOUT_S, Rig
from tests.drivers.samples import sample

LABEL, TIMER_S = "viaduct-c7-s1-e1", 120


@contextmanager
def opened(rig: Rig) -> Iterator[ConfirmingSession]:
    with rig.driver.open(rig.target, TIMEOUT_S) as session:
        yield cast(ConfirmingSession, session)


def commit(
    rig: Rig, before: DeviceState, after: DeviceState, label: str = LABEL, timer_s: int = TIMER_S
) -> None:
    """In a session of its own, which ends."""
    with opened(rig) as session:
        session.commit(rig.render(before, after), label, timer_s)


def held(rig: Rig) -> tuple[DeviceState, str]:
    """What it holds and what is pending, seen by a new session."""
    seen = rig.read()
    return seen.state, seen.pending


class ConfirmingContract:
    """Every method is a test; `confirming_rig` is a fixture. A clean device is put on revision 1 first."""

    @pytest.fixture
    def rig(self, confirming_rig: Rig) -> Rig:
        self.first, self.second = (sample(confirming_rig.site, revision=number) for number in (1, 2))
        confirming_rig.push(confirming_rig.render(EMPTY, self.first))
        return confirming_rig

    def test_nothing_is_pending_at_first(self, rig: Rig) -> None:
        assert rig.driver.caps.has_confirmed_commit
        assert held(rig) == (self.first, "")

    def test_a_commit_is_in_force_and_pending(self, rig: Rig) -> None:
        commit(rig, self.first, self.second)
        rig.elapse(TIMER_S - 1)
        assert held(rig) == (self.second, LABEL)

    def test_nobody_confirms_and_it_is_taken_back_in_time(self, rig: Rig) -> None:
        rig.add_foreign()
        theirs = rig.others()
        commit(rig, self.first, self.second)
        rig.elapse(TIMER_S)
        assert held(rig) == (self.first, "")
        assert rig.others() == theirs

    def test_what_is_confirmed_stays(self, rig: Rig) -> None:
        with opened(rig) as session:
            session.commit(rig.render(self.first, self.second), LABEL, TIMER_S)
            session.confirm(LABEL)
            assert session.read().pending == ""
        rig.elapse(TIMER_S)
        assert held(rig) == (self.second, "")

    def test_another_session_may_confirm(self, rig: Rig) -> None:
        commit(rig, self.first, self.second)
        with opened(rig) as session:
            session.confirm(LABEL)
        rig.elapse(TIMER_S)
        assert held(rig) == (self.second, "")

    def test_another_session_may_cancel(self, rig: Rig) -> None:
        commit(rig, self.first, self.second)
        with opened(rig) as session:
            session.cancel(LABEL)
        assert held(rig) == (self.first, "")
        rig.elapse(TIMER_S)
        assert held(rig) == (self.first, "")

    def test_only_what_is_pending_can_be_confirmed_or_cancelled(self, rig: Rig) -> None:
        def is_refused(label: str) -> None:
            with opened(rig) as session:
                for call in (session.confirm, session.cancel):
                    with pytest.raises(Rejected):
                        call(label)

        is_refused(LABEL)
        commit(rig, self.first, self.second)
        is_refused("another")
        assert held(rig) == (self.second, LABEL)
        rig.elapse(TIMER_S)
        is_refused(LABEL)
        assert held(rig) == (self.first, "")
        commit(rig, self.first, self.second)
        with opened(rig) as session:
            session.confirm(LABEL)
        is_refused(LABEL)
        assert held(rig) == (self.second, "")

    def test_one_commit_at_a_time(self, rig: Rig) -> None:
        commit(rig, self.first, self.second)
        for label in (LABEL, "another"):
            with pytest.raises(Rejected):
                commit(rig, self.second, self.first, label)
        assert held(rig) == (self.second, LABEL)
        rig.elapse(TIMER_S)
        assert held(rig) == (self.first, "")

    def test_after_it_was_taken_back_the_next_may_come(self, rig: Rig) -> None:
        commit(rig, self.first, self.second)
        rig.elapse(TIMER_S)
        commit(rig, self.first, self.second, "another")
        assert held(rig) == (self.second, "another")
        with opened(rig) as session:
            session.confirm("another")
        commit(rig, self.second, EMPTY, "third")
        rig.elapse(TIMER_S)
        assert held(rig) == (self.second, "")

    def test_what_is_refused_is_not_pending(self, rig: Rig) -> None:
        good = rig.render(self.first, self.second)
        for line in rig.hostile:
            with opened(rig) as session, pytest.raises(Rejected):
                session.commit(f"{good}{line}\n", LABEL, TIMER_S)
            assert held(rig) == (self.first, "")

    def test_a_push_needs_no_confirmation(self, rig: Rig) -> None:
        rig.push(rig.render(self.first, self.second))
        rig.elapse(24 * 3600)
        assert held(rig) == (self.second, "")

    def test_it_goes_back_even_if_everything_changed(self, rig: Rig) -> None:
        """Not by a reverse text: whatever the commit deleted and replaced is there again."""
        assert diff(self.first, EMPTY)
        commit(rig, self.first, EMPTY)
        assert held(rig) == (EMPTY, LABEL)
        rig.elapse(TIMER_S)
        assert held(rig) == (self.first, "")

    @pytest.mark.parametrize("label", ["", "Label", "a_b", "a b", "a\n", "../a", "é", "a" * 64])
    def test_labels_are_plain(self, rig: Rig, label: str) -> None:
        with pytest.raises(Rejected):
            commit(rig, self.first, self.second, label)
        assert held(rig) == (self.first, "")

    @pytest.mark.parametrize("timer_s", [-60, 0, 1, 59, 61, 90, 60.0, True, 86_400, 86_460, "60"])
    def test_timers_are_whole_minutes_below_a_day(self, rig: Rig, timer_s: Any) -> None:
        with pytest.raises(Rejected):
            commit(rig, self.first, self.second, LABEL, timer_s)
        assert held(rig) == (self.first, "")

    @pytest.mark.parametrize("timer_s", [60, 86_340])
    def test_timers_at_both_ends(self, rig: Rig, timer_s: int) -> None:
        commit(rig, self.first, self.second, "a" * 63, timer_s)
        rig.elapse(timer_s - 1)
        assert held(rig) == (self.second, "a" * 63)
        rig.elapse(1)
        assert held(rig) == (self.first, "")
