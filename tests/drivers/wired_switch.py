# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's userspace datapath in a namespace of its own, with real cables whose carrier can be lost.

For each port NAME there is a veth: NAME-sw on the bridge, NAME at the far end, in the same namespace; tests send and
receive raw frames there. Needs root.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from drivers.base import PortInfo, Target
from tests.drivers.linux_rig import Box, until
from tests.drivers.openvswitch_rig import SCHEMA
from tests.drivers.wire import inside

OVSDB_PORT, OPENFLOW_PORT, BRIDGE = 6640, 6653, "leaf1"
ETH_P_ALL = 0x0003
BUFFER_OCTETS = 4 << 20
SO_RCVBUFFORCE = 33


@dataclass
class WiredSwitch:
    box: Box
    ports: tuple[str, ...]

    def start(self) -> None:
        self.box.start(OVSDB_PORT, OPENFLOW_PORT)
        folder = self.box.folder
        lines = []
        for port in self.ports:
            lines.append(f"link add {port}-sw type veth peer name {port}")
            lines += [f"link set dev {name} addrgenmode none" for name in (port, f"{port}-sw")]
            lines += [f"link set dev {name} up" for name in (port, f"{port}-sw")]
        self.box.run("ip", "-batch", "-", text="\n".join(lines))
        self.box.run("ovsdb-tool", "create", f"{folder}/conf.db", SCHEMA)
        quiet = ("-vconsole:off", "-vsyslog:off")
        remotes = (f"--remote=punix:{folder}/db.sock", f"--remote=ptcp:{OVSDB_PORT}:127.0.0.1")
        self._serve("ovsdb-server", f"{folder}/conf.db", *remotes, f"--unixctl={folder}/db.ctl", *quiet)
        until((folder / "db.sock").exists, "the database listens")
        self.vsctl("--no-wait", "init")
        self.start_daemon()
        words = ["add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure"]
        words += ["protocols=OpenFlow13,OpenFlow14", "--", "set-controller", BRIDGE, f"ptcp:{OPENFLOW_PORT}:127.0.0.1"]
        for number, port in enumerate(self.ports, 1):
            words += ["--", "add-port", BRIDGE, f"{port}-sw", "--", "set", "interface", f"{port}-sw"]
            words += ["type=system", f"ofport_request={number}"]
        self.vsctl(*words)
        until(lambda: self.box.listens(OPENFLOW_PORT), "the bridge listens")
        self.flows("add-flow", "priority=0,actions=resubmit(,1)")

    def start_daemon(self) -> None:
        """ovs-vswitchd: the second server of the box, and again after it died."""
        folder = self.box.folder
        quiet = ("-vconsole:off", "-vsyslog:off")
        self._serve("ovs-vswitchd", f"unix:{folder}/db.sock", f"--unixctl={folder}/switch.ctl", *quiet)

    def _serve(self, *command: str) -> None:
        places = (f"OVS_{name}DIR={self.box.folder}" for name in ("RUN", "LOG", "DB", "SYSCONF"))
        self.box.serve("env", *places, *command)

    def vsctl(self, *arguments: str) -> str:
        return self.box.run("ovs-vsctl", f"--db=unix:{self.box.folder}/db.sock", "--timeout=15", *arguments)

    def flows(self, command: str, *arguments: str) -> str:
        endpoint = f"tcp:127.0.0.1:{OPENFLOW_PORT}"
        return self.box.run("ovs-ofctl", "-O", "OpenFlow14", "--timeout=15", command, endpoint, *arguments)

    def link(self, port: str, *, is_up: bool) -> None:
        """The far end's card is set up or down: here the carrier comes or goes."""
        self.box.run("ip", "link", "set", "dev", port, "up" if is_up else "down")

    def carrier(self, port: str) -> str:
        """What the switch itself sees at its end: up or down."""
        return self.vsctl("get", "interface", f"{port}-sw", "link_state").strip()

    def target(self) -> Target:
        ports = {name: PortInfo(name, number) for number, name in enumerate(self.ports, 1)}
        settings = {
            "bridge": BRIDGE,
            "openflow": f"tcp:127.0.0.1:{self.box.ports[OPENFLOW_PORT]}",
            "ovsdb": f"tcp:127.0.0.1:{self.box.ports[OVSDB_PORT]}",
        }
        return Target("leaf1", "openvswitch", "127.0.0.1", settings, ports, {"red": 102})

    def wire(self, port: str) -> socket.socket:
        """Raw frames at the far end of a port."""
        with inside(self.box):
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_OCTETS)
        made.bind((port, ETH_P_ALL))
        made.settimeout(0.2)
        return made


@dataclass
class Listener:
    """What arrives at a port's far end: number in the frame's last four octets -> when (monotonic).

    about: octets that a frame must hold to count, such as its addresses.
    """

    wire: socket.socket
    about: bytes
    seen: dict[int, list[float]] = field(default_factory=dict)
    is_over: bool = False

    def run(self) -> None:
        while not self.is_over:
            try:
                octets, address = self.wire.recvfrom(2048)
            except (TimeoutError, OSError):
                continue
            if address[2] != socket.PACKET_OUTGOING and self.about in octets:
                self.seen.setdefault(int.from_bytes(octets[-4:], "big"), []).append(time.monotonic())


@contextmanager
def listening(switch: WiredSwitch, about: bytes, *ports: str) -> Iterator[dict[str, Listener]]:
    found = {port: Listener(switch.wire(port), about) for port in ports}
    threads = [threading.Thread(target=one.run, daemon=True) for one in found.values()]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        for one in found.values():
            one.is_over = True
        for thread in threads:
            thread.join(2)
        for one in found.values():
            one.wire.close()


@pytest.fixture
def wired(box: Box) -> Iterator[WiredSwitch]:
    made = WiredSwitch(box, ("a", "b", "c"))
    made.start()
    yield made
