# SPDX-License-Identifier: Apache-2.0
"""The ways in that a real network has: SSH to appliances with known host keys, the agent on hosts.

Called by `lab.network`. Everything secret is written below the lab's folder, readable by its owner only.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from lab.command import inside, run
from lab.fabric import Device
from lab.ground import find

ROOT = Path(__file__).resolve().parent.parent
AGENT, PROBER = "drivers.host.daemon", "drivers.switch.prober"
AGENT_PORT = 8443

# A private /run: the daemon's own folder, and iptables' lock is the box's own as on a real one.
SSHD_START = 'mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/sshd && exec "$0" -f "$1" -E "$2"'
# Not our child: it outlives the command that built the lab.
DETACHED = 'exec setsid -f "$@" >>"$0" 2>&1 </dev/null'


def make_keys(folder: Path, appliances: tuple[Device, ...]) -> None:
    """One client key for the lab, one host key for each appliance, and the list of known hosts."""
    folder.mkdir(mode=0o700)
    making = [_keygen(folder / "client_key")]
    for device in appliances:
        (folder / device.name).mkdir(mode=0o700)
        making.append(_keygen(folder / device.name / "host_key"))
    for process in making:
        if process.wait(timeout=20):
            raise OSError(f"ssh-keygen failed in {folder}")
    (folder / "authorized_keys").write_text((folder / "client_key.pub").read_text())
    known = (
        f"{device.management} {' '.join((folder / device.name / 'host_key.pub').read_text().split()[:2])}\n"
        for device in appliances
    )
    (folder / "known_hosts").write_text("".join(known))
    for device in appliances:
        credential = {
            "user": "root",
            "private_key_file": str(folder / "client_key"),
            "known_hosts_file": str(folder / "known_hosts"),
            "port": 22,
        }
        secret(folder.parent / f"{device.name}.credential.json", json.dumps(credential))
        (folder / device.name / "sshd_config").write_text(_sshd_config(folder, device))


def _keygen(path: Path) -> subprocess.Popen[bytes]:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "viaduct-lab", "-f", str(path)]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")


def _sshd_config(folder: Path, device: Device) -> str:
    """SHLVL: root's shell would else run its .bashrc for every command, and that may take seconds."""
    own = folder / device.name
    return f"""ListenAddress {device.management}:22
HostKey {own}/host_key
PidFile {own}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
SetEnv SHLVL=2
PermitUserRC no
PrintLastLog no
MaxStartups 50:30:100
MaxSessions 50
Subsystem sftp internal-sftp
"""


def start_sshd(folder: Path, device: Device, namespace: str) -> None:
    """Errors: CommandError."""
    own = folder / device.name
    sshd = find("sshd") or "sshd"
    argv = ["sh", "-c", SSHD_START, sshd, f"{own}/sshd_config", f"{own}/sshd.log"]
    run(inside(namespace, argv))


def has_agent() -> bool:
    """Whether this checkout has the host agent."""
    return importlib.util.find_spec(AGENT) is not None


def enrol_agent(folder: Path, device: Device) -> None:
    """Give the host's agent an identity; it prints what Viaduct needs to trust it. Errors: CommandError."""
    state = folder / f"agent-{device.name}"
    state.mkdir(mode=0o700)
    argv = ["enroll", "--state", str(state), "--name", device.name, "--address", device.management]
    done = run([sys.executable, "-m", AGENT, *argv], folder=str(ROOT))
    answer = json.loads(done.stdout)
    secret(folder / f"{device.name}.credential.json", json.dumps(answer))


def start_agent(folder: Path, device: Device, namespace: str) -> None:
    """The agent runs inside the host, as it would in production; its log is in the lab's folder."""
    state = folder / f"agent-{device.name}"
    listen = f"{device.management}:{AGENT_PORT}"
    argv = [sys.executable, "-m", AGENT, "run", "--state", str(state), "--listen", listen]
    log = folder / f"agent-{device.name}.log"
    run(inside(namespace, ["sh", "-c", DETACHED, str(log), *argv]), folder=str(ROOT))


def start_prober(folder: Path, switches: Path, namespace: str) -> None:
    """Beside the switches, whose sockets are in `switches`: it asks through functions once it is told to."""
    argv = [sys.executable, "-m", PROBER, "--rundir", str(switches)]
    run(inside(namespace, ["sh", "-c", DETACHED, str(folder / "prober.log"), *argv]), folder=str(ROOT))
