# SPDX-License-Identifier: Apache-2.0
"""Handles on traffic programs that run inside the lab: a server, probes, a stream, a capture.

Called through `lab.network.Lab`, used by the demo and live tests. It starts programs and reads their
JSON lines; what they mean is for the caller to judge.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.command import CommandError, inside, run

FOLDER = Path(__file__).resolve().parent
# Without site-packages a program starts in a third of the time.
PYTHON = (sys.executable, "-I", "-S")
READY_S = 10.0


class TrafficError(Exception):
    """A traffic program did not do its part. The text has its own words."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the server saw it. time_ns: CLOCK_MONOTONIC."""

    protocol: str
    port: int
    source: str
    source_port: int
    payload: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What the server received of one stream on one port."""

    stream: int
    port: int
    received: int
    duplicates: int
    highest: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe met. result: ok, refused, timeout, unreachable, reset. source: who asked, says the server."""

    result: str
    connected: bool
    source: str
    source_port: int
    payload: str
    rtt_ms: float

    @property
    def ok(self) -> bool:
        return self.result == "ok"


@dataclass(frozen=True, slots=True)
class Count:
    """A stream as its sender saw it: datagrams sent, and those whose echo came back."""

    stream: int
    sent: int
    answered: int
    duplicates: int
    denied_sent: int
    denied_answered: int
    missing: tuple[int, ...]
    longest_gap_ms: float
    seconds: float

    @property
    def lost(self) -> int:
        return self.sent - self.answered


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet at one place ("fw1:in"). direction: rx or tx, seen there. time_ns: CLOCK_MONOTONIC."""

    at: str
    time_ns: int
    direction: str
    source_mac: str
    destination_mac: str
    tag: int
    source: str
    destination: str
    hop_limit: int
    length: int
    protocol: str
    source_port: int
    destination_port: int
    flags: str
    payload: str


class Program:
    """A running traffic program; its lines are read by a thread so that no pipe fills up."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = list(argv)
        self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        self._lines: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._arrived:
                self._lines.append(json.loads(line))
                self._arrived.notify_all()
        with self._arrived:
            self._arrived.notify_all()

    def lines(self) -> tuple[dict[str, Any], ...]:
        with self._arrived:
            return tuple(self._lines)

    def wait_for(self, event: str, *, after: int = 0, timeout_s: float = READY_S) -> dict[str, Any]:
        """The first line of this event from index `after` on. Errors: TrafficError."""
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while True:
                for line in self._lines[after:]:
                    if line.get("event") == event:
                        return line
                if not self._reader.is_alive():
                    raise TrafficError(f"{' '.join(self._argv[-4:])} ended: {self._words()}")
                if not self._arrived.wait(min(0.2, max(0.0, deadline - time.monotonic()))) and (
                    time.monotonic() > deadline
                ):
                    raise TrafficError(f"{' '.join(self._argv[-4:])}: no {event!r} within {timeout_s:g} s")

    def write(self, text: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(text)
            self._process.stdin.flush()

    def stop(self, timeout_s: float = READY_S) -> None:
        """Close its input, which ends it, and read what it still says. May be called twice."""
        try:
            if self._process.stdin is not None and not self._process.stdin.closed:
                self._process.stdin.close()
        except BrokenPipeError:  # it has ended already
            pass
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout_s)
        if self._process.stderr is not None and not self._process.stderr.closed:
            self._process.stderr.close()

    def _words(self) -> str:
        """What it said on standard error, its end; nothing once it was stopped."""
        said = self._process.stderr
        return "" if said is None or said.closed else said.read().strip()[-500:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Server(Program):
    """An echo server on many ports."""

    def __init__(self, namespace: str, tcp: Sequence[int], udp: Sequence[int]) -> None:
        words = ["serve", "--tcp", ",".join(map(str, tcp)), "--udp", ",".join(map(str, udp))]
        super().__init__(inside(namespace, [*PYTHON, str(FOLDER / "traffic.py"), *words]))
        self.wait_for("ready")

    def seen(self) -> tuple[Seen, ...]:
        """Every request so far, streams excepted."""
        return tuple(Seen(**_without_event(line)) for line in self.lines() if line.get("event") == "seen")

    def tallies(self) -> tuple[Tally, ...]:
        """What streams brought so far, one for each stream and port."""
        after = len(self.lines())
        self.write("report\n")
        line = self.wait_for("tallies", after=after)
        return tuple(Tally(**{**entry, "sources": tuple(entry["sources"])}) for entry in line["tallies"])


class Stream(Program):
    """Datagrams at a steady rate until `finish`."""

    def __init__(self, namespace: str, words: Sequence[str]) -> None:
        super().__init__(inside(namespace, [*PYTHON, str(FOLDER / "traffic.py"), "stream", *words]))
        self.number = int(self.wait_for("started")["stream"])

    def finish(self) -> Count:
        """Stop sending, wait for the last echoes, and say what came back."""
        self.stop()
        fields = _without_event(self.wait_for("done"))
        return Count(**{**fields, "missing": tuple(fields["missing"])})


class Capture(Program):
    """Packets at several places on one clock."""

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        """places: name -> (namespace, interface)."""
        words = [f"{name}={namespace},{interface}" for name, (namespace, interface) in places.items()]
        super().__init__([*PYTHON, str(FOLDER / "capture.py"), *words])
        self.wait_for("ready")

    def packets(self) -> tuple[Packet, ...]:
        """What passed so far, in order of time."""
        found = (Packet(**line) for line in self.lines() if "event" not in line)
        return tuple(sorted(found, key=lambda packet: packet.time_ns))

    def finish(self) -> tuple[Packet, ...]:
        """Everything that passed until now, in order of time."""
        self.stop()
        return self.packets()


def probe(namespace: str, requests: Sequence[Mapping[str, Any]]) -> tuple[Answer, ...]:
    """Ask one after the other inside a namespace. requests: as for `lab.traffic.probe`. Errors: TrafficError."""
    limit = sum(float(request.get("timeout_s", 1.0)) * 2 for request in requests) + READY_S
    argv = [*PYTHON, str(FOLDER / "traffic.py"), "probe", json.dumps(list(requests))]
    try:
        done = run(inside(namespace, argv), timeout_s=limit)
    except CommandError as error:
        raise TrafficError(str(error)) from error
    return tuple(Answer(**json.loads(line)) for line in done.stdout.splitlines())


def places_visited(packets: Sequence[Packet], payload: str) -> Iterator[str]:
    """Where a payload was seen, in order of time, each place once in a row."""
    last = ""
    for packet in packets:
        if payload in packet.payload and packet.at != last:
            last = packet.at
            yield last


def _without_event(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "event"}
