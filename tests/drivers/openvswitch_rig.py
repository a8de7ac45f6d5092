# SPDX-License-Identifier: Apache-2.0
"""A real Open vSwitch for tests: its own database and daemon, on loopback, with dummy ports.

The daemon, its OpenFlow tables, datapath, counters and both protocols are the real ones; only the
network cards are Open vSwitch's own dummies, which take packets from a command and write what they
send to a file. So it needs no privilege and no namespace. It must not touch any other Open vSwitch.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.base import PortInfo, Target
from drivers.switch.openvswitch import DRIVER
from tests.drivers.contract import Rig
from tests.drivers.samples import Site

# Without statistics, `dump-flows` names every table but table 0.
OURS_IN_TABLE_0 = re.compile(r" *cookie=0xd5[0-9a-f]{14}, priority=")
OUR_NOTE = "note:d5.00.00"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
DEADLINE_S = 30.0
PCAP_HEADER_OCTETS, PCAP_RECORD_OCTETS = 24, 16


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class VirtualSwitch:
    """One private ovsdb-server and ovs-vswitchd. folder: sockets and captures."""

    folder: Path
    ovsdb_port: int = field(default_factory=free_port)
    bridges: int = 0
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        self._run("ovsdb-tool", "create", f"{self.folder}/conf.db", SCHEMA)
        self.restart("ovsdb-server")
        self.vsctl("--no-wait", "init")
        self.restart("ovs-vswitchd")

    def restart(self, daemon: str) -> None:
        database = f"{self.folder}/db.sock"
        if daemon == "ovsdb-server":
            remotes = (f"--remote=punix:{database}", f"--remote=ptcp:{self.ovsdb_port}:127.0.0.1")
            keys = (("private-key", "private_key"), ("certificate", "certificate"), ("ca-cert", "ca_cert"))
            tls = (f"--{option}=db:Open_vSwitch,SSL,{column}" for option, column in keys)
            self._start(daemon, f"{self.folder}/conf.db", *remotes, *tls)
        else:
            dummies = ("--enable-dummy=override", "--disable-system", "--disable-system-route")
            self._start(daemon, f"unix:{database}", *dummies)

    def _start(self, daemon: str, *arguments: str) -> None:
        """A child that ends with this process, even if that is killed."""
        socket_path = self.folder / f"{daemon}.ctl"
        quiet = (f"--unixctl={socket_path}", "-vconsole:off", "-vsyslog:off")
        command = ("setpriv", "--pdeathsig", "KILL", daemon, *arguments, *quiet)
        self.daemons[daemon] = subprocess.Popen(command, env=self._environment())
        until(socket_path.exists, f"{daemon} answers")

    def kill(self, daemon: str) -> None:
        """As a crash: no clean-up."""
        self.daemons[daemon].kill()
        self.daemons.pop(daemon).wait(DEADLINE_S)
        (self.folder / f"{daemon}.ctl").unlink()

    def stop(self) -> None:
        for daemon in tuple(self.daemons):
            self.kill(daemon)

    def vsctl(self, *arguments: str) -> str:
        return self._run("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", "--timeout=30", *arguments)

    def control(self, *arguments: str) -> str:
        return self._run("ovs-appctl", "-t", f"{self.folder}/ovs-vswitchd.ctl", *arguments)

    def database(self, *arguments: str) -> str:
        return self._run("ovs-appctl", "-t", f"{self.folder}/ovsdb-server.ctl", *arguments)

    def _environment(self) -> dict[str, str]:
        places = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        return {**os.environ, **dict.fromkeys(places, str(self.folder)), "PATH": PATH}

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._environment(), check=True, stdout=subprocess.PIPE, text=True, timeout=60
        )
        return done.stdout

    def add_bridge(self, ports: tuple[str, ...]) -> Bridge:
        self.bridges += 1
        made = Bridge(self, f"br{self.bridges}", ports, free_port())
        commands = [
            "add-br", made.name, "--", "set", "bridge", made.name, "datapath_type=dummy", "fail_mode=secure",
            "protocols=OpenFlow13,OpenFlow14", "--", "set-controller", made.name,
            f"ptcp:{made.openflow_port}:127.0.0.1",
        ]  # fmt: skip
        for number, port in enumerate(ports, start=1):
            interface, capture = made.interface(port), f"options:tx_pcap={made.capture(port)}"
            commands += ["--", "add-port", made.name, interface, "--", "set", "interface", interface]
            commands += ["type=dummy", f"ofport_request={number}", capture]
        self.vsctl(*commands)
        made.wait()
        made.flows("add-flow", "priority=0,actions=resubmit(,1)")
        return made


@dataclass
class Bridge:
    """A bridge with dummy ports numbered 1, 2, ... and the operator's hook to table 1."""

    switch: VirtualSwitch
    name: str
    ports: tuple[str, ...]
    openflow_port: int

    def target(self) -> Target:
        numbers = {name: PortInfo(name, number) for number, name in enumerate(self.ports, start=1)}
        settings = {
            "bridge": self.name,
            "openflow": f"tcp:127.0.0.1:{self.openflow_port}",
            "ovsdb": f"tcp:127.0.0.1:{self.switch.ovsdb_port}",
        }
        vrfs = {"blue": 101, "red": 102}
        return Target("leaf1", "openvswitch", "127.0.0.1", settings, numbers, vrfs)

    def flows(self, command: str, *arguments: str) -> str:
        client = ("ovs-ofctl", "-O", "OpenFlow14", "--timeout=30", command)
        return self.switch._run(*client, f"tcp:127.0.0.1:{self.openflow_port}", *arguments)

    def others(self) -> str:
        """All flows and groups that are not Viaduct's, without statistics."""
        flows, groups = (
            self.flows(command, "--no-stats").splitlines() for command in ("dump-flows", "dump-groups")
        )
        theirs = [line for line in groups if "reply" not in line and OUR_NOTE not in line]
        return "\n".join(sorted(line for line in flows if not OURS_IN_TABLE_0.match(line)) + sorted(theirs))

    def interface(self, port: str) -> str:
        return f"{self.name}-{port}"

    def capture(self, port: str) -> Path:
        return self.switch.folder / f"{self.interface(port)}.pcap"

    def send(self, port: str, packet: bytes) -> None:
        self.switch.control("netdev-dummy/receive", self.interface(port), packet.hex())
        # The daemon's one thread answers commands between its turns at the ports: when it answers the
        # next one, the packet has been through.
        self.switch.control("version")

    def sent(self, port: str) -> list[bytes]:
        """What has left by this port since the bridge was made."""
        octets, at, packets = self.capture(port).read_bytes(), PCAP_HEADER_OCTETS, []
        while at + PCAP_RECORD_OCTETS <= len(octets):
            length = int.from_bytes(octets[at + 8 : at + 12], "little")
            packets.append(octets[at + PCAP_RECORD_OCTETS : at + PCAP_RECORD_OCTETS + length])
            at += PCAP_RECORD_OCTETS + length
        return packets

    def settle(self) -> None:
        """Wait until the flow counters include every packet so far."""
        self.switch.control("revalidator/wait")
        self.switch.control("revalidator/purge")

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.openflow_port), timeout=1).close()
        except ConnectionRefusedError:
            return False
        return True

    def wait(self) -> None:
        until(self.listens, f"{self.name} listens")

    def hang_up(self) -> None:
        self.switch.vsctl("del-controller", self.name)
        until(lambda: not self.listens(), f"{self.name} has hung up")

    def remove(self) -> None:
        self.switch.vsctl("--if-exists", "del-br", self.name)


