# SPDX-License-Identifier: Apache-2.0
"""Client - appliance - server, in three namespaces, and sockets inside them.

    client (in 10.10.1.0/24, 2001:db8:1::/64) -- in [fw1] out -- server (203.0.113.10, 2001:db8:f::10)

The appliance routes as the fabric's appliances do: what enters by one arm leaves by the other, whatever
its addresses. Real packets; nothing leaves the namespaces.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.appliance.linux import DRIVER
from drivers.base import Counter, Observation, PortInfo, Target
from drivers.diff import diff
from drivers.state import DeviceState, Item, Key
from tests.drivers.linux_rig import Box, ssh_secret, start_sshd
from tests.drivers.samples import state

CLIENT, CLIENT6 = "10.10.1.10", "2001:db8:1::10"
SERVER, SERVER6 = "203.0.113.10", "2001:db8:f::10"
PATIENCE_S, SILENCE_S = 3.0, 0.25
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(box: Box) -> Iterator[None]:
    """This thread makes its sockets in the box's namespace; they stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{box.pid}/ns/net", os.O_RDONLY)
    try:
        assert _libc.setns(there, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert _libc.setns(home, _CLONE_NEWNET) == 0
        os.close(home)
        os.close(there)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def udp(box: Box, address: str, port: int = 0) -> socket.socket:
    with inside(box):
        made = socket.socket(_family(address), socket.SOCK_DGRAM)
    made.bind((address, port))
    made.settimeout(PATIENCE_S)
    return made


def listen(box: Box, address: str, port: int) -> socket.socket:
    with inside(box):
        made = socket.create_server((address, port), family=_family(address), backlog=512)
    made.settimeout(PATIENCE_S)
    return made


def connect(box: Box, address: str, port: int, *, timeout_s: float = PATIENCE_S) -> socket.socket:
    """Errors: OSError if it is not let pass."""
    with inside(box):
        made = socket.socket(_family(address), socket.SOCK_STREAM)
    made.settimeout(timeout_s)
    try:
        made.connect((address, port))
    except OSError:
        made.close()
        raise
    return made


def arrives(sender: socket.socket, to: tuple[str, int], receiver: socket.socket, payload: bytes = b"hello") -> bool:
    """Does one datagram arrive? Silence counts after SILENCE_S; what came before is thrown away."""
    receiver.settimeout(0)
    with suppress(OSError):
        while True:
            receiver.recv(65536)
    receiver.settimeout(SILENCE_S)
    try:
        sender.sendto(payload, to)
        return receiver.recv(65536) == payload
    except (TimeoutError, PermissionError):
        # A host's own rule set tells the sender that it may not.
        return False
    finally:
        receiver.settimeout(PATIENCE_S)


@dataclass
class Wire:
    client: Box
    fw: Box
    server: Box
    target: Target
    held: DeviceState = field(default_factory=DeviceState)

    def hold(self, *items: Item, revision: int = 1) -> DeviceState:
        """Make the appliance hold exactly these items, and see that it does."""
        wanted = state(list(items), revision=revision)
        with DRIVER.open(self.target, 10.0) as session:
            session.push(DRIVER.render(diff(self.held, wanted), self.target))
            assert session.read().state == wanted
        self.held = wanted
        return wanted

    def read(self) -> Observation:
        with DRIVER.open(self.target, 10.0) as session:
            return session.read()

    def counter(self, key: Key | None = None) -> Counter:
        return self.read().counters[key or next(iter(self.held))]


@pytest.fixture
def wire(tmp_path: Path, ssh_keys: Path) -> Iterator[Wire]:
    boxes = []
    for name in ("client", "fw", "server"):
        (tmp_path / name).mkdir()
        boxes.append(Box(tmp_path / name))
    client, fw, server = boxes
    try:
        start_sshd(fw, ssh_keys)
        client.start()
        server.start()
        _cable(client, fw, "in")
        _cable(server, fw, "out")
        macs = {name: _mac(fw, name) for name in ("in", "out")}
        _end(client, macs["in"], CLIENT, CLIENT6)
        _end(server, macs["out"], SERVER, SERVER6)
        _route(fw, {"in": _mac(client, "eth0"), "out": _mac(server, "eth0")})
        ports = {name: PortInfo(name) for name in ("in", "out")}
        target = Target("fw1", "linux", "127.0.0.1", {}, ports, {}, ssh_secret(fw, ssh_keys))
        yield Wire(client, fw, server, target)
    finally:
        for box in boxes:
            box.stop()


def _cable(end: Box, fw: Box, arm: str) -> None:
    fw.run("ip", "link", "add", arm, "type", "veth", "peer", "name", "eth0", "netns", str(end.pid))
    for box, name in ((end, "eth0"), (fw, arm)):
        box.run("ip", "link", "set", name, "addrgenmode", "none")
        box.run("ip", "link", "set", name, "up")


def _mac(box: Box, name: str) -> str:
    return str(json.loads(box.run("ip", "-json", "link", "show", name))[0]["address"])


def _end(box: Box, gateway_mac: str, address: str, address6: str) -> None:
    lines = [
        f"addr add {address}/24 dev eth0",
        f"addr add {address6}/64 dev eth0 nodad",
        f"neigh add {address.rpartition('.')[0]}.1 lladdr {gateway_mac} dev eth0 nud permanent",
        f"neigh add {address6.rpartition(':')[0]}:1 lladdr {gateway_mac} dev eth0 nud permanent",
        f"route add default via {address.rpartition('.')[0]}.1",
        f"-6 route add default via {address6.rpartition(':')[0]}:1",
    ]
    for line in lines:
        box.run("ip", *line.split())


def _route(fw: Box, macs: dict[str, str]) -> None:
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        fw.run("sysctl", "-qw", f"{name}=1")
    for name in ("all", "default", "in", "out"):
        fw.run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
    for table, (enters, leaves) in enumerate((("in", "out"), ("out", "in")), start=101):
        for family, hop in (("-4", "169.254.0.1"), ("-6", "fe80::1")):
            fw.run("ip", family, "neigh", "replace", hop, "lladdr", macs[leaves], "dev", leaves, "nud", "permanent")
            fw.run(*f"ip {family} route add default via {hop} dev {leaves} onlink table {table}".split())
            fw.run(*f"ip {family} rule add pref 10 iif {enters} lookup {table}".split())
