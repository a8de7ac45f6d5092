# SPDX-License-Identifier: Apache-2.0
"""Devices ask functions, workers ask what only they reach, and chains follow. Real engine, fake devices."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains import models
from chains.engine.pulse import beat
from chains.engine.reconcile import run_change
from drivers import fake
from tests.engine import world

THROUGH = {"kind": "through", "source": "10.10.1.10", "destination": "10.10.2.10", "port": 7, "interval_ms": 100}


@pytest.fixture
def chain(fabric: None) -> models.Chain:
    made = world.chain(world.IPS)
    assert world.apply(made).status == "succeeded"
    world.sweep_on(1)
    return made


def probes(offer: str, *entries: dict[str, Any]) -> models.Offer:
    row = world.offer(offer)
    row.probes = list(entries)
    row.save()
    return row


def instance(name: str) -> models.Instance:
    return world.offer(name).instance


def pulse(times: int = 1) -> None:
    """Time passes, and a worker's thread looks. What it starts is done as its bell would have it done."""
    for _ in range(times):
        models.DeviceStatus.objects.exclude(probes_due_at=None).update(probes_due_at="2000-01-01T00:00:00Z")
        models.Instance.objects.exclude(probe_due_at=None).update(probe_due_at="2000-01-01T00:00:00Z")
        beat()
        for pk in models.Change.objects.filter(status="pending").values_list("pk", flat=True):
            run_change(pk)


def falls_silent(device: str, offer: models.Offer, *, is_silent: bool = True) -> None:
    with fake.box(device) as box:
        box.silent_probes = [f"o{offer.pk}.0"] if is_silent else []


def test_a_hung_function_is_found_by_the_switch_and_left(chain: models.Chain) -> None:
    """Its links are up and its management answers: only a packet that has to come out of it tells."""
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    offer = probes("ips@ips1", THROUGH)
    pulse(2)
    assert instance("ips@ips1").health == "up"
    with fake.box("leaf2") as box:
        assert [one["name"] for one in box.probes] == [f"o{offer.pk}.0"]
        assert (box.probes[0]["inside"], box.probes[0]["outside"]) == ("ips1-in", "ips1-out")
    falls_silent("leaf2", offer)
    pulse()
    row = instance("ips@ips1")
    assert (row.health, "through by leaf2" in row.health_reason) == ("down", True)
    found = models.Finding.objects.get(code="instance-down", closed_at=None)
    assert found.device == world.device("ips1")
    assert found.witness["ips@ips1"]["probes"][0]["is_up"] is False
    chain.refresh_from_db()
    assert chain.uses.get().offer == world.offer("ips@ips2"), "one beat, and the chain has moved"
    falls_silent("leaf2", offer, is_silent=False)
    pulse()
    assert instance("ips@ips1").health == "up"
    assert models.Finding.objects.get(code="instance-down").closed_at is not None


def test_who_goes_up_and_down_is_held_down(chain: models.Chain) -> None:
    offer = probes("ips@ips1", THROUGH)
    pulse()
    for _ in range(3):
        for is_silent in (True, False):
            falls_silent("leaf2", offer, is_silent=is_silent)
            pulse()
    row = instance("ips@ips1")
    assert (row.health, row.flaps["is_suppressed"]) == ("down", True)
    assert "too often" in row.health_reason
    row.flaps = {**row.flaps, "at_s": row.flaps["at_s"] - 200}
    row.save()
    pulse()
    assert instance("ips@ips1").health == "up", "it was quiet for long enough"


def test_silence_of_who_asks_is_unknown_and_moves_nothing(chain: models.Chain) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    probes("ips@ips1", THROUGH)
    pulse()
    with fake.box("leaf2") as box:
        box.faults.is_unreachable = True
    row = instance("ips@ips1")
    row.results = {name: {**held, "heard_s": held["heard_s"] - 60} for name, held in row.results.items()}
    row.save()
    pulse()
    world.sweep_on(1)
    assert instance("ips@ips1").health == "unknown"
    chain.refresh_from_db()
    assert chain.uses.get().offer == world.offer("ips@ips1")


def test_probes_that_are_not_wanted_any_more_end_on_the_device(chain: models.Chain) -> None:
    probes("ips@ips1", THROUGH)
    pulse()
    probes("ips@ips1")
    pulse()
    with fake.box("leaf2") as box:
        assert box.probes == []
    assert instance("ips@ips1").health == "up", "judged by its links again"


def test_a_backup_that_serves_nobody_is_probed_too(chain: models.Chain) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    offer = probes("ips@ips2", THROUGH)
    pulse()
    falls_silent("leaf1", offer)
    pulse()
    assert instance("ips@ips2").health == "down"


def test_a_worker_asks_what_it_reaches(chain: models.Chain) -> None:
    """A TCP connection from the worker itself; the other end is closed, and two bad answers are enough."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    entry = {"kind": "tcp", "destination": "127.0.0.1", "port": port, "rise": 1, "fall": 2}
    probes("ips@ips1", entry)
    ask_again: Callable[[], None] = lambda: _age(instance("ips@ips1"))  # noqa: E731
    pulse()
    assert instance("ips@ips1").results.popitem()[1]["is_up"] is True
    server.close()
    ask_again()
    pulse()
    assert instance("ips@ips1").health == "up", "once is not enough"
    ask_again()
    pulse()
    row = instance("ips@ips1")
    assert (row.health, "refused" in row.health_reason) == ("down", True)


def _age(row: models.Instance) -> None:
    """A second passes."""
    row.results = {
        name: {**held, "at_s": held["at_s"] - 5, "heard_s": held["heard_s"] - 5} for name, held in row.results.items()
    }
    row.save()


def test_a_round_costs_as_many_queries_for_many_probes_as_for_one(chain: models.Chain) -> None:
    def cost() -> int:
        models.DeviceStatus.objects.exclude(probes_due_at=None).update(probes_due_at="2000-01-01T00:00:00Z")
        with CaptureQueriesContext(connection, ) as seen:
            beat()
        return len(seen)

    probes("ips@ips1", THROUGH)
    pulse(2)
    few = cost()
    probes("ips@ips1", THROUGH, *[{**THROUGH, "port": 9 + number} for number in range(6)])
    probes("cgn@cgn1", THROUGH)
    pulse(2)
    assert cost() <= few + 1


def test_a_link_that_goes_is_seen_without_waiting_for_the_next_reading(chain: models.Chain) -> None:
    """Readings are half a minute apart; the pulse glances at the links of switches that carry chains."""
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    models.DeviceStatus.objects.update(due_at="2100-01-01T00:00:00Z")
    pulse()
    for name in ("ips1-in", "ips1-out"):
        with fake.box("leaf2") as box:
            box.links_down.append(name)
    pulse()
    assert instance("ips@ips1").health == "down"
    assert chain.uses.get().offer == world.offer("ips@ips2"), "one beat, and the chain has moved"


def test_a_switch_that_stops_answering_is_seen_by_the_pulse(chain: models.Chain) -> None:
    models.DeviceStatus.objects.update(due_at="2100-01-01T00:00:00Z")
    pulse()
    with fake.box("leaf2") as box:
        box.faults.is_unreachable = True
    pulse()
    assert models.DeviceStatus.objects.get(device__name="leaf2").condition == "unreachable"
