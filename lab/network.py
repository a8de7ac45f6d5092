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
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import access, build, routers, spaces, switches, watch, wiring
from lab.command import CommandError, inside, run
from lab.fabric import Device, End, Fabric, load

DEMO = Path(__file__).resolve().parent / "fabrics" / "demo.yaml"
NAME = re.compile(r"[a-z][a-z0-9-]{0,23}")


class LabError(Exception):
    """The lab could not be built, found or used. The text says what and how to go on."""


def state_folder() -> Path:
    """Where labs are: VIADUCT_STATE, else var/ of the checkout; below it lab/."""
    return Path(os.environ.get("VIADUCT_STATE") or access.ROOT / "var").absolute() / "lab"


class Lab:
    """A running lab. Make one with `Lab.up`, find one with `Lab.attach`."""

    def __init__(self, name: str, folder: Path, number: int, fabric: Fabric, has_agents: bool) -> None:
        self.name = name
        self.folder = folder
        self.number = number
        self.fabric = fabric
        self.has_agents = has_agents
        self._is_gone = False
        self.switch_space = build.switch_space(name)

    # --- life ----------------------------------------------------------------------------------

    @classmethod
    def up(cls, fabric_path: Path | str = DEMO, name: str = "demo", *, has_agents: bool = True) -> Lab:
        """Build everything and wait until it answers. If that fails, nothing is left.

        has_agents: hosts run the agent, as far as this checkout has it. Errors: LabError, FabricError.
        """
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
            made = cls(name, folder, build.claim(name), plan, has_agents and access.has_agent())
            build.build(made)
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
            if record["boot"] != build.boot():
                raise LabError(f"lab {name} ended with the machine. Fix: python -m lab down {name}")
            fabric = load(folder / "fabric.yaml")
            return cls(name, folder, record["number"], fabric, record["has_agents"])
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise LabError(f"there is no lab {name} here. Labs: {', '.join(names()) or 'none'}") from error

    def down(self) -> None:
        """Remove processes, namespaces, the management network and all files. May be called twice."""
        if self._is_gone:  # by now its name and number may be another's
            return
        self._is_gone = True
        owned = self.spaces()
        spaces.empty(owned)
        boxes = wiring.managed(self.fabric, self.space_of()).values()
        interfaces = [wiring.management_port(self.number, device) for device in boxes]
        interfaces.append(wiring.bridge_name(self.number))
        there = [interface for interface in interfaces if Path("/sys/class/net", interface).exists()]
        spaces.batch(f"link del dev {interface}" for interface in there)
        spaces.remove(owned)
        routers.forget(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

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
        return self.switch_space if self.device(device).is_bridge else f"{self.name}-{device}"

    def space_of(self) -> dict[str, str]:
        return {name: self.namespace(name) for name in self.fabric.devices}

    def spaces(self) -> list[str]:
        return list(dict.fromkeys((self.switch_space, *self.space_of().values())))

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
        if self.device(device).is_bridge:
            return "\n".join(self.flows(device))
        if self.device(device).kind == "switch":
            return routers.configuration(self, self.device(device))
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
        """Numbered datagrams, rate a second, every denied_every-th to denied_port; `finish()` counts them."""
        words = ["--to", to, "--port", str(port), "--rate", str(rate), "--drain-s", str(drain_s)]
        words += ["--denied-port", str(denied_port), "--denied-every", str(denied_every)]
        return watch.Stream(self.namespace(device), words)

    def capture(self, device: str, port: str, *more: tuple[str, str]) -> watch.Capture:
        """Packets at ports, of several boxes if wanted, on one clock. Not between switches: no wire is there."""
        places = {
            f"{name}:{at}": (self.namespace(name), wiring.interface(self.fabric, End(name, at)))
            for name, at in ((device, port), *more)
        }
        return watch.Capture(places)

    # --- breaking things -------------------------------------------------------------------------

    def kill_device(self, name: str) -> None:
        """The box loses power: its processes end, its cables go dead. What was configured is kept."""
        device = self._box(name)
        spaces.empty([self.namespace(name)])
        ports = [*device.ports, *(["mgmt"] if device.management else [])]
        spaces.batch_in(self.namespace(name), (f"link set dev {port} down" for port in ports))

    def restart_device(self, name: str, *, forgets: bool = False) -> None:
        """Power is back. forgets: its packet filter and connections are gone, as if never saved."""
        device = self._box(name)
        if forgets:
            script = "nft flush ruleset; conntrack -F 2>/dev/null || true"
            self.exec(name, ["sh", "-c", script])
        spaces.script(self.namespace(name), wiring.restart_script(device))
        build.start_access(self, device)
        build.wait_until_reachable(self, [device])

    def kill_switch(self, name: str) -> None:
        """A switch loses power: its cables go dead, nobody answers for it, and its flows are gone.

        All switches share one daemon, so this is played: what others can see of it is as if it were so.
        """
        switch = self._bridge(name)
        for peer in self._neighbours(name):
            self.cut_link(name, peer)
        vsctl, ofctl = (self.switch_space, self.switch_folder), ("-O", "OpenFlow14")
        managers = [f"ptcp:6640:{other.management}" for other in self.fabric.switches if other.name != name]
        switches.vsctl(*vsctl, ["del-controller", switch.bridge, "--", "set-manager", *managers])
        for table in ("del-flows", "del-groups"):
            self.exec(name, ["ovs-ofctl", *ofctl, table, switch.bridge])

    def restart_switch(self, name: str) -> None:
        """Power is back, and with it the operator's configuration: what Viaduct had written is gone."""
        switch = self._bridge(name)
        switches.load_base(self.fabric, switch, self.switch_space, self.switch_folder)
        managers = [f"ptcp:6640:{other.management}" for other in self.fabric.switches]
        words = ["set-controller", switch.bridge, f"ptcp:6653:{switch.management}", "--", "set-manager", *managers]
        switches.vsctl(self.switch_space, self.switch_folder, words)
        for peer in self._neighbours(name):
            self.mend_link(name, peer)
        build.wait_until_reachable(self, [switch])

    def _bridge(self, name: str) -> Device:
        device = self.device(name)
        if not device.is_bridge:
            raise LabError(f"{name} is no Open vSwitch switch")
        return device

    def _neighbours(self, name: str) -> list[str]:
        ends = [(link.a.device, link.b.device) for link in self.fabric.links]
        return list(dict.fromkeys(b if a == name else a for a, b in ends if name in (a, b)))

    def _box(self, name: str) -> Device:
        device = self.device(name)
        if device.kind == "switch":
            raise LabError(f"{name} is a switch, and all of them share one daemon: cut its links instead")
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
                ends = (end for end in (link.a, link.b) if self.device(end.device).is_bridge)
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


def discard(name: str) -> bool:
    """Remove the files of a lab that is no more, or never came to be. False if there are none."""
    folder = state_folder() / name
    if not NAME.fullmatch(name) or not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True
