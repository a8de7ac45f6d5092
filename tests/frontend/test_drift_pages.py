# SPDX-License-Identifier: Apache-2.0
"""Drift on the device's page, with its two buttons; conditions on the chain's; old readings are shown as unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from chains import models
from chains.engine.observe import observe_device
from drivers import fake
from drivers.state import DeviceState
from tests.builders import device
from tests.frontend import world
from tests.frontend.test_pages import text_of

pytestmark = pytest.mark.usefixtures("fabric")


def read(name: str = "leaf1") -> None:
    observe_device(device(name).pk)


def changed_by_hand(*, is_harmless: bool, policy: str = "report") -> None:
    """The next hop's address of a redirect, or a guard."""
    models.Device.objects.filter(name="leaf1").update(drift=policy)
    with fake.box("leaf1") as box:
        items = dict(box.state)
        for key, item in box.state.items():
            if is_harmless and key.kind == "redirect" and item.next.mac:  # type: ignore[union-attr]
                items[key] = replace(item, next=replace(item.next, mac="02:00:00:00:99:99"))  # type: ignore[union-attr,arg-type,call-arg]
            elif not is_harmless and key.kind == "guard":
                del items[key]
        assert items != dict(box.state)
        box.state = DeviceState(items)
    read()


def test_adopting_by_button() -> None:
    olga = world.operator()
    world.apply(world.chain())
    changed_by_hand(is_harmless=True)
    shown = text_of(olga.get("/devices/leaf1/"))
    assert "Adopt what it holds" in shown and "report" in shown
    answer = text_of(olga.post("/devices/leaf1/adopt/", follow=True))
    assert "Ordered" in answer and "Adopt what it holds" not in answer and "was ordered by olga" in answer
    read()
    after = text_of(olga.get("/devices/leaf1/"))
    assert "Adopt what it holds" not in after
    assert "wanted as they were found" in after


def test_the_proof_forbids_it_and_says_why() -> None:
    olga = world.operator()
    world.apply(world.chain())
    changed_by_hand(is_harmless=False)
    answer = text_of(olga.post("/devices/leaf1/adopt/", follow=True))
    assert "cannot be adopted" in answer and "Fix: enforce" in answer
    assert "order" not in models.Finding.objects.get(code="drift").witness
    assert "Ordered" in text_of(olga.post("/devices/leaf1/enforce/", follow=True))
    read()
    assert models.DeviceStatus.objects.get(device__name="leaf1").condition == "in_sync"


def test_who_may_not() -> None:
    ed = world.member("ed")
    olga = world.operator()
    for what in ("adopt", "enforce"):
        assert ed.post(f"/devices/leaf1/{what}/").status_code == 404
        assert olga.get(f"/devices/leaf1/{what}/").status_code == 405
        assert olga.post(f"/devices/nothing/{what}/").status_code == 404


def test_strangers_are_shown() -> None:
    olga = world.operator()
    with fake.box("leaf1") as box:
        box.foreign.append("attached priority=30000,in_port=1 <b>actions</b>=drop")
    read()
    shown = olga.get("/devices/leaf1/").content.decode()
    assert "In the way of ours" in shown
    assert "&lt;b&gt;actions" in shown and "<b>actions" not in shown


def test_conditions_on_the_chains_page() -> None:
    olga, ed = world.operator(), world.member("ed")
    row = world.chain()
    before = text_of(ed.get(f"/chains/{row.pk}/"))
    assert "never applied" in before
    world.apply(row)
    for name in models.Device.objects.exclude(driver="").values_list("name", flat=True):
        read(name)
    page = ed.get(f"/chains/{row.pk}/")
    shown = text_of(page)
    assert "functions live" in shown and "in force" in shown
    assert 'title="20' in page.content.decode()
    changed_by_hand(is_harmless=False)
    assert "on leaf1" in text_of(olga.get(f"/chains/{row.pk}/live/"))


def test_old_readings_are_unknown_on_every_page() -> None:
    olga = world.operator()
    row = world.chain()
    world.apply(row)
    for name in models.Device.objects.exclude(driver="").values_list("name", flat=True):
        read(name)
    assert "Devices that need a look" not in text_of(olga.get("/"))
    old = F("observed_at") - timedelta(seconds=91)
    models.DeviceStatus.objects.filter(device__name="leaf1").update(observed_at=old)
    assert "not read for longer than 90 s" in text_of(olga.get("/devices/leaf1/"))
    assert "not read for longer than 90 s" in text_of(olga.get("/devices/?condition=unknown"))
    assert "was not read lately" in text_of(olga.get(f"/chains/{row.pk}/"))
    assert "was not read lately" in text_of(olga.get("/chains/?status=unknown"))
    overview = text_of(olga.get("/"))
    assert "Chains in trouble" in overview and "Devices that need a look" in overview


def test_saving_by_button(settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    olga = world.operator()
    world.apply(world.chain())
    with fake.box("leaf1") as box:
        box.faults.is_unsaved = True
    read()
    assert "Save ours" in text_of(olga.get("/devices/leaf1/"))
    answer = text_of(olga.post("/devices/leaf1/save/", follow=True))
    assert "Ordered" in answer and "was ordered by olga" in answer and "Save ours" not in answer
    read()
    assert "Not saved" not in text_of(olga.get("/devices/leaf1/"))
    with fake.box("leaf1") as box:
        assert not box.faults.is_unsaved
    assert "was not read to lose" in text_of(olga.post("/devices/leaf1/save/", follow=True))
