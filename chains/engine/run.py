# SPDX-License-Identifier: Apache-2.0
"""What one attempt at one change works with, and how it writes one batch of devices.

Used by reconcile and its phases: `stage` before the decision, `finish` after it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from chains import models, selectors
from chains.engine.carry import Arrival, Job, carry, say
from chains.engine.freeze import Gate
from chains.engine.lease import Leases
from chains.engine.limits import Limits
from chains.engine.moves import Move
from chains.engine.sessions import Answers, Fleet
from chains.errors import Conflict
from chains.services import record
from drivers.base import DriverError, Transient
from drivers.registry import driver

Level = models.ChangeEvent.Level
LONGEST_REVERT_S = 86_340


class Failed(Exception):
    """The change cannot go on. is_passing: trying again later may help, if nothing was sent yet."""

    def __init__(self, detail: str, *, is_passing: bool = False) -> None:
        super().__init__(detail)
        self.is_passing = is_passing


class Stale(Failed):
    """What the plan was made from is not what is there now."""


@dataclass(slots=True)
class Run:
    """What one attempt works with."""

    change: models.Change
    plan: models.Plan
    moves: tuple[Move, ...]
    leases: Leases
    fleet: Fleet
    limits: Limits
    gate: Gate

    @property
    def chain_number(self) -> int:
        assert self.plan.chain_id is not None
        return self.plan.chain_id

    def check(self) -> None:
        """Right before a push, in the caller's thread. Errors: LeaseLost, Frozen."""
        self.gate.check()
        self.leases.check()

    def must_hold(self) -> None:
        """The same between a device's reading and its push, in the device's thread."""
        self.gate.must_be_open()
        self.leases.must_hold()

    def say(self, text: str, *, device: str = "", level: str = Level.INFO) -> None:
        record.event_log(self.change, text, device=device, level=level)

    def label(self, move: Move, way: str = "") -> str:
        """The name of the commit on the device: no other attempt, and no other step, has the same."""
        if not move.is_confirmed_later:
            return ""
        return f"{self.family}{move.wave}{way}-{self.leases.epoch(move.device_id)}"

    @property
    def family(self) -> str:
        """How all of its labels begin."""
        return f"si-{self.change.pk}-"

    @property
    def soak_s(self) -> float:
        return 0.0 if self.change.is_urgent else self.limits.soak_s

    @property
    def revert_in_s(self) -> int:
        """How long devices wait for a confirmation: the whole way to the decision, and time for whoever takes over.

        Errors: Failed if that is longer than devices can wait.
        """
        batches = len(self.moves)
        needed_s = self.limits.confirm_s + 2 * self.soak_s + batches * self.limits.device_timeout_s
        whole_s = math.ceil(needed_s / 60) * 60
        if whole_s > LONGEST_REVERT_S:
            raise Failed(f"{batches} pushes take {whole_s} s; devices wait {LONGEST_REVERT_S} s. Split the change")
        return whole_s

    def again(self, error: str, refusal: str = "") -> bool:
        """Later, and with every attempt a little later. refusal: too many of them, and the change is parked (True)."""
        wait_s = self.limits.retry_after_s(self.change.attempts) * random.random()
        if not refusal:
            record.change_postpone(self.change.pk, wait_s, error=error)
            return False
        most = self.limits.broken
        return record.change_refused(self.change.pk, wait_s, error=error, refusal=refusal, most_broken=most)


def job_of(run: Run, move: Move, *, is_strict: bool, is_kept: bool) -> Job:
    """is_kept: confirmed at once; else pending until the decision. What is pending on its device is settled first."""
    label = run.label(move)
    earlier = [other for other in run.moves if other.device == move.device and other.step.label not in ("", label)]
    return Job(
        run.fleet.targets[move.device],
        run.chain_number,
        move.before,
        move.after,
        move.native,
        is_strict,
        label=label,
        revert_in_s=run.limits.confirm_s if is_kept or not label else run.revert_in_s,
        is_kept=is_kept,
        settles=tuple(other.step.label for other in earlier),
        family=run.family,
    )


def job_back(run: Run, move: Move) -> Job:
    """The way back from the move, from wherever the device is."""
    label = run.label(move, "r")
    return Job(
        run.fleet.targets[move.device],
        run.chain_number,
        move.after,
        move.before,
        move.reverse,
        is_strict=False,
        label=label,
        revert_in_s=run.limits.confirm_s,
        settles=(move.step.label,) if move.step.label else (),
        family=run.family,
    )


