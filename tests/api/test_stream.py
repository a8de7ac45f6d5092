# SPDX-License-Identifier: Apache-2.0
"""A change's log as server-sent events: complete, resumable, closed at the end, and refused like everything else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.test import AsyncClient
from django.utils import timezone

from chains.api import stream
from chains.models import ApiToken, Change, ChangeEvent, Plan
from tests.api.world import Api, World, chain_body, problem


def awaited(test: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[World], None]:
    """Runs a coroutine as a test; its database work happens in the test's own thread and transaction."""

    def run(world: World) -> None:
        async_to_sync(test)(world)

    return run


def key_of(api: Api) -> int:
    return ApiToken.objects.get(key_id=api.token[4:20]).pk


def make_change(world: World, texts: tuple[str, ...], status: str) -> Change:
    chain = world.a.post("chains/", chain_body()).json()["id"]
    plan = Plan.objects.create(
        chain_id=chain,
        chain_name="web",
        tenant=world.tenant_a,
        generation=1,
        base_revision=0,
        revision=1,
        status=Plan.Status.READY,
    )
    change = Change.objects.create(plan=plan, due_at=timezone.now(), status=status)
    for text in texts:
        ChangeEvent.objects.create(change=change, text=text)
    return change


async def opened(api: Api, change: Change, **headers: str) -> Any:
    given = {"Authorization": f"Bearer {api.token}", "Accept": "text/event-stream", **headers}
    return await AsyncClient().get(f"/api/v1/changes/{change.pk}/stream/", headers=given)


def frames(text: str) -> list[dict[str, str]]:
    """As a browser reads them: blocks of `name: value` lines; comments are skipped."""
    blocks = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith(":")]
        if lines:
            blocks.append(dict(line.split(": ", 1) for line in lines))
    return blocks


async def whole(response: Any) -> list[dict[str, str]]:
    return frames("".join([chunk.decode() async for chunk in response.streaming_content]))


@awaited
async def test_a_change_that_has_ended_is_told_and_closed(world: World) -> None:
    change = await sync_to_async(make_change)(world, ("one\ndata: forged", "two"), "succeeded")
    response = await opened(world.a, change)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    assert "no-cache" in response["Cache-Control"]
    told = await whole(response)
    assert told[0] == {"retry": str(stream.RETRY_MS)}
    assert [frame["event"] for frame in told[1:]] == ["log", "log", "status", "end"]
    # A text cannot forge a frame: JSON escapes its line feed.
    assert json.loads(told[1]["data"])["text"] == "one\ndata: forged"
    assert json.loads(told[-1]["data"]) == {"status": "succeeded"}

    resumed = await whole(await opened(world.a, change, **{"Last-Event-ID": told[1]["id"]}))
    assert [json.loads(frame["data"])["text"] for frame in resumed if frame.get("event") == "log"] == ["two"]
    none_left = await whole(await opened(world.a, change, **{"Last-Event-ID": told[2]["id"]}))
    assert [frame["event"] for frame in none_left[1:]] == ["status", "end"]


@awaited
async def test_what_happens_meanwhile_is_told(world: World) -> None:
    change = await sync_to_async(make_change)(world, ("one",), "running")
    response = await opened(world.a, change)
    chunks: AsyncIterator[bytes] = response.streaming_content
    text = ""

    async def until(word: str) -> None:
        nonlocal text
        while word not in text:
            text += (await anext(chunks)).decode()

    async with asyncio.timeout(20):
        await until("one")
        await until("running")
        await sync_to_async(ChangeEvent.objects.create)(change=change, text="later")
        await until("later")
        await sync_to_async(Change.objects.filter(pk=change.pk).update)(status="reverted")
        await until("event: end")
    assert json.loads(frames(text)[-1]["data"]) == {"status": "reverted"}


@awaited
async def test_access_that_was_taken_away_ends_the_stream(world: World) -> None:
    change = await sync_to_async(make_change)(world, ("one",), "running")
    response = await opened(world.a, change)
    chunks: AsyncIterator[bytes] = response.streaming_content
    text = ""
    async with asyncio.timeout(20):
        while "running" not in text:
            text += (await anext(chunks)).decode()
        await sync_to_async(world.operator.delete)(f"tokens/{await sync_to_async(key_of)(world.a)}/")
        async for chunk in chunks:
            text += chunk.decode()
    assert frames(text)[-1]["event"] == "end"


def test_a_foreign_change_looks_like_a_missing_one(world: World) -> None:
    change = make_change(world, ("one",), "succeeded")
    foreign, missing = world.b.get(f"changes/{change.pk}/stream/"), world.b.get("changes/987654/stream/")
    assert foreign.content == missing.content
    problem(foreign, 404)
    accept = world.b.get("changes/987654/stream/", headers={"Accept": "text/event-stream"})
    problem(accept, 404)
