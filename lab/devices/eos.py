# SPDX-License-Identifier: Apache-2.0
"""An emulated Arista EOS: eAPI (JSON-RPC over HTTPS, Basic auth), configuration sessions, commit timer.

Started by `lab.devices.process.emulated("eos", name, directory, [file with the first configuration])`. Sources: Arista
"eAPI Command API guide" (errors 1002 with what each command answered); EOS User Manual, "Configure Session" (a commit
replaces the running configuration by the session's; at most five open sessions); napalm-automation/napalm issue 2166
(how 4.32 tells of a commit timer).
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.devices.eos_api import Refused, serve_api
from lab.devices.eos_grammar import Console, shown
from lab.devices.eos_plane import plane_of
from lab.devices.identity import tls_files
from lab.devices.machine import Machine, serve_handle
from lab.devices.process import announce
from lab.devices.tree import Tree

USER, PASSWORD = "viaduct", "correct-horse"
MAX_OPEN, MAX_SAVED = 5, 1
BOOTED_S = 1000.0


@dataclass
class Session:
    """state: pending (open), pendingCommitTimer, completed."""

    tree: Tree
    user: str
    state: str = "pending"


@dataclass
class Pending:
    name: str
    until_s: float
    before: Tree


@dataclass
class Client:
    """One request: it starts in no session, and `end` leaves one."""

    user: str
    session: str = ""
    console: Console | None = field(default=None, repr=False)


class Eos(Machine):
    FAULTS = {
        "old_answers": "sessions are shown as until 4.31",
        "refuse_login": "401, so many times",
        "slow": "seconds before each answer",
        "cut_before": "the connection dies before this command (a part of it) takes effect; once",
        "cut_after": "the same, after it took effect; once",
        "refuse_line": "this configuration line (a part of it) is refused",
        "drops": "this configuration line (a part of it) is taken without a word, and not there afterwards",
        "also": "a line that the session holds too when it has been typed",
        "abort_fails": "sessions cannot be aborted, so many times",
        "disk_full": "nothing can be written to flash:",
        "tcam_full": "a commit is refused by the hardware, so many times",
        "says_done": "a commit answers as if all were well and does nothing, so many times",
        "typed_meanwhile": "lines that a person types as soon as somebody opens a session; once",
        "stranger_in_between": "a session of this name opens after the sessions were shown; once",
        "links_down": "interfaces that are down, a list",
        "garbled": "an answer is no JSON, so many times",
    }

    def __init__(self, name: str, first: str) -> None:
        super().__init__(name)
        self._first = first
        self.life = 0  # a reset begins another
        self._reset()

    def _reset(self) -> None:
        self.faults, self.transcript, self.life = {}, [], self.life + 1
        self.running = Tree()
        Console(self.running).type_all(self._first.splitlines())
        self.startup: Tree | None = self.running.copy()
        self.rollback: Tree | None = None
        self.sessions: dict[str, Session] = {}
        self.pending: Pending | None = None

    # --- the handle ---------------------------------------------------------------------------

    def ask(self, path: str, body: Any) -> Any:
        if path == "/reset":
            with self.lock:
                self._reset()
                self.follow()
                return {}
        return super().ask(path, body)

    def tick(self) -> None:
        if self.pending is not None and self.now() >= self.pending.until_s:
            self._take_back()

    def config(self) -> dict[str, Any]:
        return {
            "running": self.text(self.running),
            "startup": self.text(self.startup) if self.startup is not None else "",
            "pending": self.pending.name if self.pending else "",
            "sessions": {name: session.state for name, session in self.sessions.items()},
        }

    def operate(self, lines: list[str]) -> None:
        """At the console: commands of ours, or configuration lines at once."""
        if lines and lines[0].startswith(("configure session ", "write ", "copy ")):
            client = Client("operator")
            for line in lines:
                self.command(client, line)
            return
        Console(self.running).type_all(lines)
        self.follow()

    def save(self, lines: list[str]) -> None:
        if self.startup is not None and not lines[0].startswith(("configure session ", "write ", "copy ")):
            Console(self.startup).type_all(lines)

    def reboot(self) -> None:
        self.running = self.startup.copy() if self.startup is not None else Tree()
        self.sessions, self.pending = {}, None
        self.follow()

    # --- the command line ---------------------------------------------------------------------

    def text(self, tree: Tree) -> str:
        """As `show running-config` prints it."""
        parts = [Tree({line: inside}).text() for line, inside in shown(tree).lines.items()]
        return "!\n".join(
            ["! device: " + f"{self.name} (DCS-7280SR3, EOS-{self.release})\n", *parts, "end\n"]
        )

    @property
    def release(self) -> str:
        return "4.31.2F" if self.faults.get("old_answers") else "4.33.1F"

    def command(self, client: Client, line: str) -> dict[str, Any]:
        """One command of a request. Errors: Refused, Unknown."""
        self.hear(line)
        words = line.split()
        if words[:1] == ["show"] and words[:2] != ["show", "session-config"]:
            return self._show(words[1:])
        if words[:2] == ["configure", "session"]:
            return self._session(client, words[2], words[3:])
        if words[:2] == ["show", "session-config"] and words[2:3] == ["named"]:
            return self._session_text(words[3], is_diff=words[4:] == ["diffs"])
        simple: dict[str, Callable[[], None]] = {
            "enable": lambda: None,
            "write memory": self._save,
            "copy startup-config flash:rollback-0": self._keep,
            "configure replace flash:rollback-0": self._replace,
        }
        if line in simple:
            simple[line]()
            return {"output": ""} if line != "enable" else {}
        if client.console is None:
            raise Refused(f"Invalid input (at token 0: '{words[0] if words else ''}')")
        return self._configure(client, line)

    def _configure(self, client: Client, line: str) -> dict[str, Any]:
        held = self.sessions.get(client.session)
        if held is None or client.console is None:
            raise Refused("the session is gone")
        if line == "end":
            Console(held.tree).type_all(str(self.faults.get("also") or "").split("\n"))
            client.session, client.console = "", None
            return {}
        if self.faults.get("drops") and self.faults["drops"] in line:
            return {}
        if line == "rollback clean-config":
            held.tree.lines.clear()
            return {}
        wrong = self.faults.get("refuse_line")
        if wrong and wrong in line:
            raise Refused(f"Invalid input (at token 1: '{wrong}')")
        client.console.type(line)
        return {}

    def _session(self, client: Client, name: str, rest: list[str]) -> dict[str, Any]:
        if rest[:1] == ["commit"]:
            return self._commit(name, rest[1:])
        if rest == ["abort"]:
            return self._abort(name)
        if rest:
            raise Refused(f"Invalid input (at token 3: '{rest[0]}')")
        held = self.sessions.get(name)
        if held is None:
            if sum(one.state == "pending" for one in self.sessions.values()) >= MAX_OPEN:
                raise Refused("Maximum number of pending sessions has been reached")
            held = self.sessions[name] = Session(self.running.copy(), client.user)
        elif held.state != "pending":
            raise Refused(f"Cannot enter session {name} (session already completed)")
        client.session, client.console = name, Console(held.tree)
        typed = self.faults.pop("typed_meanwhile", None)
        if typed:
            self.operate(list(typed))
        return {}

    def _abort(self, name: str) -> dict[str, Any]:
        if name not in self.sessions:
            raise Refused(f"Session {name} does not exist")
        if self.fault("abort_fails"):
            raise Refused(f"Cannot abort session {name}")
        if self.pending is not None and self.pending.name == name:
            self._take_back()
        self.sessions.pop(name, None)
        return {"output": ""}

    def _commit(self, name: str, rest: list[str]) -> dict[str, Any]:
        held = self.sessions.get(name)
        if held is None:
            raise Refused(f"Session {name} does not exist")
        if self.pending is not None:
            if self.pending.name != name:
                raise Refused(f"Session {self.pending.name} has a commit timer running")
            self.pending, held.state = None, "completed"
            self._forget()
            return {"output": ""}
        if held.state != "pending":
            raise Refused(f"Session {name} is already completed")
        if self.fault("tcam_full"):
            raise Refused("Commit failed: insufficient hardware resources")
        self._check_deny(held.tree)
        if self.fault("says_done"):
            return {"output": "% Commit failed\n"}
        before, self.running = self.running, held.tree
        if rest[:1] == ["timer"]:
            hours, minutes, seconds = (int(part) for part in rest[1].split(":"))
            held.state = "pendingCommitTimer"
            self.pending = Pending(name, self.now() + 3600 * hours + 60 * minutes + seconds, before)
        else:
            held.state = "completed"
        held.tree = self.running.copy()
        self._forget()
        self.follow()
        return {"output": ""}

    def _check_deny(self, tree: Tree) -> None:
        """UM "Traffic Management": a class map of type pbr takes no deny; the configuration reverts."""
        for line, inside in tree.lines.items():
            if line.startswith("class-map type pbr"):
                for match in inside.lines:
                    words = match.split()
                    acl = tree.at(f"{words[2]} access-list {words[4]}")
                    if acl is not None and any(rule.split()[1:2] == ["deny"] for rule in acl.lines):
                        raise Refused(
                            "Deny rules are not supported in PBR; configuration reverts to its previous state"
                        )

    def _forget(self) -> None:
        """Sessions that are over are kept for a while: one of them."""
        over = [name for name, session in self.sessions.items() if session.state == "completed"]
        for name in over[:-MAX_SAVED]:
            del self.sessions[name]

    def _take_back(self) -> None:
        assert self.pending is not None, "only a pending commit is taken back"
        self.running = self.pending.before
        self.sessions.pop(self.pending.name, None)
        self.pending = None
        self.follow()

    def _flash(self) -> None:
        if self.faults.get("disk_full"):
            raise Refused("Error copying system:/running-config to flash: (No space left on device)")

    def _save(self) -> None:
        self._flash()
        self.startup = self.running.copy()

    def _keep(self) -> None:
        self._flash()
        if self.startup is None:
            raise Refused("Error: startup-config does not exist")
        self.rollback = self.startup.copy()

    def _replace(self) -> None:
        if self.rollback is None:
            raise Refused("Error: flash:rollback-0 does not exist")
        self.running = self.rollback.copy()
        self.follow()

    # --- show ---------------------------------------------------------------------------------

    def _show(self, words: list[str]) -> dict[str, Any]:
        what = " ".join(words)
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            "version": self._version,
            "hostname": lambda: {"hostname": self.name, "fqdn": self.name},
            "interfaces": self._interfaces,
            "running-config": lambda: {"output": self.text(self.running)},
            "startup-config": lambda: {"output": self.text(self.startup) if self.startup is not None else ""},
            "configuration sessions": lambda: self._sessions(False),
            "configuration sessions detail": lambda: self._sessions(True),
        }
        if what not in answers:
            raise Refused(f"Invalid input (at token 1: '{what}')")
        return answers[what]()

    def _version(self) -> dict[str, Any]:
        return {
            "modelName": "DCS-7280SR3",
            "version": self.release,
            "internalVersion": f"{self.release}-1",
            "serialNumber": f"EMU-{self.name}",
            "uptime": self.now() + BOOTED_S,
            "bootupTimestamp": time.time() - BOOTED_S,
        }

    def _interfaces(self) -> dict[str, Any]:
        found = {}
        down = self.without_link()
        for line, inside in self.running.lines.items():
            if line.startswith("interface "):
                name = line.partition(" ")[2]
                is_up = "shutdown" not in inside.lines and name.partition(".")[0] not in down
                found[name] = {
                    "lineProtocolStatus": "up" if is_up else "down",
                    "interfaceStatus": "connected" if is_up else "notconnect",
                    "description": "",
                    "bandwidth": 10_000_000_000,
                    "mtu": 9214,
                    "physicalAddress": "02:00:00:00:00:aa",
                    "lastStatusChangeTimestamp": 0.0,
                }
        return {"interfaces": found}

    def _sessions(self, is_detail: bool) -> dict[str, Any]:
        is_old = bool(self.faults.get("old_answers"))
        sessions: dict[str, Any] = {}
        for name, session in self.sessions.items():
            state = session.state
            shown: dict[str, Any] = {"state": state, "description": "", "instances": {}}
            if state == "pending":
                shown["instances"] = {
                    "1": {"user": session.user, "terminal": "vty1", "currentTerminal": False}
                }
            elif not is_old:
                shown["state"] = "committed"
            elif self.pending is not None and self.pending.name == name and is_detail:
                shown["commitBy"] = self.pending.until_s + BOOTED_S
            sessions[name] = shown
        answer: dict[str, Any] = {
            "sessions": sessions,
            "maxSavedSessions": MAX_SAVED,
            "maxOpenSessions": MAX_OPEN,
        }
        if self.pending is not None and not is_old:
            answer["commitTimerSessionName"] = self.pending.name
            answer["commitTimerExpireTime"] = self.pending.until_s + BOOTED_S
        stranger = self.faults.pop("stranger_in_between", None)
        if stranger:
            self.sessions[stranger] = Session(self.running.copy(), "alice")
        return answer

    def _session_text(self, name: str, *, is_diff: bool) -> dict[str, Any]:
        if name not in self.sessions:
            raise Refused(f"Session {name} does not exist")
        after = self.text(self.sessions[name].tree)
        if not is_diff:
            return {"output": after}
        files = "system:/running-config", f"session:/{name}-session-config"
        lines = self.text(self.running).splitlines(), after.splitlines()
        return {"output": "".join(f"{line}\n" for line in difflib.unified_diff(*lines, *files, lineterm=""))}


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """arguments: a file with the first configuration, eAPI's port (0: any) and address, and, as JSON, the namespace's
    names of the device's interfaces: then packets go as the running configuration says.
    """
    first, port, address, names = (*arguments, *("", "0", "127.0.0.1", "")[len(arguments) :])
    machine = Eos(name, Path(first).read_text() if first else "")
    if names:
        machine.cable(names, lambda: plane_of(shown(machine.running)))
    certificate, key = tls_files(name, directory, address)
    api = serve_api(machine, certificate, key, int(port), address)
    handle = serve_handle(machine)
    announce(
        directory,
        handle=handle.server_address[1],
        port=api.server_address[1],
        authority=str(certificate),
        user=USER,
        password=PASSWORD,
    )
    api.serve_forever()
