# SPDX-License-Identifier: Apache-2.0
"""A chain over an appliance that is never written: plan, the operator pastes, apply; and what happens if nobody does.

The appliance is an emulated PAN-OS over its own protocol; the switches are fakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chains import models
from chains.engine.reconcile import run_change
from lab.devices.process import Emulated, emulated
from tests.drivers.appliance_rigs import PANOS_BASE
from tests.engine import world


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    with emulated("panos", "fw1", tmp_path_factory.mktemp("panos")) as device:
        yield device


@pytest.fixture
def firewall(fabric: None, process: Emulated, tmp_path: Path) -> Emulated:
    """fw1 of the demo fabric; fw2 takes nothing, so that every chain goes by fw1."""
    process.ask("/reset", {})
    process.operator(*PANOS_BASE[:-1])
    servers = "ip static-route servers destination 10.10.2.0/24 interface ethernet1/2"
    process.operator(f"set network virtual-router default routing-table {servers}", "commit")
    credential = tmp_path / "credential"
    credential.write_text(str(process.ready["secret"]))
    credential.chmod(0o600)
    models.Device.objects.filter(name="fw1").update(
        driver="panos",
        management="127.0.0.1",
        credential=f"file:{credential}",
        settings={"zone_in": "trust", "zone_out": "untrust"},
    )
    models.Port.objects.filter(device__name="fw1", name="in").update(interface="ethernet1/1")
    models.Port.objects.filter(device__name="fw1", name="out").update(interface="ethernet1/2")
    models.Offer.objects.filter(device__name="fw2").delete()
    return process


def native_of(change: models.Change) -> str:
    step = change.plan.steps.filter(device__name="fw1").order_by("wave").first()
    assert step is not None
    return str(step.native)


def test_the_operator_pastes_and_the_change_is_applied(firewall: Emulated) -> None:
    row = world.chain(world.NGFW)
    change = world.change(row)
    firewall.operator(*native_of(change).splitlines(), "commit")
    run_change(change.pk)
    change.refresh_from_db()
    assert change.status == models.Change.Status.SUCCEEDED, world.events(change)
    assert world.held("leaf1")
    assert all(line.startswith("GET ") for line in firewall.transcript())


def test_nobody_pastes_and_nothing_is_changed(firewall: Emulated) -> None:
    row = world.chain(world.NGFW)
    change = world.change(row)
    run_change(change.pk)
    change.refresh_from_db()
    assert change.status != models.Change.Status.SUCCEEDED
    assert "Paste this in `configure` mode" in world.events(change) + change.error
    assert not world.held("leaf1")
    assert all(line.startswith("GET ") for line in firewall.transcript())


def test_the_operator_pastes_after_the_first_try(firewall: Emulated) -> None:
    """The way that people will go: apply, read what to paste, paste, apply a new plan."""
    row = world.chain(world.NGFW)
    first = world.change(row)
    run_change(first.pk)
    firewall.operator(*native_of(first).splitlines(), "commit")
    first.refresh_from_db()
    assert first.status == models.Change.Status.REVERTED, world.events(first)
    again = world.change(row)
    assert native_of(again) == native_of(first)
    run_change(again.pk)
    again.refresh_from_db()
    assert again.status == models.Change.Status.SUCCEEDED, world.events(again)
