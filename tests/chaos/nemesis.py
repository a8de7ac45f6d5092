# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with the processes and the links: real signals to real processes, each undone again by `calm`.

Signals only what the plant started: processes are found through their records.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import redis

from orchestrator.services.processes import members, read_stat, send
from tests.chaos.plant import WORKERS, Plant

# Past the lease, and past the sweep after it: by then another worker has taken over.
SLEEP_S = 4.0 + 2.5
# A fault that hits nothing at work shows little: so long is looked for a process that writes to devices.
LOOK_S = 1.0
HOLDERS = "SELECT DISTINCT holder FROM chains_lease WHERE expires_at > now()"
KINDS = (
    "worker killed", "pool process killed", "all workers killed", "worker stopped past its lease",
    "worker stopped before a write", "broker killed", "broker flushed", "database stopped", "web killed",
    "relay absent", "link cut", "link stalled", "replies lost",
)  # fmt: skip


class Nemesis:
    """One run's faults. hit: those that really happened, by kind."""

    def __init__(self, plant: Plant, chance: random.Random) -> None:
        self._plant = plant
        self._random = chance
        self._stopped: list[tuple[int, int, float]] = []
        # Held while a trap closes, which takes its time: who is caught after the end would sleep for ever.
        self._closing = threading.Lock()
        self._is_over = False
        self.hit: Counter[str] = Counter()
        acts: tuple[Callable[[], bool], ...] = (
            self._kill_worker, self._kill_child, self._kill_workers, self._stop_worker, self._stop_before_a_write,
            lambda: self._kill("valkey", signal.SIGKILL), self._flush,
            # What `pg_ctl stop -m immediate` sends.
            lambda: self._kill("postgres", signal.SIGQUIT),
            lambda: self._kill("web", signal.SIGKILL), self._without_relay,
            lambda: self._trouble("cut"), lambda: self._trouble("stall"), lambda: self._trouble("lose_replies"),
        )  # fmt: skip
        self.kinds = dict(zip(KINDS, acts, strict=True))

    def strike(self, kind: str) -> None:
        if self.kinds[kind]():
            self.hit[kind] += 1

    def wake(self, *, is_over: bool = False) -> None:
        """Processes that slept for longer than their lease go on."""
        for pid, ticks, since in list(self._stopped):
            if is_over or time.monotonic() - since > SLEEP_S:
                self._stopped.remove((pid, ticks, since))
                found = read_stat(pid)
                if found is not None and found.start_ticks == ticks:
                    send(pid, signal.SIGCONT)

    def left_s(self) -> float:
        """How long until the last sleeper wakes."""
        return max((since + SLEEP_S + 0.1 - time.monotonic() for _, _, since in self._stopped), default=0.0)

    def is_waiting(self) -> bool:
        """Is there a trap that nobody walked into yet?"""
        return self._closing.locked() or any(link.on_reading is not None for link in self._plant.links.values())

    def calm(self) -> None:
        """Faults stop: links heal, whoever was stopped goes on, everything is started again."""
        for link in self._plant.links.values():
            link.heal()
        with self._closing:
            self._is_over = True
        self.wake(is_over=True)
        self._plant.absent.clear()

    def _busy(self) -> tuple[str, int]:
        """A worker, and that process of it that holds a lease just now; if none does for a while: any."""
        until = time.monotonic() + LOOK_S
        while time.monotonic() < until:
            for pid in self._holders():
                for number in range(1, WORKERS + 1):
                    record = self._plant.group.find(f"worker-{number}")
                    if record is not None and pid in members(record):
                        return record.name, pid
            time.sleep(0.02)
        name = f"worker-{self._random.randint(1, WORKERS)}"
        record = self._plant.group.find(name)
        return name, (members(record) or (0,))[-1] if record is not None else 0

    def _holders(self) -> list[int]:
        try:
            with self._plant.connect() as connection:
                return [int(holder.split(":")[1]) for (holder,) in connection.execute(HOLDERS).fetchall()]
        except psycopg.Error:
            return []

    def _kill(self, name: str, number: int) -> bool:
        record = self._plant.group.find(name)
        if record is None:
            return False
        send(record.pid, number)
        return True

    def _kill_worker(self) -> bool:
        """The parent alone: its pool processes learn of it by themselves."""
        return self._kill(self._busy()[0], signal.SIGKILL)

    def _kill_child(self) -> bool:
        _, pid = self._busy()
        if pid:
            send(pid, signal.SIGKILL)
        return bool(pid)

    def _kill_workers(self) -> bool:
        for number in range(1, WORKERS + 1):
            record = self._plant.group.find(f"worker-{number}")
            if record is not None:
                os.killpg(record.pid, signal.SIGKILL)
        return True

    def _stop_worker(self) -> bool:
        record = self._plant.group.find(self._busy()[0])
        pids = members(record) if record is not None else ()
        for pid in pids:
            found = read_stat(pid)
            if found is not None:
                send(pid, signal.SIGSTOP)
                self._stopped.append((pid, found.start_ticks, time.monotonic()))
        return bool(pids)

    def _stop_before_a_write(self) -> bool:
        """It has read a device and is about to write: when it wakes, the reading is old and the lease another's."""
        for link in self._plant.links.values():
            link.on_reading = self._stop_the_asker
        return False  # counted when it happens

    def _stop_the_asker(self, port: int) -> None:
        """Called by the link's thread."""
        with self._closing:
            for link in self._plant.links.values():
                link.on_reading = None
            if self._is_over:
                return
            for number in range(1, WORKERS + 1):
                record = self._plant.group.find(f"worker-{number}")
                for pid in members(record) if record is not None else ():
                    found = read_stat(pid)
                    if found is not None and _has_socket(pid, port):
                        send(pid, signal.SIGSTOP)
                        self._stopped.append((pid, found.start_ticks, time.monotonic()))
                        self.hit["worker stopped before a write"] += 1

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


def _has_socket(pid: int, port: int) -> bool:
    """Is the local end of a connection from this port a file of the process? proc(5)."""
    wanted = {
        f"socket:[{fields[9]}]"
        for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        if int(fields[1].rpartition(":")[2], 16) == port
    }
    try:
        return any(os.readlink(each) in wanted for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ended, or a file of it was closed meanwhile
        return False
