# SPDX-License-Identifier: Apache-2.0
"""Routers of the lab: emulated EOS, NX-OS and Junos with real packets, and FRR. Each in a namespace of its own.

Called by `lab.build`. The process of a router lives in its namespace and ends with it.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import access, operator, operator_cisco, operator_junos, spaces, wiring
from lab.command import CommandError, inside, run
from lab.devices.process import READY, START_S
from lab.fabric import EMULATED, MANAGEMENT_PORT, Device

if TYPE_CHECKING:
    from lab.network import Lab

SSH_PORT = 22
# Of an emulated family: the port of its management, and what its operator typed.
EMULATION = {
    "eos": (443, operator.eos_lines),
    "nxos": (443, operator_cisco.nxos_lines),
    "junos": (830, operator_junos.junos_lines),
}


def boot(lab: Lab, router: Device) -> None:
    """Kernel and cables. Errors: CommandError."""
    ports = "\n".join(f"ip link set dev {port} addrgenmode none up" for port in router.ports)
    settings = "\n".join(
        f"echo {value} >/proc/sys/net/{name}" for name, value in wiring.box_sysctls(router, forwards=True)
    )
    management = f"ip link set dev lo up; ip link set dev {MANAGEMENT_PORT} up\n" + (
        f"ip address replace {router.management}/24 dev {MANAGEMENT_PORT}"
    )
    spaces.script(lab.namespace(router.name), f"set -e\n{settings}\n{ports}\n{management}\n")


def start(lab: Lab, router: Device) -> None:
    """Its process, until it can be logged in to; its credential. Errors: CommandError."""
    folder = lab.folder / f"router-{router.name}"
    folder.mkdir(mode=0o700)
    arguments = _frr(lab, router, folder) if router.driver == "frr" else _emulated(lab, router, folder)
    command = [sys.executable, "-m", "lab.devices", router.driver, _unique(lab, router), str(folder), *arguments]
    log = folder / "log"
    run(inside(lab.namespace(router.name), ["sh", "-c", access.DETACHED, str(log), *command]), folder=str(access.ROOT))
    ready = _until_ready(folder)
    if router.driver in EMULATED:
        credential = json.dumps(_credential(router, ready, folder))
        access.secret(lab.folder / f"{router.name}.credential.json", credential)


def _credential(router: Device, ready: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """How to log in to an emulated device, and how to know that it is the one."""
    user, password = next(iter(ready["users"].items())) if "users" in ready else (ready["user"], ready["password"])
    found = {"user": user, "password": password, "port": ready["port"]}
    if "host_key" in ready:
        known = folder / "known_hosts"
        known.write_text(f"[{router.management}]:{ready['port']} {ready['host_key']}\n")
        return {**found, "known_hosts_file": str(known)}
    return {**found, "authority_file": ready.get("authority") or ready["certificate"]}


def forget(lab: Lab) -> None:
    """What FRR keeps outside of the lab's own folder."""
    for router in lab.fabric.routers:
        for folder in (Path("/etc/frr"), Path("/var/run/frr")):
            shutil.rmtree(folder / lab.namespace(router.name), ignore_errors=True)


def _unique(lab: Lab, router: Device) -> str:
    """FRR's daemons of all labs of this machine share a folder."""
    return router.name if router.driver in EMULATED else lab.namespace(router.name)


def configuration(lab: Lab, router: Device) -> str:
    """What the operator sees: the running configuration; of FRR also what the kernel holds for it."""
    if router.driver in EMULATED:
        return str(_ask(lab, router, "/config")["running"])
    commands = (
        f"vtysh -N {_unique(lab, router)} -c 'show running-config'",
        "nft --stateless list ruleset",
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip -4 neigh show nud permanent",
        "ip -6 neigh show nud permanent",
        "ip -br link",
    )
    return str(lab.exec(router.name, ["sh", "-c", " && ".join(commands)]).stdout)


def _ask(lab: Lab, router: Device, path: str) -> Any:
    """The emulated device's handle listens inside its namespace only."""
    ready = json.loads((lab.folder / f"router-{router.name}" / READY).read_text())
    program = "import sys,urllib.request as u;print(u.urlopen(sys.argv[1],timeout=30).read().decode())"
    command = [sys.executable, "-c", program, f"http://127.0.0.1:{ready['handle']}{path}"]
    return json.loads(run(inside(lab.namespace(router.name), command)).stdout)


def _emulated(lab: Lab, router: Device, folder: Path) -> list[str]:
    port, lines = EMULATION[router.driver]
    first = folder / "operator.txt"
    first.write_text("\n".join(lines(lab.fabric, router)) + "\n")
    names = {one.interface: one.name for one in router.ports.values()}
    return [str(first), str(port), router.management, json.dumps(names)]


def _frr(lab: Lab, router: Device, folder: Path) -> list[str]:
    batches = []
    for family in (4, 6):
        file = folder / f"operator-{family}.txt"
        file.write_text("\n".join(operator.linux_lines(lab.fabric, router, family)) + "\n")
        batches.append(str(file))
    ssh = lab.folder / "ssh"
    keys = [str(ssh / router.name / "host_key"), str(ssh / "authorized_keys")]
    return [f"{router.management}:{SSH_PORT}", *keys, *batches]


def _until_ready(folder: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while not (folder / READY).exists():
        if time.monotonic() > deadline:
            raise CommandError(f"{folder.name} does not start: {(folder / 'log').read_text()[-500:]}")
        time.sleep(0.02)
    found: dict[str, Any] = json.loads((folder / READY).read_text())
    return found
