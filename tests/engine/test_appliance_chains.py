# SPDX-License-Identifier: Apache-2.0
"""A chain through each family of firewalls, end to end: plan, change (or paste), drift, gone again.

The firewalls are emulated, over their own protocols, and steer by themselves: their routes lead the other way. The
switches are fakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chains import models
from chains.engine.observe import observe_device
from chains.engine.reconcile import run_change
from lab.devices.process import Emulated, emulated
from tests.drivers.appliance_rigs import FORTIOS_BASE, PANOS_BASE
from tests.drivers.junos_rig import secret_of
from tests.engine import world


@dataclass(frozen=True)
class Family:
    """hops: the addresses behind its ports. redirects: the emulator's table of redirect rules."""

    name: str
    emulator: tuple[str, ...]
    interfaces: tuple[str, str]
    hops: tuple[str, str]
    base: tuple[str, ...]
    is_written: bool
    redirects: str
    commit: tuple[str, ...] = ("commit",)


FAMILIES = {
    one.name: one
    for one in (
        Family(
            "panos", ("panos",), ("ethernet1/1", "ethernet1/2"), ("10.255.1.1/24", "192.0.2.9/24"), PANOS_BASE, False,
            "steers",
        ),
        Family(
            "fortios", ("fortios",), ("port1", "port2"), ("10.255.1.1/24", "192.0.2.9/24"), FORTIOS_BASE, False,
            "router policy", (),
        ),
        Family("srx", ("junos", "srx"), ("ge-0/0/1", "ge-0/0/2"), ("10.1.1.254/24", "192.0.2.9/24"), (), True, ""),
    )
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[str(request.param)]


@pytest.fixture(scope="module")
def process(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    kind, *arguments = family.emulator
    with emulated(kind, "fw1", tmp_path_factory.mktemp(family.name), *arguments) as device:
        yield device


@pytest.fixture
def firewall(fabric: None, family: Family, process: Emulated, tmp_path: Path, settings: Any) -> Emulated:
    """fw1 of the demo fabric; fw2 takes nothing, so that every chain goes by fw1."""
    settings.VIADUCT_DRIFT = "report"
    if family.is_written:
        process.operator("factory")
    else:
        process.ask("/reset", {})
        process.operator(*family.base)
    credential = tmp_path / "credential"
    credential.write_text(secret_of(process, tmp_path) if family.is_written else str(process.ready["secret"]))
    credential.chmod(0o600)
    models.Device.objects.filter(name="fw1").update(
        driver=family.name,
        management="127.0.0.1",
        credential=f"file:{credential}",
        settings={"zone_in": "trust", "zone_out": "untrust", "steers": "yes"},
    )
    for port, interface, hop in zip(("in", "out"), family.interfaces, family.hops, strict=True):
        models.Port.objects.filter(device__name="fw1", name=port).update(interface=interface)
        models.Port.objects.filter(device__name="leaf1", name=f"fw1-{port}").update(addresses=[hop])
    models.Offer.objects.filter(device__name="fw2").delete()
    return process


@pytest.fixture
def paste(firewall: Emulated, family: Family) -> Callable[[models.Change], None]:
    """What the operator does with the steps for fw1, where we may not."""

    def by_hand(change: models.Change) -> None:
        for step in change.plan.steps.filter(device__name="fw1").order_by("wave"):
            if not family.is_written:
                firewall.operator(*str(step.native).splitlines(), *family.commit)

    return by_hand


def applied(change: models.Change) -> None:
    run_change(change.pk)
    change.refresh_from_db()
    assert change.status == models.Change.Status.SUCCEEDED, world.events(change)


def seen() -> models.DeviceStatus:
    observe_device(world.device("fw1").pk)
    return models.DeviceStatus.objects.get(device__name="fw1")


def led(firewall: Emulated, family: Family, old: str, new: str) -> tuple[str, ...]:
    """What somebody types who leads our packets elsewhere."""
    if family.is_written:
        root = "groups SI-viaduct routing-instances SI-h-out routing-options static route 0.0.0.0/1 next-hop"
        return f"delete {root} {old}", f"set {root} {new}", "commit"
    rows = firewall.config()["running"][family.redirects]
    name = next(name for name, row in rows.items() if old in str(row))
    if family.name == "panos":
        return f"set rulebase pbf rules {name} action forward nexthop ip-address {new}", "commit"
    return "config router policy", f"edit {name}", f"set gateway {new}", "next", "end"


def test_a_chain_comes_is_damaged_is_mended_and_goes(
    firewall: Emulated, family: Family, paste: Callable[[models.Change], None]
) -> None:
    untouched = firewall.config()["running"]
    row = world.chain(world.NGFW)
    change = world.change(row)
    paste(change)
    applied(change)
    assert world.held("leaf1")
    assert seen().condition == "in_sync"
    assert "192.0.2.9" in str(firewall.config()["running"])

    firewall.operator(*led(firewall, family, "192.0.2.9", "192.0.2.66"))
    assert seen().condition == "drifted"
    finding = models.Finding.objects.get(code="drift", device__name="fw1", closed_at=None)
    assert finding.witness["altered"], finding.witness
    firewall.operator(*led(firewall, family, "192.0.2.66", "192.0.2.9"))
    assert seen().condition == "in_sync"
    assert not models.Finding.objects.filter(code="drift", device__name="fw1", closed_at=None).exists()

    row.refresh_from_db()
    world.delete(row)
    change = world.change(row)
    paste(change)
    applied(change)
    assert not world.held("leaf1")
    assert firewall.config()["running"] == untouched


def test_where_it_may_not_be_led_nothing_is_written(
    firewall: Emulated, family: Family, paste: Callable[[models.Change], None]
) -> None:
    """The address behind its outside is in no subnet of that port: refused with the way out, before anything else."""
    models.Port.objects.filter(device__name="leaf1", name="fw1-out").update(addresses=["10.77.0.9/24"])
    untouched = firewall.config()["running"]
    change = world.change(world.chain(world.NGFW))
    paste(change)
    run_change(change.pk)
    change.refresh_from_db()
    assert change.status != models.Change.Status.SUCCEEDED
    assert "10.77.0.9" in world.events(change) + change.error
    assert not world.held("leaf1")
    if family.is_written:
        assert firewall.config()["running"] == untouched
