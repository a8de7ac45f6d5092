# SPDX-License-Identifier: Apache-2.0
"""A plan whose base moved is refused before anything is sent: the plan is the change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chains import models
from chains.engine.document import digest
from chains.engine.planner import effect_as_stored
from chains.errors import Conflict
from drivers import fake
from drivers.state import DeviceState, Direction, Guard, Key, Kind, Match
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")


def edited(chain: models.Chain) -> None:
    models.Chain.objects.filter(pk=chain.pk).update(generation=7)


def renumbered(chain: models.Chain) -> None:
    models.Port.objects.filter(device__name="leaf1", name="a1").update(number=77)


def readdressed(chain: models.Chain) -> None:
    models.Segment.objects.filter(name="clients", tenant=chain.tenant).update(prefixes=["10.99.0.0/24"])


def switched_off(chain: models.Chain) -> None:
    models.Offer.objects.filter(function__name="ngfw").update(is_enabled=False)


def died(chain: models.Chain) -> None:
    models.Instance.objects.filter(offer__function__name="ngfw").update(health="down")


def changed_by_hand(chain: models.Chain) -> None:
    with fake.box("leaf1") as box:
        keys = [key for key in box.state if key.chain == chain.pk]
        box.state = DeviceState({key: item for key, item in box.state.items() if key != keys[0]})


MOVES: dict[str, tuple[Callable[[models.Chain], None], str]] = {
    "edited": (edited, "generation 7"),
    "renumbered": (renumbered, "ports, links or VRFs"),
    "readdressed": (readdressed, "segments changed"),
    "switched off": (switched_off, "no longer offered"),
    "died": (died, "is down"),
    "changed by hand": (changed_by_hand, "leaf1 is not as planned from"),
}


@pytest.mark.parametrize("name", MOVES)
def test_nothing_is_sent_on_a_moved_base(name: str, tap: Tap) -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    world.edit(chain, hops=[{**world.NGFW, "realm": "host"}])
    change = world.change(chain)
    move, reason = MOVES[name]
    move(chain)
    before, sent = world.network(), len(tap.pushes)
    world.run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "reverted", world.events(change)
    assert reason in change.error
    assert models.Plan.objects.get(pk=change.plan_id).status == "stale"
    assert (world.network(), len(tap.pushes)) == (before, sent)
    chain.refresh_from_db()
    assert (chain.status, chain.revision) == ("pending", 1)


def test_what_changes_between_the_check_and_the_push_stops_the_push(tap: Tap) -> None:
    """The last look is at the device itself, right before the bytes go out."""
    chain = world.chain(world.NGFW)
    change = world.change(chain)
    stray = Key(chain.pk, 9, Direction.FORWARD, 1, Kind.GUARD, 7)

    def meddle(moment: str, device: str, number: int) -> None:
        if (moment, device) == ("validated", "leaf1"):
            with fake.box("leaf1") as box:
                box.state = DeviceState({stray: Guard("b2", 0, Match("192.0.2.0/24", "198.51.100.0/24"))})

    tap.at = meddle
    world.run_change(change.pk)
    change.refresh_from_db()
    planned = change.plan.steps.filter(device__name="leaf1").first()
    assert change.status == "reverted", world.events(change)
    assert "somebody else changed it" in change.error
    assert ("leaf1", planned.native) not in tap.pushes
    assert world.network() == {}


def test_a_plan_cannot_be_applied_after_another() -> None:
    chain = world.chain(world.NGFW)
    first, second = world.plan(chain), world.plan(chain)
    world.intent.change_create(actor=world.SYSTEM, plan=first)
    world.run_change(first.change.pk)
    with pytest.raises(Conflict):
        world.intent.change_create(actor=world.SYSTEM, plan=second)


def other_chain(**values: object) -> models.Chain:
    """Of the same tenant, on the same path, for other packets."""
    classifiers = [{"protocol": "tcp", "destination_ports": "443", "family": 4}]
    return world.chain(world.NGFW, name="other", classifiers=classifiers, **values)


def test_a_plan_outlives_another_chain_of_the_tenant_if_it_would_be_made_again(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    assert world.apply(other_chain()).status == "succeeded"
    world.run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)


def test_a_plan_is_stale_if_it_would_be_made_otherwise_beside_the_tenants_other_chains(tap: Tap) -> None:
    """Other bytes, with their right hash, stand for a plan that would come out otherwise now."""
    chain = world.chain(world.NGFW)
    change = world.change(chain)
    assert world.apply(other_chain()).status == "succeeded"
    step = change.plan.steps.exclude(device=None).first()
    assert step is not None
    models.PlanStep.objects.filter(pk=step.pk).update(native=step.native + "\n")
    row = models.Plan.objects.get(pk=change.plan_id)
    models.Plan.objects.filter(pk=row.pk).update(digest=digest(effect_as_stored(row)))
    sent = len(tap.pushes)
    world.run_change(change.pk)
    change.refresh_from_db()
    assert (change.status, len(tap.pushes)) == ("reverted", sent)
    assert "other chains" in change.error


def test_a_strangers_item_of_another_chain_is_no_obstacle(tap: Tap) -> None:
    """Only this chain's items are compared: another chain's drift is not this change's business."""
    other = world.chain(world.NGFW, name="other", tenant="tenant-b")
    world.apply(other)
    change = world.change(world.chain(world.NGFW))
    with fake.box("leaf1") as box:
        box.state = DeviceState()
    world.run_change(change.pk)
    change.refresh_from_db()
    assert change.status == "succeeded", world.events(change)
