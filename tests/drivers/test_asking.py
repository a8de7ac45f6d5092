# SPDX-License-Identifier: Apache-2.0
"""Questions to functions: real sockets on the loopback, and an agent that asks by itself."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.asking import ask, checksum
from drivers.base import Rejected, Target
from drivers.host.agent import DRIVER
from drivers.host.prober import PROBES_FILE, Prober
from drivers.probe import Probe, ProbeKind, ProbeResult, Probing
from tests.drivers.linux_rig import Box, needs_root


class Server:
    """Takes connections on the loopback and answers each with the same bytes; None: takes none."""

    def __init__(self, answer: bytes | None) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.requests: list[bytes] = []
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                if self._answer is None:
                    time.sleep(0.4)
                    continue
                self.requests.append(connection.recv(1024))
                if self._answer:
                    connection.sendall(self._answer)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            # An accept that waits keeps the port open until it returns.
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()


def probe(kind: ProbeKind, port: int = 0, **values: object) -> Probe:
    fields = {"interval_ms": 100, "timeout_ms": 200, "rise": 1, "fall": 1, **values}
    return Probe("o1.0", kind, "127.0.0.1", port, **fields)  # type: ignore[arg-type]


@pytest.fixture
def serve() -> Iterator[Callable[[bytes | None], Server]]:
    made: list[Server] = []

    def start(answer: bytes | None) -> Server:
        made.append(Server(answer))
        return made[-1]

    yield start
    for server in made:
        server.close()


def test_icmp_is_answered_by_who_lives() -> None:
    assert ask(probe(ProbeKind.ICMP))[0] is True
    assert checksum(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7") == 0x220D, "RFC 1071 section 3"


def test_icmp_without_an_answer_ends_in_time() -> None:
    began = time.monotonic()
    nobody = Probe("o1.0", ProbeKind.ICMP, "127.0.0.1", source="127.0.0.2", timeout_ms=100)
    assert ask(nobody)[0] is True, "every address of the loopback answers"
    dark = Probe("o1.0", ProbeKind.ICMP, "192.0.2.1", source="127.0.0.1", timeout_ms=100)
    assert ask(dark)[0] is False
    assert time.monotonic() - began < 2


def test_tcp(serve: Callable[[bytes | None], Server]) -> None:
    server = serve(b"")
    assert ask(probe(ProbeKind.TCP, server.port))[0] is True
    server.close()
    is_good, evidence = ask(probe(ProbeKind.TCP, server.port))
    assert (is_good, "refused" in evidence) == (False, True)


@pytest.mark.parametrize(
    ("answer", "is_good", "text"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, "answered 204"),
        (b"HTTP/1.1 302 Found\r\n\r\n", True, "answered 302"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False, "answered 503"),
        (b"SSH-2.0-OpenSSH\r\n", False, "no HTTP"),
        (b"", False, "no HTTP"),
        (None, False, "within 200 ms"),
        (b"x" * 5000, False, "no HTTP"),
    ],
)
def test_http(
    serve: Callable[[bytes | None], Server], answer: bytes | None, is_good: bool, text: str
) -> None:
    server = serve(answer)
    found = ask(probe(ProbeKind.HTTP, server.port, path="/health?deep=1"))
    assert found[0] is is_good and text in found[1]
    if answer:
        assert server.requests[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n")


# --- the prober -----------------------------------------------------------------------------


def until(condition: Callable[[], bool], within_s: float = 5.0) -> float:
    """How long it took. Fails if it does not come true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s
        time.sleep(0.01)
    return time.monotonic() - began


def test_it_notices_a_death_within_some_intervals_and_says_since_when(tmp_path: Path) -> None:
    lives = True
    prober = Prober(tmp_path, lambda probe: (lives, "asked"))
    prober.set((probe(ProbeKind.TCP, 80, fall=3, rise=2),))
    until(lambda: prober.results()[0].is_up is True)
    died_at, lives = time.time(), False
    assert until(lambda: prober.results()[0].is_up is False) < 1.0, "three times 100 ms, and what a busy machine adds"
    assert prober.results()[0].since_s >= died_at and prober.results()[0].lost >= 3
    prober.stop()
    assert prober.results() == ()


def test_what_is_asked_already_keeps_its_result(tmp_path: Path) -> None:
    prober = Prober(tmp_path, lambda probe: (True, "asked"))
    first, other = probe(ProbeKind.TCP, 80), Probe("o2.0", ProbeKind.TCP, "127.0.0.1", 81)
    prober.set((first,))
    until(lambda: prober.results()[0].sent >= 2)
    prober.set((first, other))
    kept = {result.name: result.sent for result in prober.results()}
    assert kept["o1.0"] >= 2 and set(kept) == {"o1.0", "o2.0"}
    prober.set((probe(ProbeKind.TCP, 82), other))
    until(lambda: prober.results()[0].sent >= 1)
    assert prober.results()[0].sent <= 2, "another question under the same name begins anew"
    prober.stop()


def test_who_cannot_ask_says_nothing(tmp_path: Path) -> None:
    prober = Prober(tmp_path, lambda probe: (None, "may not"))
    prober.set((probe(ProbeKind.ICMP),))
    until(lambda: prober.results()[0].evidence == "may not")
    assert prober.results()[0].is_up is None
    prober.stop()


def test_a_restart_asks_on_and_a_damaged_file_is_no_probe(tmp_path: Path) -> None:
    prober = Prober(tmp_path, lambda probe: (True, "asked"))
    prober.set((probe(ProbeKind.TCP, 80),))
    prober.stop()
    (tmp_path / PROBES_FILE).write_text(json.dumps([{"name": "x"}]))
    prober.resume()
    assert prober.results() == ()
    prober.set((probe(ProbeKind.TCP, 80),))
    again = Prober(tmp_path, lambda probe: (True, "asked"))
    again.resume()
    until(lambda: again.results()[0].is_up is True)
    again.stop()
    prober.stop()


@pytest.mark.lab
@needs_root
def test_the_agent_asks_by_itself(box: Box, agent_target: Target) -> None:
    """Over its own channel, from inside the host's namespace; what no host can do is refused."""
    wanted = probe(ProbeKind.ICMP)
    through = Probe(
        "o9.0", ProbeKind.THROUGH, "192.0.2.2", 7, source="192.0.2.1", inside="a", outside="b"
    )
    with DRIVER.open(agent_target, 5.0) as session:
        assert isinstance(session, Probing)
        session.set_probes((wanted,))

        def result() -> ProbeResult:
            return session.probe_results()[0]

        until(lambda: result().sent >= 3)
        assert result().name == "o1.0"
        with pytest.raises(Rejected, match="cannot send through a function"):
            session.set_probes((through,))
        assert len(session.probe_results()) == 1
        session.set_probes(())
        assert session.probe_results() == ()
