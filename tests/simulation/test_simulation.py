# SPDX-License-Identifier: Apache-2.0
"""Seeded schedules of the simulator, the seeds that once failed, and bugs planted to see the simulator catch them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chains import models
from chains.engine import carry, claims, lease
from drivers import fake
from tests.engine import world
from tests.simulation import devices, schedule
from tests.simulation.totals import Totals

# Less than a minute on an idle core; `./run soak --seeds N` plays more.
SEEDS = range(30)


@pytest.fixture
def fabric(transactional_db: None, settings: Any) -> Iterator[None]:
    for name, value in devices.LIMITS.items():
        setattr(settings, name, value)
    fake.reset()
    world.load()
    yield
    schedule.forget()


def play(seeds: range) -> Totals:
    total = Totals()
    for seed in seeds:
        total.add(schedule.run(seed))
    return total


@pytest.mark.slow
def test_no_schedule_breaks_a_promise(fabric: None) -> None:
    total = play(SEEDS)
    assert total.failing == [], total.text(0)
    # A simulation in which nothing happens proves nothing.
    assert len(total.faults) >= 10, total.faults
    assert total.walked > len(SEEDS)
    assert {"succeeded", "reverted"} <= total.changes.keys()


def test_a_seed_replays_exactly(fabric: None) -> None:
    first, second = schedule.run(7), schedule.run(7)
    assert first.trace == second.trace
    assert (first.faults, first.pushes, first.changes) == (second.faults, second.pushes, second.changes)


def test_a_schedule_leaves_nothing_behind(fabric: None) -> None:
    schedule.run(3)
    schedule.forget()
    rows = (models.Chain, models.Plan, models.Change, models.Contribution, models.Lease, models.DeviceStatus)
    assert not any(model.objects.exists() for model in rows)
    assert not models.Offer.objects.filter(is_enabled=False).exists()
    assert world.network() == {}


def test_a_loss_that_is_over_is_not_the_reason_of_an_edited_chain(fabric: None) -> None:
    """Found by seed: the chain was edited while its only IPS was down, and said so for ever after the IPS came back."""
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


def caught(seeds: range) -> set[str]:
    """What the simulator complains of, up to the first seed that does."""
    for seed in seeds:
        problems = schedule.run(seed).problems
        if problems:
            return set(problems)
    return set()


@pytest.mark.slow
def test_it_catches_a_writer_that_does_not_ask_for_its_lease(fabric: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease.Leases, "check", lambda self: None)
    monkeypatch.setattr(lease.Leases, "must_hold", lambda self: None)
    assert caught(range(5, 20))


@pytest.mark.slow
def test_it_catches_an_engine_that_believes_a_device(fabric: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "_require", lambda observation, job: observation)
    monkeypatch.setattr(schedule, "TROUBLES", ("silent",))
    assert caught(range(50, 60))


def test_it_catches_a_crashed_change_that_nobody_takes_up(fabric: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "changes_due", lambda limit: [])
    assert "lost_intents" in caught(range(4))
