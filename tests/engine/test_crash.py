# SPDX-License-Identifier: Apache-2.0
"""A worker may die before or after any push. The next attempt ends where an undisturbed one would have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction

from chains import models
from chains.services.actor import SYSTEM
from chains.services.again import change_retry
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import EMPTY
from tests.engine import world
from tests.engine.wire import Died, Tap

pytestmark = pytest.mark.usefixtures("fabric")
MOMENTS = ("push", "pushed")


def dies_at(tap: Tap, moment: str, point: int) -> list[str]:
    """The worker dies at this push (counted from here). What it returns is filled when it happened."""
    first = len(tap.pushes)
    died: list[str] = []

    def at(now: str, device: str, number: int) -> None:
        if (now, number) == (moment, first + point) and not died:
            died.append(device)
            raise Died

    tap.at = at
    return died


def attempt(change: models.Change) -> None:
    world.due_now()
    world.run_change(change.pk)
    change.refresh_from_db()


def every_point(tap: Tap, moment: str, change_id: int, check: Callable[[models.Change], None]) -> int:
    """Attempt the change with a death at each point in turn, always from the same start; how many points there were."""
    start, survived = world.network(), 0
    for point in range(100):
        died = attempt_twice(tap, moment, point, change_id, check)
        survived = 0 if died else survived + 1
        for name in {*start, *world.network()}:
            with fake.box(name) as box:
                box.state = start.get(name, EMPTY)
        if survived == 2:  # a push that the device refuses has no moment after it
            return point - 1
    raise AssertionError("the change never ends")


def attempt_twice(
    tap: Tap, moment: str, point: int, change_id: int, check: Callable[[models.Change], None]
) -> list[str]:
    """In a transaction that is rolled back in the end, so that the next point starts from the same rows."""
    with transaction.atomic():
        change = models.Change.objects.get(pk=change_id)
        died = dies_at(tap, moment, point)
        try:
            attempt(change)
        except Died:
            attempt(change)
        check(change)
        transaction.set_rollback(True)
    return died


def check_applied(change: models.Change) -> None:
    assert change.status == "succeeded", world.events(change)
    assert world.network() == {name: state_from_json(items) for name, items in change.plan.target.items()}


@pytest.mark.parametrize("moment", MOMENTS)
def test_apply_survives_a_death_at_every_push(moment: str, tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW, world.IPS))
    assert every_point(tap, moment, change.pk, check_applied) == 7


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_move_survives_a_death_at_every_push(moment: str, tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    change = world.change(world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}]))
    assert any(step.phase == "remove" for step in change.plan.steps.all())
    assert every_point(tap, moment, change.pk, check_applied) >= 6


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_removal_survives_a_death_at_every_push(moment: str, tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    world.delete(chain)
    chain.refresh_from_db()

    def check(change: models.Change) -> None:
        assert change.status == "succeeded", world.events(change)
        assert world.network() == {}
        assert not models.Chain.objects.exists()

    assert every_point(tap, moment, world.change(chain).pk, check) >= 3


@pytest.mark.parametrize("moment", MOMENTS)
def test_taking_back_survives_a_death_at_every_push(moment: str, tap: Tap) -> None:
    """leaf1 refuses the switch, which comes last; the worker dies before that or while it takes all back."""
    change = world.change(world.chain(world.NGFW, world.IPS))
    switch = change.plan.steps.get(phase="switch", device__name="leaf1")
    tap.refuses = frozenset({switch.native})

    def check(change: models.Change) -> None:
        assert change.status == "reverted", world.events(change)
        assert world.network() == {}

    assert every_point(tap, moment, change.pk, check) >= 10


def test_a_device_that_forgot_everything_in_between_takes_the_change_back(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW, world.IPS))
    dies_at(tap, "pushed", 5)
    with pytest.raises(Died):
        attempt(change)
    with fake.box("fw1") as box:
        assert box.state != EMPTY
        box.state = EMPTY
    attempt(change)
    assert change.status == "reverted", world.events(change)
    assert world.network() == {}


def test_work_that_kills_its_worker_is_given_up(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    for _ in range(5):
        dies_at(tap, "push", 0)
        with pytest.raises(Died):
            attempt(change)
    dies_at(tap, "pushed", 99)
    attempt(change)
    assert (change.status, change.attempts) == ("failed", 5), world.events(change)
    assert world.network() == {}
    change_retry(actor=SYSTEM, change=change)
    attempt(change)
    check_applied(change)
