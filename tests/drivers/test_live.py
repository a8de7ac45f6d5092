# SPDX-License-Identifier: Apache-2.0
"""`manage.py live` on real daemons and on fakes: every case passes, the device is as before, and it says when not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from chains import models
from chains.engine import live as engine
from chains.engine.lease import Leases
from chains.engine.limits import limits
from chains.services.actor import SYSTEM
from chains.services.freeze import freeze_set
from drivers import fake
from drivers.base import Target
from drivers.state import DeviceState
from tests.drivers.contract import Rig

pytestmark = pytest.mark.django_db(transaction=True)
CASES = [
    "hostile text is refused",
    "what was pushed is read back",
    "items change under their keys",
    "the reverse restores",
    "one item goes and the others stay",
    "all of ours goes",
]
CONFIRMING = ["an unconfirmed commit is cancelled by another session", "a commit is confirmed by another session"]
LAST = ["the device is as it was"]


@pytest.fixture(autouse=True)
def state(transactional_db: None, settings: Any, tmp_path: Path) -> Iterator[Path]:
    """Snapshots go here."""
    fake.reset()
    settings.ENVIRONMENT = SimpleNamespace(state=tmp_path / "state")
    settings.VIADUCT_LEASE_WAIT_S = 0.0
    yield tmp_path / "state"
    fake.reset()


def row_of(target: Target, kind: str, monkeypatch: pytest.MonkeyPatch) -> models.Device:
    """The rows that the target would be made from, with whatever is at the other end of its ports."""
    site = models.Site.objects.create(name="lab")
    monkeypatch.setenv("LIVE_SECRET", target.secret)
    device = models.Device.objects.create(
        name=target.name,
        site=site,
        kind=kind,
        driver=target.driver,
        management=target.management,
        settings=dict(target.settings),
        credential="env:LIVE_SECRET" if target.secret else "",
    )
    far = models.Device.objects.create(name="far", site=site, kind="external")
    for port in target.ports.values():
        values = {"number": port.number, "mac": port.mac, "interface": port.interface}
        near = models.Port.objects.create(device=device, name=port.name, addresses=list(port.addresses), **values)
        if port.peer_mac:
            peer = models.Port.objects.create(
                device=far, name=port.name, mac=port.peer_mac, addresses=list(port.peer_addresses)
            )
            models.Link.objects.create(a=near, b=peer, capacity_mbps=1, latency_us=1)
    for name, tag in target.vrfs.items():
        models.Vrf.objects.create(name=name, tag=tag)
    return device


@dataclass
class Run:
    code: int = 0
    said: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def passed(self) -> list[str]:
        return [case["name"] for case in self.said.get("cases", []) if case["ok"]]

    @property
    def failed(self) -> list[str]:
        return [case["name"] for case in self.said.get("cases", []) if not case["ok"]]


def live(*words: str) -> Run:
    out = StringIO()
    try:
        call_command("live", "--json", *words, stdout=out)
    except CommandError as error:
        return Run(error.returncode, json.loads(out.getvalue() or "{}"), str(error))
    return Run(0, json.loads(out.getvalue()))


@pytest.mark.parametrize(
    ("rig", "kind"),
    [
        ("open_openvswitch", "switch"),
        ("open_eos", "switch"),
        ("open_frr", "switch"),
        ("open_junos", "switch"),
        ("open_iosxr", "switch"),
        ("open_ios", "switch"),
        ("open_nxos", "switch"),
        ("open_srx", "appliance"),
        ("open_linux", "appliance"),
    ],
)
def test_on_real_daemons(
    rig: str, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    device: Rig = request.getfixturevalue(rig)
    device.add_foreign()
    row = row_of(device.target, kind, monkeypatch)
    ports = ",".join(list(device.target.ports)[:2])
    if kind == "appliance":
        function = models.Function.objects.create(name="ngfw", capability="stateful_filter")
        models.Offer.objects.create(device=row, function=function, realm=kind, inside="in", outside="out")
    if rig == "open_linux":
        refused = live("--device", row.name, "--ports", ports, "--yes")
        assert "the first push closes it to all forwarded packets" in refused.error
    theirs = device.others()
    looked = live("--device", row.name, "--ports", ports)
    assert (looked.code, looked.said["written"]) == (1, False)
    assert looked.said["native"]
    assert not models.DeviceWrite.objects.exists()
    done = live("--device", row.name, "--ports", ports, "--yes", "--may-close")
    assert (done.failed, done.said["difference"], done.error) == ([], [], "")
    takes_back = CONFIRMING if device.driver.caps.has_confirmed_commit else []
    assert done.passed == [*CASES, *takes_back, *LAST]
    assert done.said["platform"]
    assert not device.read().state
    assert device.others() == theirs
    (kept,) = (state / "live").iterdir()
    assert str(kept) == done.said["snapshot"]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert models.DeviceWrite.objects.filter(purpose="live", ended_at=None).count() == 0
    assert models.DeviceWrite.objects.filter(purpose="live", error="").count() > 4


@pytest.fixture
def leaf(monkeypatch: pytest.MonkeyPatch) -> models.Device:
    row = row_of(Target("leaf1", "fake-switch-confirming", "192.0.2.1"), "switch", monkeypatch)
    for name in ("a", "b"):
        models.Port.objects.create(device=row, name=name)
    with fake.box("leaf1") as box:
        box.foreign.append("ip access-list theirs")
    return row


def test_a_family_that_takes_back(leaf: models.Device) -> None:
    done = live("--device", "leaf1", "--yes")
    assert done.passed == [*CASES, *CONFIRMING, *LAST]
    assert (done.code, done.said["ports"], done.said["items"]) == (0, ["a", "b"], 8)
    with fake.box("leaf1") as box:
        assert (box.state, box.pending, box.foreign) == (DeviceState({}), None, ["ip access-list theirs"])


def test_nothing_is_written_without_a_yes(leaf: models.Device, state: Path) -> None:
    assert live("--device", "leaf1").code == 1
    with fake.box("leaf1") as box:
        assert not box.history
    assert not state.exists()


def test_what_is_refused(leaf: models.Device) -> None:
    def refused() -> str:
        run = live("--device", "leaf1", "--yes")
        assert run.code == 1
        with fake.box("leaf1") as box:
            assert not box.history
        return run.error

    assert "no managed device" in live("--device", "leaf9", "--yes").error
    assert "no port 'z'" in live("--device", "leaf1", "--ports", "z").error
    freeze, _ = freeze_set(actor=SYSTEM, reason="core reboot")
    assert "core reboot" in refused()
    freeze.delete()
    with Leases([leaf.pk], limits(), wait_s=0.0):
        assert "A worker writes to leaf1" in refused()
    with fake.box("leaf1") as box:
        box.faults.lacks = "policy-based routing is off; add: feature pbr"
    assert "add: feature pbr" in refused()
    with fake.box("leaf1") as box:
        box.faults.lacks = ""
        box.faults.is_unreachable = True
    assert "no answer" in refused()
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = False
    tenant = models.Tenant.objects.create(name="tenant-a")
    vrf = models.Vrf.objects.create(name="red", tag=7)
    segment = models.Segment.objects.create(tenant=tenant, name="clients", vrf=vrf, prefixes=["192.0.2.0/24"])
    chain = models.Chain.objects.create(tenant=tenant, name="web", source=segment, destination=segment)
    models.Contribution.objects.create(chain=chain, device=leaf, items={})
    assert "Chains have items on leaf1" in refused()


def test_a_device_that_lies_is_found_out_and_tidied(leaf: models.Device) -> None:
    with fake.box("leaf1") as box:
        box.faults.swallows_error = "half"
        box.faults.counts = {"swallows_error": 1}
    run = live("--device", "leaf1", "--yes")
    assert run.code == 1
    assert run.failed == ["what was pushed is read back"]
    assert run.passed == [CASES[0], *LAST]
    with fake.box("leaf1") as box:
        assert not box.state


def test_a_configuration_that_changed_is_shown(leaf: models.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else, or the device, changed a line that is not ours meanwhile."""
    pushed = fake.Box.push

    def push(self: fake.Box, after: DeviceState) -> None:
        pushed(self, after)
        self.foreign[:] = ["ip access-list altered"]

    monkeypatch.setattr(fake.Box, "push", push)
    run = live("--device", "leaf1", "--yes")
    assert (run.code, run.failed) == (1, LAST)
    assert "-foreign ip access-list theirs" in run.said["difference"]
    assert "+foreign ip access-list altered" in run.said["difference"]


