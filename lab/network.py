# SPDX-License-Identifier: Apache-2.0
"""The lab as one object: up, down, and hands inside it (run, watch, break).

Called by the command line, the demo and live tests. Everything it makes carries the lab's name or
its number, and is written down first, so that `down` finds it even after a crash.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import access, spaces, switches, watch, wiring
from lab.command import CommandError, inside, run
from lab.fabric import Device, End, Fabric, instantiate, load, write

DEMO = Path(__file__).resolve().parent / "fabrics" / "demo.yaml"
NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")
NUMBERS = range(1, 255)
READY_S = 15.0


class LabError(Exception):
    """The lab could not be built, found or used. The text says what and how to go on."""


def state_folder() -> Path:
    """Where labs are: VIADUCT_STATE, else var/ of the checkout; below it lab/."""
    return Path(os.environ.get("VIADUCT_STATE") or access.ROOT / "var").absolute() / "lab"


class Lab:
    """A running lab. Make one with `Lab.up`, find one with `Lab.attach`."""

    def __init__(self, name: str, folder: Path, number: int, fabric: Fabric) -> None:
        self.name = name
        self.folder = folder
        self.number = number
        self.fabric = fabric
        self.switch_space = f"{name}-sw"

    # --- life ----------------------------------------------------------------------------------

    @classmethod
    def up(cls, fabric_path: Path | str = DEMO, name: str = "demo") -> Lab:
        """Build everything and wait until it answers. If that fails, nothing is left. Errors: LabError."""
        if not NAME.fullmatch(name):
            raise LabError(f"{name!r} is no lab name: a letter, then letters, digits, hyphens; at most 24")
        plan = load(Path(fabric_path))
        folder = state_folder() / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise LabError(f"lab {name} exists. Fix: python -m lab down {name}") from error
        made: Lab | None = None
        try:
            number = _claim_number()
            made = cls(name, folder, number, instantiate(plan, number, _credentials(plan, folder)))
            made._build()
        except (CommandError, OSError, ValueError) as error:
            if made is not None:
                made.down()
            shutil.rmtree(folder, ignore_errors=True)
            raise LabError(f"lab {name}: {error}") from error
        except BaseException:
            if made is not None:
                made.down()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return made

    @classmethod
    def attach(cls, name: str) -> Lab:
        """A lab that is up already. Errors: LabError."""
        folder = state_folder() / name
        try:
            record = json.loads((folder / "lab.json").read_text(encoding="utf-8"))
            return cls(name, folder, record["number"], load(folder / "fabric.yaml"))
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise LabError(f"there is no lab {name} here. Labs: {', '.join(names()) or 'none'}") from error

    def down(self) -> None:
        """Remove processes, namespaces, the management network and all files. May be called twice."""
        owned = self._spaces()
        spaces.empty(owned)
        bridge = wiring.bridge_name(self.number)
        ports = (
            wiring.management_port(self.number, device)
            for device in wiring.managed(self.fabric, self._space_of()).values()
        )
        for interface in (*ports, bridge):
            if Path(f"/sys/class/net/{interface}").exists():
                run(["ip", "link", "del", "dev", interface], check=False)
        spaces.remove(owned)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _build(self) -> None:
        record = {"number": self.number, "fabric": self.fabric.name, "pid": os.getpid()}
        write(self.fabric, self.fabric_file)
        (self.folder / "lab.json").write_text(json.dumps(record))
        space_of = self._space_of()
        spaces.create(self._spaces())
        spaces.batch(
            (
                f"link set dev {wiring.bridge_name(self.number)} addrgenmode none up",
                f"addr add 10.250.{self.number}.1/24 dev {wiring.bridge_name(self.number)}",
                *wiring.management_lines(self.fabric, self.number, space_of),
                *wiring.cable_lines(self.fabric, space_of),
            )
        )
        script = "\n".join(("set -e", "ip -batch - <<'END'", *wiring.switch_lines(self.fabric), "END"))
        spaces.script(self.switch_space, script)
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(switches.start, self.fabric, self.switch_space, self.switch_folder),
                pool.submit(access.make_keys, self.folder / "ssh", self._with_driver("linux")),
            ]
            jobs += [pool.submit(self._boot, device) for device in self.fabric.boxes]
            for job in jobs:
                job.result()
            for job in [pool.submit(self._start_access, device) for device in self.fabric.boxes]:
                job.result()
        self._wait_until_reachable()

    def _boot(self, device: Device) -> None:
        spaces.script(self.namespace(device.name), wiring.boot_script(device))
        if device.driver == "host" and access.has_agent():
            access.enrol_agent(self.folder, device)

    def _start_access(self, device: Device) -> None:
        if device.driver == "linux":
            access.start_sshd(self.folder / "ssh", device, self.namespace(device.name))
        elif device.driver == "host" and access.has_agent():
            access.start_agent(self.folder, device, self.namespace(device.name))

    def _with_driver(self, driver: str) -> tuple[Device, ...]:
        return tuple(device for device in self.fabric.devices.values() if device.driver == driver)

    def _services(self) -> Iterator[tuple[str, int]]:
        """What must accept connections before the lab counts as up."""
        for device in self.fabric.devices.values():
            if device.kind == "switch" and device.management:
                yield from ((device.management, 6640), (device.management, 6653))
            elif device.driver == "linux":
                yield device.management, 22
            elif device.driver == "host" and access.has_agent():
                yield device.management, access.AGENT_PORT

    def _wait_until_reachable(self) -> None:
        deadline = time.monotonic() + READY_S
        for address, port in self._services():
            while not _answers(address, port):
                if time.monotonic() > deadline:
                    raise CommandError(f"{address}:{port} does not answer. {self._last_words()}")
                time.sleep(0.02)

    def _last_words(self) -> str:
        """The ends of the logs: the folder goes when the lab could not be built."""
        logs = sorted((*self.folder.glob("*.log"), *self.folder.glob("ssh/*/sshd.log")))
        ends = ((path.name, path.read_text(errors="replace").strip()[-200:]) for path in logs)
        return "; ".join(f"{name}: {end}" for name, end in ends if end)

    # --- where things are ------------------------------------------------------------------------

    @property
    def fabric_file(self) -> Path:
        """The fabric as it runs, for `manage.py load_fabric`."""
        return self.folder / "fabric.yaml"

    @property
    def switch_folder(self) -> Path:
        return self.folder / "sw"

    def device(self, name: str) -> Device:
        """Errors: LabError."""
        if name not in self.fabric.devices:
            raise LabError(f"there is no device {name}; devices: {', '.join(self.fabric.devices)}")
        return self.fabric.devices[name]

    def namespace(self, device: str) -> str:
        """The network namespace of a device; all switches share one."""
        return self.switch_space if self.device(device).kind == "switch" else f"{self.name}-{device}"

    def _space_of(self) -> dict[str, str]:
        return {name: self.namespace(name) for name in self.fabric.devices}

    def _spaces(self) -> list[str]:
        return list(dict.fromkeys((self.switch_space, *self._space_of().values())))

    # --- hands inside ----------------------------------------------------------------------------

    def exec(
        self, device: str, argv: Sequence[str], *, text: str = "", check: bool = True, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the device's namespace. On a switch `ovs-vsctl` and `ovs-ofctl` find its daemon.

        Errors: CommandError (with check False only if it cannot start or takes too long).
        """
        argv = inside(self.namespace(device), argv)
        return run(argv, text=text, check=check, timeout_s=timeout_s, environment=self._environment())

    def popen(self, device: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program in the device's namespace, with text pipes. `down` ends it if nobody else does."""
        options = {"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True, **options}
        environment = {**os.environ, **self._environment()}
        argv = inside(self.namespace(device), argv)
        return subprocess.Popen(argv, env=environment, cwd=access.ROOT, **options)

    def _environment(self) -> dict[str, str]:
        return switches.environment(self.switch_folder)

    def flows(self, switch: str) -> tuple[str, ...]:
        """Every flow on a switch as text without counters, sorted: to compare two moments."""
        bridge = self.device(switch).bridge
        arguments = ("--no-stats", "--no-names", "dump-flows", bridge)
        lines = switches.ofctl(self.switch_space, self.switch_folder, arguments).splitlines()
        return tuple(sorted(line.strip() for line in lines if "actions=" in line))

    def configuration(self, device: str) -> str:
        """What a device holds, as text without counters: flows of a switch, rules and routes of a box."""
        if self.device(device).kind == "switch":
            return "\n".join(self.flows(device))
        commands = (
            "nft --stateless list ruleset",
            "iptables-save",
            "ip6tables-save",
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -4 neigh show nud permanent",
            "ip -6 neigh show nud permanent",
        )
        parts = [self.exec(device, ["sh", "-c", " && ".join(commands)]).stdout]
        kept = (line for line in "".join(parts).splitlines() if not line.startswith("#"))
        return "\n".join(re.sub(r"\[\d+:\d+\]", "", line).rstrip() for line in kept)

    # --- traffic ---------------------------------------------------------------------------------

    def serve(self, device: str, tcp: Sequence[int] = (), udp: Sequence[int] = ()) -> watch.Server:
        """An echo server that says who asked. Stop it, or use it as a context manager."""
        return watch.Server(self.namespace(device), tcp, udp)

    def probe(self, device: str, to: str, port: int, **options: Any) -> watch.Answer:
        """One question from a device. options: protocol, payload, timeout_s, source_port."""
        return self.probes(device, [{"to": to, "port": port, **options}])[0]

    def probes(self, device: str, requests: Sequence[Mapping[str, Any]]) -> tuple[watch.Answer, ...]:
        """Several, one after the other, in one program."""
        return watch.probe(self.namespace(device), requests)

    def stream(
        self,
        device: str,
        to: str,
        port: int,
        *,
        rate: float = 200.0,
        denied_port: int = 0,
        denied_every: int = 4,
        drain_s: float = 1.0,
    ) -> watch.Stream:
        """Numbered datagrams, rate a second, every denied_every-th to denied_port; `finish()` has the counts."""
        words = ["--to", to, "--port", str(port), "--rate", str(rate), "--drain-s", str(drain_s)]
        words += ["--denied-port", str(denied_port), "--denied-every", str(denied_every)]
        return watch.Stream(self.namespace(device), words)

    def capture(self, device: str, port: str, *more: tuple[str, str]) -> watch.Capture:
        """Packets at ports, of several boxes if wanted, on one clock. A switch's port: where its cable ends there."""
        places = {
            f"{name}:{at}": (self.namespace(name), wiring.interface(self.fabric, End(name, at)))
            for name, at in ((device, port), *more)
        }
        return watch.Capture(places)

    # --- breaking things -------------------------------------------------------------------------

    def kill_device(self, name: str) -> None:
        """The box loses power: its processes end, its cables go dead. What was configured is kept on its disk."""
        device = self._box(name)
        spaces.empty([self.namespace(name)])
        ports = [*device.ports, *(["mgmt"] if device.management else [])]
        spaces.batch_in(self.namespace(name), (f"link set dev {port} down" for port in ports))

    def restart_device(self, name: str, *, forgets: bool = False) -> None:
        """Power is back. forgets: packet filter rules and connections are gone, as if they were never saved."""
        device = self._box(name)
        if forgets:
            script = "nft flush ruleset; conntrack -F 2>/dev/null || true"
            self.exec(name, ["sh", "-c", script])
        spaces.script(self.namespace(name), wiring.restart_script(device))
        self._start_access(device)
        self._wait_until_reachable()

    def _box(self, name: str) -> Device:
        device = self.device(name)
        if device.kind == "switch":
            raise LabError(f"{name} is a switch: all switches of a lab share one daemon; cut its links instead")
        return device

    def cut_link(self, a: str, b: str) -> None:
        """The cables between two devices go dead. Errors: LabError if there is none.

        To a box: the switch port stays and loses carrier. Between switches: both ports vanish.
        """
        lines: list[str] = []
        words: list[str] = []
        for end, is_patch in self._switch_ends(a, b):
            if is_patch:
                words += switches.cut_port(self.fabric, end)
            else:
                lines.append(f"link set dev {wiring.switch_interface(end)} down")
        self._apply(lines, words)

    def mend_link(self, a: str, b: str) -> None:
        """Undo `cut_link`."""
        lines: list[str] = []
        words: list[str] = []
        for end, is_patch in self._switch_ends(a, b):
            if is_patch:
                words += [*switches.cut_port(self.fabric, end), *switches.add_port(self.fabric, end)]
            else:
                lines.append(f"link set dev {wiring.switch_interface(end)} up")
        self._apply(lines, words)

    def _switch_ends(self, a: str, b: str) -> list[tuple[End, bool]]:
        """The switch ports between two devices, and whether they are patch ports."""
        found: list[tuple[End, bool]] = []
        for link in self.fabric.links:
            if {link.a.device, link.b.device} == {a, b}:
                is_patch = wiring.is_patch(self.fabric, link)
                ends = (end for end in (link.a, link.b) if self.device(end.device).kind == "switch")
                found += [(end, is_patch) for end in ends]
        if not found:
            raise LabError(f"there is no link between {a} and {b}")
        return found

    def _apply(self, lines: list[str], words: list[str]) -> None:
        if lines:
            spaces.batch_in(self.switch_space, lines)
        if words:
            switches.vsctl(self.switch_space, self.switch_folder, words[1:])


def names() -> list[str]:
    """Labs that are up in this checkout."""
    return sorted(path.parent.name for path in state_folder().glob("*/lab.json"))


def _credentials(fabric: Fabric, folder: Path) -> dict[str, str]:
    """Device -> reference to the file that will hold its secret."""
    found: dict[str, str] = {}
    for device in fabric.devices.values():
        if device.driver == "linux" or (device.driver == "host" and access.has_agent()):
            found[device.name] = f"file:{folder}/{device.name}.credential.json"
    return found


def _claim_number() -> int:
    """Take a free management network by making its bridge: that succeeds for one lab only."""
    taken = run(["ip", "-4", "route", "show", "table", "all"]).stdout
    for number in NUMBERS:
        if f"10.250.{number}." in taken:
            continue
        done = run(["ip", "link", "add", wiring.bridge_name(number), "type", "bridge"], check=False)
        if done.returncode == 0:
            return number
        if "File exists" not in done.stderr:
            raise CommandError(f"cannot make the management bridge: {done.stderr.strip()}")
    raise CommandError("every management network 10.250.1.0/24 to 10.250.254.0/24 is taken")


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def report_missing_agent() -> None:
    if not access.has_agent():
        print("lab: no host agent in this checkout: hosts run without it", file=sys.stderr)
