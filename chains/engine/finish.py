# SPDX-License-Identifier: Apache-2.0
"""A change from its decision to its end: confirm, drain, remove, and read everything back once more.

Called by reconcile, however often it takes. Nothing is taken back here: what went astray is written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from django.db.models import Q

from chains import models
from chains.engine.carry import Job, confirm, say
from chains.engine.drain import drain
from chains.engine.moves import Move, batches, by_device, removed_by, waves
from chains.engine.run import Level, Run, job_of, refused_by, send, told, write
from chains.engine.sessions import read
from chains.services import record
from drivers.base import DriverError, Observation, Transient


def roll_forward(run: Run) -> bool:
    """True when the network is as decided."""
    errors = _silent(run)
    seen = _confirm(run, errors)
    if not _is_settled(run, errors):
        return False
    late = [move for move in run.moves if not move.is_before_decision and move.device not in errors]
    open_moves = [move for move in late if not move.is_done]
    if open_moves:
        run.say(f"drain: {drain(run.fleet, removed_by(open_moves), run.limits)}")
    for wave in waves(open_moves):
        for batch in batches(wave):
            todo = [move for move in batch if move.device not in errors]
            if todo:
                errors |= write(run, todo, is_strict=False, is_kept=True).errors
    # What was read after its confirm, through a connection of its own, need not be read twice if nothing came after.
    errors |= _read_back(run, run.moves, errors, {} if open_moves else seen)
    return _end(run, errors)


def _confirm(run: Run, errors: Mapping[str, DriverError]) -> dict[str, Observation]:
    """Make what is pending stay. A device that took it back meanwhile is written anew by the reading at the end.

    What the devices showed after it: they hold what was decided, and nothing is pending there.
    """
    pending = [move for move in run.moves if move.is_before_decision and move.step.label]
    jobs = {
        name: tuple(_held(run, move) for move in held)
        for name, held in by_device(pending).items()
        if name not in errors
    }
    if not jobs:
        return {}
    run.check()
    answers = confirm(run.fleet, jobs, run.must_hold)
    record.steps_confirmed(move.step for move in pending if move.device in answers.values)
    run.say(f"confirmed on {len(answers.values)} devices")
    for name, error in answers.errors.items():
        run.say(f"not confirmed: {say(error)}", device=name, level=Level.WARNING)
    return answers.values


def _held(run: Run, move: Move) -> Job:
    label = move.step.label
    return Job(
        run.fleet.targets[move.device], run.chain_number, move.after, move.after, "", is_strict=False, label=label
    )


def _is_settled(run: Run, errors: Mapping[str, DriverError]) -> bool:
    """Is the new way there for good? A device that may yet take it back leads to the old one: that stays until then."""
    early = [move for move in run.moves if move.is_before_decision]
    unsettled = {move.device for move in early if move.step.label and move.device not in errors}
    if not unsettled:
        return True
    found = _read_back(run, [move for move in early if move.device in unsettled], errors)
    if found:
        run.again(told(found), refused_by(found))
    return not found


def _read_back(
    run: Run,
    moves: Iterable[Move],
    errors: Mapping[str, DriverError],
    seen_before: Mapping[str, Observation] = MappingProxyType({}),
) -> dict[str, DriverError]:
    """These moves' devices once more, but for those that were read a moment ago; what is not as decided, or not
    confirmed, is written anew.
    """
    last = {name: held[-1] for name, held in by_device(moves).items() if name not in errors}
    answers = run.fleet.each({name: read for name in last if name not in seen_before})
    answers.values |= {name: seen for name, seen in seen_before.items() if name in last}
    found = dict(answers.errors)
    # Right, but pending: taking it back would cut what flows. It is confirmed again, or written anew when it is gone.
    for name, seen in answers.values.items():
        if seen.pending and seen.pending == last[name].step.label and _holds(run, last[name], seen):
            found[name] = Transient(f"{name}: the commit {seen.pending} is not confirmed yet")
    settled = {name: seen for name, seen in answers.values.items() if name not in found}
    astray = [last[name] for name, seen in settled.items() if not _is_as_decided(run, last[name], seen)]
    if astray:
        jobs = {move.device: _anew(run, move) for move in astray}
        written = send(run, astray, jobs, purpose="again")
        found |= written.errors
        for name, arrival in written.values.items():
            answers.values[name] = arrival.observation
            run.say("was not as decided any more; written anew", device=name, level=Level.WARNING)
    read_back = {name: seen for name, seen in answers.values.items() if name not in found}
    record.observations_record({_device(last[name]): seen for name, seen in read_back.items()})
    return found


def _device(move: Move) -> models.Device:
    device = move.step.plan_step.device
    assert device is not None, "a drain step is no move"
    return device


def _is_as_decided(run: Run, move: Move, seen: Observation) -> bool:
    return _holds(run, move, seen) and not move.step.label


def _holds(run: Run, move: Move, seen: Observation) -> bool:
    return seen.state.of_chain(run.chain_number) == move.after


def _anew(run: Run, move: Move) -> Job:
    """Whatever the device holds, what it holds in the end; what may be pending there is taken back first."""
    job = job_of(run, move, is_strict=False, is_kept=True)
    labels = (*job.settles, move.step.label) if move.step.label else job.settles
    return replace(job, start=move.after, native="", settles=labels)


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
        return run.again(told(errors), refused_by(errors))
    for name, error in errors.items():
        text = f"left behind: {say(error)}; what is left there is removed when it answers again"
        run.say(text, device=name, level=Level.WARNING)
    with record.fenced(run.leases.check):
        record.change_succeeded(run.change)
    record.finding_close(code="change-failed", chain=run.plan.chain)
    run.say("done: every device was read back as decided" if not errors else "done, but for what was left behind")
    return True
