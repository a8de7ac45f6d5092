# SPDX-License-Identifier: Apache-2.0
"""What this machine lacks, and the command that fixes it. Called by `./run doctor`; changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.services import postgres, valkey
from orchestrator.services.places import CHECKOUT

SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
# program -> its Debian package: what the lab calls
LAB_PROGRAMS = {
    "ovs-vswitchd": "openvswitch-switch",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "ping": "iputils-ping",
    "tcpdump": "tcpdump",
    "ethtool": "ethtool",
    "sshd": "openssh-server",
    "sysctl": "procps",
}


@dataclass(frozen=True, slots=True)
class Need:
    """purpose: "" if nothing works without it, else what works less. detail: what was found or is wrong."""

    name: str
    is_met: bool
    detail: str
    fix: str = ""
    purpose: str = ""

    def line(self) -> str:
        mark = "ok     " if self.is_met else "missing"
        text = f"{mark}  {self.name:<22} {self.detail}"
        if self.is_met:
            return text
        needed = f"needed for {self.purpose}" if self.purpose else "required"
        return f"{text} ({needed})\n         fix: {self.fix}"


def needs(environ: Mapping[str, str] = os.environ) -> tuple[Need, ...]:
    return (*_python(), *_services(environ), *_lab())


def doctor() -> int:
    """Print every need. Exit status 1 if something is missing without which nothing works."""
    found = needs()
    for need in found:
        print(need.line())
    required = [need.name for need in found if not need.is_met and not need.purpose]
    lab = [need.name for need in found if not need.is_met and need.purpose == "real packets"]
    if required:
        print(f"\nViaduct cannot run here: {', '.join(required)}.")
    elif lab and os.geteuid() == 0 and shutil.which("apt-get"):
        print("\nReady; `./run demo` installs what the lab lacks.")
    elif lab:
        print("\nReady; the lab will use the fake driver instead of real packets.")
    else:
        print("\nReady, with real packets in the lab.")
    return 1 if required else 0


def _python() -> tuple[Need, ...]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    is_fit = (3, 11) <= sys.version_info[:2] < (3, 13)
    in_venv = Path(sys.prefix).resolve() == (CHECKOUT / "var" / "venv").resolve()
    wrong = wrong_packages(CHECKOUT / "requirements.txt")
    detail = "as locked" if not wrong else f"{len(wrong)} differ from the lock: {', '.join(wrong[:3])}"
    return (
        Need("Python 3.11 or 3.12", is_fit, version, "apt-get install python3 python3-venv"),
        Need("virtual environment", in_venv, sys.prefix, "apt-get install python3-venv; ./run check"),
        Need("Python packages", not wrong, detail, "rm -f var/venv/.stamp-*; ./run check"),
    )


def wrong_packages(lock: Path) -> tuple[str, ...]:
    """Names in the lock that are not installed in the locked version. A line with a marker is not judged."""
    wrong = []
    for name, version, marker in re.findall(r"^([a-z0-9.-]+)==(\S+)( ;)?", lock.read_text(), re.MULTILINE):
        try:
            is_right = importlib.metadata.version(name) == version
        except importlib.metadata.PackageNotFoundError:
            is_right = bool(marker)
        if not is_right:
            wrong.append(name)
    return tuple(wrong)


def _services(environ: Mapping[str, str]) -> tuple[Need, ...]:
    if environ.get("DATABASE_URL"):
        database = Need("database", True, "DATABASE_URL is set")
    else:
        found = postgres.programs()
        detail = str(found[0]) if found else "no PostgreSQL programs that the server's user can reach"
        database = Need("database", bool(found), detail, postgres.FIX)
    if environ.get("REDIS_URL"):
        broker = Need("broker", True, "REDIS_URL is set")
    else:
        binary = valkey.program()
        broker = Need("broker", binary is not None, str(binary or "no Valkey or Redis server"), valkey.FIX)
    memory = os.access("/dev/shm", os.W_OK)
    shared = Need("shared memory", memory, "/dev/shm", "mount -t tmpfs tmpfs /dev/shm")
    return database, broker, shared


def _lab() -> tuple[Need, ...]:
    is_root = os.geteuid() == 0
    may_isolate = is_root or _succeeds("unshare", "-Urn", "true")
    who = "root" if is_root else "user namespaces"
    tun = Path("/dev/net/tun")
    may_tun = tun.exists() and (is_root or os.access(tun, os.R_OK | os.W_OK))
    found = [
        Need("namespaces", may_isolate, who, "run as root", "real packets"),
        Need("tunnel device", may_tun, str(tun), f"chmod 0666 {tun} (as root)", "real packets"),
    ]
    for program, package in LAB_PROGRAMS.items():
        path = shutil.which(program, path=SYSTEM_PATH)
        fix = f"apt-get install --no-install-recommends {package}"
        found.append(Need(program, path is not None, path or "not found", fix, "real packets"))
    browser = shutil.which("chromium", path=SYSTEM_PATH)
    fix = "apt-get install --no-install-recommends chromium fonts-dejavu-core"
    found.append(Need("chromium", browser is not None, browser or "not found", fix, "tests of the pages"))
    return tuple(found)


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True).returncode == 0
