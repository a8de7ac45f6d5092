# SPDX-License-Identifier: Apache-2.0
"""The wire to the server: one client, errors as `Failure`, lists page by page, event streams that resume.

Every write carries an Idempotency-Key, so it is sent again where the answer was lost, and done once.
"""

from __future__ import annotations

import json
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from frontend.cli.account import Account
from frontend.cli.printing import Failure

TIMEOUT_S = 60.0
TRIES = 3
WAIT_S = 0.5
PAGE = 200
FIXES = {
    401: "the token is not valid any more: viaduct login",
    403: "the token's role may not: ask an operator for another one",
    412: "somebody edited it meanwhile: look again, then repeat",
}


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    data: Mapping[str, Any]
    identity: str


class Rest:
    """Errors of every method: Failure."""

    def __init__(self, account: Account) -> None:
        self._server = account.server
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=account.ca or None)
        headers = {"Authorization": f"Bearer {account.token}", "Accept": "application/json"}
        self._client = httpx.Client(
            base_url=f"{account.server}/api/v1/", headers=headers, timeout=TIMEOUT_S, verify=verify
        )

    def get(self, path: str, **query: Any) -> Any:
        return self.send("GET", path, query=query).json()

    def send(
        self, method: str, path: str, body: Any = None, *, query: Any = None, tag: str = ""
    ) -> httpx.Response:
        """tag: refuse if it was edited since."""
        headers = {} if method == "GET" else {"Idempotency-Key": str(uuid.uuid4())}
        headers |= {"If-Match": tag} if tag else {}
        for left in reversed(range(TRIES)):
            try:
                response = self._client.request(method, path, json=body, params=query or {}, headers=headers)
                break
            except httpx.TransportError as error:
                if not left:
                    raise self._unheard(error) from None
                time.sleep(WAIT_S)
        if response.is_success:
            return response
        raise _failure(response)

    def rows(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All of a list; by our own counting: an address that a reply names gets no token."""
        seen = 0
        while True:
            page = self.get(path, limit=PAGE, offset=seen, **query)
            yield from page["results"]
            seen += len(page["results"])
            if not page["results"] or seen >= page["count"]:
                return

    def follow(self, path: str) -> Iterator[Event]:
        """Server-sent events until one of kind `end`; goes on after a cut where it stopped."""
        last, cuts = "", 0
        while cuts < TRIES:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
            try:
                with self._client.stream("GET", path, headers=headers) as response:
                    if not response.is_success:
                        response.read()
                        raise _failure(response)
                    for event in _events(response.iter_lines()):
                        last, cuts = event.identity or last, 0
                        yield event
                        if event.kind == "end":
                            return
            except httpx.TransportError as error:
                if cuts == TRIES - 1:
                    raise self._unheard(error) from None
            cuts += 1
            time.sleep(WAIT_S)
        raise Failure(f"{self._server} ends the stream again and again. Fix: look at its logs")

    def _unheard(self, error: httpx.TransportError) -> Failure:
        fix = "check the address and that the server runs"
        if "CERTIFICATE" in str(error).upper():
            fix = "log in with --ca FILE, the authority that signed the server's certificate"
        return Failure(f"{self._server} does not answer: {error or type(error).__name__}. Fix: {fix}")


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """WHATWG HTML section 9.2.6; our data is one line."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id", ""))
            fields = {}
        else:
            fields = {}


def _failure(response: httpx.Response) -> Failure:
    try:
        problem = response.json()
        text = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem, text = {}, f"the server answered {response.status_code} without a reason"
    request = response.headers.get("X-Request-ID", "")
    fix = f". Fix: {FIXES[response.status_code]}" if response.status_code in FIXES else ""
    where = f" (request {request})" if response.status_code >= 500 and request else ""
    return Failure(f"{text.rstrip('.')}{where}{fix}", problem)
