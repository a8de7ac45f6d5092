# SPDX-License-Identifier: Apache-2.0
"""What one change does, device by device: the chain's own items before and after every push. Pure.

Built by reconcile from the stored plan, so that what is sent is what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from chains import models
from chains.engine.document import change_from_json
from drivers.codec import state_from_json
from drivers.diff import Change, patch
from drivers.registry import driver
from drivers.state import EMPTY, DeviceState, Key

# Before the decision: what can still be taken back. After it: drain and remove.
BEFORE_DECISION = ("build", "switch")


@dataclass(slots=True)
class Move:
    """One push to one device. status and error follow the Step row."""

    step: models.Step
    wave: int
    phase: str
    device: str
    device_id: int
    before: DeviceState
    after: DeviceState
    changes: tuple[Change, ...]
    native: str = field(repr=False)
    reverse: str = field(repr=False)
    # Does the device take it back by itself, unless it is confirmed?
    is_confirmed_later: bool

    @property
    def is_before_decision(self) -> bool:
        return self.phase in BEFORE_DECISION

    @property
    def is_started(self) -> bool:
        """May the device hold it?"""
        return self.step.status not in (models.Step.Status.PENDING, models.Step.Status.REVERTED)

    @property
    def is_done(self) -> bool:
        return self.step.status == models.Step.Status.DONE


def moves_of(plan: models.Plan, steps: Iterable[models.Step]) -> tuple[Move, ...]:
    """In wave order; drain steps (no device) are left out. Errors: ValueError if the plan contradicts itself."""
    held = {name: state_from_json(items) for name, items in plan.base.items()}
    moves = []
    for step in sorted(steps, key=lambda step: step.plan_step.wave):
        planned = step.plan_step
        if planned.device is None:
            continue
        name = planned.device.name
        changes = tuple(change_from_json(change) for change in planned.changes)
        before = held.get(name, EMPTY)
        held[name] = patch(before, changes)
        moves.append(
            Move(
                step,
                planned.wave,
                planned.phase,
                name,
                planned.device.pk,
                before,
                held[name],
                changes,
                planned.native,
                planned.reverse,
                driver(planned.device.driver).caps.has_confirmed_commit,
            )
        )
    return tuple(moves)


def waves(moves: Iterable[Move]) -> Iterator[tuple[Move, ...]]:
    """Moves of one wave may run side by side."""
    for _, wave in groupby(sorted(moves, key=lambda move: move.wave), key=lambda move: move.wave):
        yield tuple(wave)


def batches(wave: Iterable[Move], *, canary: str = "") -> Iterator[tuple[Move, ...]]:
    """What of one wave may be under way at once, in order.

    The canary goes first and alone. Devices that take back by themselves what nobody confirms go side by side;
    the others one after another, so that never more than one of them has to be taken back by us.
    """
    rest = sorted(wave, key=lambda move: move.device)
    first = tuple(move for move in rest if move.device == canary)
    together = tuple(move for move in rest if move.is_confirmed_later and move not in first)
    single = [(move,) for move in rest if not move.is_confirmed_later and move not in first]
    yield from (batch for batch in (first, together, *single) if batch)


def canary_of(early: Sequence[Move]) -> str:
    """The device that is written first: the one begun already, else one of the first wave that can take it back."""
    begun = [move for move in early if move.is_started]
    first = begun or [move for move in early if move.wave == early[0].wave]
    return min(first, key=lambda move: (not move.is_confirmed_later, move.device)).device


def by_device(moves: Iterable[Move]) -> dict[str, tuple[Move, ...]]:
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(move.device, []).append(move)
    return {name: tuple(held) for name, held in found.items()}


def expected_states(moves: tuple[Move, ...]) -> tuple[DeviceState, ...]:
    """What a device may hold given its Step rows: after the last DONE, up to after the last SENT."""
    states = [moves[0].before]
    low = 0
    for index, move in enumerate(moves, start=1):
        if not move.is_started:
            break
        states.append(move.after)
        if move.step.status == models.Step.Status.DONE:
            low = index
    return tuple(states[low:])


def removed_by(moves: Iterable[Move]) -> dict[str, frozenset[Key]]:
    """By device, the items that the moves delete."""
    return {
        name: frozenset(change.key for move in held for change in move.changes if change.after is None)
        for name, held in by_device(moves).items()
    }
