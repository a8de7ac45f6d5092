# SPDX-License-Identifier: Apache-2.0
"""On devices where items share objects a text is made with what others have there, and is sent only if they have it.

On an emulated EOS: what counts is what the device holds of the other chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chains.engine.carry import Job, carry
from chains.engine.sessions import Fleet
from drivers.base import Rejected
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState, Key
from tests.drivers.contract import Rig
from tests.drivers.frr_rig import Lab
from tests.drivers.samples import sample

SECRET = "VIADUCT_TEST_EOS"


def of_chain(state: DeviceState, chain: int) -> DeviceState:
    return DeviceState({replace(key, chain=chain): item for key, item in state.items()})


@pytest.fixture
def rig(open_eos: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv(SECRET, open_eos.target.secret)
    return open_eos


@pytest.fixture
def fleet(rig: Rig) -> Iterator[Fleet]:
    name = rig.target.name
    given = {name: replace(rig.target, secret="")}
    with Fleet(given, {name: f"env:{SECRET}"}, timeout_s=30, threads=1, while_waiting=lambda: None) as made:
        yield made


def job(rig: Rig, others: DeviceState, goal: DeviceState, *, is_strict: bool) -> Job:
    """Chain 9 comes, planned with what others are said to have there."""
    native = rig.driver.render(diff(EMPTY, goal), replace(rig.target, held=others))
    return Job(replace(rig.target, secret=""), 9, EMPTY, goal, native, is_strict)


def halves(rig: Rig) -> tuple[DeviceState, DeviceState]:
    """Another chain's items, and ours: of two precedences, so that both fit into one table."""
    whole = sample(rig.site)
    theirs: dict[Key, object] = {}
    ours: dict[Key, object] = {}
    for number, (key, item) in enumerate(whole.items()):
        (theirs if number % 2 else ours)[key] = item
    return of_chain(DeviceState(theirs), 7), of_chain(DeviceState(ours), 9)  # type: ignore[arg-type]


def test_what_was_planned_is_sent_while_others_are_as_planned(rig: Rig, fleet: Fleet) -> None:
    theirs, ours = halves(rig)
    rig.push(rig.render(EMPTY, theirs))
    wanted = job(rig, theirs, ours, is_strict=True)
    answers = carry(fleet, {rig.target.name: wanted}, lambda: None)
    assert not answers.errors
    assert answers.values[rig.target.name].sent == wanted.native
    assert rig.read().state == theirs.merged(ours)


def test_a_text_made_with_other_neighbours_is_not_sent(rig: Rig, fleet: Fleet) -> None:
    theirs, ours = halves(rig)
    rig.push(rig.render(EMPTY, theirs))
    planned_too_early = job(rig, EMPTY, ours, is_strict=True)
    answers = carry(fleet, {rig.target.name: planned_too_early}, lambda: None)
    assert isinstance(answers.errors[rig.target.name], Rejected)
    assert "other chains' items" in str(answers.errors[rig.target.name])
    assert rig.read().state == theirs


def test_after_the_decision_it_is_made_anew_with_what_is_there(rig: Rig, fleet: Fleet) -> None:
    theirs, ours = halves(rig)
    rig.push(rig.render(EMPTY, theirs))
    answers = carry(fleet, {rig.target.name: job(rig, EMPTY, ours, is_strict=False)}, lambda: None)
    assert not answers.errors
    assert rig.read().state == theirs.merged(ours)


# --- a router that writes its tables whole refuses to write beside damage: FRR --------------------


def test_the_way_back_is_not_refused_for_anothers_damage_and_mends_it(
    open_frr: Rig, frr: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, open_frr.target.secret)
    theirs, ours = halves(open_frr)
    everything = theirs.merged(ours)
    open_frr.push(open_frr.render(EMPTY, everything))
    for family in ("-4", "-6"):
        for line in frr.router.run("ip", family, "rule").splitlines():
            if "fwmark 0x56" in line:
                frr.router.run("ip", family, "rule", "del", "pref", line.partition(":")[0])
    assert diff(open_frr.read().state.of_chain(7), theirs), "the other chain is damaged"
    target = replace(open_frr.target, secret="")
    native = open_frr.render_changes(diff(ours, EMPTY), everything)
    back = Job(target, 9, ours, EMPTY, native, is_strict=False)
    given = {target.name: target}
    with Fleet(given, {target.name: f"env:{SECRET}"}, timeout_s=30, threads=1, while_waiting=lambda: None) as fleet:
        refused = carry(fleet, {target.name: back}, lambda: None)
        assert "must be repaired first" in str(refused.errors[target.name])
        answers = carry(fleet, {target.name: replace(back, others=theirs)}, lambda: None)
    assert not answers.errors
    assert open_frr.read().state == theirs
