# SPDX-License-Identifier: Apache-2.0
"""Viaduct's REST API as the demo's people use it: a token, JSON, and patience until a change has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

POLL_S = 0.1
ENDED = ("succeeded", "reverted", "failed", "cancelled")


class ApiError(Exception):
    """The API refused. The text has its own words."""


class Api:
    """One person's access. Every method gives the decoded body."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{url}/api/v1/", headers=headers, timeout=60.0)

    def get(self, path: str) -> Any:
        return self._body(self._http.get(path))

    def post(self, path: str, data: Any = None) -> Any:
        return self._body(self._http.post(path, json=data) if data is not None else self._http.post(path))

    def patch(self, path: str, data: Any) -> Any:
        return self._body(self._http.patch(path, json=data))

    def delete(self, path: str) -> Any:
        return self._body(self._http.delete(path))

    def results(self, path: str) -> list[Any]:
        """A list's rows."""
        return list(self.get(path)["results"])

    @staticmethod
    def _body(reply: httpx.Response) -> Any:
        if reply.is_error:
            raise ApiError(f"{reply.request.method} {reply.request.url.path}: {reply.status_code} {reply.text[:600]}")
        return reply.json() if reply.content else None

    # --- what takes several requests ----------------------------------------------------------------

    def plan(self, chain: int) -> Any:
        """A plan that can be applied. Errors: ApiError with the reasons if it was refused."""
        plan = self.post(f"chains/{chain}/plan/")
        if plan["status"] != "ready":
            raise ApiError(f"plan {plan['id']} is {plan['status']}: {plan['errors']}")
        return plan

    def apply(self, plan: int, timeout_s: float = 60.0) -> Any:
        """Apply and wait for the end. Errors: ApiError unless it succeeded."""
        return self.wait_for_change(self.post(f"plans/{plan}/apply/")["id"], timeout_s)

    def wait_for_change(self, change: int, timeout_s: float = 60.0) -> Any:
        ended = self.wait_until(
            lambda: found if (found := self.get(f"changes/{change}/"))["status"] in ENDED else None,
            f"change {change} to end",
            timeout_s,
        )
        if ended["status"] != "succeeded":
            raise ApiError(f"change {change} {ended['status']}: {ended['error']}")
        return ended

    @staticmethod
    def wait_until(question: Callable[[], Any], what: str, timeout_s: float) -> Any:
        """The first answer that is true. Errors: ApiError after the deadline."""
        deadline = time.monotonic() + timeout_s
        while not (answer := question()):
            if time.monotonic() > deadline:
                raise ApiError(f"waited {timeout_s:g} s in vain for {what}")
            time.sleep(POLL_S)
        return answer
