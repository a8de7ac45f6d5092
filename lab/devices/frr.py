# SPDX-License-Identifier: Apache-2.0
"""A real FRR router in a network namespace that somebody else made: zebra, staticd, pbrd and its SSH daemon.

Nothing here is emulated but one thing: where the kernel has no 802.1Q, VLAN interfaces are made by `vlan`. Every
router has a pathspace of its own (FRR's -N), its own host name, and an SSH account that can run one command.
Called by tests and by the lab. It ends only processes that it started.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab.command import CommandError, run
from lab.devices.process import announce

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path("/usr/lib/frr")
DAEMONS = ("zebra", "staticd", "pbrd")
ENTRY = ROOT / "drivers" / "transport" / "frr_box"
START_S = 20.0


def is_installed() -> bool:
    return all((PROGRAMS / name).exists() for name in (*DAEMONS, "frr-reload.py")) and bool(
        shutil.which("vtysh")
    )


def _python() -> str:
    """The router's own: it starts faster than ours, and shows that standard library is all it takes."""
    return shutil.which("python3", path="/usr/bin") or sys.executable


@dataclass
class Router:
    """name: unique on this machine. enter: a command line that runs another inside the router's namespace.

    listen: of its SSH daemon, "ADDRESS:PORT" inside. folder: keys, logs and state; host_key and authorized_keys as
    sshd has them. Interfaces, addresses and sysctls of the router are whoever's who made the namespace.
    """

    name: str
    folder: Path
    enter: tuple[str, ...]
    listen: str
    host_key: Path
    authorized_keys: Path
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        """Errors: CommandError."""
        self._folders()
        self._daemon("zebra")
        # A daemon that finds no zebra tries again only ten seconds later.
        socket = f"/var/run/frr/{self.name}/zserv.api"
        self._until(
            lambda: run([*self.enter, "test", "-S", socket], check=False).returncode == 0, "zebra listens"
        )
        for daemon in DAEMONS[1:]:
            self._daemon(daemon)
        self.start_sshd()
        self._until(self._answers, "FRR answers")

    def start_sshd(self) -> None:
        self._write_sshd()
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        self._spawn("sshd", sshd, "-D", "-e", "-f", str(self.folder / "sshd_config"))
        port = self.listen.rpartition(":")[2]
        self._until(lambda: f":{port} " in self.run("ss", "-Hltn"), "its SSH daemon listens")

    def stop_sshd(self) -> None:
        """Sessions go with it."""
        self._end("sshd")

    def restore_sshd(self) -> None:
        if "sshd" not in self._running:
            self.start_sshd()

    def stop(self) -> None:
        for name in tuple(self._running):
            self._end(name)
        shutil.rmtree(Path("/etc/frr") / self.name, ignore_errors=True)
        run([*self.enter, "rm", "-rf", f"/var/run/frr/{self.name}"], check=False)

    def run(self, *command: str, text: str = "", check: bool = True) -> str:
        """In the router's namespace. Errors: CommandError."""
        return run([*self.enter, *command], text=text, check=check, environment={"PATH": self.path}).stdout

    def vtysh(self, *lines: str) -> str:
        """As its operator types them: show commands, or `configure terminal` first."""
        return self.run("vtysh", "-N", self.name, *(word for line in lines for word in ("-c", line)))

    def transcript(self) -> list[str]:
        """What was asked of it over SSH, in order."""
        heard = self.folder / "heard"
        return heard.read_text().splitlines() if heard.exists() else []

    def restart(self, daemon: str) -> None:
        """As a crash: no clean-up, then started anew with nothing."""
        self._end(daemon)
        self._daemon(daemon)
        self._until(self._answers, f"{daemon} answers again")

    @property
    def hook(self) -> Path:
        """What its operator has it run when it starts, before its interfaces are up."""
        return self.folder / "boot"

    @property
    def path(self) -> str:
        """With our `ip` first, where the kernel needs it."""
        return f"{self.folder / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"

    def _folders(self) -> None:
        for name in ("bin", "lib", "state"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        restore = f"PYTHONPATH={self.folder / 'lib'} {_python()} -m viaduct_frr --pathspace {self.name}"
        self.hook.write_text(f"#!/bin/sh\n{restore} --state {self.folder / 'state'} restore\n")
        link = self.folder / "lib" / "viaduct_frr"
        link.unlink(missing_ok=True)
        link.symlink_to(ENTRY)
        if not self._has_vlans():
            ours = self.folder / "bin" / "ip"
            python = f'exec {_python()} -S -E {Path(__file__).with_name("vlan.py")} "$@"'
            # Python only for what is different: the router calls `ip` often.
            cases = f'case "$*" in *"-batch "*|*"-d address "*|*"-d link "*) {python} ;; esac'
            ours.write_text(f'#!/bin/sh\n{cases}\nexec /sbin/ip "$@"\n')
            ours.chmod(0o755)
        for folder in (f"/etc/frr/{self.name}", f"/var/run/frr/{self.name}"):
            run([*self.enter, "install", "-d", "-o", "frr", "-g", "frr", "/var/run/frr", folder])
        for file in ("frr.conf", "vtysh.conf"):
            (Path("/etc/frr") / self.name / file).touch()

    def _has_vlans(self) -> bool:
        """Asks by making one in a namespace of its own."""
        script = "ip link add a type veth peer name b && ip link add link a name a.5 type vlan id 5"
        return run(["unshare", "--net", "sh", "-c", script], check=False).returncode == 0

    def _daemon(self, daemon: str) -> None:
        """In a process namespace with a shell as its first: a daemon changes its user, and with that forgets to end
        with its parent; the shell does not, and takes it along."""
        options = ("-N", self.name, "-A", "127.0.0.1", "-P", "0", "--log", "stdout")
        held = ("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", '"$0" "$@"; exit $?')
        self._spawn(daemon, *held, str(PROGRAMS / daemon), *options)

    def _spawn(self, name: str, *command: str) -> None:
        """A child with the router's host name. It ends with this process, even if that is killed."""
        named = ("unshare", "--uts", "sh", "-c", f'hostname {self.name}; exec "$0" "$@"')
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.enter, *named, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _end(self, name: str) -> None:
        child = self._running.pop(name)
        child.kill()
        child.wait(START_S)

    def _answers(self) -> bool:
        said = run([*self.enter, "vtysh", "-N", self.name, "-c", "show pbr map"], check=False)
        listed = run([*self.enter, "vtysh", "-N", self.name, "-c", "show daemons"], check=False).stdout
        return said.returncode == 0 and all(daemon in listed for daemon in DAEMONS)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            ended = [name for name, child in self._running.items() if child.poll() is not None]
            if ended or time.monotonic() > deadline:
                said = "; ".join(f"{name}: {self._last_words(name)}" for name in ended or self._running)
                raise CommandError(f"{self.name}: not so within {START_S:g} s: {what}. {said}")
            time.sleep(0.02)

    def _last_words(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-300:].strip()

    def _write_sshd(self) -> None:
        run([*self.enter, "install", "-d", "-m", "755", "/run/sshd"])
        environment = f"PATH={self.path} PYTHONPATH={self.folder / 'lib'} PYTHONDONTWRITEBYTECODE=1"
        entry = f"{_python()} -m viaduct_frr --pathspace {self.name} --state {self.folder / 'state'} --hook {self.hook}"
        address = self.listen
        (self.folder / "sshd_config").write_text(f"""ListenAddress {address}
HostKey {self.host_key}
AuthorizedKeysFile {self.authorized_keys}
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
SetEnv SHLVL=2
PermitUserRC no
PrintLastLog no
AllowTcpForwarding no
MaxSessions 50
ForceCommand echo "$SSH_ORIGINAL_COMMAND" >>{self.folder / "heard"}; exec env {environment} {entry}
""")


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """The router in the namespace where this process is, until it is killed.

    arguments: where SSH listens, the host key, the authorized keys, and files of `ip -batch` lines of the operator's
    (IPv4, IPv6). Errors: CommandError.
    """
    listen, host_key, authorized, *batches = arguments
    router = Router(name, directory, (), listen, Path(host_key), Path(authorized))
    router.start()
    for option, batch in zip(("-4", "-6"), batches, strict=True):
        for line in Path(batch).read_text().splitlines():
            words = line.split()
            # The VLAN interfaces of a kernel that has none are made from a batch.
            if words[:2] in (["link", "add"], ["link", "set"]):
                router.run("ip", "-batch", "-", text=f"{line}\n")
            else:
                router.run("ip", option, *words)
    announce(directory, listen=listen)
    while True:
        signal.pause()
