# SPDX-License-Identifier: Apache-2.0
"""Cables and switches die and return: chains go round them where there is a way, and never where nothing is proved."""

from __future__ import annotations

import pytest

from chains import models
from drivers import fake
from drivers.codec import state_from_json
from drivers.state import EMPTY
from tests.engine import world


@pytest.fixture
def ring(fabric: None) -> None:
    """A second spine, so that there are two ways between the leaves."""
    spine = models.Device.objects.get(name="spine1")
    other = models.Device.objects.create(name="spine2", site=spine.site, kind="switch", driver="fake-switch")
    for number, leaf in enumerate(models.Device.objects.filter(name__in=("leaf1", "leaf2")), start=1):
        mac = f"06:00:00:00:00:{number:02x}"
        own = models.Port.objects.create(device=other, name=leaf.name, number=number, mac=mac)
        far = models.Port.objects.create(device=leaf, name="spine2", number=90, mac=f"06{mac[2:-2]}9{number}")
        models.Link.objects.create(a=far, b=own, capacity_mbps=10_000, latency_us=50)


@pytest.fixture
def chain(ring: None) -> models.Chain:
    """Crosses between the leaves: its function is on the other one."""
    made = world.chain({**world.NGFW, "device": "fw1"})
    assert world.apply(made).status == "succeeded"
    world.sweep_on(1)
    assert set(devices(made)) >= {"spine1"}
    return made


def devices(chain: models.Chain) -> dict[str, object]:
    rows = chain.contributions.select_related("device")
    return {row.device.name: state_from_json(row.items) for row in rows if row.items}


def cable(port: str, *, is_up: bool) -> None:
    """Both ends see it."""
    name, _, own = port.partition(":")
    far = models.Port.objects.get(device__name=name, name=own)
    link = models.Link.objects.select_related("a__device", "b__device").get(
        pk=(far.link_a if hasattr(far, "link_a") else far.link_b).pk
    )
    for end in (link.a, link.b):
        with fake.box(end.device.name) as box:
            box.links_down = [down for down in box.links_down if down != end.name] + ([] if is_up else [end.name])


def test_a_cable_that_is_cut_is_gone_round(chain: models.Chain) -> None:
    cable("leaf1:spine1", is_up=False)
    world.sweep_on(2)
    chain.refresh_from_db()
    assert "spine1" not in devices(chain) and "spine2" in devices(chain)
    assert (chain.status, world.held("spine1")) == ("ready", EMPTY)
    change = models.Change.objects.latest("id")
    assert change.is_urgent and change.status == "succeeded"
    assert models.Finding.objects.filter(code="link-down", closed_at=None).exists()
    cable("leaf1:spine1", is_up=True)
    world.sweep_on(1)
    assert not models.Finding.objects.filter(code="link-down", closed_at=None).exists()
    assert models.Change.objects.latest("id") == change, "what works is not moved back"


def test_without_another_way_it_stays_closed_and_says_which_cable(chain: models.Chain) -> None:
    cable("leaf1:spine2", is_up=False)
    cable("leaf1:spine1", is_up=False)
    held = world.held("leaf1")
    world.sweep_on(2)
    chain.refresh_from_db()
    assert chain.status == "degraded"
    assert "leaf1:spine1 - spine1:leaf1 is down" in chain.status_reason
    assert world.held("leaf1") == held
    assert chain.conditions.get(kind="healthy").status == "false"
    cable("leaf1:spine1", is_up=True)
    world.sweep_on(2)
    chain.refresh_from_db()
    assert chain.status == "ready"


def kill(name: str) -> None:
    """A switch dies: no answer, no link at its neighbours, and nothing on it when it returns."""
    with fake.box(name) as box:
        box.faults.is_unreachable, box.state = True, EMPTY
    for link in models.Link.objects.select_related("a__device", "b__device"):
        for own, far in ((link.a, link.b), (link.b, link.a)):
            if own.device.name == name:
                with fake.box(far.device.name) as box:
                    box.links_down.append(far.name)


def revive(name: str) -> None:
    with fake.box(name) as box:
        box.faults.is_unreachable = False
    for link in models.Link.objects.select_related("a__device", "b__device"):
        for own, far in ((link.a, link.b), (link.b, link.a)):
            if own.device.name == name:
                with fake.box(far.device.name) as box:
                    box.links_down.remove(far.name)


def test_a_switch_that_died_is_gone_round_and_comes_back_clean(chain: models.Chain) -> None:
    kill("spine1")
    world.sweep_on(3)
    chain.refresh_from_db()
    assert "spine2" in devices(chain) and "spine1" not in devices(chain)
    assert chain.status == "ready", chain.status_reason
    revive("spine1")
    world.sweep_on(2)
    assert world.held("spine1") == EMPTY


def test_a_switch_that_returns_empty_is_programmed_again_before_it_is_used(chain: models.Chain) -> None:
    """It kept its links and lost its memory; a new chain goes round it until what it held was read back."""
    wanted = world.held("spine1")
    with fake.box("spine1") as box:
        box.state = EMPTY
        box.faults.reject = "% not ready"
    world.sweep_on(1)
    assert models.DeviceStatus.objects.get(device__name="spine1").condition == "drifted"
    other = world.chain({**world.NGFW, "device": "fw1"}, name="other", classifiers=[{"protocol": "udp", "family": 4}])
    plan = world.plan(other)
    assert "spine2" in plan.target and "spine1" not in plan.target
    assert world.held("spine1") == EMPTY
    with fake.box("spine1") as box:
        box.faults.reject = ""
    world.sweep_on(2)
    assert world.held("spine1") == wanted, "all that it had, read back"
    assert models.DeviceStatus.objects.get(device__name="spine1").condition == "in_sync"


def test_who_does_not_answer_gets_nothing_new(chain: models.Chain) -> None:
    """Its management is gone, its links are up: what is there stays, a new chain goes another way."""
    with fake.box("spine1") as box:
        box.faults.is_unreachable = True
    world.sweep_on(1)
    chain.refresh_from_db()
    assert "spine1" in devices(chain), "nobody saw its links go: traffic flows on as far as one knows"
    other = world.chain({**world.NGFW, "device": "fw1"}, name="other", classifiers=[{"protocol": "udp", "family": 4}])
    assert "spine1" not in world.plan(other).target
