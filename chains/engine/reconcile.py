# SPDX-License-Identifier: Apache-2.0
"""One idempotent, resumable attempt at one change: all devices or none.

Called by tasks and the sweep with an id. Before the decision (a row in PostgreSQL) whatever fails is taken back;
after it the change is carried to its end, however often it takes. What is sent is the stored plan's bytes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.db.models import Prefetch, Q

from chains import models
from chains.engine import fresh
from chains.engine.carry import Arrival, Job, carry, difference, say
from chains.engine.claims import steps_open
from chains.engine.drain import drain
from chains.engine.freeze import Frozen, Gate
from chains.engine.lease import LeaseBusy, LeaseLost, Leases
from chains.engine.limits import Limits, limits
from chains.engine.moves import Move, by_device, expected_states, final_states, moves_of, removed_by, waves
from chains.engine.sessions import Answers, Fleet, fleet_of, read
from chains.services import record
from drivers.base import DriverError, Session, Transient
from drivers.state import DeviceState

log = logging.getLogger(__name__)
Status = models.Change.Status
Level = models.ChangeEvent.Level
ENDED = (Status.SUCCEEDED, Status.REVERTED, Status.FAILED)


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


def run_change(change_id: int) -> bool:
    """Attempt the change. True when it has ended (or there is none), False when it is to be tried again later."""
    try:
        return _attempt(change_id)
    except LeaseBusy:
        record.change_postpone(change_id, 1.0)
        return False
    except Frozen as frozen:
        record.attempt_waits(change_id, limits().sweep_s, str(frozen), was_counted=frozen.was_counted)
        return False
    except LeaseLost:
        log.warning("change %s: another worker took over", change_id)
        return False
    except Exception as error:  # noqa: BLE001  the one broad catch: record it, then let it be seen
        record.change_crashed(change_id, f"{type(error).__name__}: {error}"[:2000], limits().retry_cap_s)
        raise


def _attempt(change_id: int) -> bool:
    given = limits()
    change = _load(change_id)
    if change is None or change.status in ENDED:
        return True
    if change.due_at > record.now():
        return False  # another attempt is running, or the last one asked for patience
    gate = Gate()
    gate.check()
    devices = {step.device.name: step.device for step in change.plan.steps.all() if step.device}
    with Leases((device.pk for device in devices.values()), given, wait_s=given.lease_wait_s) as leases:
        if record.change_claim(change_id, given.lease_ttl_s) is None:
            return True
        gate.is_counted = True
        steps_open(change)
        change = _load(change_id)
        assert change is not None
        moves = moves_of(change.plan, change.steps.all())
        with fleet_of(devices.values(), given, lambda: _while_waiting(leases, gate)) as fleet:
            return _go(Run(change, change.plan, moves, leases, fleet, given, gate))


def _while_waiting(leases: Leases, gate: Gate) -> None:
    leases.keep()
    gate.look()


def _load(change_id: int) -> models.Change | None:
    steps = models.Step.objects.select_related("plan_step__device")
    planned = models.PlanStep.objects.select_related("device")
    return (
        models.Change.objects.select_related("plan__chain", "plan__tenant")
        .prefetch_related(Prefetch("steps", steps), Prefetch("plan__steps", planned))
        .filter(pk=change_id)
        .first()
    )


def _go(run: Run) -> bool:
    if run.change.decided_at is not None:
        return _roll_forward(run)
    if run.change.status == Status.REVERTING:
        return _revert(run, run.change.error)
    try:
        if run.change.attempts > run.limits.attempts:
            raise Failed(f"gave up after {run.limits.attempts} attempts: {run.change.error or 'every one broke off'}")
        _apply(run)
    except Failed as failure:
        return _give_up(run, failure)
    return _roll_forward(run)


# --- before the decision ----------------------------------------------------------------------


def _apply(run: Run) -> None:
    """Stage, validate, push wave by wave, read back, decide. Errors: Failed, Stale."""
    if not any(move.is_started for move in run.moves):
        reason = fresh.why_stale(run.plan)
        if reason:
            raise Stale(f"the plan is stale: {reason}; ask for a new one")
    early = [move for move in run.moves if move.is_before_decision]
    _locate(run, early)
    _validate(run, early)
    run.check()
    record.allocations_record(run.plan)
    for wave in waves(early):
        _push(run, [move for move in wave if move.step.status != models.Step.Status.DONE])
    run.check()
    record.decision_record(run.change)
    run.change.decided_at = record.now()
    run.say("decided: every device was read back as planned; from here on the change is carried to its end")


def _locate(run: Run, early: list[Move]) -> None:
    """Open and read all devices; find how far each got, whatever died in between. Errors: Failed, Stale."""
    wanted = by_device(early)
    answers = run.fleet.each({name: read for name in wanted})
    if answers.errors:
        raise Failed(_told(answers.errors), is_passing=_is_passing(answers.errors))
    arrived = []
    for name, observation in answers.values.items():
        moves, held = wanted[name], observation.state.of_chain(run.chain_number)
        if held not in expected_states(moves):
            reason = difference(held, expected_states(moves)[0])
            raise Stale(f"the plan is stale: {name} is not as planned from: {reason}; wait for the repair, plan again")
        for move in moves:
            if move.is_started and move.step.status != models.Step.Status.DONE and _is_past(held, move, moves):
                arrived.append(move.step)
    record.steps_set(arrived, models.Step.Status.DONE)


def _is_past(held: DeviceState, move: Move, moves: tuple[Move, ...]) -> bool:
    """Does the device hold this move's result or a later one's?"""
    return any(held == later.after for later in moves[moves.index(move) :])


def _validate(run: Run, early: list[Move]) -> None:
    """Ask every device whether it would take its next bytes. Errors: Failed."""
    first: dict[str, Move] = {}
    for move in early:
        if move.step.status != models.Step.Status.DONE:
            first.setdefault(move.device, move)
    answers = run.fleet.each({name: _validator(move.native) for name, move in first.items()})
    if answers.errors:
        raise Failed(_told(answers.errors), is_passing=_is_passing(answers.errors))
    if first:
        run.say(f"validated on {len(first)} devices: {', '.join(first)}")


def _validator(native: str) -> Callable[[Session], None]:
    return lambda session: session.validate(native)


def _push(run: Run, wave: list[Move]) -> None:
    """One wave, side by side; every device is read back. Errors: Failed."""
    if not wave:
        return
    jobs = {move.device: _job(run, move, is_strict=True) for move in wave}
    answers = _carry(run, wave, jobs)
    if answers.errors:
        raise Failed(_told(answers.errors))


def _job(run: Run, move: Move, *, is_strict: bool) -> Job:
    return Job(run.fleet.targets[move.device], run.chain_number, move.before, move.after, move.native, is_strict)


def _carry(run: Run, wave: list[Move], jobs: Mapping[str, Job]) -> Answers[Arrival]:
    """SENT is written before the push and DONE after the read-back: a crash in between leaves a trace."""
    run.gate.check()
    record.steps_set([move.step for move in wave], models.Step.Status.SENT)
    run.check()
    answers = carry(run.fleet, jobs, run.must_hold)
    done = [move for move in wave if move.device in answers.values]
    record.steps_set([move.step for move in done], models.Step.Status.DONE)
    for move in done:
        is_new = bool(answers.values[move.device].sent)
        text = f"{_counted(move)}, read back" if is_new else "was there already"
        run.say(f"{move.phase}: {text}", device=move.device)
    for move in wave:
        if move.device in answers.errors:
            text = say(answers.errors[move.device])
            record.steps_set([move.step], models.Step.Status.SENT, error=text)
            run.say(text, device=move.device, level=Level.ERROR)
    return answers


def _counted(move: Move) -> str:
    counts: dict[str, int] = {}
    for change in move.changes:
        counts[change.action.value] = counts.get(change.action.value, 0) + 1
    return ", ".join(f"{count} {action}d" for action, count in sorted(counts.items()))


def _told(errors: Mapping[str, DriverError]) -> str:
    return "; ".join(say(error) for _, error in sorted(errors.items()))[:2000]


def _is_passing(errors: Mapping[str, DriverError]) -> bool:
    return all(isinstance(error, Transient) for error in errors.values())


# --- giving up --------------------------------------------------------------------------------


def _give_up(run: Run, failure: Failed) -> bool:
    """Nothing sent: wait and try again, or end. Something sent: take it back."""
    is_sent = any(move.is_started for move in run.moves)
    run.say(str(failure), level=Level.ERROR)
    if not is_sent and failure.is_passing and run.change.attempts < run.limits.attempts:
        _again(run, str(failure))
        return False
    record.change_reverting(run.change, str(failure))
    return _revert(run, str(failure), is_stale=isinstance(failure, Stale))


def _revert(run: Run, reason: str, *, is_stale: bool = False) -> bool:
    """Push the reverse of what was sent, last wave first. True when every device was read back as before."""
    for wave in reversed(list(waves(move for move in run.moves if move.is_started))):
        jobs = {
            move.device: Job(
                run.fleet.targets[move.device], run.chain_number, move.after, move.before, move.reverse, is_strict=False
            )
            for move in wave
        }
        run.check()
        answers = carry(run.fleet, jobs, run.must_hold)
        done = [move for move in wave if move.device in answers.values]
        record.steps_set([move.step for move in done], models.Step.Status.REVERTED)
        for move in done:
            run.say(f"{move.phase}: taken back, read back as before", device=move.device)
        for name, error in answers.errors.items():
            run.say(f"not taken back yet: {say(error)}", device=name, level=Level.ERROR)
        if answers.errors:
            _again(run, reason)
            return False
    record.change_reverted(run.change, reason, is_stale=is_stale)
    if not is_stale and run.plan.chain is not None:
        witness = {"change": run.change.pk, "plan": run.plan.pk}
        record.finding_open(
            code="change-failed", chain=run.plan.chain, plan=run.plan, detail=reason, witness=witness
        )
    return True


# --- after the decision -----------------------------------------------------------------------


def _roll_forward(run: Run) -> bool:
    """Drain and remove, then read everything back once more. True when the network is as decided."""
    errors = _silent(run)
    late = [move for move in run.moves if not move.is_before_decision and move.device not in errors]
    open_moves = [move for move in late if move.step.status != models.Step.Status.DONE]
    if open_moves:
        run.say(f"drain: {drain(run.fleet, removed_by(open_moves), run.limits)}")
    for wave in waves(open_moves):
        todo = [move for move in wave if move.device not in errors]
        errors |= _carry(run, todo, {move.device: _job(run, move, is_strict=False) for move in todo}).errors
    jobs = {
        name: Job(run.fleet.targets[name], run.chain_number, state, state, "", is_strict=False)
        for name, state in final_states(run.moves).items()
        if name not in errors
    }
    run.check()
    answers = carry(run.fleet, jobs, run.must_hold)
    devices = {move.device: move.step.plan_step.device for move in run.moves}
    for name, arrival in answers.values.items():
        if arrival.sent:
            run.say("was not as decided any more; written anew", device=name, level=Level.WARNING)
        record.observation_record(devices[name], arrival.observation)
    return _end(run, errors | answers.errors)


def _silent(run: Run) -> dict[str, DriverError]:
    """Devices that are only to be cleaned and are known not to answer, or to be dead: nobody waits for them."""
    names = _only_late(run)
    is_silent = Q(condition=models.DeviceStatus.Condition.UNREACHABLE)
    is_dead = Q(device__offers__instance__health=models.Instance.Health.DOWN)
    rows = models.DeviceStatus.objects.filter(is_silent | is_dead, device__name__in=names).distinct()
    rows = rows.select_related("device")
    return {row.device.name: Transient(f"{row.device.name}: {row.reason or 'does not answer'}") for row in rows}


def _only_late(run: Run) -> frozenset[str]:
    """Where the plan only removes. Their removal need not be waited for, unless the chain itself is to go."""
    if run.plan.goal != models.Plan.Goal.APPLY:
        return frozenset()
    early = {move.device for move in run.moves if move.is_before_decision}
    return frozenset(move.device for move in run.moves) - early


def _end(run: Run, errors: Mapping[str, DriverError]) -> bool:
    """A device that went away after the decision is left to its repair: by then nothing leads to it any more."""
    is_patience_over = run.change.attempts >= run.limits.attempts or errors.keys() <= _silent(run).keys()
    if errors and not (errors.keys() <= _only_late(run) and is_patience_over):
        _again(run, _told(errors))
        return False
    for name, error in errors.items():
        text = f"left behind: {say(error)}; what is left there is removed when it answers again"
        run.say(text, device=name, level=Level.WARNING)
    record.change_succeeded(run.change)
    record.finding_close(code="change-failed", chain=run.plan.chain)
    run.say("done: every device was read back as decided" if not errors else "done, but for what was left behind")
    return True


def _again(run: Run, error: str) -> None:
    """Later, and with every attempt a little later."""
    wait_s = run.limits.retry_after_s(run.change.attempts) * random.uniform(0.5, 1.0)
    record.change_postpone(run.change.pk, wait_s, error=error)
