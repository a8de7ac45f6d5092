# SPDX-License-Identifier: Apache-2.0
"""One id per request: from X-Request-ID if well-formed, returned in the reply, put on every log line.

Named by the settings. Views find it as `request.id` and pass it on to what they record.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

HEADER = "X-Request-ID"
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}")
Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """"" outside a request."""
    return _current.get()


class RequestIdMiddleware:
    """Serves both kinds of handlers, so that event streams are not forced into threads."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        given = request.headers.get(HEADER, "")
        request.id = given if WELL_FORMED.fullmatch(given) else uuid.uuid4().hex
        _current.set(request.id)
        if iscoroutinefunction(self):
            return self._finish(request)
        response = self.get_response(request)
        response[HEADER] = request.id
        return response

    async def _finish(self, request: HttpRequest) -> HttpResponseBase:
        response = await self.get_response(request)
        response[HEADER] = request.id
        return response
