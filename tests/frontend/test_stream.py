# SPDX-License-Identifier: Apache-2.0
"""A change's event stream: who may listen, what comes, where it resumes, how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import AsyncClient, Client

from chains import models
from chains.engine.reconcile import run_change
from chains.services import intent
from chains.services.actor import SYSTEM
from frontend.views import stream
from tests.frontend import world

pytestmark = pytest.mark.usefixtures("shared_fabric")


def listen(client: Client, change: int, **headers: str) -> tuple[int, str]:
    """Until the stream ends by itself."""

    async def collect() -> tuple[int, str]:
        listener = AsyncClient()
        listener.cookies = client.cookies
        response = await listener.get(f"/changes/{change}/stream/", headers=headers)
        if not response.streaming:
            return response.status_code, response.content.decode()
        assert response["Content-Type"] == "text/event-stream"
        return 200, b"".join([chunk async for chunk in response]).decode()

    return async_to_sync(collect)()


def frames(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(event, id, data) of each frame that has data."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


def test_an_ended_change_gives_its_whole_log_and_ends() -> None:
    change = world.apply(world.chain())
    status, text = listen(world.operator(), change.pk)
    found = frames(text)
    assert status == 200
    logged = [(identity, data["text"]) for event, identity, data in found if event == "log"]
    assert logged == [(str(event.pk), event.text) for event in change.events.all()]
    assert found[-1] == ("end", "", {"status": "succeeded"})


def test_it_resumes_behind_the_last_event_that_was_seen() -> None:
    change = world.apply(world.chain())
    numbers = [event.pk for event in change.events.all()]
    _, text = listen(world.operator(), change.pk, **{"Last-Event-ID": str(numbers[1])})
    assert [int(identity) for event, identity, _ in frames(text) if event == "log"] == numbers[2:]
    _, everything = listen(world.member("anna"), change.pk, **{"Last-Event-ID": "no number"})
    assert len([1 for event, _, _ in frames(everything) if event == "log"]) == len(numbers)


def test_strangers_and_other_tenants_hear_nothing() -> None:
    change = world.apply(world.chain(of="tenant-b"))
    assert listen(Client(), change.pk)[0] == 401
    status, text = listen(world.member("anna"), change.pk)
    assert status == 404 and "tenant-b" not in text
    assert listen(world.operator(), 999_999)[0] == 404


def test_a_running_change_is_followed_to_its_end() -> None:
    row = world.chain()
    change = intent.change_create(actor=SYSTEM, plan=world.plan(row))

    async def follow() -> list[bytes]:
        found = []
        async for chunk in stream.follow(SYSTEM, change.pk, 0):
            found.append(chunk)
            if b'"pending"' in chunk:
                await sync_to_async(run_change)(change.pk)
        return found

    found = frames(b"".join(async_to_sync(follow)()).decode())
    assert [event for event, _, _ in found][0] == "moved"
    assert [event for event, _, _ in found][-2:] == ["moved", "end"]
    texts = [data["text"] for event, _, data in found if event == "log"]
    assert texts == [event.text for event in models.ChangeEvent.objects.filter(change=change)]


def test_text_with_line_feeds_cannot_forge_an_event() -> None:
    change = world.apply(world.chain())
    models.ChangeEvent.objects.create(change=change, text="a\n\nevent: end\ndata: {}\n\n")
    _, text = listen(world.operator(), change.pk)
    assert [event for event, _, _ in frames(text)].count("end") == 1
