# SPDX-License-Identifier: Apache-2.0
"""Whoever looks at a chain learns where its packets end, from the counters of the devices themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chains import models, selectors
from chains.engine import traffic
from chains.engine.pulse import beat
from chains.planning.traffic import Fate
from chains.services.traffic import traffic_watch
from drivers import fake
from drivers.registry import DRIVERS
from drivers.state import Direction, Filter, Guard, Redirect
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(fabric: None, tap: Tap) -> models.Chain:
    made = world.chain(world.NGFW, world.IPS)
    assert world.apply(made).status == "succeeded"
    return made


def pulse(seconds: float = 0.0) -> None:
    """So much time passes, then a worker's thread looks."""
    for row in models.Traffic.objects.exclude(due_at=None):
        samples = [{**sample, "at": sample["at"] - seconds} for sample in row.samples]
        models.Traffic.objects.filter(pk=row.pk).update(samples=samples, due_at="2000-01-01T00:00:00Z")
    beat()


def send(chain: models.Chain, count: int) -> None:
    """Every device counts `count` more packets at each item that leads on, in both directions."""
    for name, state in world.network().items():
        with fake.box(name) as box:
            for key, item in state.items():
                if key.chain != chain.pk or isinstance(item, Guard):
                    continue
                times = 1 if isinstance(item, Redirect | Filter) else 2
                held = box.counters.get(str(key), [0, 0, 0])
                box.counters[str(key)] = [held[0] + count * times, 0, held[2]]


def fates(chain: models.Chain) -> dict[str, str]:
    return {course.direction.name.lower(): str(course.fate) for course in selectors.chain_traffic(chain).courses}


def test_nothing_is_measured_that_nobody_looks_at(chain: models.Chain) -> None:
    with fake.box("leaf1") as box:
        box.faults.counts, box.faults.is_unreachable = {"is_unreachable": 1}, True
    beat()
    with fake.box("leaf1") as box:
        assert box.faults.is_unreachable, "nobody asked it"
    assert not models.Traffic.objects.exists()
    assert selectors.chain_traffic(chain).measured_at is None


def test_what_flows_flows_and_what_stops_is_named(chain: models.Chain) -> None:
    traffic_watch(chain)
    pulse()
    send(chain, 100)
    pulse(2)
    assert fates(chain) == {"forward": "flows", "reverse": "flows"}
    # The IPS dies without a sign: nothing comes out of it, in either direction.
    behind = {
        end.device.name: end
        for end in models.Port.objects.filter(name__startswith="ips1-").select_related("device")
    }
    switch = next(iter(behind))
    for name, state in world.network().items():
        with fake.box(name) as box:
            for key, item in state.items():
                if isinstance(item, Guard):
                    continue
                is_after = isinstance(item, Redirect | Filter) and _is_after_ips(chain, name, key.direction, item)
                held = box.counters.get(str(key), [0, 0, 0])
                box.counters[str(key)] = [held[0] + (0 if is_after else 100), 0, 0]
    pulse(2)
    models.Traffic.objects.update(samples=models.Traffic.objects.get().samples[1:])
    view = selectors.chain_traffic(chain)
    loss = view.courses[0].losses[0]
    assert (loss.fate, loss.device, loss.hop, loss.after) == (Fate.SWALLOWED, "ips1", 1, switch)
    assert "hop 2 (ips) on ips1 took 100 of 100 packets and gave nothing back" in view.summary
    found = models.Finding.objects.get(code="traffic-lost", closed_at=None)
    assert found.chain == chain and "ips1" in found.detail and found.witness["losses"]
    send(chain, 100)
    models.Traffic.objects.update(samples=models.Traffic.objects.get().samples[-1:])
    pulse(4)
    assert fates(chain)["forward"] == "flows"
    assert not models.Finding.objects.filter(code="traffic-lost", closed_at=None).exists()


def _is_after_ips(chain: models.Chain, device: str, direction: Direction, item: Redirect | Filter) -> bool:
    """Forward: in at or behind the IPS's outside; reverse: in at or behind its inside."""
    plan = selectors.chain_plan(chain)
    assert plan is not None
    way = plan.path["paths"][0]["forward" if direction is Direction.FORWARD else "reverse"]
    place = next(index for index, visit in enumerate(way) if visit["device"] == "ips1")
    places = {(visit["device"], visit["ingress"], visit["tag"]) for visit in way[place:]}
    return (device, item.ingress, item.tag) in places


def test_a_restart_of_counters_is_no_loss(chain: models.Chain) -> None:
    traffic_watch(chain)
    send(chain, 1000)
    pulse()
    send(chain, 100)
    with fake.box("leaf2") as box:
        box.counters.clear()
    pulse(2)
    view = selectors.chain_traffic(chain)
    assert all(course.fate is Fate.UNKNOWN and "leaf2" in course.unread for course in view.courses)
    assert not models.Finding.objects.filter(code="traffic-lost").exists()


def test_a_row_does_not_grow_and_ends_when_nobody_looks(chain: models.Chain) -> None:
    traffic_watch(chain)
    for _ in range(6):
        pulse(1)
    assert len(models.Traffic.objects.get().samples) == 3
    models.Finding.objects.create(code="traffic-lost", chain=chain, detail="of before")
    models.Traffic.objects.update(watched_until="2000-01-01T00:00:00Z")
    pulse()
    assert models.Traffic.objects.get().due_at is None
    assert models.Finding.objects.get(code="traffic-lost").closed_at is not None


def test_every_chain_is_measured_where_the_machine_is_told_to(chain: models.Chain, settings: object) -> None:
    settings.VIADUCT_TRAFFIC_S = 3.0  # type: ignore[attr-defined]
    beat()
    row = models.Traffic.objects.get()
    assert (row.chain, len(row.samples)) == (chain, 1) and row.due_at is not None


def test_who_counts_nothing_has_lost_nothing(chain: models.Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some of the switches count: what they sent and the others did not count is no loss."""
    traffic_watch(chain=chain)
    pulse()
    silent = {
        name: replace(driver, caps=replace(driver.caps, counts=name != "fake-switch"))
        for name, driver in DRIVERS.items()
    }
    monkeypatch.setattr(traffic, "DRIVERS", silent)
    send(chain, 100)
    with fake.box("spine1") as box:
        box.counters.clear()
    pulse(seconds=2)
    assert set(fates(chain).values()) == {"unknown"}
    assert not models.Finding.objects.filter(code="traffic-lost").exists()
