# SPDX-License-Identifier: Apache-2.0
"""Somebody changes devices by hand: what is ours is found and repaired, what is not ours is never touched."""

from __future__ import annotations

from typing import Any

import pytest

from chains import models
from chains.engine.observe import observe_device, observe_devices
from drivers import fake
from drivers.state import DeviceState, Direction, Guard, Item, Key, Kind, Match, Redirect
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")
STRAY = Key(4000, 3, Direction.FORWARD, 1, Kind.GUARD, 0)
STRAY_ITEM = Guard("a1", 0, Match("192.0.2.0/24", "198.51.100.0/24"))


@pytest.fixture
def chain() -> models.Chain:
    made = world.chain(world.NGFW)
    world.apply(made)
    return made


def by_hand(device: str, *, drop: int = 0, add: dict[Key, Item] | None = None, empty: bool = False) -> DeviceState:
    """Change what the device holds; returns what it held."""
    with fake.box(device) as box:
        before = box.state
        kept = [] if empty else list(box.state)[drop:]
        box.state = DeviceState({key: box.state[key] for key in kept} | (add or {}))
        return before


def observe(name: str) -> models.DeviceStatus:
    observe_device(world.device(name).pk)
    return models.DeviceStatus.objects.get(device__name=name)


def drift() -> models.Finding:
    return models.Finding.objects.get(code="drift")


def altered(state: DeviceState) -> dict[Key, Item]:
    key = next(key for key in state if key.kind is Kind.REDIRECT)
    item = state[key]
    assert isinstance(item, Redirect)
    return {key: Redirect(item.ingress, item.tag, item.match, item.next.__class__(port="b1"), item.precedence)}


def test_a_missing_item_comes_back(chain: models.Chain, tap: Tap) -> None:
    before = by_hand("leaf1", drop=1)
    status = observe("leaf1")
    assert world.held("leaf1") == before
    assert status.condition == "in_sync"
    assert drift().closed_at is not None
    assert drift().witness == {"missing": [str(list(before)[0])], "altered": [], "orphaned": []}
    assert len(tap.pushes) == 1, "exactly the difference, once"


def test_an_altered_item_is_set_right(chain: models.Chain) -> None:
    before = world.held("leaf1")
    by_hand("leaf1", add=altered(before))
    observe("leaf1")
    assert world.held("leaf1") == before
    assert len(drift().witness["altered"]) == 1


def test_an_orphan_goes_and_a_stranger_stays(chain: models.Chain) -> None:
    before = by_hand("leaf1", add={STRAY: STRAY_ITEM})
    with fake.box("leaf1") as box:
        box.foreign.append("priority=5 actions=drop")
    status = observe("leaf1")
    assert world.held("leaf1") == before
    assert drift().witness["orphaned"] == [str(STRAY)]
    assert status.foreign == 1
    with fake.box("leaf1") as box:
        assert box.foreign == ["priority=5 actions=drop"]


def test_a_box_that_returns_empty_is_programmed_anew(chain: models.Chain) -> None:
    before = by_hand("fw1", empty=True)
    assert before
    world.sweep_on()
    assert world.held("fw1") == before


