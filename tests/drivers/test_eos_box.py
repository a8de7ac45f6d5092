# SPDX-License-Identifier: Apache-2.0
"""EOS through the unmodified NAPALM driver, on the emulated device: its traps, and how we survive each of them.

Where it helps, a test shows first that the bare driver falls into the trap on this device.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from napalm.base.exceptions import SessionLockedException
from pyeapi.eapilib import CommandError

from chains.engine.live import LABEL as TRIAL
from drivers.base import Rejected, Transient
from drivers.state import EMPTY
from lab.devices.process import Emulated
from tests.drivers.confirming import LABEL, commit, held, opened
from tests.drivers.contract import Rig
from tests.drivers.eos_rig import bare, eos_rig, first_step, sent
from tests.drivers.samples import sample

GOLDEN = Path(__file__).parent / "golden"
ENGINE_LABEL = "si-7-0-3"


@pytest.fixture
def rig(eos_device: Emulated) -> Rig:
    return eos_rig(eos_device)


# --- trap 1: closing takes a pending commit back ----------------------------------------------


def test_closing_does_not_take_a_pending_commit_back(rig: Rig, eos_device: Emulated) -> None:
    with bare(eos_device) as driver:
        driver.load_merge_candidate(config="ip access-list TRAP\n   10 permit ip any any\n")
        driver.commit_config(revert_in=120)
        assert eos_device.config()["pending"]
        driver.close()
        assert eos_device.config()["pending"] == ""
        assert "TRAP" not in eos_device.config()["running"]

    wanted = sample(rig.site)
    commit(rig, EMPTY, wanted)
    assert eos_device.config()["pending"] == LABEL
    assert held(rig) == (wanted, LABEL)


def test_a_session_that_ends_with_an_error_leaves_the_commit_pending(rig: Rig, eos_device: Emulated) -> None:
    with pytest.raises(RuntimeError), opened(rig) as session:
        session.commit(first_step(rig), LABEL, 120)
        raise RuntimeError("the worker dies here")
    assert eos_device.config()["pending"] == LABEL


def test_closing_after_the_timer_fired_is_no_error(rig: Rig, eos_device: Emulated) -> None:
    with bare(eos_device) as driver:
        driver.load_merge_candidate(config="ip access-list TRAP\n   10 permit ip any any\n")
        driver.commit_config(revert_in=120)
        eos_device.elapse(120)
        with pytest.raises(CommandError):
            driver.close()
    with opened(rig) as session:
        session.commit(first_step(rig), LABEL, 120)
        rig.elapse(120)
    assert held(rig) == (EMPTY, "")


# --- trap 2: two forms of the answer ----------------------------------------------------------


@pytest.mark.parametrize("is_old", [True, False], ids=["4.31", "4.33"])
def test_both_forms_of_what_is_pending(rig: Rig, eos_device: Emulated, is_old: bool) -> None:
    eos_device.fault(old_answers=is_old)
    wanted = sample(rig.site)
    commit(rig, EMPTY, wanted)
    answer = eos_device.config()["sessions"]
    assert answer[LABEL] == "pendingCommitTimer"
    assert held(rig) == (wanted, LABEL)
    rig.elapse(120)
    assert held(rig) == (EMPTY, "")
    commit(rig, EMPTY, wanted)
    with opened(rig) as session:
        session.confirm(LABEL)
    assert held(rig) == (wanted, "")
    commit(rig, wanted, EMPTY)  # a name that was used goes on being found
    assert held(rig) == (EMPTY, LABEL)
    with opened(rig) as session:
        session.cancel(LABEL)
    assert held(rig) == (wanted, "")


# --- trap 3: rollback takes others' work back -------------------------------------------------


def test_going_back_is_our_inverse_and_nobody_elses(rig: Rig, eos_device: Emulated) -> None:
    with bare(eos_device) as driver:
        driver.load_merge_candidate(config="ip access-list TRAP\n   10 permit ip any any\n")
        driver.commit_config()
        eos_device.operator("interface Ethernet7", "description theirs, typed later")
        driver.rollback()
        assert "typed later" not in eos_device.config()["running"]

    wanted = sample(rig.site)
    rig.push(rig.render(EMPTY, wanted))
    eos_device.operator("interface Ethernet7", "description theirs, typed later")
    assert rig.move(wanted, EMPTY) == EMPTY
    assert "typed later" in eos_device.config()["running"]
    ours = eos_device.transcript()[eos_device.transcript().index("configure replace flash:rollback-0") + 1 :]
    assert not [line for line in ours if line.startswith(("configure replace", "rollback"))]


# --- trap 4: sessions of others, and of the dead ----------------------------------------------


def test_a_persons_open_session_is_named_and_waited_for(rig: Rig, eos_device: Emulated, hasty: None) -> None:
    eos_device.operator("configure session maintenance")
    with bare(eos_device) as driver:
        with pytest.raises(SessionLockedException):
            driver.load_merge_candidate(config="ip access-list TRAP\n")
        assert driver.config_session  # of a session that does not exist
        with pytest.raises(CommandError):
            driver.close()
    with pytest.raises(Transient, match="maintenance is open, opened by operator.*session maintenance abort"):
        rig.push(first_step(rig))
    assert eos_device.config()["sessions"] == {"maintenance": "pending"}
    eos_device.operator("configure session maintenance abort")
    rig.push(first_step(rig))
    assert rig.read().state == sample(rig.site)


def test_a_person_who_comes_in_between_is_waited_for_too(rig: Rig, eos_device: Emulated, hasty: None) -> None:
    with rig.driver.open(rig.target, 10) as session:
        session.read()
        eos_device.fault(stranger_in_between="maintenance")
        with pytest.raises(Transient, match="somebody else is configuring it"):
            session.validate(first_step(rig))
    assert eos_device.config()["sessions"] == {"maintenance": "pending"}


def test_five_open_sessions_are_too_many(rig: Rig, eos_device: Emulated) -> None:
    for number in range(5):
        eos_device.operator(f"configure session person{number}")
    with pytest.raises(Transient, match="person0 is open"):
        rig.push(first_step(rig))


def test_what_a_dead_worker_left_open_is_cleared_away(rig: Rig, eos_device: Emulated, hasty: None) -> None:
    wanted = sample(rig.site)
    eos_device.fault(cut_after="service-policy type pbr input SI-t-b-3001")
    with pytest.raises(Transient):
        commit(rig, EMPTY, wanted, ENGINE_LABEL)
    eos_device.operator("configure session si-push-0badcafe")
    commit(rig, EMPTY, wanted, "si-7-0-4")
    assert held(rig) == (wanted, "si-7-0-4")
    assert eos_device.config()["sessions"] == {"si-7-0-4": "pendingCommitTimer"}


def test_what_a_trial_of_an_operators_left_open_is_cleared_away(
    rig: Rig, eos_device: Emulated, hasty: None
) -> None:
    """`manage.py live` that died: it is no stranger who would have to be waited for."""
    eos_device.operator(f"configure session {TRIAL}")
    rig.push(first_step(rig))
    assert TRIAL not in eos_device.config()["sessions"]


def test_a_session_that_cannot_be_aborted_is_no_second_error(
    rig: Rig, eos_device: Emulated, hasty: None
) -> None:
    eos_device.fault(abort_fails=1, tcam_full=1)
    with pytest.raises(Rejected, match="insufficient hardware resources"):
        rig.push(first_step(rig))
    assert list(eos_device.config()["sessions"].values()) == ["pending"]
    rig.push(first_step(rig))
    assert rig.read().state == sample(rig.site)


# --- trap 5: no indentation -------------------------------------------------------------------


def test_lines_come_without_indentation_and_nest_all_the_same(rig: Rig, eos_device: Emulated) -> None:
    wanted = sample(rig.site)
    native = rig.render(EMPTY, wanted)
    assert "\n      set nexthop" in native and "! vrf" in native
    rig.push(native)
    heard = sent(eos_device)
    assert not [line for line in heard if line.startswith((" ", "!"))]
    assert {line.strip() for line in native.splitlines() if "!" not in line} <= set(heard)
    assert rig.read().state == wanted
    running = eos_device.config()["running"]
    assert "\n   30 class SI-c7r1f1r1p3\n      set nexthop 198.18.8.145\n" in running
