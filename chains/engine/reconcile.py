# SPDX-License-Identifier: Apache-2.0
"""One idempotent, resumable attempt at one change: all devices or none.

Called by tasks and the sweep with an id. Before the decision (a row in PostgreSQL) whatever fails is taken back;
after it the change is carried to its end, however often it takes. What is sent is the stored plan's bytes.
"""

from __future__ import annotations

import logging
import random

from django.db.models import Prefetch

from chains import models
from chains.engine import breaker, stage, windows
from chains.engine.carry import say
from chains.engine.claims import steps_open
from chains.engine.finish import roll_forward
from chains.engine.freeze import Frozen, Gate
from chains.engine.lease import LeaseBusy, LeaseLost, Leases
from chains.engine.limits import limits
from chains.engine.moves import moves_of, waves
from chains.engine.run import Failed, Level, Run, Stale, job_back, refused_by, send
from chains.engine.sessions import fleet_of
from chains.errors import Conflict
from chains.selectors.usage import ENDED, OPEN, UNDER_WAY
from chains.services import record

log = logging.getLogger(__name__)
Status = models.Change.Status
BUSY = "other changes on the same devices are being worked on"


def run_change(change_id: int) -> bool:
    """Attempt the change. True when it has ended (or there is none), False when it is to be tried again later."""
    try:
        return _attempt(change_id)
    except LeaseBusy:
        record.attempt_waits(change_id, random.uniform(1.0, 3.0), BUSY, was_counted=False, is_told=False)
        return False
    except Frozen as frozen:
        record.attempt_waits(change_id, limits().sweep_s, str(frozen), was_counted=frozen.was_counted)
        return False
    except LeaseLost:
        log.warning("change %s: another worker took over", change_id)
        record.attempt_over(change_id)
        return False
    except Exception as error:  # noqa: BLE001  whatever it was: record it, then let it be seen
        given = limits()
        wait_s = given.retry_after_s(given.attempts) * random.random()
        record.change_crashed(change_id, f"{type(error).__name__}: {error}"[:2000], wait_s, given.broken)
        raise


def _attempt(change_id: int) -> bool:
    given = limits()
    change = _load(change_id)
    if change is None or change.status not in UNDER_WAY:
        return change is None or change.status not in OPEN
    if change.due_at > record.now():
        return False  # another attempt is running, or the last one asked for patience
    gate = Gate()
    gate.check()
    wait = None if _is_outdated(change) else breaker.must_wait(change) or windows.must_wait(change)
    if wait is not None:
        record.attempt_waits(change_id, wait.after_s, wait.text, was_counted=False)
        return False
    devices = {step.device.name: step.device for step in change.plan.steps.all() if step.device}
    with Leases((device.pk for device in devices.values()), given, wait_s=given.lease_wait_s) as leases:
        claim = record.change_claim(change_id, given.lease_ttl_s, given.broken)
        if claim.change is None:
            return claim.is_over
        gate.is_counted = True
        leases.on_renewed = lambda: record.change_hold(change_id, given.lease_ttl_s)
        steps_open(change)
        change = _anew(change)
        moves = moves_of(change.plan, change.steps.all())
        with fleet_of(devices.values(), given, lambda: _while_waiting(leases, gate)) as fleet:
            fleet.leave_alone(breaker.left_alone(devices))
            is_over = _go_once(Run(change, change.plan, moves, leases, fleet, given, gate))
            breaker.note(devices, fleet.heard, given)
            return is_over


def _is_outdated(change: models.Change) -> bool:
    """Its chain was edited or deleted since, and no device holds anything of it: it ends as stale, and waits for none.
    """
    chain = change.plan.chain
    return chain is not None and chain.generation != change.plan.generation and not windows.has_begun(change)


def _while_waiting(leases: Leases, gate: Gate) -> None:
    leases.keep()
    gate.look()


def _load(change_id: int) -> models.Change | None:
    planned = models.PlanStep.objects.select_related("device")
    return (
        models.Change.objects.select_related("plan__chain", "plan__tenant")
        .defer("plan__placement", "plan__proof", "plan__intent", "plan__errors")
        .prefetch_related("steps", Prefetch("plan__steps", planned))
        .filter(pk=change_id)
        .first()
    )


def _anew(change: models.Change) -> models.Change:
    """How far it is, read once more under the claim. What is planned never changes: the plan is the one read before,
    and so what is compared with its hash is what is pushed.
    """
    plan = change.plan
    planned = {row.pk: row for row in plan.steps.all()}
    change = models.Change.objects.prefetch_related("steps").get(pk=change.pk)
    change.plan = plan
    for step in change.steps.all():
        step.plan_step = planned[step.plan_step_id]
    return change


def _go_once(run: Run) -> bool:
    try:
        return _go(run)
    except Conflict:
        # A plan that writes nothing has no leases: somebody else may have ended it at the same time.
        if models.Change.objects.filter(pk=run.change.pk, status__in=ENDED).exists():
            return True
        raise


def _go(run: Run) -> bool:
    if run.change.decided_at is not None:
        return roll_forward(run)
    if run.change.status == Status.REVERTING:
        return _revert(run, run.change.error)
    try:
        if run.change.attempts > run.limits.attempts:
            raise Failed(f"gave up after {run.limits.attempts} attempts: {run.change.error or 'every one broke off'}")
        stage.apply(run)
    except Failed as failure:
        return _give_up(run, failure)
    return roll_forward(run)


# --- giving up --------------------------------------------------------------------------------


def _give_up(run: Run, failure: Failed) -> bool:
    """Nothing sent: wait and try again, or end. Something sent: take it back."""
    is_sent = any(move.is_started for move in run.moves)
    run.say(str(failure), level=Level.ERROR)
    if not is_sent and failure.is_passing and run.change.attempts < run.limits.attempts:
        return run.again(str(failure))
    with record.fenced(run.leases.check):
        record.change_reverting(run.change, str(failure))
    return _revert(run, str(failure), is_stale=isinstance(failure, Stale))


def _revert(run: Run, reason: str, *, is_stale: bool = False) -> bool:
    """Take back what was sent, last wave first. True when every device was read back as before.

    What a device holds unconfirmed is cancelled; the rest is undone by the reverse of the plan.
    """
    for wave in reversed(list(waves(move for move in run.moves if move.is_started))):
        jobs = {move.device: job_back(run, move) for move in wave}
        answers = send(run, wave, jobs, purpose="revert", done=models.Step.Status.REVERTED)
        done = [move for move in wave if move.device in answers.values]
        for move in done:
            run.say(f"{move.phase}: taken back, read back as before", device=move.device)
        for name, error in answers.errors.items():
            run.say(f"not taken back yet: {say(error)}", device=name, level=Level.ERROR)
        if answers.errors:
            return run.again(reason, refused_by(answers.errors))
    with record.fenced(run.leases.check):
        record.change_reverted(run.change, reason, is_stale=is_stale)
    if not is_stale and run.plan.chain is not None:
        witness = {"change": run.change.pk, "plan": run.plan.pk}
        record.finding_open(
            code="change-failed", chain=run.plan.chain, plan=run.plan, detail=reason, witness=witness
        )
    return True
