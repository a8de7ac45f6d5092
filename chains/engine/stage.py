# SPDX-License-Identifier: Apache-2.0
"""A change up to its decision: everything is checked, pushed in bounded reach, read back and watched.

Called by reconcile. What fails here is taken back by reconcile, or by the devices themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from chains import models
from chains.engine import fresh, windows
from chains.engine.carry import check_pending, difference
from chains.engine.limits import VERIFY_S
from chains.engine.moves import Move, batches, by_device, canary_of, expected_states, waves
from chains.engine.run import Failed, Run, Stale, is_passing, told, write
from chains.engine.watch import watch
from chains.errors import Conflict
from chains.services import record
from drivers.base import DriverError, Observation, Session, Transient
from drivers.registry import driver
from drivers.state import DeviceState

Status = models.Step.Status


def apply(run: Run) -> None:
    """Stage, validate, push batch by batch, read back, watch, decide. Errors: Failed, Stale."""
    if not any(move.is_started for move in run.moves):
        reason = fresh.why_stale(run.plan)
        if reason:
            raise Stale(f"the plan is stale: {reason}; ask for a new one")
    early = tuple(move for move in run.moves if move.is_before_decision)
    _prepare(run, early)
    run.check()
    windows.check(run.change)
    try:
        record.allocations_record(run.plan)
    except Conflict as conflict:
        raise Stale(f"the plan is stale: {conflict}; ask for a new one") from conflict
    if early:
        _push(run, early)
        watch(run, early, run.soak_s if len(by_device(early)) > 1 else 0.0)
    _decide(run)


def _prepare(run: Run, early: tuple[Move, ...]) -> None:
    """Open and read all devices; find how far each got, whatever died in between; ask each whether it would take its
    next bytes. One visit each. Errors: Failed, Stale.
    """
    wanted = by_device(early)
    seen: dict[str, Observation] = {}
    asked: dict[str, Move] = {}

    def visit(name: str, session: Session) -> None:
        seen.pop(name, None)
        observation = seen[name] = session.read()
        following = _next(run, name, wanted[name], observation.state.of_chain(run.chain_number))
        if following is not None and not _waiting(wanted[name], observation):
            asked[name] = following
            session.validate(following.native)

    answers = run.fleet.each({name: partial(visit, name) for name in wanted})
    silent = {name: error for name, error in answers.errors.items() if name not in seen}
    if silent:
        raise Failed(told(silent), is_passing=is_passing(silent))
    record.steps_set(_arrived(run, wanted, seen), Status.DONE)
    if answers.errors:
        raise Failed(told(answers.errors), is_passing=is_passing(answers.errors))
    if asked:
        run.say(f"validated on {len(asked)} devices: {', '.join(sorted(asked))}")


def _arrived(
    run: Run, wanted: Mapping[str, tuple[Move, ...]], seen: Mapping[str, Observation]
) -> list[models.Step]:
    """Steps that were sent and of which the devices show that they took them. Errors: Failed, Stale."""
    arrived, waiting = [], []
    for name, moves in wanted.items():
        held = seen[name].state.of_chain(run.chain_number)
        if why := _waiting(moves, seen[name]):
            waiting.append(why)
            continue
        if held not in _expected(run, name, moves):
            raise Stale(_why_stale(name, held, moves))
        open_moves = (move for move in moves if move.is_started and not move.is_done)
        arrived += [move.step for move in open_moves if _is_past(held, move, moves)]
    if waiting:
        raise Failed("; ".join(waiting), is_passing=True)
    return arrived


def _waiting(moves: tuple[Move, ...], observation: Observation) -> str:
    """What keeps the device: a commit that is not ours. "" for nothing."""
    try:
        check_pending(moves[0].device, observation, (move.step.label for move in moves if move.step.label))
    except Transient as error:
        return str(error)
    return ""


def _next(run: Run, name: str, moves: tuple[Move, ...], held: DeviceState) -> Move | None:
    """The first move of a device that is still to be made; None if there is none, or it holds what nobody expects."""
    if held not in _expected(run, name, moves):
        return None
    open_moves = (move for move in moves if not move.is_done)
    return next((move for move in open_moves if not (move.is_started and _is_past(held, move, moves))), None)


def _expected(run: Run, name: str, moves: tuple[Move, ...]) -> tuple[DeviceState, ...]:
    """A device that only its operator writes may be ahead of us: that is how the change comes about there."""
    states = expected_states(moves)
    if driver(run.fleet.targets[name].driver).caps.is_writable:
        return states
    return (*states, *(move.after for move in moves))


def _why_stale(name: str, held: DeviceState, moves: tuple[Move, ...]) -> str:
    if any(move.step.label for move in moves) and held == moves[0].before:
        return f"{name} took the change back: nobody confirmed it in time"
    reason = difference(held, expected_states(moves)[0])
    return f"the plan is stale: {name} is not as planned from: {reason}; wait for the repair, plan again"


def _is_past(held: DeviceState, move: Move, moves: tuple[Move, ...]) -> bool:
    """Does the device hold this move's result or a later one's?"""
    return any(held == later.after for later in moves[moves.index(move) :])


def _push(run: Run, early: tuple[Move, ...]) -> None:
    """Wave after wave; the first device alone, and watched. Errors: Failed."""
    canary = canary_of(early) if run.change.canary_at is None else ""
    for wave in waves(early):
        for batch in batches(wave, canary=canary):
            todo = [move for move in batch if not move.is_done]
            if todo:
                _required(write(run, todo, is_strict=True, is_kept=False).errors)
            if canary and batch[0].device == canary:
                watch(run, batch, run.soak_s)
                record.canary_passed(run.change)
                canary = ""
                run.say(f"the first device was watched for {run.soak_s:g} s: all is well", device=batch[0].device)


def _required(errors: dict[str, DriverError]) -> None:
    if errors:
        raise Failed(told(errors))


def _decide(run: Run) -> None:
    """The point of no return, while no device can have begun to take anything back. Errors: Failed."""
    run.check()
    reverts_at = run.change.reverts_at
    if reverts_at is not None and record.now() + timedelta(seconds=VERIFY_S) > reverts_at:
        raise Failed("it took too long: devices are about to take back what is not confirmed")
    with record.fenced(run.leases.check):
        record.decision_record(run.change)
    run.change.decided_at = record.now()
    run.say("decided: every device was read back as planned; from here on the change is carried to its end")
