# SPDX-License-Identifier: Apache-2.0
"""Real traffic and what came of it: an echo server, probes, and a counted stream of datagrams.

Run as a program inside a namespace (`python -m lab.traffic serve|probe|stream`), started by
`lab.watch`; it speaks JSON lines. Standard library only and no import of the lab, so that it starts
quickly. It reports what sockets saw and judges nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

SO_RCVBUFFORCE = 33  # socket(7): beyond rmem_max, which would lose packets of a busy stream
BUFFER_BYTES = 8 << 20
# A datagram of a stream: mark, stream number, sequence number. It is echoed as it is.
STREAM = struct.Struct("!4sII")
STREAM_MARK = b"VDT1"


def say(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def plain(address: str) -> str:
    """An IPv4 address as such, also when an IPv6 socket saw it."""
    return address.removeprefix("::ffff:")


def widen(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    except OSError:  # not root: the default must do
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


# --- server ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What one stream brought to one port."""

    received: int = 0
    duplicates: int = 0
    highest: int = -1
    sources: set[str] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)

    def count(self, number: int, source: str) -> None:
        self.duplicates += number in self.numbers
        self.numbers.add(number)
        self.received = len(self.numbers)
        self.highest = max(self.highest, number)
        self.sources.add(source)


class Server:
    """Answers on many ports, says who asked, and counts streams."""

    def __init__(self, tcp: list[int], udp: list[int]) -> None:
        self.selector = selectors.DefaultSelector()
        self.tallies: dict[tuple[int, int], Tally] = {}
        for port in tcp:
            listener = self._bound(socket.SOCK_STREAM, port)
            listener.listen(256)
            self.selector.register(listener, selectors.EVENT_READ, self._accept)
        for port in udp:
            sock = self._bound(socket.SOCK_DGRAM, port)
            self.selector.register(sock, selectors.EVENT_READ, self._datagrams)

    def _bound(self, kind: socket.SocketKind, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        widen(sock)
        sock.bind(("::", port))
        sock.setblocking(False)
        return sock

    def run(self) -> None:
        """Until standard input ends. A line there ("report") prints the tallies."""
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        say(event="ready")
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    if not sys.stdin.readline():
                        return
                    self._report()
                else:
                    key.data(key.fileobj)

    def _report(self) -> None:
        tallies = [
            {
                "stream": stream,
                "port": port,
                "received": tally.received,
                "duplicates": tally.duplicates,
                "highest": tally.highest,
                "sources": sorted(tally.sources),
            }
            for (stream, port), tally in sorted(self.tallies.items())
        ]
        say(event="tallies", tallies=tallies)

    def _accept(self, listener: socket.socket) -> None:
        connection, peer = listener.accept()
        connection.setblocking(False)
        pending = bytearray()
        self.selector.register(
            connection, selectors.EVENT_READ, lambda sock: self._lines(sock, peer[0], peer[1], pending)
        )

    def _lines(self, sock: socket.socket, source: str, source_port: int, pending: bytearray) -> None:
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(sock)
            sock.close()
            return
        pending += data
        while (end := pending.find(b"\n")) >= 0:
            line = bytes(pending[:end])
            del pending[: end + 1]
            answer = self._seen("tcp", sock.getsockname()[1], source, source_port, line)
            try:
                sock.sendall(answer)
            except OSError:  # the client has gone: what it sent was seen, and that is what counts
                return

    def _datagrams(self, sock: socket.socket) -> None:
        port = sock.getsockname()[1]
        for _ in range(256):
            try:
                data, peer = sock.recvfrom(65536)
            except BlockingIOError:
                return
            if len(data) >= STREAM.size and data.startswith(STREAM_MARK):
                _, stream, number = STREAM.unpack_from(data)
                self.tallies.setdefault((stream, port), Tally()).count(number, plain(peer[0]))
                answer = data
            else:
                answer = self._seen("udp", port, peer[0], peer[1], data)
            try:
                sock.sendto(answer, peer)
            except OSError:  # no way back just now: to the client that is a lost packet, as it should be
                continue

    def _seen(self, protocol: str, port: int, source: str, source_port: int, data: bytes) -> bytes:
        seen = {
            "protocol": protocol,
            "port": port,
            "source": plain(source),
            "source_port": source_port,
            "payload": data.decode("ascii", "backslashreplace"),
        }
        say(event="seen", time_ns=time.monotonic_ns(), **seen)
        return json.dumps(seen).encode() + b"\n"


# --- probe -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Answer:
    """What a probe met. result: ok, refused, timeout, unreachable or reset.

    source, source_port: who the server says asked. connected: TCP only, the handshake was done.
    """

    result: str
    connected: bool = False
    source: str = ""
    source_port: int = 0
    payload: str = ""
    rtt_ms: float = 0.0


def probe(request: dict[str, Any]) -> Answer:
    """One question: {"to", "port"} and, if wanted, "protocol", "payload", "timeout_s", "source_port"."""
    answer = Answer("timeout")
    started = time.monotonic()
    try:
        _ask(request, answer)
        answer.result = "ok"
    except TimeoutError:
        answer.result = "timeout"
    except ConnectionRefusedError:
        answer.result = "refused"
    except ConnectionResetError:
        answer.result = "reset"
    except OSError:
        answer.result = "unreachable"
    answer.rtt_ms = round((time.monotonic() - started) * 1000, 3)
    return answer


def _ask(request: dict[str, Any], answer: Answer) -> None:
    is_tcp = request.get("protocol", "tcp") == "tcp"
    family = socket.AF_INET6 if ":" in request["to"] else socket.AF_INET
    payload = request.get("payload", "probe").encode()
    with socket.socket(family, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(float(request.get("timeout_s", 1.0)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", int(request.get("source_port", 0))))
        sock.connect((request["to"], int(request["port"])))
        answer.connected = is_tcp
        sock.sendall(payload + b"\n" if is_tcp else payload)
        data = b""
        while not data.endswith(b"\n"):
            chunk = sock.recv(65536)
            if not chunk:
                raise ConnectionResetError
            data += chunk
    seen = json.loads(data)
    answer.source, answer.source_port, answer.payload = seen["source"], seen["source_port"], seen["payload"]


# --- stream ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Count:
    """Both directions of a stream as its sender saw it. missing: the first numbers without an answer."""

    stream: int
    sent: int = 0
    answered: int = 0
    duplicates: int = 0
    denied_sent: int = 0
    denied_answered: int = 0
    missing: list[int] = field(default_factory=list)
    longest_gap_ms: float = 0.0
    seconds: float = 0.0


class Stream:
    """Numbered datagrams at a steady rate, every n-th of them to a port that must not be reachable."""

    def __init__(self, to: str, port: int, rate: float, denied_port: int, denied_every: int) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
        widen(self.sock)
        self.sock.setblocking(False)
        self.sock.bind(("", 0))
        self.to, self.port, self.rate = to, port, rate
        self.denied_port, self.denied_every = denied_port, denied_every
        self.answers: set[int] = set()
        self.denied: set[int] = set()
        self.count = Count(stream=(time.monotonic_ns() >> 10) & 0xFFFFFFFF)
        self.last_answer = 0.0

    def run(self, drain_s: float) -> Count:
        """Until standard input ends; then waits for the last answers."""
        say(event="started", stream=self.count.stream)
        started = self.last_answer = time.monotonic()
        for number in range(1 << 31):
            due = started + number / self.rate
            if self._receive_until(due, lambda: _ended(sys.stdin)):
                break
            self._send(number)
        self.count.seconds = round(time.monotonic() - started, 3)
        deadline = time.monotonic() + drain_s
        self._receive_until(deadline, lambda: len(self.answers) == self.count.sent)
        self.count.answered = len(self.answers)
        self.count.denied_answered = len(self.denied)
        self.count.missing = list(self._missing())
        return self.count

    def _send(self, number: int) -> None:
        is_denied = bool(self.denied_port) and number % self.denied_every == self.denied_every - 1
        data = STREAM.pack(STREAM_MARK, self.count.stream, number).ljust(100, b".")
        with contextlib.suppress(OSError):  # counts as sent and lost
            self.sock.sendto(data, (self.to, self.denied_port if is_denied else self.port))
        if is_denied:
            self.count.denied_sent += 1
        else:
            self.count.sent += 1

    def _receive_until(self, deadline: float, is_over: Callable[[], bool]) -> bool:
        """True if it is over before the deadline."""
        while True:
            if is_over():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            ready, _, _ = select.select([self.sock], [], [], min(left, 0.05))
            if ready:
                self._take()

    def _take(self) -> None:
        try:
            data, peer = self.sock.recvfrom(65536)
        except OSError:
            return
        if len(data) < STREAM.size:
            return
        mark, stream, number = STREAM.unpack_from(data)
        if mark != STREAM_MARK or stream != self.count.stream:
            return
        answers = self.denied if peer[1] == self.denied_port else self.answers
        self.count.duplicates += number in answers
        answers.add(number)
        now = time.monotonic()
        self.count.longest_gap_ms = max(self.count.longest_gap_ms, round((now - self.last_answer) * 1000, 1))
        self.last_answer = now

    def _missing(self) -> Iterator[int]:
        total, found = self.count.sent + self.count.denied_sent, 0
        for number in range(total):
            is_denied = bool(self.denied_port) and number % self.denied_every == self.denied_every - 1
            if not is_denied and number not in self.answers and found < 50:
                found += 1
                yield number


def _ended(stream: Any) -> bool:
    ready, _, _ = select.select([stream], [], [], 0)
    return bool(ready)


# --- command line ----------------------------------------------------------------------------------


def ports(text: str) -> list[int]:
    """ "80,443,8000-8010" -> every one of them."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.traffic")
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="echo server; JSON lines of what it saw")
    serve.add_argument("--tcp", type=ports, default=[], help="ports, such as 80,443,8000-8010")
    serve.add_argument("--udp", type=ports, default=[])
    ask = verbs.add_parser("probe", help="one or more questions, asked one after the other")
    ask.add_argument("requests", help='JSON list: [{"to": "10.0.0.1", "port": 80, "protocol": "tcp"}]')
    stream = verbs.add_parser("stream", help="numbered datagrams until standard input ends")
    stream.add_argument("--to", required=True)
    stream.add_argument("--port", type=int, required=True)
    stream.add_argument("--rate", type=float, default=200.0, help="packets per second, denied ones included")
    stream.add_argument("--denied-port", type=int, default=0)
    stream.add_argument("--denied-every", type=int, default=4)
    stream.add_argument("--drain-s", type=float, default=1.0)
    given = parser.parse_args(arguments)
    if given.verb == "serve":
        Server(given.tcp, given.udp).run()
    elif given.verb == "probe":
        for request in json.loads(given.requests):
            say(**asdict(probe(request)))
    else:
        sender = Stream(given.to, given.port, given.rate, given.denied_port, given.denied_every)
        say(event="done", **asdict(sender.run(given.drain_s)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
