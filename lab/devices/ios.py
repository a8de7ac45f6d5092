# SPDX-License-Identifier: Apache-2.0
"""An emulated Cisco IOS-XE device: command line and SCP over SSH, flash, archive, `configure terminal revert timer`.

What it does like the box, and NAPALM does not see: it goes on after a bad line, answers with text and not with codes,
takes back the whole running configuration, forgets at a reload what was not saved. Sources: `ios_grammar`.
"""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path
from typing import Any

from lab.devices import identity, process
from lab.devices.ios_grammar import GRAMMAR, place, printed, typed
from lab.devices.machine import Machine, serve_handle
from lab.devices.terminal import Terminal
from lab.devices.tree import Editor, Rule, Tree, Unknown

USERS = {"admin": "cisco-Secret-1", "other": "other-Secret-2"}
SIZE = 1_600_000_000
INVALID = "{line}\r\n ^\r\n% Invalid input detected at '^' marker.\r\n"
FACTORY = """hostname {name}
vrf definition blue
 rd 65000:1
 address-family ipv4
 address-family ipv6
ip scp server enable
file prompt quiet
ipv6 unicast-routing
archive
 path flash:archive
username admin privilege 15 secret 9 $9$x
interface GigabitEthernet1
 vrf forwarding blue
 ip address 10.1.1.1 255.255.255.0
 ipv6 address 2001:db8:1::1/64
interface GigabitEthernet2
 vrf forwarding blue
 ip address 192.0.2.1 255.255.255.0
 ipv6 address 2001:db8:2::1/64
interface GigabitEthernet3
 description uplink of the operator
 ip address 203.0.113.1 255.255.255.0
ntp server 203.0.113.9
"""


class Line(Editor):
    """The configuration mode's terminal, with what IOS does beside the statement itself.

    ghosts: sub-interfaces that were removed; what they held comes back when they do, until the next reload.
    """

    def __init__(self, tree: Tree, ghosts: dict[str, Tree] | None = None) -> None:
        super().__init__(tree, GRAMMAR, order=place)
        self._ghosts = {} if ghosts is None else ghosts

    def type(self, text: str) -> None:
        if text.strip() == "no vrf forwarding" and self.mode == "interface":
            held = [line for line in self._stack[-1][1].lines if line.startswith("vrf forwarding")]
            for line in held:
                super().type(f"no {line}")
        else:
            super().type(text)

    def _add(self, mode: str, rule: Rule, line: str, tree: Tree) -> None:
        if mode in ("acl4", "acl6"):
            said = re.sub(r"^(sequence )?\d+ ", "", line)
            if any(re.sub(r"^(sequence )?\d+ ", "", old) == said and old != line for old in tree.lines):
                return  # a line that is there already under another number is ignored
        if line.startswith("vrf forwarding ") and line not in tree.lines:
            _without_addresses(tree)
        if (
            line.startswith("ip sla ")
            and rule.opens
            and f"ip sla schedule {line.split()[2]} life forever start-time now" in tree.lines
        ):
            raise Unknown("Entry already running and cannot be modified. Only can delete (no) and start over")
        is_back = line in self._ghosts and line not in tree.lines
        super()._add(mode, rule, line, tree)
        if is_back:
            tree.lines[line].lines.update(self._ghosts.pop(line).lines)

    def _remove(self, rule: Rule, body: str, tree: Tree) -> None:
        if body.startswith("vrf forwarding"):
            _without_addresses(tree)
        if body.startswith("interface ") and body in tree.lines and "." in body:
            self._ghosts[body] = tree.lines[body]
        super()._remove(rule, body, tree)
        found = re.fullmatch(r"ip sla (\d+)", body)
        if found:
            tree.lines = {
                old: one
                for old, one in tree.lines.items()
                if not old.startswith(f"ip sla schedule {found[1]} ")
            }


def _without_addresses(tree: Tree) -> None:
    tree.lines = {
        old: one for old, one in tree.lines.items() if not old.startswith(("ip address", "ipv6 address"))
    }


