# SPDX-License-Identifier: Apache-2.0
"""Bring devices from one state of one chain's items to another, side by side, and believe only what is read back.

Used by reconcile and by drift repair. Runs in the fleet's threads: no database here. Where the family has confirmed
commit (RFC 6241 section 8.4), a job either leaves its commit pending for the caller to confirm, or has it confirmed
through a second connection at once: whatever cuts the management is taken back by the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

from chains.engine.sessions import Answers, Fleet
from drivers.base import (
    ConfirmingSession,
    Driver,
    DriverError,
    Observation,
    Rejected,
    Saving,
    Session,
    Target,
    Transient,
    Unsupported,
)
from drivers.diff import diff
from drivers.registry import driver
from drivers.state import DeviceState


@dataclass(frozen=True, slots=True)
class Job:
    """Make the items of `chain` (None: all of ours) on the device equal to `goal`.

    native is what turns `start` into `goal`. Where the device holds something else: an error if is_strict, else
    the difference is rendered anew. label, revert_in_s: of the commit, where the family can confirm. is_kept: it is
    confirmed at once; else it stays pending. settles: labels of ours that may be pending: confirmed before the
    push if is_strict (the push is the next step of the same way), else taken back. family: how every label of the
    same change begins, whichever attempt made it: if not is_strict, what is pending so is taken back as well.
    others: what other chains want there, None if nobody asked. A text that is made anew and cannot be made beside their
    damage mends it.
    """

    target: Target
    chain: int | None
    start: DeviceState
    goal: DeviceState
    native: str
    is_strict: bool
    label: str = ""
    revert_in_s: int = 0
    is_kept: bool = True
    settles: tuple[str, ...] = ()
    family: str = ""
    others: DeviceState | None = None

    def held(self, observation: Observation) -> DeviceState:
        """The part of a reading that this job is about."""
        return observation.state if self.chain is None else observation.state.of_chain(self.chain)

    @property
    def can_confirm(self) -> bool:
        return bool(self.label) and driver(self.target.driver).caps.has_confirmed_commit


@dataclass(frozen=True, slots=True)
class Arrival:
    """The device holds the goal. sent: the bytes that were pushed, "" if it held it already."""

    observation: Observation
    sent: str


def carry(fleet: Fleet, jobs: Mapping[str, Job], must_hold: Callable[[], None]) -> Answers[Arrival]:
    """All jobs side by side. A push whose reply was lost counts when a new session reads the goal back.

    must_hold: asked in the device's thread right before a push; raises if the lease may have ended.
    """
    answers = fleet.each({name: _runner(job, must_hold) for name, job in jobs.items()})
    lost = {name: jobs[name] for name, error in answers.errors.items() if isinstance(error, Transient)}
    if lost:
        again = fleet.each({name: _reader(job, must_hold) for name, job in lost.items()})
        for name, arrival in again.values.items():
            answers.values[name] = arrival
            del answers.errors[name]
    kept = {
        name: job
        for name, job in jobs.items()
        if job.can_confirm and job.is_kept and name in answers.values and _is_open(job, answers.values[name])
    }
    if kept:
        _merge(answers, confirm(fleet, {name: (job,) for name, job in kept.items()}, must_hold), kept)
    return answers


def confirm(
    fleet: Fleet, jobs: Mapping[str, tuple[Job, ...]], must_hold: Callable[[], None]
) -> Answers[Observation]:
    """Make pending commits stay, through a second connection that proves that the device is still managed.

    jobs: by device, those whose label may be pending, in order. What counts is not the device's word but the
    reading after it. Errors: Rejected where the device holds something else by then.
    """
    return fleet.each({name: _confirmer(held, must_hold) for name, held in jobs.items()}, is_anew=True)


def _is_open(job: Job, arrival: Arrival) -> bool:
    """May the device still take it back? Also where it was there already: the push before may have been ours."""
    return bool(arrival.sent) or arrival.observation.pending == job.label


def _merge(answers: Answers[Arrival], confirmed: Answers[Observation], jobs: Mapping[str, Job]) -> None:
    for name, observation in confirmed.values.items():
        answers.values[name] = Arrival(observation, answers.values[name].sent)
    for name, error in confirmed.errors.items():
        del answers.values[name]
        answers.errors[name] = error


def _confirmer(jobs: tuple[Job, ...], must_hold: Callable[[], None]) -> Callable[[Session], Observation]:
    def run(session: Session) -> Observation:
        last = jobs[-1]
        _require(session.read(), last)
        must_hold()
        settle(session, (job.label for job in jobs), is_confirmed=True)
        after = _require(session.read(), last)
        if after.pending in {job.label for job in jobs}:
            raise Rejected(f"{last.target.name}: said that it confirmed {after.pending}, and did not")
        check_pending(last.target.name, after, ())
        # Others' work that is not saved keeps ours from being saved, and is no reason to take ours back: it is found.
        with suppress(Rejected):
            after = _saved(session, last, after, must_hold)
        return after

    return run


def settle(session: Session, labels: Iterable[str], *, is_confirmed: bool) -> None:
    """Confirm, or take back, what may be pending. That nothing is pending is no error: the reading after it counts."""
    confirming = cast(ConfirmingSession, session)
    for label in labels:
        with suppress(Rejected):
            if is_confirmed:
                confirming.confirm(label)
            else:
                confirming.cancel(label)


def _runner(job: Job, must_hold: Callable[[], None]) -> Callable[[Session], Arrival]:
    return lambda session: _run(session, job, must_hold)


def _run(session: Session, job: Job, must_hold: Callable[[], None]) -> Arrival:
    observation = session.read()
    settles = _settled_by(job, observation.pending)
    check_pending(job.target.name, observation, (*settles, job.label))
    if settles and (observation.pending or not job.is_strict):
        must_hold()
        settle(session, settles, is_confirmed=job.is_strict)
        observation = session.read()
        check_pending(job.target.name, observation, ())
    held = job.held(observation)
    if held == job.goal:
        return Arrival(_saved(session, job, observation, must_hold), "")
    if held != job.start and job.is_strict:
        raise Rejected(f"{job.target.name}: {difference(held, job.start)}; somebody else changed it")
    native = _native(job, held, observation)
    must_hold()
    if job.can_confirm:
        cast(ConfirmingSession, session).commit(native, job.label, job.revert_in_s)
    else:
        session.push(native)
    after = _require(session.read(), job)
    return Arrival(_saved(session, job, after, must_hold), native)


def _saved(session: Session, job: Job, seen: Observation, must_hold: Callable[[], None]) -> Observation:
    """What a reload would lose is no goal reached. A commit that is pending is saved when it is confirmed.

    Errors: Rejected where it cannot be saved.
    """
    if seen.is_saved or seen.pending:
        return seen
    must_hold()
    cast(Saving, session).save()
    return _require(session.read(), job)


def _native(job: Job, held: DeviceState, seen: Observation) -> str:
    """As planned, unless the device holds something else, or items share objects and the others' are not as planned.

    Errors: Rejected in the latter case if is_strict: such a text would write the others' items too, as they were.
    """
    family: Driver = driver(job.target.driver)
    if held == job.start and not family.caps.shares_objects:
        return job.native
    target = replace(job.target, held=seen.state, residue=seen.residue)
    try:
        native = family.render(diff(held, job.goal), target)
    except Unsupported:
        if job.is_strict or job.others is None:
            raise
        # The way back is never refused for what is somebody else's: that comes right with it.
        native = family.render(diff(seen.state, job.others.merged(job.goal)), target)
    if job.is_strict and native != job.native:
        why = "other chains' items there are not as planned from: repair them if they drifted, else ask for a new plan"
        raise Rejected(f"{job.target.name}: {why}")
    return native


def _settled_by(job: Job, pending: str) -> tuple[str, ...]:
    """Who died on the way back had written its own label over that of the way there: known by its family alone."""
    is_forgotten = not job.is_strict and bool(job.family) and pending.startswith(job.family)
    return (*job.settles, pending) if is_forgotten and pending not in job.settles else job.settles


def check_pending(device: str, observation: Observation, ours: Iterable[str]) -> None:
    """A commit by somebody else that is not confirmed: ours would confirm it, or would go with it.

    Errors: Transient; it ends by itself.
    """
    if observation.pending and observation.pending not in set(ours):
        raise Transient(f"{device}: the commit {observation.pending} is not confirmed yet; waiting for its end")


def _reader(job: Job, must_hold: Callable[[], None]) -> Callable[[Session], Arrival]:
    """A goal that is held by an older commit, pending yet, is none: the device would take it back."""

    def run(session: Session) -> Arrival:
        observation = _require(session.read(), job)
        check_pending(job.target.name, observation, (job.label,))
        return Arrival(_saved(session, job, observation, must_hold), job.native)

    return run


def _require(observation: Observation, job: Job) -> Observation:
    held = job.held(observation)
    if held != job.goal:
        raise Rejected(f"{job.target.name}: took the push, but {difference(held, job.goal)}")
    return observation


def difference(held: DeviceState, wanted: DeviceState) -> str:
    """One line: how many items are missing, altered or too many, and the first of them."""
    changes = diff(wanted, held)
    counts = {"missing": 0, "altered": 0, "too many": 0}
    names = {"create": "too many", "update": "altered", "delete": "missing"}
    for change in changes:
        counts[names[change.action.value]] += 1
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    first = f" (first {changes[0].key})" if changes else ""
    return f"its items differ: {said or 'none'}{first}"


def say(error: DriverError) -> str:
    """An error's text, bounded: a device's answer may be long."""
    return str(error)[:400]
