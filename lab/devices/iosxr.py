# SPDX-License-Identifier: Apache-2.0
"""An emulated Cisco IOS-XR router: NETCONF over SSH, CLI text as payload, candidate, lock and confirmed commit.

`python -m lab.devices iosxr NAME DIRECTORY [quirk...]`. Quirks: `old` (no CLI text over NETCONF), `unconfirmed` (no
confirmed commit), `wildcards` and `names` (how lists are printed). What it does with packets is in `forwarded`: the
rules of ABF in the vendor's words, not an ASIC.
"""

from __future__ import annotations

import ipaddress
import json
import re
import threading
from pathlib import Path
from typing import Any

from lab.devices.identity import host_key
from lab.devices.iosxr_grammar import ABF, GRAMMAR, difference, order, text, typed
from lab.devices.machine import Machine, serve_handle
from lab.devices.process import announce
from lab.devices.tree import Editor, Tree, Unknown

USER, PASSWORD = "viaduct", "emulated"  # of nothing but this process
QUIRKS = {"old", "unconfirmed", "wildcards", "names"}


class Refused(ValueError):
    """An rpc-error: tag, and the message in the box's words."""

    def __init__(self, tag: str, message: str) -> None:
        super().__init__(message)
        self.tag = tag


class Router(Machine):
    """The candidate is one for all sessions; whoever edits it holds the lock."""

    FAULTS = {
        "refuse_login": "no user or key is taken",
        "refuse_line": "a line that contains this text is refused",
        "drops": "a line that contains this text is taken without a word, and not there afterwards",
        "refuse_commit": "the commit fails, with this text (TCAM full)",
        "cut_before_commit": "the connection ends when a commit arrives, which is not done",
        "cut_after_commit": "the connection ends when a commit was done, before the reply",
        "held_lock": "a person's session holds the candidate",
        "stale_lock": "a lock outlives the session that took it",
        "silent": "so many requests are never answered",
        "empty": "the configuration is read as nothing",
        "foreign_change": "somebody's uncommitted line is in the candidate too",
        "down": "names of interfaces without a link, separated by spaces",
    }

    def __init__(self, name: str, quirks: frozenset[str]) -> None:
        super().__init__(name)
        self.quirks = quirks
        self.running = Tree()
        self._edit(self.running, [f"hostname {name}"])
        self.candidate = self.running.copy()
        self.holder = 0
        self.base: Tree | None = None  # before the pending commit
        self.persist = ""
        self.owner = 0  # the session whose end takes a commit without persist back
        self.deadline = 0.0
        self.commits = 0

    # --- the machine --------------------------------------------------------------------------

    def tick(self) -> None:
        if self.base is not None and self.now() >= self.deadline:
            self._take_back()

    def config(self) -> dict[str, Any]:
        return {
            "running": self.shown(self.running),
            "startup": self.shown(self.base or self.running),
            "candidate": self.shown(self.candidate),
            "pending": self.persist if self.base is not None else "",
            "lock": self.holder,
            "commits": self.commits,
        }

    def operate(self, lines: list[str]) -> None:
        """At the console; `commit confirmed` leaves the lines pending under nobody's name."""
        if lines == ["commit"]:
            self.base = None
            return
        is_trial = lines[-1:] == ["commit confirmed"]
        new = self.running.copy()
        self._edit(new, lines[:-1] if is_trial else lines)
        if is_trial:
            self.base, self.persist, self.deadline = self.running, "", self.now() + 600
        self.running = new
        self.candidate = new.copy()

    def reboot(self) -> None:
        """RFC 6241 8.4.1: what is pending is taken back. Everything else was saved by its commit."""
        if self.base is not None:
            self._take_back()
        self.holder = 0
        self.candidate = self.running.copy()

    def ask(self, path: str, body: Any) -> Any:
        with self.lock:
            if path == "/reset":
                fresh = Router(self.name, self.quirks)
                for name in ("running", "candidate", "holder", "base", "persist", "deadline", "transcript", "faults"):
                    setattr(self, name, getattr(fresh, name))
                return {}
            if path == "/packet":
                return self.forwarded(**body)
        return super().ask(path, body)

    # --- NETCONF's operations -----------------------------------------------------------------

    def take_lock(self, session: int) -> None:
        self.tick()
        if self.fault("held_lock"):
            self.holder = self.holder or 4711
        if self.holder and self.holder != session:
            raise Refused("lock-denied", f"the configuration is locked by session {self.holder}")
        self.holder = session

    def drop_lock(self, session: int) -> None:
        if self.holder != session:
            raise Refused("operation-failed", "the lock is not held by this session")
        self.holder = 0

    def ended(self, session: int) -> None:
        """The connection is gone. RFC 6241 7.5: the lock with it; XR sometimes keeps it."""
        if self.holder == session and not self.fault("stale_lock"):
            self.holder = 0
            self.candidate = self.running.copy()
        if self.base is not None and not self.persist and self.owner == session:
            self._take_back()

    def edit(self, session: int, lines: list[str]) -> None:
        """rollback-on-error: all lines or none. What was said is heard line by line."""
        self._mine(session)
        for line in lines:
            self.hear(line)
        refused = self.faults.get("refuse_line")
        new = self.candidate.copy()
        for line in lines:
            if refused and refused in line:
                raise Refused("operation-failed", f"!! SYNTAX/AUTHORIZATION ERRORS: {line}")
        drops = self.faults.get("drops")
        try:
            self._edit(new, [line for line in lines if not drops or drops not in line])
        except Unknown as error:
            raise Refused("operation-failed", f"!! SYNTAX/AUTHORIZATION ERRORS: {error}") from error
        self.candidate = new
        if self.faults.get("foreign_change"):
            self._edit(self.candidate, [self.faults["foreign_change"]])

    def compare(self) -> str:
        lines = difference(self.running, self.candidate, self.quirks)
        return "\n".join(["Building configuration...", "!! IOS XR Configuration 7.5.2", *lines, "end"])

    def commit(self, session: int, *, timeout_s: int | None, persist: str, persist_id: str) -> None:
        """RFC 6241 8.4.1. timeout_s: None for a commit that is, or makes, final."""
        self.tick()
        self._mine(session)
        is_pending = self.base is not None
        if persist_id and (not is_pending or persist_id != self.persist):
            raise Refused("invalid-value", "the persist-id is not the one of the pending commit")
        if is_pending and not persist_id and not (not self.persist and self.owner == session):
            raise Refused("in-use", "another session has a trial commit pending")
        failure = self.fault("refuse_commit")
        if failure:
            raise Refused("operation-failed", str(failure))
        self._verify(self.candidate)
        if timeout_s is None:
            self.base, self.persist = None, ""
        else:
            self.base = self.base or self.running
            self.persist, self.owner, self.deadline = persist or persist_id, session, self.now() + timeout_s
        self.running = self.candidate.copy()
        self.commits += 1

    def cancel(self, session: int, persist_id: str) -> None:
        self.tick()
        if self.base is None or persist_id != self.persist:
            raise Refused("invalid-value", "no such commit is pending")
        self._take_back()

    def discard(self, session: int) -> None:
        self._mine(session)
        self.candidate = self.running.copy()

    def shown(self, tree: Tree) -> str:
        if self.fault("empty"):
            return ""
        return "\n".join(["!! IOS XR Configuration 7.5.2", *text(tree, self.quirks), "end"])

    def interfaces(self) -> list[tuple[str, bool]]:
        names = [line.split()[1] for line in self.running.lines if line.startswith("interface ")]
        down = str(self.faults.get("down") or "").split()
        return [(name, name not in down) for name in names]

    # --- inside -------------------------------------------------------------------------------

    def _mine(self, session: int) -> None:
        if self.holder and self.holder != session:
            raise Refused("in-use", f"the configuration is locked by session {self.holder}")

    def _edit(self, tree: Tree, lines: list[str]) -> None:
        Editor(tree, GRAMMAR, order=order).type_all(typed(line) for line in lines)

    def _take_back(self) -> None:
        assert self.base is not None
        self.running, self.base, self.persist = self.base, None, ""
        self.candidate = self.running.copy()

    def _verify(self, tree: Tree) -> None:
        """What XR refuses only at the commit."""
        vlans: dict[str, str] = {}
        for line, inside in tree.lines.items():
            name = line.partition(" ")[2]
            if any(ABF.match(one) for one in inside.lines):
                raise Refused("operation-failed", f"{line}: a next hop needs permit")
            for one in inside.lines if line.startswith("interface ") else ():
                if one.startswith("encapsulation "):
                    said = f"{name.partition('.')[0]} {one}"
                    if vlans.setdefault(said, name) != name:
                        raise Refused("operation-failed", f"{name}: the VLAN is taken by {vlans[said]}")
                if one.startswith("vrf ") and one not in tree.lines:
                    raise Refused("operation-failed", f"{name}: {one} is not configured")

    # --- packets, by the manual ---------------------------------------------------------------

    def forwarded(self, interface: str, source: str, destination: str, port: int, dead: list[str]) -> str:
        """Where a TCP packet goes: `drop`, `route VRF`, or the next hop's address. dead: addresses that are down.

        A: no line matches: dropped. B: the first next hop that is up is taken; if none is, the packet is routed as
        if the line were plain; with a VRF alone the packet is looked up there. C: a route whose next hop is down is
        withdrawn, the floating one behind it takes over.
        """
        family = 6 if ":" in destination else 4
        block = self.running.lines[f"interface {interface}"]
        vrf = next((one.split()[1] for one in block.lines if one.startswith("vrf ")), "default")
        group = next((one.split()[2] for one in block.lines if one.startswith(f"ipv{family} access-group")), "")
        access = self.running.at(f"ipv{family} access-list {group}")
        if access is None:
            return f"route {vrf}"
        for line in access.lines:
            if " remark " not in line and _matches(line, source, destination, port):
                if line.split()[1] == "deny":
                    return "drop"
                return self._handed(line, vrf, family, dead)
        return "drop"

    def _handed(self, line: str, vrf: str, family: int, dead: list[str]) -> str:
        for said in re.finditer(r"nexthop\d(?: vrf (\S+))?(?: track \S+)?(?: ipv[46] (\S+))?", line):
            if said[2] is None:
                return self._looked_up(said[1], family, dead)
            if said[2] not in dead:
                return str(said[2])
        return f"route {vrf}"

    def _looked_up(self, vrf: str, family: int, dead: list[str]) -> str:
        table = self.running.at("router static", f"vrf {vrf}", f"address-family ipv{family} unicast")
        routes = [line.split() for line in table.lines] if table is not None else []
        live = [words for words in routes if words[0].endswith("/0") and not set(words) & set(dead)]
        best = min(live, key=lambda words: int(words[-1]) if words[-1].isdigit() else 1, default=["Null0"])
        return "drop" if "Null0" in best else best[-1]


