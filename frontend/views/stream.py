# SPDX-License-Identifier: Apache-2.0
"""A change's log as server-sent events (WHATWG HTML section 9.2) for its page.

Signed in by session like every page. The body is a coroutine: an open stream holds no thread and, between two
readings, no database connection. Resumes by Last-Event-ID; ends with the change.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from chains import selectors
from chains.errors import NotFound, Problem
from chains.selectors.usage import ENDED
from chains.services.actor import Actor
from frontend.access import actor_of_request

POLL_S = 0.5
KEEPALIVE_S = 15.0  # below the idle time after which proxies cut a connection
LONGEST_S = 600.0  # then the browser comes back by itself, and its session is looked at again
RETRY_MS = 2000
BATCH = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """What is new. status "": the change is gone. steps: their states in order; a changed text means a new look."""

    status: str
    steps: str
    events: tuple[tuple[int, Mapping[str, Any]], ...]


async def change_stream(request: HttpRequest, id: int) -> HttpResponseBase:
    try:
        actor = await sync_to_async(_admit)(request, id)
    except Problem as problem:
        return HttpResponse(problem.detail, status=problem.status, content_type="text/plain")
    if actor is None:
        return HttpResponse("Sign in first.", status=401, content_type="text/plain")
    given = request.headers.get("Last-Event-ID", "")
    after = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(
        follow(actor, id, after), content_type="text/event-stream", headers=headers
    )


async def follow(actor: Actor, change_id: int, after: int) -> AsyncIterator[bytes]:
    """Log lines as "log" events, "moved" when status or steps changed, "end" at the end."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    started = spoken = time.monotonic()
    seen: tuple[str, str] | None = None
    while time.monotonic() - started < LONGEST_S:
        reading = await sync_to_async(_read)(actor, change_id, after)
        for after, event in reading.events:
            yield frame("log", event, after)
        if (reading.status, reading.steps) != seen:
            seen, spoken = (reading.status, reading.steps), time.monotonic()
            yield frame("moved", {"status": reading.status})
        if len(reading.events) == BATCH:
            continue
        if reading.status in ENDED or not reading.status:
            yield frame("end", {"status": reading.status})
            return
        if time.monotonic() - spoken > KEEPALIVE_S:
            spoken = time.monotonic()
            yield b": keep-alive\n\n"
        await asyncio.sleep(POLL_S)


def frame(kind: str, data: Mapping[str, Any], identity: int | None = None) -> bytes:
    """One event. JSON has no line feeds, so one data line holds it."""
    lines = [f"event: {kind}", f"data: {json.dumps(data, default=str)}"]
    if identity is not None:
        lines.insert(0, f"id: {identity}")
    return ("\n".join(lines) + "\n\n").encode()


def _admit(request: HttpRequest, change_id: int) -> Actor | None:
    """Errors: Problem if the change is not the person's to see."""
    try:
        if not request.user.is_authenticated:
            return None
        actor = actor_of_request(request)
        selectors.change_get(actor, change_id)
        return actor
    finally:
        close_old_connections()


def _read(actor: Actor, change_id: int, after: int) -> Reading:
    """The status is read before the events: after the last status no event is left behind."""
    try:
        change = selectors.change_get(actor, change_id)
        steps = " ".join(step.status for step in change.steps.all())
        events = selectors.events_after(change, after)[:BATCH]
        return Reading(change.status, steps, tuple((event.pk, _event(event)) for event in events))
    except NotFound:
        return Reading("", "", ())
    finally:
        close_old_connections()


def _event(event: Any) -> dict[str, Any]:
    return {"at": event.at.isoformat(), "level": event.level, "device": event.device, "text": event.text}
