# SPDX-License-Identifier: Apache-2.0
"""Test log-in: asked for in a row, made by a worker through a new connection, answered whatever dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from types import MappingProxyType

import pytest
from django.core.management import CommandError, call_command

from chains import models
from chains.engine import bells, relay
from chains.engine.logins import log_in_once
from chains.engine.sweep import sweep
from chains.errors import Conflict, Forbidden
from chains.services import record
from chains.services.actor import SYSTEM, Actor
from chains.services.logins import login_ask
from drivers import fake, registry
from drivers.base import Driver, Identity, Observation, Rejected, Session, Target
from drivers.state import EMPTY
from tests.engine import world

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = '{"user": "ops", "password": "hunter-2-hunter"}'


@pytest.fixture(autouse=True)
def network(transactional_db: None) -> Iterator[None]:
    fake.reset()
    world.load()
    yield
    fake.reset()


def ask(name: str = "leaf1") -> models.LoginTest:
    return login_ask(actor=SYSTEM, device=world.device(name))


def answer(name: str = "leaf1") -> models.LoginTest:
    return models.LoginTest.objects.get(device__name=name)


@dataclass(frozen=True)
class Plain:
    """A session of a family that says nothing of itself, or quotes what it was given."""

    target: Target
    quotes: bool

    def read(self) -> Observation:
        if self.quotes:
            raise Rejected(f"{self.target.name}: 'login ops hunter-2-hunter' was refused")
        return Observation(EMPTY)

    def validate(self, native: str) -> None: ...

    def push(self, native: str) -> None: ...


def family(monkeypatch: pytest.MonkeyPatch, *, quotes: bool = False) -> list[str]:
    """leaf1 is of a family without introspection. The secrets that it was opened with."""
    opened: list[str] = []

    @contextmanager
    def open_plain(target: Target, timeout_s: float) -> Iterator[Session]:
        opened.append(target.secret)
        yield Plain(target, quotes)

    made: Driver = replace(fake.SWITCH, name="plain", open=open_plain)
    monkeypatch.setattr(registry, "DRIVERS", MappingProxyType({**registry.DRIVERS, "plain": made}))
    models.Device.objects.filter(name="leaf1").update(driver="plain", credential="env:LEAF_SECRET")
    monkeypatch.setenv("LEAF_SECRET", SECRET)
    return opened


def test_a_worker_logs_in_because_the_relay_rang() -> None:
    row = ask()
    assert (row.status, row.asked_by, row.ended_at) == ("pending", "system", None)
    with fake.box("leaf1") as box:
        box.faults.lacks = "feature pbr is off; add: feature pbr"
    relay.carry_bells(bells.answer)
    found = answer()
    assert (found.status, found.platform, found.version, found.items, found.error) == ("succeeded", "fake", "1", 0, "")
    assert found.missing == ["feature pbr is off; add: feature pbr"]
    assert found.ended_at is not None
    assert models.AuditRow.objects.get(action="device.test-login").subject == "device leaf1"
    with fake.box("leaf1") as box:
        assert not box.history, "nothing was written"


def test_asked_twice_is_made_once_and_asked_again_later() -> None:
    ask()
    ask()
    assert models.Outbox.objects.filter(topic="login").count() == 1
    assert log_in_once(world.device("leaf1").pk)
    assert not log_in_once(world.device("leaf1").pk)
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = True
    assert ask().status == "pending"
    log_in_once(world.device("leaf1").pk)
    found = answer()
    assert (found.status, found.platform, found.items) == ("failed", "", None)
    assert "no answer from" in found.error


def test_a_device_that_is_left_alone_is_asked_all_the_same() -> None:
    device = world.device("leaf1")
    record.device_failed([device.pk], 1, 60.0, was_counted=False)
    assert models.DeviceStatus.objects.get(device=device).closed_until is not None
    ask()
    log_in_once(device.pk)
    assert answer().status == "succeeded"


def test_a_lost_bell_and_a_dead_worker_are_made_up_for() -> None:
    ask()
    models.Outbox.objects.update(rung_at="2026-01-01T00:00:00Z")  # rung, and nobody heard it
    assert record.login_claim(world.device("leaf1").pk) is not None  # and who heard it died
    assert not log_in_once(world.device("leaf1").pk), "another worker is at it"
    models.LoginTest.objects.update(due_at="2026-01-01T00:00:00Z")  # its time is over
    sweep()
    assert (answer().status, answer().attempts) == ("succeeded", 2)


def test_a_worker_that_was_overtaken_says_nothing() -> None:
    ask()
    first = record.login_claim(world.device("leaf1").pk)
    assert first is not None
    models.LoginTest.objects.update(due_at="2026-01-01T00:00:00Z")
    assert record.login_claim(world.device("leaf1").pk) is not None
    assert not record.login_succeeded(first, Identity("old"), 7)
    assert answer().status == "pending"


def test_what_kills_workers_is_given_up() -> None:
    ask()
    for _ in range(3):
        models.LoginTest.objects.update(due_at="2026-01-01T00:00:00Z")
        assert record.login_claim(world.device("leaf1").pk) is not None
    models.LoginTest.objects.update(due_at="2026-01-01T00:00:00Z")
    sweep()
    assert (answer().status, "none came back" in answer().error) == ("failed", True)


def test_a_family_without_introspection_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = family(monkeypatch)
    ask()
    log_in_once(world.device("leaf1").pk)
    assert (answer().status, answer().platform, answer().items) == ("succeeded", "", 0)
    ask()
    log_in_once(world.device("leaf1").pk)
    assert opened == [SECRET, SECRET], "each time a new connection"


def test_what_a_device_quotes_of_the_secret_is_blotted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    family(monkeypatch, quotes=True)
    ask()
    log_in_once(world.device("leaf1").pk)
    assert answer().error == "leaf1: 'login ops ***' was refused"
    bells.answer("device", world.device("leaf1").pk)
    assert models.DeviceStatus.objects.get(device__name="leaf1").reason == "leaf1: 'login ops ***' was refused"


def test_who_may_ask_and_of_what() -> None:
    tenant = models.Tenant.objects.get(name="tenant-a")
    with pytest.raises(Forbidden):
        login_ask(actor=Actor("ed", tenant, models.Role.EDITOR), device=world.device("leaf1"))
    outside = models.Device.objects.filter(driver="").first()
    assert outside is not None
    with pytest.raises(Conflict):
        login_ask(actor=SYSTEM, device=outside)


def test_on_the_command_line() -> None:
    out = StringIO()
    models.Device.objects.filter(name="leaf1").update(settings={"unverified": "yes"})
    began = time.monotonic()
    call_command("test_login", "leaf1", stdout=out)
    assert time.monotonic() - began < 10
    assert "leaf1: logged in. fake, 1" in out.getvalue()
    assert "WARNING: its setting unverified" in out.getvalue()
    assert "tier B: filter, guard, pass, redirect" in out.getvalue()
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = True
    with pytest.raises(CommandError, match="no answer"):
        call_command("test_login", "leaf1", stdout=out)
    with pytest.raises(CommandError, match="no device"):
        call_command("test_login", "leaf9", stdout=out)
