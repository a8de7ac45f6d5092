# SPDX-License-Identifier: Apache-2.0
"""Fake devices in other processes and behind sockets: deaths, cut connections, and replies that are none."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drivers import fake
from drivers.base import DriverError, Rejected, Target, Transient
from drivers.fake import lines, remote
from drivers.fake import server as server_module
from drivers.fake.server import Server, serving
from drivers.state import EMPTY, DeviceState
from tests.drivers.confirming import LABEL, commit, held, opened
from tests.drivers.contract import Rig
from tests.drivers.fake_rigs import Clock, fake_rig
from tests.drivers.linux_rig import until
from tests.drivers.samples import sample, state

ROOT = Path(__file__).resolve().parents[2]
Peer = Callable[[socket.socket], None]


@contextmanager
def process(store: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real server process and its address."""
    command = [sys.executable, "-m", "drivers.fake.server", "--port", str(port), "--store", str(store)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().removeprefix("listening on ").strip()
        finally:
            running.kill()


@contextmanager
def peer(talk: Peer) -> Iterator[Target]:
    """A target whose far end is `talk`, once a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"

        def serve() -> None:
            try:
                with listening.accept()[0] as plain:
                    talk(plain)
            except OSError:
                pass  # it ended first

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Target("device", "fake-switch-confirming", "", {"address": address})
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def hears(target: Target, timeout_s: float = 0.2) -> DriverError:
    with pytest.raises(DriverError) as caught, fake.CONFIRMING_SWITCH.open(target, timeout_s) as session:
        session.read()
    return caught.value


@pytest.fixture
def server(fake_clock: Clock, tmp_path: Path) -> Iterator[Server]:
    with serving(str(tmp_path)) as running:
        yield running


@pytest.fixture
def rig(server: Server, fake_clock: Clock) -> Rig:
    return fake_rig(fake.CONFIRMING_SWITCH, fake_clock, store=server.store, address=server.address)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, fake_clock: Clock) -> threading.Event:
    """Slow devices take their time until it is set."""
    event = threading.Event()
    monkeypatch.setattr(fake, "sleep", lambda seconds: event.wait(30.0) if seconds else None)
    return event


def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    with process(tmp_path) as (first, address):
        rig = fake_rig(fake.CONFIRMING_SWITCH, Clock(), address=address)
        wanted = sample(rig.site)
        with opened(rig) as session:
            session.commit(rig.render(EMPTY, wanted), LABEL, 600)
            first.kill()
            first.wait()
            with pytest.raises(Transient):
                session.read()
            with pytest.raises(Transient, match="no device at 127.0.0.1 port"):
                rig.read()
    with process(tmp_path, int(address.rpartition(":")[2])) as (second, again):
        assert again == address
        assert held(rig) == (wanted, LABEL)
        with opened(rig) as session:
            session.confirm(LABEL)
        assert held(rig) == (wanted, "")
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0


def test_another_process_confirms(fake_clock: Clock, tmp_path: Path) -> None:
    """Through files only. Its clock is the real one, so the timer is set by that."""
    fake_clock.now_s = time.time()
    rig = fake_rig(fake.CONFIRMING_SWITCH, fake_clock, store=str(tmp_path))
    wanted = sample(rig.site)
    commit(rig, EMPTY, wanted)
    code = (
        "import sys; from drivers import fake; from drivers.base import Target\n"
        "target = Target('device', 'fake-switch-confirming', '', {'store': sys.argv[1]})\n"
        "with fake.CONFIRMING_SWITCH.open(target, 5) as session: session.confirm(sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), LABEL], cwd=ROOT, check=True)
    fake_clock.elapse(3600)
    assert held(rig) == (wanted, "")


def test_a_killed_writer_leaves_the_old_or_the_new(fake_clock: Clock, tmp_path: Path) -> None:
    """Killed at any moment: the file is whole, and the lock is free."""
    rig = fake_rig(fake.SWITCH, fake_clock, store=str(tmp_path))
    first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
    there, back = rig.render(first, second), rig.render(second, first)
    rig.push(rig.render(EMPTY, first))
    code = (
        "import sys, json; from drivers import fake; from drivers.base import Target\n"
        "target = Target('device', 'fake-switch', '', {'store': sys.argv[1]})\n"
        "texts = json.load(sys.stdin)\n"
        "with fake.SWITCH.open(target, 5) as session:\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        for text in texts: session.push(text)\n"
    )
    for wait_s in (0.0, 0.003, 0.01, 0.02, 0.05):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdin is not None and writer.stdout is not None
            writer.stdin.write(json.dumps([there, back]))
            writer.stdin.close()
            assert writer.stdout.readline() == "ready\n"
            time.sleep(wait_s)  # any moment will do
            writer.kill()
            writer.wait()
        assert rig.read().state in (first, second)


def test_of_many_writers_none_loses_anothers_work(fake_clock: Clock, tmp_path: Path) -> None:
    """Processes that push side by side, each for a chain of its own, through files only."""
    rig = fake_rig(fake.APPLIANCE, fake_clock, store=str(tmp_path))
    item = next(iter(sample(rig.site).values()))
    code = (
        "import sys, json; from drivers import fake; from drivers.base import Target\n"
        "target = Target('device', 'fake-appliance', '', {'store': sys.argv[1]})\n"
        "texts = json.load(sys.stdin)\n"
        "with fake.APPLIANCE.open(target, 30) as session:\n"
        "    for text in texts: session.push(text)\n"
    )
    wanted, writers = {}, []
    for chain in (1, 2, 3):
        ours = {}
        for number in range(40):
            prefix = f"10.{chain}.{number}.0/24"
            ours |= state(
                [replace(item, traffic=replace(item.traffic, source=prefix))], chain=chain, revision=number
            )
        wanted |= ours
        texts = [rig.render(EMPTY, DeviceState({key: ours[key]})) for key in ours]
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, text=True
        )
        assert writer.stdin is not None
        writer.stdin.write(json.dumps(texts))
        writers.append(writer)
    for writer in writers:
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert rig.read().state == wanted


def test_a_connection_cut_in_a_push_loses_the_reply(
    server: Server, rig: Rig, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = sample(rig.site)
    with fake.box("device", server.store) as device:
        device.faults.delay_s = 1.0
    wait = fake.sleep

    def cut_and_wait(seconds: float) -> None:
        if seconds:
            server.cut()
        wait(seconds)

    monkeypatch.setattr(fake, "sleep", cut_and_wait)
    with pytest.raises(Transient, match="the connection was lost"):
        rig.push(rig.render(EMPTY, wanted))
    assert rig.read().state == EMPTY, "not yet in force"
    gate.set()
    until(lambda: rig.read().state == wanted, "the device carries on without its client")


def test_half_a_request_is_none(server: Server, rig: Rig) -> None:
    rig.read()
    native = rig.render(EMPTY, sample(rig.site))
    host, _, port = server.address.partition(":")
    with socket.create_connection((host, int(port)), 5) as plain, plain.makefile("rb") as answers:
        plain.sendall(
            lines.pack(
                {"call": "open", "device": "device", "family": rig.driver.name, "ports": [], "quirks": ""}
            )
        )
        assert answers.readline() == b'{"value":null}\n'
        plain.sendall(lines.pack({"call": "push", "native": native})[:-1])
        plain.shutdown(socket.SHUT_WR)
        assert answers.readline() == b""
    assert rig.read().state == EMPTY


def test_a_client_that_dies_is_no_session_that_ends(server: Server, rig: Rig) -> None:
    """What is pending waits for its timer, also on a device that aborts when a session is closed."""
    wanted = sample(rig.site)
    with fake.box("device", server.store) as device:
        device.faults.aborts_on_close = True
    with opened(rig) as session:
        session.commit(rig.render(EMPTY, wanted), LABEL, 60)
        server.cut()
    assert held(rig) == (wanted, LABEL)


def test_who_gives_up_waiting_learns_nothing(server: Server, rig: Rig, gate: threading.Event) -> None:
    wanted = sample(rig.site)
    with rig.driver.open(rig.target, 0.5) as session:
        with fake.box("device", server.store) as device:
            device.faults.hangs_s = 1.0
        with pytest.raises(Transient, match=r"no answer within 0.5 s"):
            session.push(rig.render(EMPTY, wanted))
        with pytest.raises(Transient, match="lost before"):
            session.read()
    gate.set()
    with fake.box("device", server.store) as device:
        assert device.state == wanted


def test_of_many_commits_at_once_one_is_taken(server: Server, rig: Rig) -> None:
    wanted = sample(rig.site)

    def one(number: int) -> str:
        try:
            commit(rig, EMPTY, wanted, f"commit-{number}")
        except Rejected:
            return ""
        return f"commit-{number}"

    with ThreadPoolExecutor(8) as pool:
        taken = [label for label in pool.map(one, range(24)) if label]
    assert held(rig) == (wanted, taken[0])
    assert len(taken) == 1


def test_a_slow_device_holds_up_no_other(server: Server, rig: Rig, gate: threading.Event) -> None:
    wanted = sample(rig.site)
    with fake.box("device", server.store) as device:
        device.faults.delay_s = 1.0
    other = replace(rig, target=replace(rig.target, name="other"))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(rig.push, rig.render(EMPTY, wanted))
        other.push(other.render(EMPTY, wanted))
        assert (other.read().state, rig.read().state) == (wanted, EMPTY)
        gate.set()
        slow.result()
    assert rig.read().state == wanted


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    error = hears(Target("device", "fake-switch-confirming", "", {"address": address}))
    assert isinstance(error, Transient) and "refused" in str(error)


def test_an_address_is_no_name() -> None:
    for address in ("localhost:1", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "a b:1"):
        assert isinstance(hears(Target("device", "fake-switch", "", {"address": address})), Rejected)


def drip(plain: socket.socket) -> None:
    for _ in range(30):
        plain.sendall(b" ")
        time.sleep(0.05)


def pour(plain: socket.socket) -> None:
    while True:
        plain.sendall(b" " * 65536)


@pytest.mark.parametrize(
    ("talk", "kind", "text"),
    [
        (lambda plain: time.sleep(0.6), Transient, "no answer within 0.2 s"),
        (drip, Transient, "no answer within 0.2 s"),
        (lambda plain: plain.recv(1), Transient, "the connection was lost"),
        (lambda plain: (plain.recv(999), plain.sendall(b'{"value":')), Transient, "closed before the reply"),
        (pour, Rejected, "more than 100000 octets"),
        (lambda plain: (plain.recv(999), plain.sendall(b"% Error\n")), Rejected, "no reply"),
        (lambda plain: (plain.recv(999), plain.sendall(b"\xff\n")), Rejected, "no reply"),
        (lambda plain: (plain.recv(999), plain.sendall(b"[1]\n")), Rejected, "not a JSON object"),
        (lambda plain: (plain.recv(999), plain.sendall(b"[" * 99_000 + b"\n")), Rejected, "no reply"),
        (lambda plain: (plain.recv(999), plain.sendall(b"{}\n")), Rejected, "no reply"),
        (lambda plain: (plain.recv(999), plain.sendall(b'{"value":1}\n{"value":1}\n')), Rejected, "no reply"),
    ],
)
def test_what_is_no_reply(
    monkeypatch: pytest.MonkeyPatch, talk: Peer, kind: type[DriverError], text: str
) -> None:
    monkeypatch.setattr(remote, "MAX_LINE_BYTES", 100_000)
    with peer(talk) as target:
        began = time.monotonic()
        error = hears(target)
        assert type(error) is kind and text in str(error), error
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("value", [None, 1, [], {}, {"state": {}}, {"state": {"x": {}}}])
def test_what_is_no_reading(value: object) -> None:
    def talk(plain: socket.socket) -> None:
        for answer in (None, value):
            plain.recv(999)
            plain.sendall(lines.pack({"value": answer}))

    with peer(talk) as target:
        assert isinstance(hears(target), Rejected)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"x\n", "no request"),
        (b"[]\n", "no request"),
        (b"[" * 90_000 + b"\n", "no request"),
        (b"{}\n", "begins with an open"),
        (b'{"call":"push","native":""}\n', "begins with an open"),
        (b'{"call":"open","device":["x"],"family":"fake-switch","ports":[],"quirks":""}\n', "no text"),
        (b'{"call":"open","device":"../x","family":"fake-switch","ports":[],"quirks":""}\n', "is no name"),
        (b'{"call":"open","device":"x","family":"ssh","ports":[],"quirks":""}\n', "is no fake"),
        (b'{"call":"open","device":"x","family":"fake-switch","ports":[],"quirks":"x"}\n', "quirk"),
        (b" " * 200_000, ""),
    ],
)
def test_what_is_no_request(
    server: Server, rig: Rig, monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: str
) -> None:
    monkeypatch.setattr(server_module, "MAX_LINE_BYTES", 100_000)
    host, _, port = server.address.partition(":")
    with socket.create_connection((host, int(port)), 5) as plain, plain.makefile("rb") as answers:
        plain.sendall(sent)
        try:
            reply = answers.readline()
        except ConnectionResetError:
            reply = b""  # it did not read all of it
        assert answer in str(json.loads(reply)["refused"]) if answer else reply == b""
    assert [path for path in Path(server.store).parent.rglob("*x.json")] == []
    assert held(rig) == (EMPTY, ""), "others are served"


def test_a_plain_family_cannot_commit(server: Server, fake_clock: Clock) -> None:
    plain = fake_rig(fake.SWITCH, fake_clock, store=server.store, address=server.address)
    with plain.driver.open(plain.target, 5) as session:
        assert not hasattr(session, "commit")
        assert isinstance(session, remote.RemoteSession)
        with pytest.raises(Rejected, match="Unknown command"):
            session.line.ask("commit", native="", label="x", revert_in_s=60)
        assert session.read().state == EMPTY, "the session goes on after a refusal"


def test_it_listens_on_loopback(server: Server) -> None:
    assert server.address.startswith("127.0.0.1:")
