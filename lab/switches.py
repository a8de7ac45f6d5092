# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch for one lab: its own database and switch daemon in one namespace, userspace datapath.

Called by `lab.network`. Each switch of the fabric is a bridge; OVSDB and OpenFlow listen on the
switches' management addresses only. The base forwarding is loaded here, once, as the operator's.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import spaces
from lab.command import inside, run
from lab.fabric import MANAGEMENT_PORT, Device, End, Fabric
from lab.forwarding import base_flows
from lab.wiring import switch_interface

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PROTOCOLS = "OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15"
RECEIVE_BUFFER = Path("/proc/sys/net/core/rmem_default")
RECEIVE_BUFFER_BYTES = 4 << 20

# The kernel sees each packet beside Open vSwitch: it must not answer for the management addresses.
QUIET_KERNEL = f"""
table inet lab {{
  chain prerouting {{
    type filter hook prerouting priority raw; iifname != {{ "{MANAGEMENT_PORT}", "lo" }} drop;
  }}
}}
table arp lab {{
  chain input {{ type filter hook input priority 0; iifname != "{MANAGEMENT_PORT}" drop; }}
}}
"""


def environment(folder: Path) -> dict[str, str]:
    """What Open vSwitch's programs need to find this lab's daemons."""
    return {name: str(folder) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")}


def start(fabric: Fabric, namespace: str, folder: Path) -> None:
    """Daemons, bridges, ports, base flows. Called when the interfaces are up. Errors: CommandError."""
    folder.mkdir(mode=0o700)
    _daemons(namespace, folder)
    with large_receive_buffer():  # a socket takes the size when its port is added
        vsctl(namespace, folder, _bridges(fabric))
    for switch in fabric.switches:
        load_base(fabric, switch, namespace, folder)


def load_base(fabric: Fabric, switch: Device, namespace: str, folder: Path) -> None:
    """The operator's own flows. Errors: CommandError."""
    flows = "\n".join(base_flows(fabric, switch)) + "\n"
    ofctl(namespace, folder, ("--bundle", "add-flows", switch.bridge, "-"), flows)


def vsctl(namespace: str, folder: Path, arguments: Sequence[str]) -> str:
    argv = ["ovs-vsctl", f"--db=unix:{folder}/db.sock", "--timeout=15", *arguments]
    return run(inside(namespace, argv), environment=environment(folder)).stdout


def ofctl(namespace: str, folder: Path, arguments: Sequence[str], text: str = "") -> str:
    argv = ["ovs-ofctl", "-O", "OpenFlow14", "--timeout=15", *arguments]
    return run(inside(namespace, argv), text=text, environment=environment(folder)).stdout


def _daemons(namespace: str, folder: Path) -> None:
    run(inside(namespace, ["nft", "-f", "-"]), text=QUIET_KERNEL)
    run(["ovsdb-tool", "create", f"{folder}/conf.db", SCHEMA])
    common = ["--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off"]
    database = [
        "ovsdb-server",
        f"{folder}/conf.db",
        f"--remote=punix:{folder}/db.sock",
        "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
        f"--unixctl={folder}/ovsdb.ctl",
        f"--pidfile={folder}/ovsdb-server.pid",
        f"--log-file={folder}/ovsdb-server.log",
    ]
    run(inside(namespace, database + common), environment=environment(folder))
    vsctl(namespace, folder, ["--no-wait", "init"])
    offload = "other_config:userspace-tso-enable=true"
    vsctl(namespace, folder, ["--no-wait", "set", "Open_vSwitch", ".", offload])
    switch = [
        "ovs-vswitchd",
        f"unix:{folder}/db.sock",
        f"--unixctl={folder}/vswitchd.ctl",
        f"--pidfile={folder}/ovs-vswitchd.pid",
        f"--log-file={folder}/ovs-vswitchd.log",
    ]
    run(inside(namespace, switch + common), environment=environment(folder))


def _bridges(fabric: Fabric) -> list[str]:
    """All bridges and ports in one transaction: one wait instead of thirty."""
    words: list[str] = []
    for switch in fabric.switches:
        words += _bridge(fabric, switch)
    managers = [f"ptcp:6640:{switch.management}" for switch in fabric.switches if switch.management]
    return [*words, "--", "set-manager", *managers][1:]


def _bridge(fabric: Fabric, switch: Device) -> Iterator[str]:
    yield from ("--", "add-br", switch.bridge, "--", "set", "bridge", switch.bridge)
    yield from ("datapath_type=netdev", "fail_mode=secure", f"protocols={PROTOCOLS}")
    yield "other_config:disable-in-band=true"
    for port in switch.ports.values():
        yield from add_port(fabric, End(switch.name, port.name))
    if switch.management:
        yield from ("--", "set-controller", switch.bridge, f"ptcp:6653:{switch.management}")


def add_port(fabric: Fabric, end: End) -> Iterator[str]:
    """Words of `ovs-vsctl` that put the port on its bridge; none if no cable is in it."""
    peer = fabric.peer(end)
    if peer is None:
        return
    switch, name = fabric.devices[end.device], switch_interface(end)
    yield from ("--", "add-port", switch.bridge, name, "--", "set", "interface", name)
    yield f"ofport_request={switch.ports[end.port].number}"
    if fabric.devices[peer.device].is_bridge:
        yield from ("type=patch", f"options:peer={switch_interface(peer)}")
    else:
        yield "type=system"


def cut_port(fabric: Fabric, end: End) -> Iterator[str]:
    """Words of `ovs-vsctl` that take a port between switches away: a patch port has no carrier to lose."""
    yield from ("--", "--if-exists", "del-port", fabric.devices[end.device].bridge, switch_interface(end))


@contextmanager
def large_receive_buffer() -> Iterator[None]:
    """With the default buffer Open vSwitch loses packets while flows change. Put back at the end."""
    lock = os.open(spaces.FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # labs that start at once would put back each other's size
        before = RECEIVE_BUFFER.read_text()
        is_raised = int(before) < RECEIVE_BUFFER_BYTES and _write(str(RECEIVE_BUFFER_BYTES))
        try:
            yield
        finally:
            if is_raised:
                _write(before)
    finally:
        os.close(lock)


def _write(size: str) -> bool:
    """False where this namespace may not change it: the lab works, with less headroom."""
    try:
        RECEIVE_BUFFER.write_text(size)
    except OSError:
        return False
    return True
