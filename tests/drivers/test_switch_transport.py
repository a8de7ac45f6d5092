# SPDX-License-Identifier: Apache-2.0
"""OpenFlow and OVSDB clients against peers that are slow, silent, garbled, wrong or encrypted."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.base import DriverError, Rejected, Target, Transient
from drivers.diff import diff
from drivers.state import EMPTY
from drivers.switch.openvswitch import DRIVER
from drivers.transport import openflow, ovsdb
from drivers.transport.endpoint import credential
from tests.drivers.authority import Authority
from tests.drivers.openvswitch_rig import VirtualSwitch, free_port
from tests.drivers.samples import Site, sample

Talk = Callable[[socket.socket], None]


@contextmanager
def peer(talk: Talk) -> Iterator[str]:
    """Somebody who listens and talks to each who connects; the endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    stream, _ = server.accept()
                except OSError:
                    return
                with stream:
                    talk(stream)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp:127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def until_it_leaves(stream: socket.socket) -> None:
    while stream.recv(4096):
        pass


def select_bridge(endpoint: str, timeout_s: float = 5) -> ovsdb.Bridge:
    with ovsdb.connect(endpoint, "", timeout_s) as database:
        return database.bridge("br1")


ROWS = [
    {"rows": [{"datapath_id": "0000000000000001", "ports": ["uuid", "p1"]}]},
    {"rows": [{"_uuid": ["uuid", "p1"], "interfaces": ["set", [["uuid", "i1"], ["uuid", "i2"]]]}]},
    {
        "rows": [
            {"_uuid": ["uuid", "i1"], "ofport": 1, "link_state": "up", "admin_state": "up"},
            {"_uuid": ["uuid", "i2"], "ofport": 2, "link_state": "up", "admin_state": "down"},
            {"_uuid": ["uuid", "i3"], "ofport": 3, "link_state": "up", "admin_state": "up"},
            {"_uuid": ["uuid", "i2"], "ofport": ["set", []], "link_state": ["set", []], "admin_state": "up"},
        ]
    },
]


def test_an_answer_in_pieces_after_an_echo_is_one_answer() -> None:
    echoed: list[str] = []

    def talk(stream: socket.socket) -> None:
        stream.recv(4096)
        stream.sendall(b'{"method": "echo", "params": ["}{"], "id": "alive"} {"method": "upd')
        stream.sendall(b'ate", "params": [], "id": null}')
        echoed.append(stream.recv(4096).decode())
        answer = json.dumps({"id": 1, "error": None, "result": ROWS}).encode()
        for start in range(0, len(answer), 50):
            stream.sendall(answer[start : start + 50])
        until_it_leaves(stream)

    with peer(talk) as endpoint:
        found = select_bridge(endpoint)
    assert found == ovsdb.Bridge("br1", "0000000000000001", {1: True, 2: False})
    assert json.loads(echoed[0]) == {"result": ["}{"], "error": None, "id": "alive"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", Transient),
        (b'{"id": 1, "result": [', Transient),
        (b'{"id": 1, "error": "unknown database", "result": null}', Rejected),
        (b'{"id": 1, "error": null, "result": [{"error": "syntax error"}]}', Rejected),
        (b'{"id": 1, "error": null, "result": null}', Rejected),
        (b'{"id": 1, "error": null, "result": [{"rows": []}, {"rows": []}, {"rows": []}]}', Rejected),
        (b'{"id": 1, "error": null, "result": [{"rows": [{}]}, {"rows": []}, {"rows": []}]}', Rejected),
        (b'{"id": 1, "error": null, "result": [{"rows": [7]}, {"rows": []}, {"rows": []}]}', Rejected),
        (b'{"id": 1, "error": null, "result": []}', Rejected),
        (b'["not", {}', Transient),
    ],
)
def test_a_broken_answer_is_an_error_of_a_named_kind(answer: bytes, kind: type[Exception]) -> None:
    def talk(stream: socket.socket) -> None:
        stream.recv(4096)
        stream.sendall(answer)

    with peer(talk) as endpoint, pytest.raises(kind):
        select_bridge(endpoint)


def test_silence_is_transient_and_takes_no_longer_than_allowed() -> None:
    with peer(until_it_leaves) as endpoint:
        start = time.monotonic()
        with pytest.raises(Transient):
            select_bridge(endpoint, 0.3)
        with pytest.raises(Transient), openflow.connect(endpoint, "", 1) as channel:
            channel.dump_flows(0)
        with pytest.raises(Transient), openflow.connect(endpoint, "", 1) as channel:
            channel.bundle("flow add priority=1,actions=drop\n")
        assert time.monotonic() - start < 20


