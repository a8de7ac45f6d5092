# SPDX-License-Identifier: Apache-2.0
"""Bugs to plant: each breaks one promise of the engine, to see the simulator catch it. Never installed by default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from chains import models
from chains.engine import carry, claims, drift, finish, lease, moves, reconcile, stage
from chains.engine.freeze import Gate
from chains.engine.sessions import Answers
from chains.services import intent, progress, record, trail
from drivers.base import Observation, Rejected


@contextmanager
def _as(*patches: tuple[Any, str, object]) -> Iterator[None]:
    with ExitStack() as stack:
        for place, name, value in patches:
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, value)
        yield


def reversed_waves() -> Any:
    """Traffic is switched before anything is built for it."""
    right = moves.waves

    def waves(held: Any) -> Any:
        return reversed(list(right(held)))

    return _as((stage, "waves", waves), (finish, "waves", waves), (reconcile, "waves", waves))


def no_lease_check() -> Any:
    """A worker never asks whether its leases are still its own."""
    names = ("check", "must_hold", "keep")
    return _as(*((lease.Leases, name, lambda self: None) for name in names))


def no_read_back() -> Any:
    """What a device says is believed: what is read after it is not looked at."""
    return _as(
        (carry, "_require", lambda observation, job: observation),
        (stage, "watch", lambda run, moves, seconds: None),
    )


def errors_ignored() -> Any:
    """A device's refusal is taken for success."""
    right = carry._run

    def run(session: Any, job: Any, must_hold: Any) -> Any:
        try:
            return right(session, job, must_hold)
        except Rejected:
            return carry.Arrival(session.read(), job.native)

    return _as((carry, "_run", run), (stage, "watch", lambda run, moves, seconds: None))


def decision_first() -> Any:
    """The decision is recorded before anything was pushed and read back."""
    right = stage._push

    def push(run: Any, early: Any) -> None:
        stage._decide(run)
        right(run, early)

    return _as((stage, "_push", push))


def no_revert() -> Any:
    """A change that failed says that it was taken back, and leaves everything where it is."""

    def send(run: Any, wave: Any, jobs: Any, *, purpose: str, done: Any) -> Any:
        record.steps_set([move.step for move in wave], done)
        return Answers({move.device: carry.Arrival(Observation(move.before), "") for move in wave})

    return _as((reconcile, "send", send))


class _NoLeases:
    def __init__(self, device_ids: Any, given: Any, *, wait_s: float) -> None:
        pass

    def __enter__(self) -> _NoLeases:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def epoch(self, device_id: int) -> int:
        return 0

    def keep(self) -> None:
        pass

    check = must_hold = keep


def repair_without_lease() -> Any:
    """Drift is put right without asking who else writes."""
    return _as((drift, "Leases", _NoLeases))


def freeze_ignored() -> Any:
    """The freeze switch is not asked."""
    return _as((Gate, "must_be_open", lambda self: None))


def nobody_sweeps_changes() -> Any:
    """A change whose worker died is taken up by nobody."""
    return _as((claims, "changes_due", lambda limit, **which: []))


def not_confirmed() -> Any:
    """Commits are never confirmed, and nobody looks."""
    return _as(
        (carry, "settle", lambda session, labels, *, is_confirmed: None),
        (finish, "_is_as_decided", lambda run, move, seen: True),
    )


def half_decision() -> Any:
    """The decision is marked, and nothing of what it decides is written."""

    def record_again(change: Any) -> None:
        models.Change.objects.filter(pk=change.pk).update(decided_at=record.now())

    return _as((record, "decision_record", record_again))


def no_bell() -> Any:
    """A write leaves no bell. Nothing may come of it: whatever is due is found by the sweeps."""

    def silent(topic: Any, ref: int) -> None:
        trail._require_transaction()

    return _as((intent, "bell", silent), (progress, "bell", silent))


# Name -> how to plant it. Those of HARMLESS have to be survived, all others caught.
BUGS: Mapping[str, Callable[[], Any]] = {
    plant.__name__: plant
    for plant in (
        reversed_waves, no_lease_check, no_read_back, errors_ignored, decision_first, no_revert, repair_without_lease,
        freeze_ignored, nobody_sweeps_changes, not_confirmed, half_decision, no_bell,
    )
}  # fmt: skip
HARMLESS = frozenset({"no_bell"})
