# SPDX-License-Identifier: Apache-2.0
"""A real FRR router for tests: Debian's daemons in a namespace, neighbours at the other ends of its cables.

One router serves a whole module; between tests everything that is not its boot configuration is taken away.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.base import PortInfo, Target
from drivers.switch.frr import DRIVER
from lab.devices.frr import Router, is_installed
from tests.drivers.contract import Rig
from tests.drivers.linux_rig import SSH_PORT, Box
from tests.drivers.samples import Site

# Port -> interface. The last one is the operator's alone.
INTERFACES = {"a": "eth-a", "b": "b", "c": "c"}
SYSCTLS = """
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
"""
RESET = r"""
nft flush ruleset
for name in $(ip -o link show | sed -n 's/^[0-9]*: \([^@:]*\.[0-9]*\)[@:].*/\1/p'); do
  printf 'link del dev %s\n' "$name" | ip -batch -
done
ip rule del pref 30000 2>/dev/null
ip -6 rule del pref 30000 2>/dev/null
true
"""
OURS = re.compile(r"pbr-map SI-t-| pbr-policy SI-t-")
GOOD = "link add link eth-a name eth-a.3001 type vlan id 3001"
# The rest of the sentences that must never be taken: tests/drivers/test_frr.py, without a router.
HOSTILE = (
    "flush ruleset",
    "delete table inet theirs",
    "link del dev c",
    "interface c\n no pbr-policy THEIRS\nexit",
    "add rule inet viaduct_switch t-a-0 accept",
    f"{GOOD}; link del dev c",
    "# a comment",
)


@dataclass
class Lab:
    """The router, and what is at the other ends of its cables. hosts: port -> namespace."""

    folder: Path
    box: Box
    router: Router
    hosts: dict[str, Box] = field(default_factory=dict)
    keys: Path = Path()

    def start(self) -> None:
        for port in INTERFACES:
            self.hosts[port] = Box(self.folder)
            self.hosts[port].start()
        self.box.start(SSH_PORT)
        self.router.enter = tuple(self.box.argv())
        self.router.run("sh", text=SYSCTLS)
        for number, (port, interface) in enumerate(INTERFACES.items(), start=1):
            self.cable(number, port, interface)
        self.router.start()

    def cable(self, number: int, port: str, interface: str) -> None:
        """10.8.N.0/24 and 2001:db8:8:N::/64: 1 is the router, 2 the neighbour."""
        host = self.hosts[port]
        lines = (
            f"link add name {interface} address 02:00:00:00:08:{number:02x} type veth peer name up netns {host.pid}",
            f"link set dev {interface} up",
            f"address add 10.8.{number}.1/24 dev {interface}",
            f"address add 2001:db8:8:{number}::1/64 dev {interface} nodad",
        )
        self.box.run("ip", "-batch", "-", text="\n".join(lines))
        self.set_up(number, port)
        self.set_up(number, port)

    def set_up(self, number: int, port: str) -> None:
        lines = (
            f"link set dev up address 02:00:00:00:09:{number:02x}",
            "link set dev up up",
            f"address replace 10.8.{number}.2/24 dev up",
            f"address replace 2001:db8:8:{number}::2/64 dev up nodad",
        )
        self.hosts[port].run("ip", "-batch", "-", text="\n".join(lines))
        self.hosts[port].run("ip", "route", "replace", "default", "via", f"10.8.{number}.1")
        self.hosts[port].run(
            "ip", "route", "replace", "default", "via", f"2001:db8:8:{number}::1", "dev", "up"
        )

    def stop(self) -> None:
        self.router.stop()
        for box in (self.box, *self.hosts.values()):
            box.stop()

    def target(self) -> Target:
        ports = {
            port: PortInfo(
                port,
                number,
                mac=f"02:00:00:00:08:{number:02x}",
                interface=interface,
                addresses=(f"10.8.{number}.1/24", f"2001:db8:8:{number}::1/64"),
                peer_mac=f"02:00:00:00:09:{number:02x}",
                peer_addresses=(f"10.8.{number}.2/24", f"2001:db8:8:{number}::2/64"),
            )
            for number, (port, interface) in enumerate(INTERFACES.items(), start=1)
        }
        return Target("r1", "frr", "127.0.0.1", {"global_vrf": "blue"}, ports, {"blue": 101}, self.secret())

    def secret(self, host_key: str = "host_key") -> str:
        port = self.box.ports[SSH_PORT]
        public = " ".join((self.keys / f"{host_key}.pub").read_text().split()[:2])
        known = self.folder / f"known_{host_key}"
        known.write_text(f"[127.0.0.1]:{port} {public}\n")
        fields = {
            "user": "root",
            "private_key_file": str(self.keys / "client_key"),
            "known_hosts_file": str(known),
        }
        return json.dumps({**fields, "port": port})

    def site(self) -> Site:
        peers = {port: f"02:00:00:00:09:{number:02x}" for number, port in enumerate(INTERFACES, start=1)}
        return Site(DRIVER.caps.kinds, ("a", "b"), ("blue",), peers=peers)

    def reset(self) -> None:
        """As it was when it was started."""
        self.router.restore_sshd()
        undo = []
        for line in self.router.vtysh("show running-config").splitlines():
            if line.startswith("interface "):
                undo.append(line)
            elif line.startswith(" pbr-policy "):
                undo += [f"no{line}", "exit"]
            elif line.startswith("pbr-map "):
                undo.append(f"no {line}")
        self.router.vtysh("configure terminal", *undo)
        self.router.run("sh", text=RESET)
        # What it starts with, too.
        (Path("/etc/frr") / self.router.name / "frr.conf").write_text("")
        (self.router.folder / "state" / self.router.name / "table.nft").unlink(missing_ok=True)

    def add_theirs(self) -> None:
        self.router.vtysh(
            "configure terminal", "pbr-map THEIRS seq 5", "match src-ip 10.99.0.0/16", "set nexthop 10.8.2.2 b",
            "exit", "interface c", "pbr-policy THEIRS", "exit",
        )  # fmt: skip
        table = (
            "add table inet theirs\nadd chain inet theirs guard\nadd rule inet theirs guard tcp dport 1 drop"
        )
        self.router.run("nft", "-f", "-", text=table)
        self.router.run("ip", "rule", "add", "pref", "30000", "from", "192.0.2.0/24", "lookup", "77")

    def theirs(self) -> str:
        """FRR's configuration, tables and rules without ours."""
        found: list[str] = []
        stanza: list[str] = []
        for line in self.router.vtysh("show running-config").splitlines():
            stanza.append(line)
            if line in ("!", "exit"):
                kept = [one for one in stanza if not OURS.search(one)]
                is_ours = OURS.match(stanza[0]) or (kept != stanza and len(kept) == 2)
                found += [] if is_ours else kept
                stanza = []
        found = [line for line in found if line != "!"]
        for table in self.router.run("nft", "list", "tables").splitlines():
            if "viaduct_switch" not in table:
                found.append(self.router.run("nft", "list", *table.split()))
        rules = self.router.run("ip", "rule") + self.router.run("ip", "-6", "rule")
        return "\n".join([*found, *(line for line in rules.splitlines() if "fwmark 0x56" not in line)])


@pytest.fixture(scope="session")
def frr_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces of a router need root")
    if not is_installed():
        pytest.skip("FRR is not installed")
    folder = tmp_path_factory.mktemp("frr")
    for name in ("host_key", "other_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized_keys").write_text((folder / "client_key.pub").read_text())
    keys = (folder / "host_key", folder / "authorized_keys")
    router = Router(f"vdt{os.getpid()}", folder, (), f"127.0.0.1:{SSH_PORT}", *keys)
    made = Lab(folder, Box(folder), router, keys=folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def frr(frr_lab: Lab) -> Lab:
    frr_lab.reset()
    return frr_lab


@pytest.fixture
def open_frr(frr: Lab) -> Rig:
    return Rig(DRIVER, frr.target(), frr.site(), frr.add_theirs, frr.theirs, frr.router.stop_sshd, HOSTILE)
