# SPDX-License-Identifier: Apache-2.0
"""The order in which a lab is built, and how it is known to be up.

Called by `lab.network` only, which also cleans up when something here fails.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lab import access, routers, spaces, switches, wiring
from lab.command import CommandError, run
from lab.fabric import ROUTERS, Device, instantiate, write

if TYPE_CHECKING:
    from lab.network import Lab

NUMBERS = range(1, 255)
READY_S = 15.0
BOOT = Path("/proc/sys/kernel/random/boot_id")


def claim(name: str) -> int:
    """Take the lab's name and a management network on this machine; both are held by what is made here.

    Errors: CommandError, and then nothing is held.
    """
    number = _claim_number()
    try:
        spaces.create([switch_space(name)])
    except CommandError as error:
        run(["ip", "link", "del", "dev", wiring.bridge_name(number)])
        raise CommandError(
            f"namespace {switch_space(name)} is not ours. Fix: another name. {error}"
        ) from error
    return number


def switch_space(name: str) -> str:
    """The namespace of all switches. Whoever makes it owns the lab's name on this machine."""
    return f"{name}-sw"


def _claim_number() -> int:
    """Take a free management network by making its bridge: that succeeds for one lab only. Errors: CommandError."""
    taken = run(["ip", "-4", "route", "show", "table", "all"]).stdout
    for number in NUMBERS:
        if f"10.250.{number}." in taken:
            continue
        done = run(["ip", "link", "add", wiring.bridge_name(number), "type", "bridge"], check=False)
        if done.returncode == 0:
            return number
        if "File exists" not in done.stderr:
            raise CommandError(f"cannot make the management bridge: {done.stderr.strip()}")
    raise CommandError("every management network from 10.250.1.0/24 to 10.250.254.0/24 is taken")


def build(lab: Lab) -> None:
    """Errors: CommandError, OSError, ValueError."""
    lab.fabric = instantiate(lab.fabric, lab.number, _credentials(lab))
    write(lab.fabric, lab.fabric_file)
    record = {"number": lab.number, "has_agents": lab.has_agents, "pid": os.getpid(), "boot": boot()}
    (lab.folder / "lab.json").write_text(json.dumps(record))
    _cable(lab)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(switches.start, lab.fabric, lab.switch_space, lab.switch_folder),
            pool.submit(access.make_keys, lab.folder / "ssh", _reached_by_ssh(lab)),
        ]
        jobs += [pool.submit(_boot, lab, device) for device in lab.fabric.boxes]
        jobs += [pool.submit(routers.boot, lab, device) for device in lab.fabric.routers]
        for job in jobs:
            job.result()
        jobs = [pool.submit(access.start_prober, lab.folder, lab.switch_folder, lab.switch_space)]
        jobs += [pool.submit(start_access, lab, device) for device in lab.fabric.boxes]
        jobs += [pool.submit(routers.start, lab, device) for device in lab.fabric.routers]
        for job in jobs:
            job.result()
    wait_until_reachable(lab, lab.fabric.devices.values())


def boot() -> str:
    """Names the time since the machine was started: no lab outlives it."""
    return BOOT.read_text().strip()


def _cable(lab: Lab) -> None:
    bridge, space_of = wiring.bridge_name(lab.number), lab.space_of()
    spaces.create([name for name in lab.spaces() if name != lab.switch_space])
    spaces.batch(
        (
            f"link set dev {bridge} addrgenmode none up",
            f"addr add 10.250.{lab.number}.1/24 dev {bridge}",
            *wiring.management_lines(lab.fabric, lab.number, space_of),
            *wiring.cable_lines(lab.fabric, space_of),
        )
    )
    spaces.batch_in(lab.switch_space, wiring.switch_lines(lab.fabric))


def _boot(lab: Lab, device: Device) -> None:
    spaces.script(lab.namespace(device.name), wiring.boot_script(device))
    if lab.has_agents and device.driver == "host":
        access.enrol_agent(lab.folder, device)


def start_access(lab: Lab, device: Device) -> None:
    """The daemon by which a box is managed, if it has one. Errors: CommandError."""
    if device.driver == "linux":
        access.start_sshd(lab.folder / "ssh", device, lab.namespace(device.name))
    elif lab.has_agents and device.driver == "host":
        access.start_agent(lab.folder, device, lab.namespace(device.name))


def wait_until_reachable(lab: Lab, devices: Iterable[Device]) -> None:
    """Until these can be managed. Errors: CommandError with the logs' ends: the logs go with a lab that fails."""
    deadline = time.monotonic() + READY_S
    for address, port in _services(devices, lab.has_agents):
        while not _answers(address, port):
            if time.monotonic() > deadline:
                raise CommandError(f"{address}:{port} does not answer. {_last_words(lab)}")
            time.sleep(0.02)


def _services(devices: Iterable[Device], has_agents: bool) -> Iterator[tuple[str, int]]:
    """What must accept connections before a device counts as up."""
    for device in devices:
        if device.is_bridge and device.management:
            yield from ((device.management, 6640), (device.management, 6653))
        elif device.driver == "linux":
            yield device.management, 22
        elif has_agents and device.driver == "host":
            yield device.management, access.AGENT_PORT


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _last_words(lab: Lab) -> str:
    logs = sorted((*lab.folder.glob("*.log"), *lab.folder.glob("ssh/*/sshd.log")))
    ends = ((path.name, path.read_text(errors="replace").strip()[-200:]) for path in logs)
    return "; ".join(f"{name}: {end}" for name, end in ends if end)


def _reached_by_ssh(lab: Lab) -> tuple[Device, ...]:
    return tuple(device for device in lab.fabric.devices.values() if device.driver in ("linux", "frr"))


def _credentials(lab: Lab) -> dict[str, str]:
    """Device -> reference to the file that will hold its secret."""
    drivers = {"linux", *ROUTERS, *(["host"] if lab.has_agents else [])}
    devices = (device for device in lab.fabric.devices.values() if device.driver in drivers)
    return {device.name: f"file:{lab.folder}/{device.name}.credential.json" for device in devices}
