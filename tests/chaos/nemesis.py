# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with the processes and the links: real signals to real processes, each undone again by `calm`.

Signals only what the plant started: processes are found through their records.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import redis

from orchestrator.services.processes import members, read_stat, send
from tests.chaos.plant import WORKERS, Plant

LEASE_TTL_S = 4.0


class Nemesis:
    """One run's faults. hit: those that really happened, by kind."""

    def __init__(self, plant: Plant, chance: random.Random) -> None:
        self._plant = plant
        self._random = chance
        self._stopped: list[tuple[int, int, float]] = []
        self.hit: Counter[str] = Counter()
        self.kinds: dict[str, Callable[[], bool]] = {
            "worker killed": self._kill_worker,
            "pool process killed": self._kill_child,
            "all workers killed": self._kill_workers,
            "worker stopped past its lease": self._stop_worker,
            "broker killed": lambda: self._kill("valkey", signal.SIGKILL),
            "broker flushed": self._flush,
            "database stopped": lambda: self._kill("postgres", signal.SIGQUIT),
            "web killed": lambda: self._kill("web", signal.SIGKILL),
            "relay absent": self._without_relay,
            "link cut": lambda: self._trouble("cut"),
            "link stalled": lambda: self._trouble("stall"),
            "replies lost": lambda: self._trouble("lose_replies"),
        }

    def strike(self, kind: str) -> None:
        if self.kinds[kind]():
            self.hit[kind] += 1

    def wake(self, *, is_over: bool = False) -> None:
        """Processes that slept for longer than their lease go on."""
        for pid, ticks, since in list(self._stopped):
            if is_over or time.monotonic() - since > LEASE_TTL_S + 0.5:
                self._stopped.remove((pid, ticks, since))
                found = read_stat(pid)
                if found is not None and found.start_ticks == ticks:
                    send(pid, signal.SIGCONT)

    def left_s(self) -> float:
        """How long until the last sleeper wakes."""
        return max((since + LEASE_TTL_S + 0.6 - time.monotonic() for _, _, since in self._stopped), default=0.0)

    def calm(self) -> None:
        """Faults stop: links heal, whoever was stopped goes on, everything is started again."""
        self.wake(is_over=True)
        for link in self._plant.links.values():
            link.heal()
        self._plant.absent.clear()

    def _worker(self) -> str:
        return f"worker-{self._random.randint(1, WORKERS)}"

    def _kill(self, name: str, number: int) -> bool:
        record = self._plant.group.find(name)
        if record is None:
            return False
        send(record.pid, number)
        return True

    def _kill_worker(self) -> bool:
        """The parent alone: its pool processes learn of it by themselves."""
        return self._kill(self._worker(), signal.SIGKILL)

    def _kill_child(self) -> bool:
        record = self._plant.group.find(self._worker())
        children = members(record)[1:] if record is not None else ()
        if not children:
            return False
        send(self._random.choice(children), signal.SIGKILL)
        return True

    def _kill_workers(self) -> bool:
        for number in range(1, WORKERS + 1):
            record = self._plant.group.find(f"worker-{number}")
            if record is not None:
                os.killpg(record.pid, signal.SIGKILL)
        return True

    def _stop_worker(self) -> bool:
        record = self._plant.group.find(self._worker())
        pids = members(record) if record is not None else ()
        for pid in pids:
            found = read_stat(pid)
            if found is not None:
                send(pid, signal.SIGSTOP)
                self._stopped.append((pid, found.start_ticks, time.monotonic()))
        return bool(pids)

    def _flush(self) -> bool:
        try:
            with redis.Redis.from_url(self._plant.instance.environ["REDIS_URL"], socket_timeout=1) as client:
                client.flushall()
        except redis.RedisError:
            return False
        return True

    def _without_relay(self) -> bool:
        self._plant.absent.add("relay")
        return self._kill("relay", signal.SIGKILL)

    def _trouble(self, what: str) -> bool:
        for name in self._random.sample(sorted(self._plant.links), self._random.choice((1, 1, 2))):
            getattr(self._plant.links[name], what)()
        return True
