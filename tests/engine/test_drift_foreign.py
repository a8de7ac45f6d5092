# SPDX-License-Identifier: Apache-2.0
"""What others put into ours or in its way, and commits that are not ours: found, never touched, closed when gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chains import models
from chains.engine.observe import observe_device
from drivers import fake
from drivers.base import Observation
from drivers.state import DeviceState
from tests.engine import world
from tests.engine.wire import Tap, TappedSession

pytestmark = pytest.mark.usefixtures("fabric")
STRANGER = "attached priority=21000,in_port=7 actions=drop"
SHADOW = "attached shadows c1.r1.f.0.redirect.0: priority=30000,in_port=1 actions=drop"


@pytest.fixture
def chain() -> models.Chain:
    made = world.chain({**world.NGFW, "device": "fw1"})
    world.apply(made)
    return made


def foreign(*lines: str) -> None:
    with fake.box("leaf1") as box:
        box.foreign[:] = lines


def observe() -> models.DeviceStatus:
    observe_device(world.device("leaf1").pk)
    return models.DeviceStatus.objects.get(device__name="leaf1")


def found(code: str) -> models.Finding:
    return models.Finding.objects.get(code=code)


def test_in_the_way_is_a_finding_until_it_is_gone(chain: models.Chain, tap: Tap) -> None:
    foreign("beside ours", STRANGER)
    held = world.held("leaf1")
    status = observe()
    assert (status.condition, status.foreign, status.attached) == ("in_sync", 2, [STRANGER])
    finding = found("foreign-attached")
    assert (finding.severity, finding.device, finding.closed_at) == ("warning", world.device("leaf1"), None)
    assert finding.witness == {"lines": [STRANGER], "more": 0}
    foreign(STRANGER, SHADOW)
    observe()
    assert found("foreign-attached").severity == "critical"
    assert (world.held("leaf1"), tap.pushes) == (held, [])
    with fake.box("leaf1") as box:
        assert box.foreign == [STRANGER, SHADOW]
    foreign("beside ours")
    assert observe().attached == []
    assert found("foreign-attached").closed_at is not None


def test_four_kinds_are_told_apart(chain: models.Chain, settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    foreign(STRANGER)
    with fake.box("leaf1") as box:
        keys = list(box.state)
        items = {key: box.state[key] for key in keys[1:]}
        guard = next(key for key in items if key.kind == "guard")
        items[guard] = replace(items[guard], tag=77)  # type: ignore[arg-type]
        items[replace(guard, chain=4000)] = replace(items[guard], tag=78)  # type: ignore[arg-type]
        box.state = DeviceState(items)
    observe()
    assert found("drift").witness == {
        "missing": [str(keys[0])],
        "altered": [str(guard)],
        "orphaned": [str(replace(guard, chain=4000))],
    }
    assert found("foreign-attached").witness["lines"] == [STRANGER]


def test_a_witness_is_bounded(chain: models.Chain) -> None:
    foreign(*(f"{STRANGER} {number}" for number in range(150)))
    observe()
    witness = found("foreign-attached").witness
    assert (len(witness["lines"]), witness["more"]) == (100, 50)


def test_a_commit_of_somebody_else(chain: models.Chain, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    read = TappedSession.read
    pending = {"name": "adas-commit"}

    def with_commit(session: TappedSession) -> Observation:
        return replace(read(session), pending=pending["name"])

    monkeypatch.setattr(TappedSession, "read", with_commit)
    assert observe().pending == "adas-commit"
    assert found("foreign-commit").witness == {"pending": "adas-commit"}
    pending["name"] = ""
    observe()
    assert found("foreign-commit").closed_at is not None
    step = models.Step.objects.filter(plan_step__device__name="leaf1").first()
    assert step is not None
    models.Step.objects.filter(pk=step.pk).update(label="si-1-2-3")
    pending["name"] = "si-1-2-3"
    observe()
    assert not models.Finding.objects.filter(code="foreign-commit", closed_at=None).exists()


def test_a_repair_is_written_down(chain: models.Chain, tap: Tap) -> None:
    with fake.box("leaf1") as box:
        box.state = DeviceState({key: box.state[key] for key in list(box.state)[1:]})
    assert observe().condition == "in_sync"
    row = models.DeviceWrite.objects.get(purpose="repair")
    assert (row.device.name, row.error, row.ended_at is not None) == ("leaf1", "", True)
    assert len(tap.pushes) == 1
