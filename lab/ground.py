# SPDX-License-Identifier: Apache-2.0
"""Can this machine carry the lab, and if not, why not and what would help.

Called by the command line, the demo and the tests, before anything is built. Changes nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

# program -> Debian package
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "iptables-restore": "iptables",
    "conntrack": "conntrack",
    "ovsdb-server": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-ofctl": "openvswitch-switch",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
}
SYSTEM_PATHS = "/usr/sbin:/sbin:/usr/bin:/bin"
TUN = "/dev/net/tun"


@dataclass(frozen=True, slots=True)
class Support:
    """reason: why not, with the fix; "" if ok."""

    ok: bool
    reason: str = ""


def support() -> Support:
    """Whether real packets are possible here."""
    missing = sorted({package for program, package in PROGRAMS.items() if find(program) is None})
    if os.geteuid() != 0:
        return Support(False, "not root: namespaces, /dev/net/tun and sshd need it. Fix: run as root")
    if missing:
        return Support(False, f"missing Debian packages. Fix: apt-get install {' '.join(missing)}")
    if not _opens(TUN):
        return Support(False, f"{TUN} cannot be opened, and Open vSwitch's userspace datapath needs it")
    if _users_mapped() < 65536:
        # A user namespace with a single user: sshd cannot change to its unprivileged user.
        return Support(False, "root of a user namespace with too few users for sshd. Fix: run as root")
    refused = _namespaces()
    if refused:
        return Support(False, f"network namespaces are not allowed here: {refused}")
    return Support(True)


def _users_mapped() -> int:
    """How many user ids exist in this user namespace: user_namespaces(7)."""
    with open("/proc/self/uid_map") as lines:
        return sum(int(line.split()[2]) for line in lines)


def find(program: str) -> str | None:
    """Where a program is; system folders too, which a normal user's PATH may lack."""
    return shutil.which(program) or shutil.which(program, path=SYSTEM_PATHS)


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError:
        return False
    return True


def _namespaces() -> str:
    """Why a network and a mount namespace cannot be made; "" if they can."""
    try:
        done = subprocess.run(
            ["unshare", "-n", "-m", "true"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""
