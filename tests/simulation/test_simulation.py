# SPDX-License-Identifier: Apache-2.0
"""The simulator itself: one seed replays exactly, nothing is left behind, and planted bugs are caught.

Schedules by the hundred are in `test_seeds_*`.
"""

from __future__ import annotations

from typing import Any

import pytest

from chains import models
from drivers import fake
from tests.engine import world
from tests.simulation import fabric, planted, schedule
from tests.simulation.workers import Crew

# Bug -> what the simulator says of it, whatever else it says.
CAUGHT = {
    "reversed_waves": "mixed_end_states",
    "no_lease_check": "overlapping_writers",
    "no_read_back": "false_ready",
    "errors_ignored": "mixed_end_states",
    "not_confirmed": "lost_intents",
    "decision_first": "false_ready",
    "no_revert": "mixed_end_states",
    "repair_without_lease": "overlapping_writers",
    "freeze_ignored": "other",
    "nobody_sweeps_changes": "lost_intents",
    "half_decision": "bypassed_packets",
}
# Where to look for them: most show at once.
SEEDS = range(200, 260)


def test_a_seed_replays_exactly(crew: Crew) -> None:
    for seed in (7, 20):
        first, second = schedule.run(seed, crew), schedule.run(seed, crew)
        assert first.trace == second.trace
        assert first.pushes == second.pushes
        assert (first.faults, first.changes, first.switches) == (
            second.faults,
            second.changes,
            second.switches,
        )


def test_workers_take_turns(crew: Crew) -> None:
    """Not one after the other: there are schedules in which several are in the middle of their work at once."""
    assert schedule.run(2, crew).switches > 10


def test_a_schedule_leaves_nothing_behind(crew: Crew) -> None:
    schedule.run(3, crew)
    fabric.forget()
    rows = (models.Chain, models.Plan, models.Change, models.Contribution, models.Lease, models.DeviceStatus)
    assert not any(model.objects.exists() for model in rows)
    assert not models.Offer.objects.filter(is_enabled=False).exists()
    assert not models.Device.objects.filter(driver__endswith="-confirming").exists()
    assert world.network() == {}


def test_a_loss_that_is_over_is_not_the_reason_of_an_edited_chain(crew: Crew, settings: Any) -> None:
    """Found by seed: the chain was edited while its only IPS was down, and said so for ever after the IPS came back."""
    settings.VIADUCT_SOAK_S = 0.0
    models.Offer.objects.filter(function__name="ips", device__name="ips2").update(is_enabled=False)
    chain = world.chain(world.IPS)
    assert world.apply(chain).status == "succeeded"
    world.edit(chain, description="edited")
    for links in (["ips1-out"], []):
        with fake.box("leaf2") as box:
            box.links_down = links
        world.sweep_on(4)
        chain.refresh_from_db()
        assert chain.status == ("degraded" if links else "pending"), chain.status_reason
    assert chain.status_reason == "edited: ask for a plan and apply it"


# --- planted bugs -----------------------------------------------------------------------------


def test_every_bug_has_a_seed() -> None:
    assert CAUGHT.keys() | planted.HARMLESS == planted.BUGS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("bug", CAUGHT)
def test_it_catches(crew: Crew, bug: str) -> None:
    with planted.BUGS[bug]():
        caught = (seed for seed in SEEDS if CAUGHT[bug] in schedule.run(seed, crew).problems)
        seed = next(caught, None)
    assert seed is not None, f"nothing is said of it by {len(SEEDS)} schedules"
    assert schedule.run(seed, crew).problems == {}, f"seed {seed} fails without the bug"


@pytest.mark.parametrize("bug", sorted(planted.HARMLESS))
def test_it_survives(crew: Crew, bug: str) -> None:
    """The missing bell is said, and nothing else: all that is due is found without it."""
    with planted.BUGS[bug]():
        found = [schedule.run(seed, crew).problems for seed in range(5)]
    said = [problem for problems in found for texts in problems.values() for problem in texts]
    assert said
    assert all(problem.endswith("has no bell") for problem in said), said