def after_push(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[fake.Box], None]) -> None:
    """Something happens to the box right after its push of that number."""
    pushed, seen = fake.Box.push, []

    def push(self: fake.Box, after: DeviceState) -> None:
        pushed(self, after)
        seen.append(after)
        if len(seen) == number:
            do(self)

    monkeypatch.setattr(fake.Box, "push", push)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whoever_ends_it_gets_the_device_as_it_was(
    leaf: models.Device, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    after_push(monkeypatch, 2, lambda box: os.kill(os.getpid(), number))
    run = live("--device", "leaf1", "--yes")
    assert (run.code, run.passed, run.failed) == (1, [*CASES[:3], *LAST], [CASES[3]])
    assert "stopped" in next(case["detail"] for case in run.said["cases"] if not case["ok"])
    with fake.box("leaf1") as box:
        assert (box.state, box.pending, box.foreign) == (DeviceState({}), None, ["ip access-list theirs"])
    assert signal.getsignal(number) == before


def test_a_device_that_is_away_for_a_while_is_tidied_when_it_is_back(
    leaf: models.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PAUSE_S", 0.01)

    def away(box: fake.Box) -> None:
        box.faults.is_unreachable = True
        box.faults.counts = {"is_unreachable": 6}

    after_push(monkeypatch, 1, away)
    run = live("--device", "leaf1", "--yes")
    assert (run.code, run.failed) == (1, [CASES[1]]) and run.passed == [CASES[0], *LAST]
    with fake.box("leaf1") as box:
        assert not box.state and not box.faults.counts.get("is_unreachable")


def test_a_device_that_stays_away_is_said_to_hold_ours(leaf: models.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "TIDY_S", 0.2)
    monkeypatch.setattr(engine, "PAUSE_S", 0.05)
    after_push(monkeypatch, 1, lambda box: setattr(box.faults, "is_unreachable", True))
    run = live("--device", "leaf1", "--yes")
    assert (run.code, run.failed) == (1, [CASES[1], *LAST])