def test_report_finds_and_does_not_touch(chain: models.Chain, tap: Tap, settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    by_hand("leaf1", drop=1)
    held = world.held("leaf1")
    assert observe("leaf1").condition == "drifted"
    chain.refresh_from_db()
    assert (world.held("leaf1"), len(tap.pushes)) == (held, 0)
    assert drift().closed_at is None
    assert (chain.status, chain.status_reason) == ("degraded", "drift on leaf1")
    settings.VIADUCT_DRIFT = "enforce"
    observe("leaf1")
    chain.refresh_from_db()
    assert (chain.status, drift().closed_at is None) == ("ready", False)


def test_a_repair_that_fails_stays_open_and_is_tried_again(chain: models.Chain) -> None:
    before = by_hand("leaf1", drop=1)
    with fake.box("leaf1") as box:
        box.faults.reject = "% Table full"
    observe("leaf1")
    assert drift().closed_at is None
    assert "Table full" in drift().detail
    with fake.box("leaf1") as box:
        box.faults.reject = ""
    observe("leaf1")
    assert world.held("leaf1") == before
    assert drift().closed_at is not None


def test_what_cannot_be_read_is_unknown_and_not_written(chain: models.Chain, tap: Tap) -> None:
    by_hand("leaf1", drop=1)
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = True
    status = observe("leaf1")
    chain.refresh_from_db()
    assert (status.condition, tap.pushes) == ("unreachable", [])
    assert chain.status == "unknown"
    assert "leaf1" in chain.status_reason
    assert models.Finding.objects.get(code="unreachable").closed_at is None
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = False
    observe("leaf1")
    chain.refresh_from_db()
    assert chain.status == "ready"
    assert models.Finding.objects.get(code="unreachable").closed_at is not None


def test_when_most_devices_are_silent_nothing_is_repaired(chain: models.Chain, tap: Tap) -> None:
    by_hand("leaf1", drop=1)
    programmed = models.Device.objects.exclude(driver="")
    silent = [device.name for device in programmed if device.name not in ("leaf1", "fw1")][:7]
    for name in silent:
        with fake.box(name) as box:
            box.faults.is_unreachable = True
    observe_devices([device.pk for device in programmed])
    assert tap.pushes == []
    for name in silent:
        with fake.box(name) as box:
            box.faults.is_unreachable = False
    observe_devices([device.pk for device in programmed])
    observe("leaf1")
    assert len(tap.pushes) == 1


def test_a_database_that_knows_nothing_deletes_nothing(chain: models.Chain, tap: Tap) -> None:
    """As after starting with yesterday's backup: what most devices hold is wanted by no chain."""
    programmed = models.Device.objects.exclude(driver="")
    for device in programmed:
        if device.name not in ("a1", "a2", "b1"):
            by_hand(device.name, add={STRAY: STRAY_ITEM})
    held = world.network()
    observe_devices([device.pk for device in programmed])
    assert (world.network(), tap.pushes) == (held, [])
    assert models.Finding.objects.filter(code="drift", closed_at=None).count() == 9


def test_a_change_half_way_is_no_drift(chain: models.Chain, tap: Tap) -> None:
    """The step is sent, the worker dead: that the device is not as wanted is the change's business."""
    world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}])
    change = world.change(chain)

    def die(moment: str, device: str, number: int) -> None:
        if moment == "push":
            raise KeyboardInterrupt

    tap.at = die
    with pytest.raises(KeyboardInterrupt):
        world.run_change(change.pk)
    tap.at = lambda moment, device, number: None
    step = change.steps.exclude(status="pending").first()
    assert step is not None
    name = step.plan_step.device.name
    by_hand(name, add={STRAY: STRAY_ITEM} if name.startswith("leaf") else None, empty=name.startswith("fw"))
    held = world.held(name)
    observe(name)
    assert world.held(name) == held
    assert not models.Finding.objects.filter(code="drift").exists()


def test_a_device_that_is_switched_off_is_left_alone(chain: models.Chain, tap: Tap) -> None:
    by_hand("leaf1", drop=1)
    models.Device.objects.filter(name="leaf1").update(is_enabled=False)
    observe_device(world.device("leaf1").pk)
    assert tap.pushes == []


def test_ports_and_counters_are_recorded(chain: models.Chain) -> None:
    with fake.box("leaf1") as box:
        key = str(next(iter(box.state)))
        box.counters[key] = [12, 3400, 5]
        box.links_down.append("a1")
    status = observe("leaf1")
    assert status.counters[key] == {"packets": 12, "octets": 3400, "dropped": 5}
    assert status.links_up["a1"] is False
    assert status.links_up["spine1"] is True
