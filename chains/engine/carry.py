# SPDX-License-Identifier: Apache-2.0
"""Bring devices from one state of one chain's items to another, side by side, and believe only what is read back.

Used by reconcile and by drift repair. Runs in the fleet's threads: no database here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chains.engine.sessions import Answers, Fleet
from drivers.base import Driver, DriverError, Observation, Rejected, Session, Target, Transient
from drivers.diff import diff
from drivers.registry import driver
from drivers.state import DeviceState


@dataclass(frozen=True, slots=True)
class Job:
    """Make the items of `chain` (None: all of ours) on the device equal to `goal`.

    native is what turns `start` into `goal`. Where the device holds something else: an error if
    is_strict, else the difference is rendered anew.
    """

    target: Target
    chain: int | None
    start: DeviceState
    goal: DeviceState
    native: str
    is_strict: bool

    def held(self, observation: Observation) -> DeviceState:
        """The part of a reading that this job is about."""
        return observation.state if self.chain is None else observation.state.of_chain(self.chain)


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
        again = fleet.each({name: _reader(job) for name, job in lost.items()})
        for name, arrival in again.values.items():
            answers.values[name] = arrival
            del answers.errors[name]
    return answers


def _runner(job: Job, must_hold: Callable[[], None]) -> Callable[[Session], Arrival]:
    return lambda session: _run(session, job, must_hold)


def _run(session: Session, job: Job, must_hold: Callable[[], None]) -> Arrival:
    observation = session.read()
    held = job.held(observation)
    if held == job.goal:
        return Arrival(observation, "")
    native = job.native
    if held != job.start:
        if job.is_strict:
            raise Rejected(f"{job.target.name}: {difference(held, job.start)}; somebody else changed it")
        family: Driver = driver(job.target.driver)
        native = family.render(diff(held, job.goal), job.target)
    must_hold()
    session.push(native)
    after = session.read()
    return Arrival(_require(after, job), native)


def _reader(job: Job) -> Callable[[Session], Arrival]:
    return lambda session: Arrival(_require(session.read(), job), job.native)


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
