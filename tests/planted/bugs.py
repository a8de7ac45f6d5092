# SPDX-License-Identifier: Apache-2.0
"""What may go wrong in the engine, as an edit of its source, and the suite that has to notice. Data only.

`test_planted` checks that every edit still fits the source; `./run soak --planted` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """old: occurs once in the file at `path`; new: what it becomes. suite: arguments of pytest."""

    name: str
    path: str
    old: str
    new: str
    suite: tuple[str, ...]


LEASE = "chains/engine/lease.py"
CARRY = "chains/engine/carry.py"
RUN = "chains/engine/run.py"
STAGE = "chains/engine/stage.py"
FINISH = "chains/engine/finish.py"
RECONCILE = "chains/engine/reconcile.py"

BUGS: tuple[Bug, ...] = (
    Bug(
        "the lease is not checked before a push",
        LEASE,
        "        if not record.lease_renew(self._epochs, self._holder, self._limits.lease_ttl_s):\n"
        "            raise LeaseLost\n",
        "        record.lease_renew(self._epochs, self._holder, self._limits.lease_ttl_s)\n",
        ("tests/engine/test_race.py",),
    ),
    Bug(
        "a worker that was stopped pushes when it wakes",
        LEASE,
        "        if time.monotonic() - self._renewed >= self._limits.lease_ttl_s - self._limits.device_timeout_s:\n"
        "            raise LeaseLost\n",
        "",
        ("tests/engine/test_race.py",),
    ),
    Bug(
        "the epoch is not raised by a take-over",
        "chains/services/lease.py",
        "epoch = chains_lease.epoch + 1",
        "epoch = chains_lease.epoch",
        ("tests/chains/test_lease.py",),
    ),
    Bug(
        "a push is believed without reading back",
        CARRY,
        "    held = job.held(observation)\n    if held != job.goal:\n        raise Rejected",
        "    held = job.goal\n    if held != job.goal:\n        raise Rejected",
        ("tests/engine/test_failure.py",),
    ),
    Bug(
        "after the decision nothing is read back",
        FINISH,
        "    return _holds(run, move, seen) and not move.step.label\n",
        "    return True\n",
        ("tests/engine/test_confirm.py", "-k", "said_yes"),
    ),
    Bug(
        "commits are never confirmed",
        FINISH,
        "    answers = confirm(run.fleet, jobs, run.must_hold)\n",
        "    answers = run.fleet.each({name: read for name in jobs})\n",
        ("tests/engine/test_confirm.py", "-k", "confirmed_after"),
    ),
    Bug(
        "commits are confirmed before the decision",
        STAGE,
        "is_strict=True, is_kept=False",
        "is_strict=True, is_kept=True",
        ("tests/engine/test_confirm.py", "-k", "goes_back"),
    ),
    Bug(
        "a stranger's pending commit is confirmed by ours",
        CARRY,
        "    if observation.pending and observation.pending not in set(ours):",
        "    if False:",
        ("tests/engine/test_confirm.py", "-k", "stranger"),
    ),
    Bug(
        "what a device answers to a push is ignored",
        "drivers/appliance/linux.py",
        "            if done is not None and done.code:\n                fate",
        "            if False:\n                fate",
        ("tests/drivers/test_linux.py",),
    ),
    Bug(
        "the decision is made before all is pushed",
        STAGE,
        "        _push(run, early)\n",
        "        _decide(run)\n        _push(run, early)\n",
        ("tests/engine/test_crash.py",),
    ),
    Bug(
        "nothing is taken back, only said so",
        RECONCILE,
        '        answers = send(run, wave, jobs, purpose="revert", done=models.Step.Status.REVERTED)\n',
        "        answers = run.fleet.each({name: lambda session: session.read() for name in jobs})\n"
        "        record.steps_set([move.step for move in wave], models.Step.Status.REVERTED)\n",
        ("tests/engine/test_failure.py",),
    ),
    Bug(
        "waves run in the wrong order: traffic is led before the way is built",
        "chains/engine/moves.py",
        "    for _, wave in groupby(sorted(moves, key=lambda move: move.wave), key=lambda move: move.wave):\n",
        "    for _, wave in groupby(sorted(moves, key=lambda move: -move.wave), key=lambda move: move.wave):\n",
        ("tests/engine/test_apply.py",),
    ),
    Bug(
        "a step is not marked before its push",
        RUN,
        "    record.steps_sent({move.step: jobs[move.device].label for move in moves})\n",
        "",
        ("tests/engine/test_crash.py",),
    ),
    Bug(
        "a plan is applied on a moved base",
        "chains/engine/fresh.py",
        "        reason = _chain_moved(plan, chain)\n",
        '        reason = ""\n',
        ("tests/engine/test_stale.py",),
    ),
    Bug(
        "the bell is rung outside the change's transaction, or not at all",
        "chains/services/intent.py",
        "    bell(Outbox.Topic.CHANGE, change.pk)\n",
        "",
        ("tests/engine/test_sweep.py", "tests/chains/test_intent.py"),
    ),
    Bug(
        "the freeze switch is not asked before a push",
        "chains/engine/freeze.py",
        "        if self._seen is not None:\n",
        "        if False:\n",
        ("tests/engine/test_freeze.py",),
    ),
    Bug(
        "repairs go on when most devices are silent",
        "chains/engine/observe.py",
        "    if statuses.filter(condition=Condition.UNREACHABLE).count() > half:\n        return True\n",
        "",
        ("tests/engine/test_drift.py",),
    ),
    Bug(
        "the first device is not watched",
        STAGE,
        "                watch(run, batch, run.soak_s)\n",
        "",
        ("tests/engine/test_reach.py",),
    ),
    Bug(
        "all devices are written at once",
        "chains/services/writes.py",
        "    if reached > most:\n",
        "    if False:\n",
        ("tests/engine/test_reach.py", "-k", "guard"),
    ),
    Bug(
        "a key is answered whatever the body",
        "chains/services/replies.py",
        "    if row.fingerprint != key.fingerprint:",
        "    if False:",
        ("tests/api/test_once.py",),
    ),
)