def _matches(line: str, source: str, destination: str, port: int) -> bool:
    words = line.split()[2:]
    if words[0] not in ("tcp", "ipv4", "ipv6"):
        return False
    at = 1
    for address, is_last in ((source, False), (destination, True)):
        if words[at] == "host":
            prefix, at = words[at + 1], at + 2
        else:
            prefix, at = ("::/0" if ":" in address else "0.0.0.0/0") if words[at] == "any" else words[at], at + 1
        if ipaddress.ip_address(address) not in ipaddress.ip_network(prefix):
            return False
        if words[at : at + 1] in (["eq"], ["range"]):
            count = 2 if words[at] == "eq" else 3
            low, high = int(words[at + 1]), int(words[at + count - 1])
            at += count
            if is_last and not low <= port <= high:
                return False
    return True


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """Never returns."""
    from lab.devices.iosxr_netconf import listen

    unknown = set(arguments) - QUIRKS
    if unknown:
        raise SystemExit(f"unknown quirks {sorted(unknown)}; known: {sorted(QUIRKS)}")
    router = Router(name, frozenset(arguments))
    key_file, public = host_key(directory)
    handle = serve_handle(router)

    def ready(port: int) -> None:
        known = directory / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {public}\n")
        secret = {"user": USER, "password": PASSWORD, "known_hosts_file": str(known), "port": port}
        announce(directory, handle=handle.server_address[1], port=port, secret=json.dumps(secret))

    threading.current_thread().name = f"netconf-{name}"
    listen(router, key_file, ready, USER, PASSWORD)
