# SPDX-License-Identifier: Apache-2.0
"""How far a change reaches at a time: the first device alone and watched, the others after it, each write on record."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest

from chains import models
from chains.engine import stage
from chains.engine.moves import canary_of, moves_of
from chains.engine.reconcile import run_change
from chains.services import record
from drivers import fake
from drivers.state import EMPTY
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")


def moments(tap: Tap) -> list[tuple[str, str]]:
    """(moment, device), as they come in from now on."""
    seen: list[tuple[str, str]] = []
    tap.at = lambda moment, device, number: seen.append((moment, device))
    return seen


def attempt(change: models.Change) -> None:
    world.due_now()
    world.run_change(change.pk)
    change.refresh_from_db()


def test_the_first_device_is_written_and_read_back_through_a_new_connection_before_the_second(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW, world.IPS))
    seen = moments(tap)
    attempt(change)
    pushes = [device for moment, device in seen if moment == "push"]
    first, second = pushes[0], pushes[1]
    between = seen[seen.index(("pushed", first)) : seen.index(("push", second))]
    assert between.count(("read", first)) >= 2  # on the session of the push, and on a new one
    assert change.canary_at is not None and change.canary_at < change.decided_at  # type: ignore[operator]


def test_a_first_device_that_refuses_stops_the_rest(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW, world.IPS))
    moves = moves_of(change.plan, change.steps.select_related("plan_step__device"))
    first = canary_of([move for move in moves if move.is_before_decision])
    with fake.box(first) as box:
        box.faults.reject = "% Table full"
    attempt(change)
    assert change.status == "reverted", world.events(change)
    assert {device for device, _ in tap.pushes} == {first}
    assert set(models.DeviceWrite.objects.values_list("device__name", flat=True)) == {first}


def test_a_first_device_that_loses_its_link_while_watched_stops_the_rest(
    tap: Tap, settings: Any
) -> None:
    settings.VIADUCT_SOAK_S, settings.VIADUCT_PROBE_S = 10.0, 0.05
    change = world.change(world.chain(world.NGFW, world.IPS))
    looks: list[str] = []
    ports: dict[str, list[str]] = {}
    for row in models.Port.objects.select_related("device"):
        ports.setdefault(row.device.name, []).append(row.name)

    def at(moment: str, device: str, number: int) -> None:
        if moment == "read" and tap.pushes:
            looks.append(device)
        if len(looks) == 6:  # it was well for some looks
            with fake.box(device) as box:
                box.links_down = ports[device]

    tap.at = at
    attempt(change)
    assert change.status == "reverted", world.events(change)
    assert "no link" in change.error
    assert len({device for device, _ in tap.pushes}) == 1


def test_every_write_is_on_record_with_its_lease_before_it_is_made(tap: Tap) -> None:
    change = world.apply(world.chain(world.NGFW))
    rows = list(models.DeviceWrite.objects.order_by("pk").select_related("device"))
    sent = [(device, hashlib.sha256(native.encode()).hexdigest()) for device, native in tap.pushes]
    assert [(row.device.name, row.digest) for row in rows] == sent
    assert all(row.change == change and row.epoch >= 1 and row.error == "" for row in rows)
    assert all(row.ended_at is not None and row.began_at < row.ended_at for row in rows)


def test_devices_without_confirmed_commit_are_written_one_after_another(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW, world.IPS))
    seen = moments(tap)
    attempt(change)
    writes = [(number, device) for number, (moment, device) in enumerate(seen) if moment == "pushed"]
    for (begin, device), (end, _) in zip(writes, writes[1:], strict=False):
        assert ("read", device) in seen[begin:end], f"{device} was not read back before the next one was written"


@pytest.mark.usefixtures("confirming")
def test_devices_with_confirmed_commit_are_written_side_by_side() -> None:
    """All but the first of the wave wait for the same half second at once."""
    change = world.change(world.chain(world.NGFW, world.IPS))
    build = {step.device.name for step in change.plan.steps.filter(phase="build")}
    for name in build:
        with fake.box(name) as box:
            box.faults.delay_s, box.faults.counts = 0.5, {"delay_s": 1}
    began = time.monotonic()
    attempt(change)
    assert change.status == "succeeded", world.events(change)
    assert len(build) > 4
    assert time.monotonic() - began < 0.5 * len(build)


def test_the_guard_stops_a_change_that_reaches_too_far_whoever_forgot_the_canary(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "batches", lambda wave, canary: [tuple(wave)])
    change = world.change(world.chain(world.NGFW, world.IPS))
    attempt(change)
    assert change.status == "reverted" and "reach" in change.error, world.events(change)
    assert tap.pushes == []
    assert world.network() == {}


def test_an_urgent_change_is_not_watched_for_long(settings: Any) -> None:
    settings.VIADUCT_SOAK_S = 60.0
    change = world.change(world.chain(world.NGFW))
    models.Change.objects.filter(pk=change.pk).update(is_urgent=True)
    began = time.monotonic()
    attempt(change)
    assert change.status == "succeeded", world.events(change)
    assert time.monotonic() - began < 30


def test_what_is_written_down_is_what_was_sent_also_where_it_was_rendered_anew(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = world.change(world.chain(world.NGFW))
    decide = record.decision_record

    def decided(row: models.Change) -> None:
        decide(row)
        with fake.box("fw1") as box:
            box.state = EMPTY

    monkeypatch.setattr(record, "decision_record", decided)
    run_change(change.pk)
    rows = models.DeviceWrite.objects.exclude(error="nothing had to be sent").values_list("device__name", "digest")
    sent = [(device, hashlib.sha256(native.encode()).hexdigest()) for device, native in tap.pushes]
    assert sorted(rows) == sorted(sent)
    assert rows.filter(purpose="again").count() == 1
