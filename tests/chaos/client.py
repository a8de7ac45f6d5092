# SPDX-License-Identifier: Apache-2.0
"""A tenant's program over HTTP, and the history of what it asked and was answered.

Every write has a key of its own and is sent again, with the same key, until it is answered; some are sent twice
although they were, and some by two at once. What was answered with 2xx is accepted: from then on it is promised.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

# Longer than any outage of a run: a write without an answer by then is a failure of its own.
GIVE_UP_S = 45.0
PORTS = (8000, 8999)
HOPS = (("ngfw",), ("ips",), ("filter", "ngfw"), ("ngfw", "ips"))
PINS = {"ngfw": ("fw1", "fw2", ""), "ips": ("",), "filter": ("leaf1", "leaf2", "")}


@dataclass
class Asked:
    """One write. replies: status and body of every answer that came. is_accepted: one of them was 2xx."""

    key: str
    method: str
    path: str
    body: Any
    tries: int = 0
    replies: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def is_accepted(self) -> bool:
        return any(200 <= status < 300 for status, _ in self.replies)


@dataclass
class Wanted:
    """A chain as its client knows it: what was accepted last. number 0: not created yet."""

    name: str
    tenant: str
    number: int = 0
    generation: int = 0
    is_deleted: bool = False
    hops: list[dict[str, Any]] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)


class Client:
    """One tenant's. prefix: in the names of keys, so that no two runs share one."""

    def __init__(self, url: str, tenant: str, token: str, chance: random.Random, prefix: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/api/v1/", headers={"Authorization": f"Bearer {token}"}, timeout=httpx.Timeout(8.0)
        )
        self._tenant = tenant
        self._random = chance
        self._prefix = prefix
        self.history: list[Asked] = []
        self.problems: list[str] = []

    def close(self) -> None:
        self._http.close()

    # --- one write ----------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Until it is answered. 0 as status: it never was."""
        asked = Asked(f"{self._prefix}-{len(self.history)}", method, path, body)
        self.history.append(asked)
        until = time.monotonic() + GIVE_UP_S
        again = self._random.random()
        if again < 0.1:
            twin = threading.Thread(target=self._send, args=(asked,))
            twin.start()
            self._send(asked)
            twin.join()
        while not self._answer(asked) and time.monotonic() < until:
            self._send(asked)
            if not self._answer(asked):
                time.sleep(0.2)
        if again > 0.7:
            self._send(asked)
        answer = self._answer(asked)
        if answer is None:
            self.problems.append(f"{method} {path}: no answer within {GIVE_UP_S:g} s: {asked.replies[-1:]}")
            return 0, None
        if len({reply for reply in asked.replies if _is_final(reply)}) > 1:
            self.problems.append(f"{method} {path}: one key, several answers: {asked.replies}")
        return answer

    def _send(self, asked: Asked) -> None:
        asked.tries += 1
        headers = {"Idempotency-Key": asked.key}
        try:
            reply = self._http.request(asked.method, asked.path, json=asked.body, headers=headers)
        except httpx.HTTPError:
            return
        asked.replies.append((reply.status_code, reply.content))

    @staticmethod
    def _answer(asked: Asked) -> tuple[int, Any] | None:
        for reply in asked.replies:
            if _is_final(reply):
                return reply[0], httpx.Response(reply[0], content=reply[1]).json() if reply[1] else None
        return None

    # --- what a tenant does -------------------------------------------------------------------

    def create(self, port: int) -> Wanted | None:
        name = f"{self._prefix}-{port}"
        hops = self._hops(port)
        body = {
            "name": name,
            "source": "clients",
            "destination": "servers",
            "classifiers": [{"protocol": "tcp", "destination_ports": str(port), "family": 4}],
            "hops": hops,
        }
        status, made = self.ask("POST", "chains/", body)
        if status != 201:
            return None
        return Wanted(name, self._tenant, made["id"], made["generation"], hops=hops)

    def edit(self, chain: Wanted) -> None:
        hops = self._hops(self._random.randint(*PORTS))
        status, edited = self.ask("PATCH", f"chains/{chain.number}/", {"hops": hops})
        if status == 200:
            chain.hops, chain.generation = hops, edited["generation"]

    def edit_and_apply(self, chain: Wanted) -> None:
        self.edit(chain)
        self.apply(chain)

    def apply(self, chain: Wanted) -> None:
        """A refused plan and a conflict are answers: nothing was accepted then."""
        status, plan = self.ask("POST", f"chains/{chain.number}/plan/")
        if status == 201 and plan["status"] == "ready":
            status, change = self.ask("POST", f"plans/{plan['id']}/apply/")
            if status == 202:
                chain.changes.append(change["id"])

    def delete(self, chain: Wanted) -> None:
        status, _ = self.ask("DELETE", f"chains/{chain.number}/")
        if status in (202, 204):
            chain.is_deleted = True

    def _hops(self, port: int) -> list[dict[str, Any]]:
        return [self._hop(name, port) for name in self._random.choice(HOPS)]

    def _hop(self, function: str, port: int) -> dict[str, Any]:
        hop: dict[str, Any] = {"function": function}
        if function == "ips":
            hop["policy"] = {"patterns": [{"text": self._random.choice(("attack", "malware", "exploit"))}]}
        else:
            rules = [{"verdict": "permit", "protocol": "tcp", "destination_ports": str(port)}]
            hop["policy"] = {"default": "deny", "rules": rules}
        device = self._random.choice(PINS[function])
        return {**hop, "device": device} if device else hop


def _is_final(reply: tuple[int, bytes]) -> bool:
    """Not the web server's own trouble, and not "your twin is in flight"."""
    status, body = reply
    return status < 500 and not (status == 409 and b"idempotency-in-flight" in body)
