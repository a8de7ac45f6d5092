# SPDX-License-Identifier: Apache-2.0
"""Linux boxes for tests: a network namespace with a real SSH daemon or a real agent, reached over TCP.

Everything that is run inside is the real thing: nft, iptables, sshd, the agent's process. Namespaces have
no name and end with the process that holds them, so nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.appliance.linux import DRIVER as LINUX
from drivers.base import PortInfo, Target
from drivers.host.agent import DRIVER as HOST
from drivers.host.enrolment import enroll
from tests.drivers.contract import Rig
from tests.drivers.samples import Site

ROOT = Path(__file__).resolve().parents[2]
RELAY = Path(__file__).with_name("relay.py")
DEADLINE_S = 15.0
SSH_PORT, AGENT_PORT = 2222, 8443
HOSTILE = (
    "flush ruleset",
    "add table inet theirs",
    "delete table inet viaduct",
    "delete table inet theirs",
    "add rule inet theirs guard accept",
    "add rule inet viaduct closing accept",
    'include "/etc/hostname"',
    "add chain inet viaduct c1_r1_f_1_ruleset_0 ; flush ruleset",
    "add rule inet viaduct c1_r1_f_1_ruleset_0 jump claim",
    "define x = 1",
)
HOSTILE_IPTABLES = (
    "# iptables\n*filter\n-A FORWARD -j ACCEPT\nCOMMIT",
    "# iptables\n*filter\n-F FORWARD\nCOMMIT",
    "# iptables\n*nat\n:VIADUCT1r1f1i0 - [0:0]\nCOMMIT",
    "# ip6tables\n*filter\n-P FORWARD DROP\nCOMMIT",
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces of a box need root")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.005)


@dataclass
class Box:
    """A namespace. ports: server port inside -> port on the test's loopback."""

    folder: Path
    ports: dict[int, int] = field(default_factory=dict)
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _holder: subprocess.Popen[str] | None = None

    def start(self, *inner: int) -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in inner]
        self.ports = {port: one.getsockname()[1] for port, one in zip(inner, sockets, strict=True)}
        words = [f"{one.fileno()}:{port}" for port, one in zip(inner, sockets, strict=True)]
        self._holder = subprocess.Popen(
            ["unshare", "-n", "-m", sys.executable, str(RELAY), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[one.fileno() for one in sockets],
        )
        for one in sockets:
            one.close()
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        assert self._holder is not None
        return self._holder.pid

    def argv(self, *command: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", "-m", f"-w{ROOT}", *command]

    def run(self, *command: str, text: str = "") -> str:
        done = subprocess.run(self.argv(*command), input=text, text=True, capture_output=True, timeout=30)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def serve(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a server inside; it ends with the box. nsenter becomes the command, so the pid is its own."""
        log = (self.folder / "servers.log").open("ab")
        self.servers.append(
            subprocess.Popen(self.argv(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        )
        log.close()
        return self.servers[-1]

    def listens(self, port: int) -> bool:
        return f":{port} " in self.run("ss", "-Hltn")

    def stop(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait(DEADLINE_S)
        self.servers.clear()
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
            self._holder = None

    def theirs(self) -> str:
        """All that is in nft and iptables and not ours, without counters."""
        tables = [line for line in self.run("nft", "list", "tables").splitlines() if "viaduct" not in line]
        kept = [line for line in tables if " filter" not in line]
        found = [self.run("nft", "list", *line.split()) for line in kept]
        for program in ("iptables-save", "ip6tables-save"):
            lines = self.run(program).splitlines()
            found += [line for line in lines if line.startswith("-A") and "VIADUCT" not in line]
        return "\n".join(found)

    def add_theirs(self) -> None:
        rules = ("add table inet theirs", "add chain inet theirs guard", "add rule inet theirs guard tcp dport 1 drop")
        self.run("nft", "-f", "-", text="\n".join(rules))
        self.run("iptables", "-A", "FORWARD", "-d", "192.0.2.7", "-j", "ACCEPT")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """host_key, other_key, client_key and authorized_keys."""
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host_key", "other_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized_keys").write_text((folder / "client_key.pub").read_text())
    return folder


def start_sshd(box: Box, keys: Path) -> None:
    config = f"""ListenAddress 127.0.0.1:{SSH_PORT}
HostKey {keys}/host_key
AuthorizedKeysFile {keys}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile none
MaxSessions 50
"""
    (box.folder / "sshd_config").write_text(config)
    box.start(SSH_PORT)
    box.run("mkdir", "-p", "/run/sshd")
    box.serve(shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(box.folder / "sshd_config"))
    until(lambda: box.listens(SSH_PORT), "sshd listens")


def ssh_secret(box: Box, keys: Path, *, host_key: str = "host_key") -> str:
    """A credential whose known_hosts names the given key."""
    port = box.ports[SSH_PORT]
    public = " ".join((keys / f"{host_key}.pub").read_text().split()[:2])
    known = box.folder / f"known_hosts_{host_key}"
    known.write_text(f"[127.0.0.1]:{port} {public}\n")
    fields = {"user": "root", "private_key_file": str(keys / "client_key"), "known_hosts_file": str(known)}
    return json.dumps({**fields, "port": port})


@pytest.fixture
def linux_target(box: Box, ssh_keys: Path) -> Target:
    """An appliance with two arms, one of them with another interface name than its port's."""
    start_sshd(box, ssh_keys)
    box.run("ip", "link", "add", "in", "type", "veth", "peer", "name", "eth1")
    for name in ("in", "eth1"):
        box.run("ip", "link", "set", name, "up")
    ports = {name: PortInfo(name) for name in ("in", "out")}
    return Target(
        "fw1", "linux", "127.0.0.1", {"interface_out": "eth1"}, ports, {}, ssh_secret(box, ssh_keys)
    )


def enrol(box: Box, name: str = "a1") -> dict[str, object]:
    """Enrol an agent whose state is in the box's folder; its credential."""
    return enroll(state=box.folder / "agent", name=name, address="127.0.0.1", port=AGENT_PORT)


def start_agent(box: Box) -> subprocess.Popen[bytes]:
    agent = box.serve(
        sys.executable, "-m", "drivers.host.daemon", "run", "--state", str(box.folder / "agent")
    )
    until(lambda: box.listens(AGENT_PORT), "the agent listens")
    return agent


def host_target(box: Box, credential: dict[str, object]) -> Target:
    secret = json.dumps({**credential, "port": box.ports[AGENT_PORT]})
    return Target("a1", "host", "127.0.0.1", {}, {"lo": PortInfo("lo")}, {}, secret)


@pytest.fixture
def agent_target(box: Box) -> Target:
    """A host with a running agent."""
    box.start(AGENT_PORT)
    credential = enrol(box)
    start_agent(box)
    return host_target(box, credential)


@pytest.fixture
def open_linux(box: Box, linux_target: Target) -> Rig:
    site = Site(LINUX.caps.kinds, inside="in", outside="out")
    hostile = HOSTILE + HOSTILE_IPTABLES
    return Rig(LINUX, linux_target, site, box.add_theirs, box.theirs, box.stop, hostile)


@pytest.fixture
def open_host(box: Box, agent_target: Target) -> Rig:
    return Rig(HOST, agent_target, Site(HOST.caps.kinds), box.add_theirs, box.theirs, box.stop, HOSTILE)
