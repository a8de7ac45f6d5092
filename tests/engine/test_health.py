# SPDX-License-Identifier: Apache-2.0
"""Functions die and return: chains move by themselves where there is a way, and say so where there is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chains import models
from chains.planning.health import RECOVERING, Evidence, Judgement, judge
from chains.services import inventory
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import EMPTY
from tests.engine import world
from tests.engine.wire import Tap

UP, DOWN, UNKNOWN = Judgement("up", ""), Judgement("down", "no link at leaf2:ips1-in"), Judgement("unknown", "")
LATER = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def evidence(*links: bool | None, is_reachable: bool | None = True, second: int = 0) -> Evidence:
    names = ("leaf2:ips1-in", "leaf2:ips1-out")
    return Evidence(tuple(zip(names, links, strict=False)), is_reachable, LATER.replace(second=second))


def test_one_lost_link_is_down() -> None:
    assert judge(UP, evidence(False, True)) == DOWN
    assert judge(UP, evidence(False, None, is_reachable=False)) == DOWN


def test_silence_is_unknown_and_not_down() -> None:
    assert judge(UP, evidence(True, True, is_reachable=False)).health == "unknown"
    assert judge(UP, evidence(None, None, is_reachable=False)).health == "unknown"
    assert judge(UP, evidence(None, True)).health == "unknown"
    assert judge(UNKNOWN, Evidence((), None, None)).reason == "never read"


def test_up_again_takes_two_good_samples() -> None:
    first = judge(DOWN, evidence(True, True, second=1))
    assert first.health == "down"
    assert first.reason.startswith(RECOVERING)
    assert judge(first, evidence(True, True, second=1)) == first, "one reading does not count twice"
    assert judge(first, evidence(True, True, second=2)) == UP
    assert judge(first, evidence(True, True, is_reachable=False, second=2)) == first
    assert judge(first, evidence(True, False, second=2)).health == "down"


# --- chains ---------------------------------------------------------------------------------


def power(device: str, *, on: bool) -> None:
    """Without power: no answer, no link at its switch, and empty when it returns."""
    with fake.box(device) as box:
        box.faults.is_unreachable = not on
        if not on:
            box.state = EMPTY
    for end in models.Port.objects.filter(name__in=(f"{device}-in", f"{device}-out")):
        with fake.box(end.device.name) as box:
            if on:
                box.links_down.remove(end.name)
            else:
                box.links_down.append(end.name)


@pytest.fixture
def chain(fabric: None) -> models.Chain:
    made = world.chain(world.IPS)
    assert world.apply(made).status == "succeeded"
    return made


def is_at(chain: models.Chain, device: str) -> bool:
    """Does the network hold this chain's path through the device, as wanted?"""
    wanted = {
        row.device.name: state_from_json(row.items) for row in chain.contributions.select_related("device") if row.items
    }
    return {name: state for name, state in world.network().items() if state} == wanted and device in wanted


def instance(name: str) -> models.Instance:
    return world.offer(name).instance


def test_without_a_spare_the_chain_says_so_and_stays_closed(chain: models.Chain, tap: Tap) -> None:
    steered = world.held("leaf1")
    power("ips1", on=False)
    world.sweep_on(3)
    chain.refresh_from_db()
    assert instance("ips@ips1").health == "down"
    assert "leaf2:ips1-in" in instance("ips@ips1").health_reason
    assert chain.status == "degraded"
    assert "ips@ips1 is down" in chain.status_reason
    assert world.held("leaf1") == steered, "the redirect into the dead function stays: nothing passes unfiltered"
    assert models.Finding.objects.get(code="hop-lost").closed_at is None
    assert models.Plan.objects.filter(status="refused").count() == 1, "the same refusal is stored once"


def test_it_moves_when_a_spare_is_switched_on(chain: models.Chain) -> None:
    power("ips1", on=False)
    world.sweep_on(2)
    inventory.offer_update(actor=world.SYSTEM, offer=world.offer("ips@ips2"), is_enabled=True)
    world.sweep_on(3)
    chain.refresh_from_db()
    assert chain.status == "ready", chain.status_reason
    assert is_at(chain, "ips2")
    assert models.Finding.objects.get(code="hop-lost").closed_at is not None
    assert models.Change.objects.latest("id").created_by == "viaduct"


def test_a_standing_spare_takes_over_at_once(chain: models.Chain) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    power("ips1", on=False)
    world.sweep_on(2)
    chain.refresh_from_db()
    assert chain.status == "ready", chain.status_reason
    assert is_at(chain, "ips2")


def test_a_restart_brings_it_back_without_a_person(chain: models.Chain) -> None:
    power("ips1", on=False)
    world.sweep_on(2)
    power("ips1", on=True)
    world.sweep_on(3)
    chain.refresh_from_db()
    assert instance("ips@ips1").health == "up"
    assert chain.status == "ready", chain.status_reason
    assert is_at(chain, "ips1")


def test_an_old_place_that_returns_after_a_move_is_cleaned(chain: models.Chain) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    held = world.held("ips1")
    power("ips1", on=False)
    world.sweep_on(2)
    power("ips1", on=True)
    with fake.box("ips1") as box:
        box.state = held
    world.sweep_on(3)
    assert world.held("ips1") == EMPTY
    assert is_at(chain, "ips2")


def test_an_edit_that_nobody_applied_is_not_applied_by_a_failure(chain: models.Chain) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    world.edit(chain, hops=[{**world.IPS, "policy": {"patterns": [{"text": "another-signature"}]}}])
    before = world.held("leaf1")
    power("ips1", on=False)
    world.sweep_on(3)
    chain.refresh_from_db()
    assert world.held("leaf1") == before
    assert chain.status == "degraded"
    assert "apply a plan" in chain.status_reason


def test_silent_management_alone_moves_nothing(chain: models.Chain, tap: Tap) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    sent = len(tap.pushes)
    with fake.box("ips1") as box:
        box.faults.is_unreachable = True
    world.sweep_on(3)
    chain.refresh_from_db()
    assert instance("ips@ips1").health == "unknown"
    assert len(tap.pushes) == sent
    assert chain.status == "unknown"


def test_a_draining_instance_keeps_what_it_serves_and_one_that_is_switched_off_does_not(chain: models.Chain) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    inventory.instance_drain(actor=world.SYSTEM, instance=instance("ips@ips1"))
    world.sweep_on(2)
    assert is_at(chain, "ips1")
    inventory.offer_update(actor=world.SYSTEM, offer=world.offer("ips@ips1"), is_enabled=False)
    world.sweep_on(3)
    assert is_at(chain, "ips2")


def test_the_chain_of_a_dead_function_can_be_deleted(chain: models.Chain) -> None:
    power("ips1", on=False)
    world.sweep_on(2)
    world.delete(chain)
    world.sweep_on(2)
    chain.refresh_from_db()
    assert (chain.is_wanted, chain.status) == (False, "applying"), "its row stays until the box was read back clean"
    power("ips1", on=True)
    world.sweep_on(3)
    assert world.network() == {}
    assert not models.Chain.objects.exists()