def test_nobody_there_is_transient() -> None:
    endpoint = f"tcp:127.0.0.1:{free_port()}"
    with pytest.raises(Transient):
        select_bridge(endpoint)
    with pytest.raises(Transient), openflow.connect(endpoint, "", 1) as channel:
        channel.datapath_id()


def test_a_peer_that_hangs_up_is_transient() -> None:
    with (
        peer(lambda stream: None) as endpoint,
        openflow.connect(endpoint, "", 2) as channel,
        pytest.raises(Transient),
    ):
        channel.dump_flows(0)


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "leaf1", "unix:/run/openvswitch/db.sock", "tcp:127.0.0.1", "tcp:127.0.0.1:6653 --timeout=0",
        "tcp:127.0.0.1:6653\n", "--private-key=x", "tcp:$(id):6653", "ptcp:6653", "tcp:127.0.0.1:99999",
        "tcp:999.0.0.1:6653", "tcp:[::zz]:6653",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_no_address_is_rejected(endpoint: str) -> None:
    with pytest.raises(Rejected), openflow.connect(endpoint, "", 1):
        pass
    with pytest.raises(Rejected), ovsdb.connect(endpoint, "", 1):
        pass


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A switch that takes OpenFlow and OVSDB by TLS only, from those whom the authority knows."""
    switch = VirtualSwitch(tmp_path_factory.mktemp("ovs"))
    switch.start()
    try:
        switch.vsctl("set-ssl", *authority.files("leaf1", switch.folder))
        bridge = switch.add_bridge(("a", "b"))
        ports = {"openflow": free_port(), "ovsdb": free_port()}
        switch.vsctl("set-controller", bridge.name, f"pssl:{ports['openflow']}:127.0.0.1")
        switch.database("ovsdb-server/add-remote", f"pssl:{ports['ovsdb']}:127.0.0.1")
        endpoints = {name: f"ssl:127.0.0.1:{port}" for name, port in ports.items()}
        yield replace(bridge.target(), settings={"bridge": bridge.name, **endpoints})
    finally:
        switch.stop()


def test_over_tls_with_the_right_credential(encrypted: Target, authority: Authority) -> None:
    target = replace(encrypted, secret=authority.credential("viaduct"))
    wanted = sample(Site(DRIVER.caps.kinds, ("a", "b"), ("blue",)))
    with DRIVER.open(target, 30) as session:
        session.push(DRIVER.render(diff(EMPTY, wanted), target))
        assert session.read().state == wanted


def other_credentials(authority: Authority) -> dict[str, str]:
    stranger = Authority("stranger")
    key, certificate = stranger.issue("viaduct")
    return {
        "none": "",
        "no authority": "".join(authority.issue("viaduct")),
        "of a stranger": stranger.credential("viaduct"),
        "not signed by who it trusts": key + certificate + authority.certificate(),
        "of two halves": authority.issue("one")[0] + authority.issue("two")[1] + authority.certificate(),
    }


@pytest.mark.parametrize("which", other_credentials(Authority()))
def test_any_other_credential_is_rejected_and_never_shown(
    encrypted: Target, authority: Authority, which: str
) -> None:
    target = replace(encrypted, secret=other_credentials(authority)[which])
    # A switch that does not trust us says so only by hanging up.
    kind = DriverError if which == "not signed by who it trusts" else Rejected
    with pytest.raises(kind) as caught, DRIVER.open(target, 30) as session:
        session.read()
    with (
        pytest.raises(kind) as also,
        openflow.connect(target.settings["openflow"], target.secret, 30) as one,
    ):
        one.datapath_id()
    shown = f"{caught.value}{also.value}{target}"
    for line in re.findall(r"^[A-Za-z0-9+/=]{20,}$", target.secret, re.MULTILINE):
        assert line not in shown


def test_credential_files_are_private_and_short_lived(authority: Authority) -> None:
    with credential(authority.credential("viaduct")) as files:
        paths = [Path(files.key), Path(files.certificate), Path(files.authority)]
        assert [path.stat().st_mode & 0o777 for path in paths] == [0o600] * 3
        assert paths[0].parent.stat().st_mode & 0o777 == 0o700
    assert not any(path.exists() for path in paths)
