# SPDX-License-Identifier: Apache-2.0
"""Does a write wait for the broker? A whole instance, a client, and the broker up, stopped and hung, in turns.

Everything runs as `./run serve` starts it, on a database that is as durable as a real one. The client posts chains
one after the other; after each block the tables are emptied, so that no block finds more rows than another.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg
import redis

from lab import fake_story
from lab.network import DEMO
from orchestrator.services import valkey
from orchestrator.services.processes import ProcessGroup
from orchestrator.services.serve import Instance, bring_up, free_port, manage
from tests.bench import database
from tests.bench.report import Figure

MOST = 1.2
WORKERS = 2
WARM_UP = 5
PATIENCE_S = 90.0
POLL_S = 0.05
UP, STOPPED, HUNG = "up", "stopped", "hung"
STATES: Final = (UP, STOPPED, HUNG)
PORTS = 60_000


@dataclass(frozen=True, slots=True)
class Size:
    """rounds: blocks of each state. block: requests in one."""

    rounds: int
    block: int


FULL = Size(rounds=6, block=100)
SMALL = Size(rounds=1, block=15)


@dataclass(slots=True)
class Seen:
    """One state's requests. times_s: but for each block's first ones. bells: outbox rows of the created chains."""

    asked: int = 0
    times_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    bells: int = 0

    def percentile(self, part: float) -> float:
        return sorted(self.times_s)[math.ceil(part * len(self.times_s)) - 1]


def figures(size: Size) -> Iterator[Figure]:
    """Errors: AssertionError if the bells of a block are not rung once the broker is back."""
    seen = {state: Seen() for state in STATES}
    with database.state() as folder, database.without("DATABASE_URL", "REDIS_URL"):
        instance = bring_up(folder, port=free_port(0), workers=WORKERS)
        try:
            bench = Bench(folder, instance)
            for number in range(size.rounds):
                for state in (*STATES[number % len(STATES) :], *STATES[: number % len(STATES)]):
                    bench.block(state, size.block, seen[state])
        finally:
            bench.broker.set(UP)  # what is stopped would not hear that it is to end
            instance.stop()
    yield from _told(size, seen)


def _told(size: Size, seen: dict[str, Seen]) -> Iterator[Figure]:
    told = f"{size.rounds * size.block} requests each way, in blocks of {size.block}, one client, {WORKERS} workers"
    up = seen[UP]
    for state, name in ((STOPPED, "post"), (HUNG, "post.hung")):
        value, against = seen[state].percentile(0.99) * 1000, up.percentile(0.99) * 1000
        what = f"p99, broker {state} against up: {told}"
        yield Figure(name, value, "ms", against, what, f"at most {MOST:g} times", value <= MOST * against)
    value, against = median(seen[STOPPED].times_s) * 1000, median(up.times_s) * 1000
    yield Figure("post.median", value, "ms", against, f"median, broker stopped against up: {told}")
    errors = [error for held in seen.values() for error in held.errors]
    first = f", the first: {errors[0]}" if errors else ""
    requests = sum(held.asked for held in seen.values())
    yield Figure("post.errors", len(errors), "errors", None, f"{requests} requests{first}", "none", not errors)
    bells = sum(held.bells for held in seen.values())
    made = requests - len(errors)
    goal = "one for each chain, rung when the broker is back"
    yield Figure("post.bells", bells, "outbox rows", made, f"{made} chains", goal, bells == made)


class Broker:
    """The instance's own."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._group = ProcessGroup(state)

    def set(self, wanted: str) -> None:
        record = self._group.find(valkey.NAME)
        if wanted == STOPPED:
            if record is not None:
                self._signal(signal.SIGCONT)
                self._group.stop(valkey.NAME)
            return
        if record is None:
            valkey.start_valkey(self._state, environ={})
        self._signal(signal.SIGSTOP if wanted == HUNG else signal.SIGCONT)

    def _signal(self, number: int) -> None:
        record = self._group.find(valkey.NAME)
        assert record is not None, "the broker is gone"
        os.kill(record.pid, number)

    def listeners(self) -> int:
        """How many workers wait for messages."""
        with redis.Redis(unix_socket_path=valkey.url(self._state).removeprefix("unix://")) as client:
            return sum(row["cmd"] == "brpop" for row in client.client_list())


class Bench:
    """The instance, its client, and a look into its database."""

    def __init__(self, folder: Path, instance: Instance) -> None:
        self.broker = Broker(folder)
        fabric = fake_story.prepare(folder, DEMO).fabric_file
        manage(instance.environ, "load_fabric", str(fabric))
        token = manage(instance.environ, "create_token", "bench", "--tenant", "tenant-a").strip()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._address = instance.url.removeprefix("http://")
        self._client = http.client.HTTPConnection(self._address, timeout=30)
        self._database = psycopg.connect(instance.environ["DATABASE_URL"], autocommit=True)
        self._number = 0

    def block(self, state: str, count: int, seen: Seen) -> None:
        self.broker.set(UP)
        _wait("the workers listen", lambda: self.broker.listeners() == WORKERS)
        _wait("every bell was rung", lambda: self._count("chains_outbox WHERE rung_at IS NULL") == 0)
        self._empty()
        self.broker.set(state)
        self._client.close()  # the server has closed it: it was idle for too long
        for number in range(WARM_UP + count):
            began = time.perf_counter()
            error = self._post()
            if number >= WARM_UP:
                seen.times_s.append(time.perf_counter() - began)
            seen.errors += [error] if error else []
        seen.asked += WARM_UP + count
        pairs = "chains_outbox AS bell JOIN chains_chain AS chain ON bell.topic = 'chain' AND bell.ref = chain.id"
        seen.bells += self._count(pairs)

    def _post(self) -> str:
        """Every time another chain. Gives what went wrong."""
        self._number = self._number % PORTS + 1
        headers = self._headers | {"Idempotency-Key": str(uuid.uuid4())}
        try:
            self._client.request("POST", "/api/v1/chains/", json.dumps(chain_data(self._number)), headers)
            reply = self._client.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException) as error:
            self._client.close()
            return f"{type(error).__name__}: {error}"
        return "" if reply.status == 201 else f"{reply.status} {body[:200]!r}"

    def _count(self, rows: str) -> int:
        found = self._database.execute(f"SELECT count(*) FROM {rows}").fetchone()
        assert found is not None
        return int(found[0])

    def _empty(self) -> None:
        """Everything that posting leaves behind."""
        _wait("no worker holds what is to go", self._is_emptied)

    def _is_emptied(self) -> bool:
        """The workers may still be at what the last bells were about, and lock tables in another order."""
        try:
            self._database.execute("TRUNCATE chains_chain, chains_outbox, chains_auditrow, chains_keptreply CASCADE")
        except psycopg.errors.DeadlockDetected:
            return False
        return True


def _wait(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s in vain until {what}"
        time.sleep(POLL_S)


def chain_data(number: int) -> dict[str, Any]:
    rule = {"verdict": "permit", "protocol": "tcp", "destination_ports": str(number)}
    return {
        "name": f"post-{number}",
        "source": "clients",
        "destination": "servers",
        "classifiers": [{"protocol": "tcp", "family": 4, "destination_ports": str(number)}],
        "hops": [{"function": "ngfw", "policy": {"default": "deny", "rules": [rule]}}],
    }