@pytest.fixture(scope="session")
def virtual_switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualSwitch]:
    if shutil.which("ovs-vswitchd", path=PATH) is None:
        pytest.skip("Open vSwitch is not installed")
    switch = VirtualSwitch(tmp_path_factory.mktemp("ovs"))
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()


@pytest.fixture
def bridge(virtual_switch: VirtualSwitch) -> Iterator[Bridge]:
    made = virtual_switch.add_bridge(("a", "b", "c"))
    yield made
    made.remove()


OURS = "cookie=0xd500000700101400"
NOTE = "note:d5.00.00.07.00.10.20.00.00.00.00.00.00.00"
ADD = f"flow add {OURS},table=0,priority=20000,in_port=1,vlan_tci=0x0000/0x1fff"
HOSTILE = (
    # Another's flow, another table, everything, another command.
    "flow delete cookie=0x0000000000000001/-1,table=0",
    f"flow delete {OURS}/-1,table=1",
    f"flow delete {OURS}/0xff00000000000000,table=0",
    "flow delete table=0",
    f"flow add {OURS},table=1,priority=20001,in_port=1,vlan_tci=0x0000/0x1fff,ip,actions=drop",
    f"{ADD},ip,actions=drop".replace(OURS, "cookie=0x0000000000000001"),
    "group add group_id=1,type=all",
    "flow add priority=0,actions=NORMAL",
    # Ours by its cookie, and yet nothing that we write.
    f"{ADD},ip,actions=NORMAL",
    f"{ADD},ip,actions=output:2,output:3",
    f"{ADD},ip,actions=resubmit(,1)",
    f"flow add {OURS},table=0,priority=20000,in_port=9,vlan_tci=0x0000/0x1fff,ip,actions=drop",
    f"flow add {OURS},table=0,priority=65535,in_port=1,vlan_tci=0x0000/0x1fff,ip,actions=drop",
    f"{ADD},ip,idle_timeout=1,actions=drop",
    f"flow add {OURS},table=0,priority=20000,vlan_tci=0x0000/0x1fff,ip,actions=drop",
    f"flow add {OURS},table=0,priority=20000,in_port=1,ip,actions=drop",
    f"{ADD},arp,actions=drop",
    f"{ADD},ip,actions=drop".replace(OURS, "cookie=0xd500000000101400"),
    f"flow modify {OURS},table=0,actions=drop",
    # Groups: somebody's, one that no item needs, one that is not what an item has.
    "group delete group_id=1",
    "group delete",
    "group add group_id=2,type=all",
    "group add group_id=305419896,type=indirect,bucket=actions=output:2",
    f"group add group_id=305419896,type=ff,bucket=watch_port:2,actions={NOTE},output:2",
    "group insert_buckets group_id=7,command_bucket_id=last,bucket=actions=output:2",
    "# a comment",
    " ",
)


@pytest.fixture
def open_openvswitch(bridge: Bridge) -> Rig:
    def add_foreign() -> None:
        bridge.flows("add-flow", "cookie=0x1,priority=30000,tcp,tp_dst=9,actions=drop")
        bridge.flows("add-flow", "cookie=0xd500000700101400,table=1,priority=5,actions=drop")
        bridge.flows("add-group", "group_id=7,type=select,bucket=actions=output:2,bucket=actions=output:3")
        bridge.flows("add-group", "group_id=268435457,type=ff,bucket=watch_port:2,actions=note:d5,output:2")

    site = Site(DRIVER.caps.kinds, bridge.ports, ("blue", "red"), has_standby=True, has_copies=True)
    return Rig(DRIVER, bridge.target(), site, add_foreign, bridge.others, bridge.hang_up, HOSTILE)