class Ios(Machine):
    FAULTS = {
        "late": "a line that holds this text is refused when it is merged, not when it is compared: % No resources",
        "invalid": "a line that holds this text is refused: % Invalid input",
        "incomplete": "a line that holds this text is refused: % Incomplete command",
        "warned": "a line that holds this text is not taken; a warning is all that is said",
        "disk_full": "flash has no room: SCP, copy and archive fail",
        "startup_full": "NVRAM has no room: write memory fails, with text only",
        "cut": "connections are gone when a merge begins",
        "cut_after": "connections are gone when a merge is done",
        "overwrite": "what this text says is in the merge file instead, as if another worker had written it",
        "also": "this line is in every file that arrives, after what was sent",
        "md5": "a file arrives damaged: the sum is another one",
        "short": "show running-config stops in the middle",
        "links_down": "interfaces whose line protocol is down",
    }

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.terminal: Terminal | None = None
        self._reset()

    def _reset(self) -> None:
        self.tree = Tree()
        self.ghosts: dict[str, Tree] = {}
        self.faults, self.transcript = {}, []
        self._type(FACTORY.format(name=self.name), self.tree)
        self.saved = self.tree.copy()
        self.flash: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.counted: dict[str, tuple[int, int]] = {}
        self.revert: dict[str, Any] = {}

    # --- machine ------------------------------------------------------------------------------

    def tick(self) -> None:
        if self.revert and self.now() >= self.revert["at"]:
            self._revert()

    def ask(self, path: str, body: Any) -> Any:
        if path != "/reset":
            return super().ask(path, body)
        with self.lock:
            self._reset()
            if self.terminal:
                self.terminal.cut()
        return {}

    def config(self) -> dict[str, Any]:
        return {
            "running": self.text(self.tree),
            "startup": self.text(self.saved),
            "pending": self.revert.get("user", ""),
            "flash": sorted(self.flash),
            "sent": self.sent,
        }

    def operate(self, lines: list[str]) -> None:
        Line(self.tree, self.ghosts).type_all([typed(line) for line in lines])

    def save(self, lines: list[str]) -> None:
        Line(self.saved).type_all([typed(line) for line in lines])

    def reboot(self) -> None:
        self.tree, self.revert, self.ghosts = self.saved.copy(), {}, {}

    def text(self, tree: Tree) -> str:
        return "".join(f"{printed(line)}\n" for line in tree.text(" ").splitlines())

    def _revert(self) -> None:
        self.tree, self.revert = self.revert["tree"], {}

    def _type(self, text: str, tree: Tree) -> str:
        """The lines of a file into a configuration; what the box says about them."""
        editor, said = Line(tree, self.ghosts if tree is self.tree else None), ""
        late = self.faults.get("late") if tree is self.tree else None
        for raw in text.splitlines():
            line = typed(raw)
            for fault, words in (
                ("incomplete", "% Incomplete command.\r\n"),
                ("warned", "%Warning: not supported\r\n"),
            ):
                if isinstance(self.faults.get(fault), str) and self.faults[fault] in line:
                    said, line = said + words, ""
            if isinstance(late, str) and late in line:
                said, line = said + "% No resources\r\n", ""
            try:
                if isinstance(self.faults.get("invalid"), str) and self.faults["invalid"] in line and line:
                    raise Unknown(line)
                editor.type(line)
            except Unknown as error:
                said += INVALID.format(line=error)
        return said

    # --- files --------------------------------------------------------------------------------

    def receive(self, path: str, data: bytes) -> str:
        with self.lock:
            self.hear(f"scp {self._file(path)} {len(data)} bytes")
            if "ip scp server enable" not in self.tree.lines:
                return "Administratively disabled."
            if self.fault("disk_full"):
                return "%Error opening flash: (No space left on device)"
            self.sent.append(data.decode())
            self.flash[self._file(path)] = data[:-1] + b"?" if self.fault("md5") else data
            return ""

    @staticmethod
    def _file(path: str) -> str:
        return path.partition(":")[2].lstrip("/") or path

    def _content(self, name: str) -> str:
        text, also = self.flash.get(name, b"").decode(), self.faults.get("also")
        return text.removesuffix("end\n") + f"{also}\nend\n" if also else text

    def merge(self, name: str) -> str:
        if self.fault("cut") and self.terminal:
            self.terminal.cut()
            return ""
        data = self.flash.get(name)
        if data is None:
            return f"%Error opening flash:/{name} (No such file or directory)\r\n"
        other = self.fault("overwrite")
        text = other if isinstance(other, str) else self._content(name)
        said = self._type(text, self.tree)
        if self.fault("cut_after") and self.terminal:
            self.terminal.cut()
        return f"Loading {name}\r\n{said}{len(data)} bytes copied in 0.1 secs\r\n"

    def incremental(self, name: str) -> str:
        """The commands of a file that would change something."""
        lines = self._content(name).splitlines()
        if not lines or lines[-1].strip() != "end":
            return "%Error: diff returned error 5\r\n"
        there = self.tree.copy()
        bad = self._type("\n".join(lines), there)
        if "Invalid" in bad or "Incomplete" in bad:
            return bad
        before, after = set(self.tree.flat()), set(there.flat())
        if before == after:
            return "!List of Commands:\r\nend\r\n!No changes were found\r\n"
        said, path = "!List of Commands:\r\n", ()
        for whole in (
            *there.flat(),
            *((*one[:-1], f"no {one[-1]}") for one in self.tree.flat() if one not in after),
        ):
            if whole in before or whole[:-1] in {one for one in before - after}:
                continue
            for depth, line in enumerate(whole):
                if path[: depth + 1] != whole[: depth + 1]:
                    said += f"{' ' * depth}{printed(line)}\r\n"
            path = whole
        return f"{said}end\r\n"

    def replace(self, name: str) -> str:
        data = self.flash.get(name)
        if data is None:
            return f"%Error opening flash:/{name} (No such file or directory)\r\n"
        tree = Tree()
        self._type(data.decode(), tree)
        self.tree = tree
        return "Total number of passes: 1\r\nRollback Done\r\n"

    def write(self) -> str:
        if self.fault("startup_full"):
            return "startup-config file open failed (Not enough space)\r\n"
        self.saved = self.tree.copy()
        return "Building configuration...\r\n[OK]\r\n"


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """ready.json: handle, port, host_key (public line), users."""
    from lab.devices.ios_console import IosConsole

    machine = Ios(name)
    key, public = identity.host_key(directory)
    terminal = Terminal(key, USERS, lambda user: IosConsole(machine, user), machine.receive)
    machine.terminal = terminal
    handle = serve_handle(machine)
    process.announce(
        directory, handle=handle.server_address[1], port=terminal.port, host_key=public, users=USERS
    )
    threading.Event().wait()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
