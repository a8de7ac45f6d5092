# SPDX-License-Identifier: Apache-2.0
"""A change's log as server-sent events (WHATWG HTML section 9.2): resumes by Last-Event-ID, ends with the change.

The request is authenticated and answered like any other; only the body is then written by a coroutine, so an
open stream holds no thread. Every reading borrows a database connection, gives it back, and looks at the
caller's access anew: a revoked token ends the stream.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from chains import selectors
from chains.api.authentication import TokenAuthentication, actor_of
from chains.api.changes import AFTER, ChangeEventSerializer
from chains.api.manners.access import Access
from chains.api.manners.lists import single
from chains.api.manners.parsers import MAX_INTEGER
from chains.api.manners.views import ApiView
from chains.errors import Problem
from chains.models import ApiToken
from chains.selectors.usage import ENDED
from chains.services.actor import Actor

POLL_S = 0.5
KEEPALIVE_S = 15.0  # below the idle time after which proxies cut a connection
LONGEST_S = 600.0  # then the client reconnects by itself, and its access is looked at again
RETRY_MS = 2000
BATCH = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """status "": the change is gone, or may no longer be seen."""

    status: str
    events: tuple[Mapping[str, Any], ...]


def asker(request: Request) -> Actor:
    """Who asks, if they still may. Errors: AuthenticationFailed, Problem."""
    if isinstance(request.auth, ApiToken):
        TokenAuthentication().authenticate(request)
    elif not request.session.exists(request.session.session_key):
        raise AuthenticationFailed("You were logged out.")
    else:
        request.user.refresh_from_db(fields=["is_active", "is_superuser"])
    return actor_of(request)


def read(request: Request, change_id: int, after: int) -> Reading:
    """What is new after event `after`, with the change's status read before it."""
    try:
        change = selectors.change_list(asker(request)).filter(pk=change_id).first()
        if change is None:
            return Reading("", ())
        events = selectors.events_after(change, after)[:BATCH]
        return Reading(change.status, tuple(ChangeEventSerializer(event).data for event in events))
    except (AuthenticationFailed, Problem, ObjectDoesNotExist):
        return Reading("", ())
    finally:
        if not connection.in_atomic_block:  # as it is when a test holds everything in one transaction
            connection.close()


def frame(kind: str, data: Mapping[str, Any], identity: int | None = None) -> bytes:
    """One event. JSON has no line feeds, so one data line holds it."""
    lines = [f"event: {kind}", f"data: {json.dumps(data, default=str)}"]
    if identity is not None:
        lines.insert(0, f"id: {identity}")
    return ("\n".join(lines) + "\n\n").encode()


async def follow(request: Request, change_id: int, after: int) -> AsyncIterator[bytes]:
    """Log lines as "log" events, changes of the status as "status" events, "end" at the end."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    started = spoken = time.monotonic()
    status = None
    while time.monotonic() - started < LONGEST_S:
        reading = await sync_to_async(read)(request, change_id, after)
        for event in reading.events:
            after = int(event["id"])
            yield frame("log", event, after)
        if reading.status != status:
            status = reading.status
            yield frame("status", {"status": status})
            spoken = time.monotonic()
        if len(reading.events) == BATCH:
            continue
        if status in ENDED or not status:
            yield frame("end", {"status": status})
            return
        if time.monotonic() - spoken > KEEPALIVE_S:
            spoken = time.monotonic()
            yield b": keep-alive\n\n"
        await asyncio.sleep(POLL_S)


def resume_point(request: Request) -> int:
    """Last-Event-ID, which browsers send by themselves when they reconnect; else `?after=`."""
    after = single(request, "after", default=0, low=0, high=MAX_INTEGER)
    given = request.headers.get("Last-Event-ID", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else after


class ChangeStreamApi(ApiView):
    access = {"GET": Access.VIEW}
    parameters = {"GET": (AFTER,)}

    @extend_schema(
        operation_id="change_stream",
        responses={
            (200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description="log, status, end")
        },
        parameters=[OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER)],
    )
    def get(self, request: Request, id: int) -> HttpResponseBase:
        change = selectors.change_get(self.actor, id)
        body = follow(request, change.pk, resume_point(request))
        headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(body, content_type="text/event-stream", headers=headers)
