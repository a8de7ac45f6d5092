# SPDX-License-Identifier: Apache-2.0
"""Start and stop the processes of one instance, found again by other programs through their records.

Called by the services, `serve`, the demo and the tests. Each process has a session of its own, a log file
(`log/NAME.log`) and a record (`run/NAME.json`) under the state folder. A process is signalled only after its
start time and the machine's boot were compared with the record: process ids are reused, and nobody else's
process is ever touched.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from orchestrator.services.places import ServiceError

POLL_S = 0.02
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Record:
    """What `run/NAME.json` holds. start_ticks: field 22 of /proc/PID/stat; is_base: others depend on it."""

    name: str
    pid: int
    start_ticks: int
    boot_id: str
    stop_signal: int
    is_base: bool
    log: str

    def is_of_this_boot(self) -> bool:
        return self.boot_id == BOOT_ID.read_text().strip()


@dataclass(frozen=True, slots=True)
class Stat:
    state: str
    session: int
    start_ticks: int


def read_stat(pid: int) -> Stat | None:
    """proc(5); None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and parentheses
    return Stat(state=fields[0], session=int(fields[3]), start_ticks=int(fields[19]))


def members(record: Record) -> tuple[int, ...]:
    """The living processes of the record's session, its leader first; empty if it is over or someone else's.

    The kernel does not reuse a process id while it names a session, so members without their leader are ours.
    """
    if not record.is_of_this_boot():
        return ()
    leader = read_stat(record.pid)
    if leader is not None and leader.start_ticks != record.start_ticks:
        return ()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = read_stat(int(entry))
            if stat is not None and stat.session == record.pid and stat.state not in "ZX":
                found.append(int(entry))
    return tuple(sorted(found, key=lambda pid: (pid != record.pid, pid)))


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class ProcessGroup:
    """The processes of one state folder. As a context manager it stops what this object started."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._stopping = state / "run" / "stopping"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = Path("/"),
        user: int | None = None,
        stop_signal: int = signal.SIGTERM,
        is_base: bool = False,
    ) -> Record:
        """Start `argv` in the background. user: run as this user id, without its groups (root only).

        Errors: ServiceError if NAME already runs or the program cannot be started.
        """
        if self.find(name) is not None:
            raise ServiceError(f"{name} already runs for {self.state}. Fix: ./run stop")
        self.stop(name)  # what a killed predecessor left behind
        self._stopping.unlink(missing_ok=True)
        log = self.state / "log" / f"{name}.log"
        for folder in (log.parent, self.state / "run"):
            folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    start_new_session=True,
                    user=user,
                    group=user,
                    extra_groups=None if user is None else [],
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise ServiceError(f"cannot start {name} ({argv[0]}): {error}") from error
        self._children[name] = child
        stat = read_stat(child.pid)  # a child that ended at once is still there, as a zombie
        record = Record(
            name=name,
            pid=child.pid,
            start_ticks=stat.start_ticks if stat else 0,
            boot_id=BOOT_ID.read_text().strip(),
            stop_signal=int(stop_signal),
            is_base=is_base,
            log=str(log),
        )
        path = self._path(name)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(record)) + "\n")
        draft.replace(path)
        return record

    def find(self, name: str) -> Record | None:
        """The record of NAME if its leader runs, whoever started it."""
        record = self.last(name)
        return record if record is not None and record.pid in members(record) else None

    def last(self, name: str) -> Record | None:
        """The record of NAME, whether it runs or not."""
        return self._load(self._path(name))

    def running(self) -> tuple[Record, ...]:
        """Everything of this state folder that runs, if only in part, oldest first."""
        records = [self._load(path) for path in (self.state / "run").glob("*.json")]
        alive = [record for record in records if record is not None and members(record)]
        return tuple(sorted(alive, key=lambda record: (record.start_ticks, record.pid)))

    def stop(self, name: str, *, timeout_s: float = 10.0) -> bool:
        """Stop NAME: its own signal to the leader, KILL to all after `timeout_s`. False: it did not run."""
        record = self.last(name)
        did_run = record is not None and bool(members(record))
        if record is not None:
            self._stop((record,), timeout_s)
        self._path(name).unlink(missing_ok=True)
        return did_run

    def stop_all(self, *, timeout_s: float = 10.0) -> tuple[str, ...]:
        """Stop everything of this state folder, database and broker last. Gives the names of what ran."""
        running = self.running()
        if not running:
            return ()
        self._stopping.touch()
        for is_base in (False, True):
            self._stop(tuple(record for record in running if record.is_base is is_base), timeout_s)
        for record in running:
            self._path(record.name).unlink(missing_ok=True)
        self._stopping.unlink(missing_ok=True)
        return tuple(record.name for record in running)

    def was_stopped(self, name: str) -> bool:
        """Was NAME stopped on purpose, or is it about to be? What merely ended still has its record."""
        return self._stopping.exists() or self.last(name) is None

    def await_ready(self, record: Record, probe: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
        """Return when `probe` says yes.

        Errors: ServiceError with the end of the log if the process ends first or `timeout_s` pass; then it is
        stopped.
        """
        deadline = time.monotonic() + timeout_s
        while not probe():
            ended = not members(record)
            if ended or time.monotonic() > deadline:
                self.stop(record.name)
                text = Path(record.log).read_text(errors="replace").strip().splitlines()
                reason = "ended" if ended else f"was not ready after {timeout_s:g} s"
                raise ServiceError(f"{record.name} {reason}: {' | '.join(text[-3:])} (see {record.log})")
            time.sleep(POLL_S)

    def _stop(self, records: Sequence[Record], timeout_s: float) -> None:
        for record in records:
            for pid in members(record)[:1]:
                send(pid, record.stop_signal)
        deadline = time.monotonic() + timeout_s
        left = list(records)
        while left:
            self._reap()
            # A leader that ended leaves children behind only when it was killed: nothing else will end those.
            expired = time.monotonic() > deadline
            for record in left:
                pids = members(record)
                if pids and (expired or pids[0] != record.pid):
                    for pid in pids:
                        send(pid, signal.SIGKILL)
            left = [record for record in left if members(record)]
            if left:
                time.sleep(POLL_S)
        self._reap()

    def _reap(self) -> None:
        for child in self._children.values():
            child.poll()

    def _path(self, name: str) -> Path:
        return self.state / "run" / f"{name}.json"

    @staticmethod
    def _load(path: Path) -> Record | None:
        try:
            return Record(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ServiceError(f"{path} is not a process record ({error}). Fix: remove it") from error

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine = {child.pid for child in self._children.values()}
        records = [record for record in self.running() if record.pid in mine]
        for is_base in (False, True):
            self._stop(tuple(record for record in records if record.is_base is is_base), timeout_s=10.0)
        for record in records:
            self._path(record.name).unlink(missing_ok=True)