def write(run: Run, moves: Iterable[Move], *, is_strict: bool, is_kept: bool) -> Answers[Arrival]:
    """One batch of one wave, side by side; every device is read back. Errors: Failed if it would reach too far."""
    batch = list(moves)
    jobs = {move.device: job_of(run, move, is_strict=is_strict, is_kept=is_kept) for move in batch}
    answers = send(run, batch, jobs, purpose=batch[0].phase)
    _tell(run, batch, answers)
    return answers


def _with_others(run: Run, jobs: Mapping[str, Job]) -> Mapping[str, Job]:
    """Where items share objects, whoever may write anew is told what the other chains want there."""
    names = [
        name for name, job in jobs.items() if not job.is_strict and driver(job.target.driver).caps.shares_objects
    ]
    if not names or run.plan.chain is None:
        return jobs
    others = selectors.others_on(names, run.plan.chain, of_all=True)
    return {name: replace(job, others=others[name]) if name in others else job for name, job in jobs.items()}


def send(
    run: Run,
    batch: Iterable[Move],
    jobs: Mapping[str, Job],
    *,
    purpose: str,
    done: models.Step.Status = models.Step.Status.DONE,
) -> Answers[Arrival]:
    """Carry out the jobs, one for each move's device. done: the status of a step that arrived.

    SENT, the label and the write are recorded before the push and DONE after the read-back: a crash in between
    leaves a trace. Errors: Failed.
    """
    moves = list(batch)
    run.gate.check()
    jobs = _with_others(run, jobs)
    rows = begin(run, moves, jobs, purpose)
    record.steps_sent({move.step: jobs[move.device].label for move in moves})
    pending = [job for job in jobs.values() if job.label and not job.is_kept]
    if pending:
        record.reverts_at_set(run.change, pending[0].revert_in_s)
    run.check()
    answers = carry(run.fleet, jobs, run.must_hold)
    end(rows, jobs, answers)
    arrived = [move for move in moves if move.device in answers.values]
    record.steps_set([move.step for move in arrived], done)
    failed = [move for move in moves if move.device in answers.errors]
    for move in failed:
        record.steps_set([move.step], models.Step.Status.SENT, error=say(answers.errors[move.device]))
    settled = {(move.device, label) for move in arrived for label in _settled(jobs[move.device])}
    record.steps_confirmed(move.step for move in run.moves if (move.device, move.step.label) in settled)
    return answers


def _settled(job: Job) -> tuple[str, ...]:
    """What is no longer pending once the job is done."""
    return (*job.settles, job.label) if job.is_kept else job.settles


def begin(run: Run, moves: Iterable[Move], jobs: Mapping[str, Job], purpose: str) -> list[models.DeviceWrite]:
    """Write down what is about to be pushed. Errors: Failed."""
    pushes = [
        record.Push(move.device_id, run.leases.epoch(move.device_id), jobs[move.device].native) for move in moves
    ]
    try:
        return record.writes_begin(pushes, purpose=purpose, change=run.change)
    except Conflict as conflict:
        raise Failed(conflict.detail) from conflict


def end(rows: Iterable[models.DeviceWrite], jobs: Mapping[str, Job], answers: Answers[Arrival]) -> None:
    """Write down how it ended."""
    errors = {name: say(error) for name, error in answers.errors.items()}
    errors |= {name: "nothing had to be sent" for name, arrival in answers.values.items() if not arrival.sent}
    rendered_anew = {
        name: arrival.sent
        for name, arrival in answers.values.items()
        if arrival.sent and arrival.sent != jobs[name].native
    }
    record.writes_end(rows, errors, rendered_anew)


def _tell(run: Run, batch: Iterable[Move], answers: Answers[Arrival]) -> None:
    lines = []
    for move in batch:
        if move.device in answers.errors:
            lines.append((move.device, say(answers.errors[move.device]), Level.ERROR))
            continue
        is_new = bool(answers.values[move.device].sent)
        pending = ", to be confirmed" if move.step.label else ""
        text = f"{_counted(move)}, read back{pending}" if is_new else "was there already"
        lines.append((move.device, f"{move.phase}: {text}", Level.INFO))
    record.events_log(run.change, lines)


def _counted(move: Move) -> str:
    counts: dict[str, int] = {}
    for change in move.changes:
        counts[change.action.value] = counts.get(change.action.value, 0) + 1
    return ", ".join(f"{count} {action}d" for action, count in sorted(counts.items()))


def told(errors: Mapping[str, DriverError]) -> str:
    return "; ".join(say(error) for _, error in sorted(errors.items()))[:2000]


def refused_by(errors: Mapping[str, DriverError]) -> str:
    """What devices turned down, "" if they only did not answer."""
    return told({name: error for name, error in errors.items() if not isinstance(error, Transient)})


def is_passing(errors: Mapping[str, DriverError]) -> bool:
    return all(isinstance(error, Transient) for error in errors.values())
