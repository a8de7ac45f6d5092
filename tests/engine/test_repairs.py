# SPDX-License-Identifier: Apache-2.0
"""How far the machine goes by itself: one repair is watched first, failures stop the rest, doubt moves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from chains import models
from chains.engine.converge import look_at_chain
from chains.engine.observe import observe_devices
from drivers import fake
from drivers.state import EMPTY
from tests.engine import world
from tests.engine.wire import Died, Tap

pytestmark = pytest.mark.usefixtures("fabric")


@pytest.fixture
def drifted(tap: Tap) -> list[str]:
    """Devices of a chain in force that all came back empty."""
    world.apply(world.chain(world.NGFW, world.IPS))
    names = sorted(world.network())
    for name in names:
        with fake.box(name) as box:
            box.state = EMPTY
    del tap.pushes[:]
    return names


def observe(names: list[str]) -> None:
    observe_devices(list(models.Device.objects.filter(name__in=names).values_list("pk", flat=True)))


def test_the_first_repair_is_watched_before_the_others(drifted: list[str], tap: Tap, settings: Any) -> None:
    settings.VIADUCT_SOAK_S = 1000.0
    observe(drifted)
    first = {device for device, _ in tap.pushes}
    assert len(first) == 1
    waiting = models.Finding.objects.filter(code="drift", closed_at=None)
    assert waiting.count() == len(drifted) - 1
    assert all("watched for 1000 s" in finding.detail for finding in waiting.all())
    settings.VIADUCT_SOAK_S = 0.0
    observe(drifted)
    assert sorted(world.network()) == drifted
    assert [finding.detail for finding in waiting.all()] == []


def test_a_first_repair_that_does_not_hold_stops_the_others(drifted: list[str], tap: Tap) -> None:
    for name in drifted:
        with fake.box(name) as box:
            box.faults.is_silent = True
    observe(drifted)
    observe(drifted)
    assert len({device for device, _ in tap.pushes}) == 1


def test_a_first_repair_that_failed_once_and_then_held_stops_nobody(drifted: list[str], tap: Tap) -> None:
    first = drifted[0]
    for answer in ("% busy", ""):
        with fake.box(first) as box:
            box.faults.reject = answer
        observe([first])
    observe(drifted)
    assert sorted(world.network()) == drifted


def test_a_first_repair_that_no_worker_survived_stops_nobody_once_the_device_is_in_sync(
    drifted: list[str], tap: Tap
) -> None:
    def dies(moment: str, name: str, number: int) -> None:
        if moment == "pushed":
            raise Died

    tap.at = dies
    with pytest.raises(Died):
        observe(drifted[:1])
    tap.at = lambda moment, name, number: None
    for _ in range(2):
        world.due_now()
        observe(drifted)
    assert sorted(world.network()) == drifted


def test_failures_stop_the_rest_until_a_person_orders_it(drifted: list[str], tap: Tap) -> None:
    change = models.Change.objects.get()
    for name in drifted[:3]:
        row = models.DeviceWrite(device=world.device(name), purpose="repair", epoch=1, digest="0", error="% Table full")
        row.began_at = change.finished_at
        row.save()
    observe(drifted[3:])
    assert tap.pushes == []
    finding = models.Finding.objects.filter(code="drift", closed_at=None, device__name=drifted[3]).get()
    assert "repairs are stopped" in finding.detail and drifted[0] in finding.detail


def test_when_most_functions_are_said_to_be_down_nothing_is_moved(tap: Tap) -> None:
    models.Offer.objects.update(is_enabled=True)
    chain = world.chain(world.IPS)
    world.apply(chain)
    del tap.pushes[:]
    models.Instance.objects.update(health="down", health_reason="said so")
    used = models.Use.objects.get(chain=chain).offer
    models.Instance.objects.filter(offer__in=models.Offer.objects.exclude(pk=used.pk)[:2]).update(health="up")
    look_at_chain(chain.pk)
    chain.refresh_from_db()
    assert (chain.status, models.Change.objects.count()) == ("degraded", 1)
    assert "doubted" in chain.status_reason
    models.Instance.objects.exclude(offer=used).update(health="up")
    look_at_chain(chain.pk)
    chain.refresh_from_db()
    assert models.Change.objects.count() == 2, chain.status_reason
