# SPDX-License-Identifier: Apache-2.0
"""Long TCP connections that must stay alive, and samples of many short flows: does each still get its answers?

Run as a program inside a namespace (`python lab/connections.py serve|hold|sample`), started by `lab.scenarios.load`; it
speaks JSON lines. Standard library only. Every message is numbered as a datagram of `lab.traffic` is, so witnesses
know it. It reports what sockets saw and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

MARK, STREAM = b"VDT1", struct.Struct("!4sII")
MESSAGE_BYTES = 64
FIRST_STREAM = 0x70000000


def say(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def message(stream: int, number: int) -> bytes:
    return STREAM.pack(MARK, stream, number).ljust(MESSAGE_BYTES, b".")


# --- serve -----------------------------------------------------------------------------------------


def serve(port: int) -> None:
    """Sends back every octet, until standard input ends."""
    selector = selectors.DefaultSelector()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(256)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    say(event="ready")
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            sock = key.fileobj
            assert isinstance(sock, socket.socket), "only sockets are registered beside standard input"
            if sock is listener:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ)
            elif not _echo(sock):
                selector.unregister(sock)
                sock.close()


def _echo(sock: socket.socket) -> bool:
    try:
        data = sock.recv(65536)
        sock.sendall(data)
    except OSError:
        return False
    return bool(data)


# --- hold ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Line:
    """One connection. ended: why it is no more, "" while it lives. longest_gap_s: between two answers."""

    number: int
    port: int = 0
    sent: int = 0
    answered: int = 0
    longest_gap_s: float = 0.0
    ended: str = ""


class Holder:
    """Connections that say something every so often and expect it back, octet by octet."""

    def __init__(self, to: str, port: int, count: int, every_s: float) -> None:
        self.to, self.port, self.count, self.every_s = to, port, count, every_s
        self.selector = selectors.DefaultSelector()
        self.lines: dict[socket.socket, Line] = {}
        self.pending: dict[socket.socket, bytearray] = {}
        self.last: dict[socket.socket, float] = {}

    def open(self) -> None:
        """All of them. Errors: OSError if one cannot be made."""
        for number in range(self.count):
            sock = socket.create_connection((self.to, self.port), timeout=5.0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self.lines[sock] = Line(number, sock.getsockname()[1])
            self.pending[sock] = bytearray()
            self.last[sock] = time.monotonic()
            self.selector.register(sock, selectors.EVENT_READ)
        self.selector.register(sys.stdin, selectors.EVENT_READ)

    def run(self, patience_s: float) -> None:
        """Until standard input ends; then waits for what is still to be answered."""
        say(event="started", connections=len(self.lines))
        queue, turn, started = list(self.lines), 0, time.monotonic()
        while True:
            due = started + turn * self.every_s / len(queue)
            if self._receive_until(due):
                break
            self._send(queue[turn % len(queue)])
            turn += 1
        self.selector.unregister(sys.stdin)
        deadline = time.monotonic() + patience_s
        while any(not one.ended and one.answered < one.sent for one in self.lines.values()):
            if time.monotonic() > deadline:
                break
            self._receive_until(time.monotonic() + 0.05)

    def _send(self, sock: socket.socket) -> None:
        line = self.lines[sock]
        if line.ended:
            return
        try:
            sock.sendall(message(FIRST_STREAM + line.number, line.sent))
            line.sent += 1
        except BlockingIOError:  # nothing was acknowledged for long: the gap tells
            return
        except OSError as error:
            self._end(sock, error.strerror or type(error).__name__)

    def _receive_until(self, deadline: float) -> bool:
        """True if standard input ended."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _ in self.selector.select(left):
                if key.fileobj is sys.stdin:
                    return True
                assert isinstance(key.fileobj, socket.socket), "only sockets are registered beside standard input"
                self._take(key.fileobj)

    def _take(self, sock: socket.socket) -> None:
        line, now = self.lines[sock], time.monotonic()
        try:
            data = sock.recv(65536)
        except OSError as error:
            self._end(sock, error.strerror or type(error).__name__)
            return
        if not data:
            self._end(sock, "closed by the other side")
            return
        pending = self.pending[sock]
        pending += data
        while len(pending) >= MESSAGE_BYTES:
            if pending[:MESSAGE_BYTES] != message(FIRST_STREAM + line.number, line.answered):
                self._end(sock, f"answer {line.answered} is not what was sent")
                return
            del pending[:MESSAGE_BYTES]
            line.answered += 1
        line.longest_gap_s = max(line.longest_gap_s, round(now - self.last[sock], 3))
        self.last[sock] = now

    def _end(self, sock: socket.socket, why: str) -> None:
        self.lines[sock].ended = why
        self.selector.unregister(sock)
        sock.close()


# --- sample ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Flow:
    stream: int
    source: str
    port: int
    answered: int


class Sampler:
    """Many UDP flows from many addresses, kept open; each round sends one datagram of every flow."""

    def __init__(self, to: str, port: int, sources: list[str], count: int) -> None:
        self.to = (to, port)
        self.selector = selectors.DefaultSelector()
        self.flows: dict[socket.socket, Flow] = {}
        for index in range(count):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            source = sources[index % len(sources)]
            sock.bind((source, 0))
            sock.setblocking(False)
            self.flows[sock] = Flow(FIRST_STREAM + 0x1000000 + index, source, sock.getsockname()[1], -1)
            self.selector.register(sock, selectors.EVENT_READ)

    def round(self, number: int, pace_s: float, patience_s: float) -> list[Flow]:
        """Sends and collects. Answered is the round's number for each flow whose answer came."""
        for index, (sock, flow) in enumerate(self.flows.items()):
            try:
                sock.sendto(STREAM.pack(MARK, flow.stream, number).ljust(100, b"."), self.to)
            except OSError:  # not sent is not answered
                continue
            if index % 16 == 15:
                self._collect(pace_s * 16)
        deadline = time.monotonic() + patience_s
        while any(flow.answered != number for flow in self.flows.values()) and time.monotonic() < deadline:
            self._collect(0.05)
        return list(self.flows.values())

    def _collect(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                assert isinstance(key.fileobj, socket.socket), "only sockets are registered"
                try:
                    data = key.fileobj.recv(2048)
                except OSError:
                    continue
                _, stream, number = STREAM.unpack_from(data)
                flow = self.flows[key.fileobj]
                if stream == flow.stream:
                    flow.answered = max(flow.answered, number)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="lab/connections.py")
    parser.add_argument("verb", choices=("serve", "hold", "sample"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", default="")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--every-s", type=float, default=0.25, help="hold: between two messages of one connection")
    parser.add_argument("--patience-s", type=float, default=5.0, help="how long the last answers may take")
    parser.add_argument("--sources", default="", help="sample: addresses to send from, with commas")
    parser.add_argument("--pace-s", type=float, default=0.001, help="sample: between two datagrams")
    given = parser.parse_args(arguments)
    if given.verb == "serve":
        serve(given.port)
    elif given.verb == "hold":
        holder = Holder(given.to, given.port, given.count, given.every_s)
        holder.open()
        holder.run(given.patience_s)
        say(event="done", lines=[asdict(line) for line in holder.lines.values()])
    else:
        sampler = Sampler(given.to, given.port, given.sources.split(","), given.count)
        say(event="ready")
        for number, _ in enumerate(sys.stdin):  # a line asks for a round
            flows = sampler.round(number, given.pace_s, given.patience_s)
            say(event="round", number=number, flows=[asdict(flow) for flow in flows])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
