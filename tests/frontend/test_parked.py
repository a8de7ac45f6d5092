# SPDX-License-Identifier: Apache-2.0
"""What waits and what is parked is said on the pages, with a button; a device that is left alone says until when."""

from __future__ import annotations

import pytest
from django.test import Client

from chains import models
from chains.engine.reconcile import run_change
from chains.services import intent, record
from chains.services.actor import SYSTEM
from tests.frontend import world

pytestmark = pytest.mark.usefixtures("fabric")


def parked() -> models.Change:
    change = intent.change_create(actor=SYSTEM, plan=world.plan(world.chain()))
    models.Change.objects.filter(pk=change.pk).update(broken=5, attempts=5, error="KeyError: 'leaf9'")
    assert run_change(change.pk) is True
    change.refresh_from_db()
    assert change.status == "failed"
    return change


def waiting(name: str = "waiting", of: str = "tenant-b") -> models.Change:
    """For fw1 or whatever it needs: every device is left alone."""
    change = intent.change_create(actor=SYSTEM, plan=world.plan(world.chain(name=name, of=of)))
    record.device_failed([models.Device.objects.get(name="leaf1").pk], 1, 60.0, was_counted=False)
    assert run_change(change.pk) is False
    return change


def text_of(client: Client, address: str) -> str:
    reply = client.get(address)
    assert reply.status_code == 200
    return reply.content.decode()


def test_a_parked_change_says_so_and_is_retried_by_a_button() -> None:
    change, client = parked(), world.operator()
    page = text_of(client, f"/changes/{change.pk}/")
    assert "Parked: not attempted again" in page
    assert "KeyError" in page
    assert ">Retry</button>" in page
    overview = text_of(client, "/")
    assert "Parked changes" in overview
    assert "change-parked" in overview
    assert client.post(f"/changes/{change.pk}/retry/").status_code == 302
    change.refresh_from_db()
    assert (change.status, change.broken) == ("running", 0)
    assert "Parked changes" not in text_of(client, "/")
    run_change(change.pk)
    page = text_of(client, f"/changes/{change.pk}/")
    assert "Parked" not in page
    assert "Retry" not in page


def test_a_viewer_sees_it_without_the_button() -> None:
    change = parked()
    page = text_of(world.member("vera", role="viewer"), f"/changes/{change.pk}/")
    assert "Parked: not attempted again" in page
    assert "Retry</button>" not in page


def test_a_change_that_waits_says_for_what_and_the_device_until_when() -> None:
    change, client = waiting(), world.operator()
    for address in (f"/changes/{change.pk}/", "/"):
        assert "leaf1 does not answer: tried again at" in text_of(client, address)
    change.refresh_from_db()
    banners = text_of(client, f"/changes/{change.pk}/").partition('aria-labelledby="h-log"')[0]
    assert banners.count(change.waits) == 1
    assert "Try again now</button>" in text_of(client, f"/changes/{change.pk}/")
    page = text_of(client, "/devices/leaf1/")
    assert "Left alone until" in page
    assert "Failures in a row" in page
    assert "left alone until" in text_of(client, "/devices/?condition=left_alone")
    assert "/devices/leaf2/" not in text_of(client, "/devices/?condition=left_alone")
