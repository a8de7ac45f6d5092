# SPDX-License-Identifier: Apache-2.0
"""One log-in at the emulated IOS-XE device: exec and configuration mode, line by line."""

from __future__ import annotations

import re
import time

from lab.devices.ios import INVALID, SIZE, Ios, Line, md5
from lab.devices.ios_grammar import printed, typed
from lab.devices.tree import Tree, Unknown

VERSION = """Cisco IOS XE Software, Version 17.09.04a
Cisco IOS Software [Cupertino], Catalyst L3 Switch Software (CAT9K_IOSXE), Version 17.9.4a, RELEASE SOFTWARE (fc3)
{name} uptime is 3 hours
cisco C9300-24T (X86) processor with 1331521K/6147K bytes of memory.
Processor board ID FOC0000EMUL
"""
MODES = {"": "", "interface": "-if", "acl4": "-ext-nacl", "acl6": "-ipv6-acl", "map": "-route-map", "sla": "-ip-sla",
         "echo": "-ip-sla-echo", "track": "-track", "archive": "-archive", "vrf": "-vrf", "af": "-vrf-af"}  # fmt: skip


class IosConsole:
    """lab.devices.terminal.Console"""

    def __init__(self, machine: Ios, user: str) -> None:
        self.machine, self.user = machine, user
        self.editor: Line | None = None

    def greet(self) -> bytes:
        return self._prompt()

    def type(self, line: str) -> bytes | None:
        with self.machine.lock:
            self.machine.tick()
            line = line.strip()
            if line:
                self.machine.hear(line)
            if line in ("exit", "quit", "logout") and self.editor is None:
                return None
            said = self._configure(line) if self.editor else self._exec(line)
            return said.replace("\r\n", "\n").replace("\n", "\r\n").encode() + self._prompt()

    def _prompt(self) -> bytes:
        name = next(
            (one.split()[1] for one in self.machine.tree.lines if one.startswith("hostname ")), "Router"
        )
        if self.editor is None:
            return f"{name}#".encode()
        return f"{name}(config{MODES.get(self.editor.mode, '')})#".encode()

    def _configure(self, line: str) -> str:
        assert self.editor is not None
        if line == "end" or (line == "exit" and self.editor.mode == ""):
            self.editor = None
            return ""
        try:
            self.editor.type(typed(line))
        except Unknown as error:
            return INVALID.format(line=error)
        return ""

    def _exec(self, line: str) -> str:
        for pattern, answer in self._commands():
            found = re.fullmatch(pattern, line)
            if found:
                return str(answer(*found.groups()))
        return INVALID.format(line=line) if line else ""

    def _commands(self):  # type: ignore[no-untyped-def]
        machine = self.machine
        return (
            (r"terminal (?:width|length) \d+|enable", lambda: ""),
            (r"show running-config(?: all)?", self._running),
            (r"show startup-config", lambda: machine.text(machine.saved) + "end\n"),
            (r"show (running-config|version|interfaces|archive) \| inc(?:lude)? (.+)", self._include),
            (r"show version", lambda: VERSION.format(name=machine.name)),
            (r"show interfaces", self._interfaces),
            (r"show route-map", self._route_maps),
            (r"show archive", self._archive),
            (r"show archive config rollback timer", self._timer),
            (r"show archive config incremental-diffs \S+?:/?(\S+) ignorecase", machine.incremental),
            (r"show archive config differences \S+ \S+?:/?(\S+)", self._differences),
            (r"dir", lambda: self._dir("")),
            (r"dir flash:/?(\S*)", self._dir),
            (r"verify /md5 flash:/?(\S+)", self._md5),
            (r"more flash:/?(\S+)", lambda name: machine.flash.get(name, b"").decode()),
            (r"delete /force flash:/?(\S+)", lambda name: machine.flash.pop(name, b"") and ""),
            (r"copy running-config flash:/?(\S+)", self._backup),
            (
                r"copy null: flash:/?(\S+)",
                lambda name: machine.flash.update({name: b""}) or "0 bytes copied\n",
            ),
            (r"copy flash:/?(\S+) running-config", machine.merge),
            (r"write mem(?:ory)?|copy running-config startup-config", machine.write),
            (r"configure terminal", lambda: self._enter(0)),
            (r"configure terminal revert timer (\d+)", lambda minutes: self._enter(int(minutes))),
            (r"configure confirm", self._confirm),
            (r"configure revert now", self._revert),
            (r"configure replace flash:/?(\S+) force(?: revert trigger error)?", machine.replace),
        )

    # --- show ---------------------------------------------------------------------------------

    def _running(self) -> str:
        text = self.machine.text(self.machine.tree)
        text = f"Building configuration...\n\nCurrent configuration : {len(text)} bytes\n!\n{text}"
        return text[: len(text) // 2] if self.machine.fault("short") else f"{text}end\n"

    def _include(self, what: str, pattern: str) -> str:
        said = {"running-config": self._running, "interfaces": self._interfaces}[what]()
        return "".join(f"{line}\n" for line in said.splitlines() if re.search(pattern, line))

    def _interfaces(self) -> str:
        down = self.machine.faults.get("links_down") or []
        said = ""
        for line in self.machine.tree.lines:
            if line.startswith("interface "):
                name = line.split()[1]
                said += (
                    f"{name} is up, line protocol is {'down' if name in down else 'up'} \n  MTU 1500 bytes\n"
                )
        return said

    def _route_maps(self) -> str:
        said = ""
        for line, inside in self.machine.tree.lines.items():
            found = re.fullmatch(r"route-map (\S+) (permit|deny) (\d+)", line)
            if not found:
                continue
            said += f"route-map {found[1]}, {found[2]}, sequence {found[3]}\n  Match clauses:\n"
            lists = [re.fullmatch(r"match (ip|ipv6) address (\S+)", one) for one in inside.lines]
            for one in (one for one in lists if one):
                said += f"    {one[1]} address{' (access-lists)' if one[1] == 'ip' else ''}: {one[2]} \n"
            said += "  Set clauses:\n" + "".join(
                f"    {one[4:]}\n" for one in inside.lines if one.startswith("set ")
            )
            name = next((one[2] for one in lists if one), "")
            packets, octets = self.machine.counted.get(name, (0, 0))
            said += f"  Policy routing matches: {packets} packets, {octets} bytes\n"
        return said

    # --- files --------------------------------------------------------------------------------

    def _dir(self, name: str) -> str:
        free = 0 if self.machine.faults.get("disk_full") else SIZE
        files = {one: data for one, data in self.machine.flash.items() if not name or one == name}
        if name and not files:
            return f"%Error opening flash:/{name} (No such file or directory)\n"
        said = f"Directory of flash:/{name}\n\n"
        for at, (one, data) in enumerate(sorted(files.items()), 11):
            said += f"{at}  -rw-  {len(data)}  Nov 23 2026 10:00:00 +00:00  {one}\n"
        return f"{said}\n{2 * SIZE} bytes total ({free} bytes free)\n"

    def _md5(self, name: str) -> str:
        return f".Done!\nverify /md5 (flash:/{name}) = {md5(self.machine.flash.get(name, b''))}\n"

    def _backup(self, name: str) -> str:
        if self.machine.fault("disk_full"):
            return f"%Error opening flash:/{name} (No space left on device)\n"
        self.machine.flash[name] = self.machine.text(self.machine.tree).encode()
        return f"{len(self.machine.flash[name])} bytes copied in 0.1 secs\n"

    def _differences(self, name: str) -> str:
        there = Tree()
        self.machine._type(self.machine.flash.get(name, b"").decode(), there)
        before, after = list(self.machine.tree.flat()), list(there.flat())
        lines = [f"-{printed(one[-1])}" for one in before if one not in after]
        lines += [f"+{printed(one[-1])}" for one in after if one not in before]
        return "!Contextual Config Diffs:\n" + "".join(f"{line}\n" for line in lines)

    # --- the timer of configure terminal revert -----------------------------------------------

    def _archive(self) -> str:
        if self.machine.tree.at("archive") is None:
            return "Archive feature not enabled\n"
        return "The maximum archive configurations allowed is 10.\nThe next archive file: flash:archive-1\n"

    def _timer(self) -> str:
        found = self.machine.revert
        if not found:
            return "%No Rollback Confirmed Change pending\n"
        minutes = max(0, int(found["at"] - self.machine.now()) // 60)
        return (
            f"Time configured(since boot): {found['since']}\nTimer type: absolute timer\n"
            f"Timer value: {found['minutes']} min\n"
            f"Remaining time: {minutes} min\nUser: {self.machine.revert['user']}\n"
        )

    def _enter(self, minutes: int) -> str:
        machine = self.machine
        if minutes:
            if machine.tree.at("archive") is None:
                return "%Please turn config archive on before using this command\n"
            if machine.revert:
                return "%Error: Rollback Confirmed Change already pending\n"
            if minutes > 120:
                return INVALID.format(line=minutes)
            since = time.strftime("%H:%M:%S", time.gmtime())
            machine.revert = {"at": machine.now() + 60 * minutes, "user": self.user, "minutes": minutes,
                              "since": since, "tree": machine.tree.copy()}  # fmt: skip
        self.editor = Line(machine.tree, machine.ghosts)
        return "Enter configuration commands, one per line.  End with CNTL/Z.\n"

    def _confirm(self) -> str:
        if not self.machine.revert:
            return "%No Rollback Confirmed Change pending\n"
        self.machine.revert = {}
        return ""

    def _revert(self) -> str:
        if not self.machine.revert:
            return "%No Rollback Confirmed Change pending\n"
        self.machine._revert()
        return "Rollback Confirmed Change: reverting now\n"
