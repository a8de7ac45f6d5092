# SPDX-License-Identifier: Apache-2.0
"""An emulated Cisco NX-OS device: NX-API (JSON-RPC over HTTPS), checkpoints, rollback of the whole box.

What it does like the box, and NAPALM does not see: no syntax check before the commit; it stops at the first bad line
and keeps what came before; it says some errors as text of a success. Sources: `nxos_grammar`.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.devices import identity, process
from lab.devices.ios_grammar import typed
from lab.devices.machine import Machine, serve_handle
from lab.devices.nxos_grammar import GRAMMAR, place, printed
from lab.devices.nxos_plane import plane_of
from lab.devices.tree import Editor, Rule, Tree, Unknown

USERS = {"admin": "cisco-Secret-1"}
FACTORY = """version 10.4(3) Bios:version 07.69
hostname {name}
feature nxapi
feature pbr
feature sla sender
hardware access-list tcam region ing-pbr 512
username admin password 5 $5$x role network-admin
vrf context blue
  rd 65000:1
interface Ethernet1/1
  no switchport
  vrf member blue
  ip address 10.1.1.1/24
  ipv6 address 2001:db8:1::1/64
  no shutdown
interface Ethernet1/2
  no switchport
  vrf member blue
  ip address 192.0.2.1/24
  ipv6 address 2001:db8:2::1/64
  no shutdown
interface Ethernet1/3
  no switchport
  description uplink of the operator
  ip address 203.0.113.1/24
  no shutdown
ntp server 203.0.113.9
"""


class Line(Editor):
    """The configuration mode, with what NX-OS does beside the statement itself. `no shutdown` is printed."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, GRAMMAR, order=place)

    def type(self, text: str) -> None:
        line = " ".join(text.split())
        if self.mode == "interface" and line in ("no shutdown", "shutdown", "no switchport"):
            inside = self._stack[-1][1]
            for old in ("no shutdown", "shutdown"):
                if line.endswith("shutdown"):
                    inside.lines.pop(old, None)
            inside.lines[line] = Tree()
            inside.lines = dict(sorted(inside.lines.items(), key=lambda pair: place("interface", pair[0])))  # type: ignore[arg-type,return-value]
        else:
            super().type(line)

    def _add(self, mode: str, rule: Rule, line: str, tree: Tree) -> None:
        if mode in ("acl4", "acl6"):
            said = line.partition(" ")[2]
            if any(old.partition(" ")[2] == said and old != line for old in tree.lines):
                return
        if line.startswith("vrf member ") and line not in tree.lines:
            _without_layer_3(tree)
        super()._add(mode, rule, line, tree)

    def _remove(self, rule: Rule, body: str, tree: Tree) -> None:
        if body.startswith("vrf member"):
            _without_layer_3(tree)
        super()._remove(rule, body, tree)
        found = re.fullmatch(r"ip sla (\d+)", body)
        if found:
            gone = f"ip sla schedule {found[1]} "
            tree.lines = {old: one for old, one in tree.lines.items() if not old.startswith(gone)}


def _without_layer_3(tree: Tree) -> None:
    """Warning: Deleted all L3 config on interface"""
    tree.lines = {line: one for line, one in tree.lines.items() if not line.startswith(("ip ", "ipv6 "))}


class Nxos(Machine):
    FAULTS = {
        "invalid": "a line that holds this text is refused: Invalid command",
        "ignored": "a line that holds this text is not taken, and the answer is a success with an error as text",
        "checkpoint_full": "a checkpoint fails: ERROR: No space left on device, as text of a success",
        "startup_full": "copy running-config startup-config fails, as text of a success",
        "cut": "the connection is gone before a configuration is read",
        "cut_after": "the connection is gone when a configuration is in force",
        "cut_middle": "the connection is gone after this many lines of a configuration",
        "garbage": "an answer is no JSON",
        "unauthorized": "the log-in is refused",
        "links_down": "interfaces that are down",
    }

    def __init__(self, name: str, first: str = "") -> None:
        super().__init__(name)
        self._first = first or FACTORY.format(name=name)
        self._reset()

    def _reset(self) -> None:
        self.faults, self.transcript = {}, []
        self.tree = self._parsed(self._first)
        self.saved = self.tree.copy()
        self.files: dict[str, Tree] = {}

    def tick(self) -> None:
        """There is no timer here."""

    def ask(self, path: str, body: Any) -> Any:
        if path != "/reset":
            return super().ask(path, body)
        with self.lock:
            self._reset()
            self.follow()
        return {}

    def config(self) -> dict[str, Any]:
        return {
            "running": self.text(self.tree),
            "startup": self.text(self.saved),
            "files": sorted(self.files),
        }

    def operate(self, lines: list[str]) -> None:
        line = Line(self.tree)
        for one in lines:
            line.type(typed(one))
            self.follow()

    def save(self, lines: list[str]) -> None:
        line = Line(self.saved)
        for one in lines:
            line.type(typed(one))

    def reboot(self) -> None:
        self.tree = self.saved.copy()
        self.follow()

    def text(self, tree: Tree) -> str:
        return "".join(f"{printed(line)}\n" for line in tree.text("  ").splitlines())

    @staticmethod
    def _parsed(text: str) -> Tree:
        tree = Tree()
        line = Line(tree)
        for one in text.splitlines():
            line.type(typed(one))
        return tree

    # --- NX-API -------------------------------------------------------------------------------

    def call(self, requests: list[dict[str, Any]]) -> tuple[int, list[dict[str, Any]] | None]:
        """HTTP status and answers; None if the connection is gone. Stops at the first error."""
        answers: list[dict[str, Any]] = []
        editor = Line(self.tree)
        is_configured = any(
            self._exec(str(one["params"]["cmd"]), False, dry=True) is None for one in requests
        )
        if is_configured and self.fault("cut"):
            return 0, None
        middle = self.faults.get("cut_middle")
        for at, one in enumerate(requests):
            command = str(one["params"]["cmd"]).strip()
            self.hear(command)
            if is_configured and middle is not None and at >= int(middle):
                del self.faults["cut_middle"]
                return 0, None
            said = self._exec(command, one["method"] == "cli_ascii")
            if said is None:
                said = self._typed(command, editor)
            if isinstance(said, Unknown):
                data = {"msg": f"% Invalid command at '^' marker.\n{said}\n"}
                error = {"code": -32602, "message": "Invalid params", "data": data}
                answers.append({"jsonrpc": "2.0", "error": error, "id": one["id"]})
                return 500, answers
            answers.append({"jsonrpc": "2.0", "result": said or None, "id": one["id"]})
        return (0, None) if is_configured and self.fault("cut_after") else (200, answers)

    def _typed(self, command: str, editor: Line) -> dict[str, Any] | Unknown:
        for fault in ("invalid", "ignored"):
            if isinstance(self.faults.get(fault), str) and self.faults[fault] in command:
                said = {"msg": "ERROR: Hardware programming failed: TCAM region is full\n"}
                return Unknown(command) if fault == "invalid" else said
        try:
            editor.type(typed(command))
        except Unknown as error:
            return error
        self.follow()  # line by line: packets meet every state in between
        return {}

    def _exec(self, command: str, is_raw: bool, *, dry: bool = False) -> dict[str, Any] | None:
        """None for what is no exec command."""
        named = {
            "show hostname": lambda: {"hostname": self.name},
            "show running-config": lambda: self.text(self.tree),
            "show running-config all": lambda: self.text(self.tree),
            "show startup-config": lambda: self.text(self.saved),
            "show version": lambda: {"chassis_id": "Nexus9000 C93180YC-FX", "nxos_ver_str": "10.4(3)",
                                     "host_name": self.name, "proc_board_id": "FDO0000EMUL"},
            "show interface brief": self._brief,
            "show route-map pbr-statistics": self._statistics,
            "copy run startup-config": self._save,
            "terminal dont-ask": lambda: "",
            "no terminal dont-ask": lambda: "",
        }  # fmt: skip
        found = re.fullmatch(r"(checkpoint file|rollback running-config file|dir) (\S+)", command)
        if command not in named and not found:
            return None
        if dry:
            return {}
        said = named[command]() if command in named else self._file(*found.groups())  # type: ignore[union-attr]
        return {"body": said} if isinstance(said, dict) and not is_raw else {"msg": str(said), "body": {}}

    def _brief(self) -> dict[str, Any]:
        down = self.without_link()
        names = [line.split()[1] for line in self.tree.lines if line.startswith("interface ")]
        rows = [{"interface": name, "state": "down" if name.partition(".")[0] in down else "up"} for name in names]
        return {"TABLE_interface": {"ROW_interface": rows}}

    def _statistics(self) -> str:
        """PBR "Verifying": entries of the route maps that count. Form: ntc-templates, cisco_nxos show route-map."""
        seen = self.cabled.counts() if self.cabled is not None else {}
        said = []
        for line in self.tree.lines:
            found = re.fullmatch(r"route-map (\S+) (permit|deny) (\d+)", line)
            if found and f"route-map {found[1]} pbr-statistics" in self.tree.lines:
                packets = seen.get(f"{found[1]} {found[3]}", 0)
                said += [f"route-map {found[1]}, {found[2]}, sequence {found[3]}"]
                said += [f"  Policy routing matches: {packets} packets"]
        return "".join(f"{line}\n" for line in (*said, ""))

    def _save(self) -> str:
        if self.fault("startup_full"):
            return "Copy failed: No space left on device\n"
        self.saved = self.tree.copy()
        return "[########################################] 100%\nCopy complete.\n"

    def _file(self, verb: str, name: str) -> str:
        if verb == "dir":
            return f"1 {name}\n" if name in self.files else f"No such file or directory {name}\n"
        if verb == "checkpoint file":
            if self.fault("checkpoint_full"):
                return "ERROR: No space left on device\n"
            self.files[name] = self.tree.copy()
            return "Done\n"
        if name not in self.files:
            return "ERROR: Rollback file does not exist\n"
        self.tree = self.files[name].copy()
        self.follow()
        return "Rollback completed successfully.\n"


def _server(machine: Nxos, certificate: Path, key: Path, address: str, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # the head goes out before the body
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            user, _, password = base64.b64decode(given or "Og==").decode().partition(":")
            with machine.lock:
                if self.path != "/ins" or USERS.get(user) != password or machine.fault("unauthorized"):
                    self._answer(401, b"401 Unauthorized")
                    return
                status, said = machine.call(json.loads(body))
                if said is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                text = (
                    "<html>busy</html>"
                    if machine.fault("garbage")
                    else json.dumps(said if len(said) > 1 else said[0])
                )
            self._answer(status, text.encode())

        def _answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json-rpc")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="nx-api", daemon=True).start()
    return server


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """ready.json: handle, port, certificate (its own authority), users.

    arguments: a file with the first configuration, NX-API's port (0: any) and address, and, as JSON, the namespace's
    names of the device's interfaces: then packets go as the running configuration says.
    """
    first, port, address, names = (*arguments, *("", "0", "127.0.0.1", "")[len(arguments) :])
    machine = Nxos(name, Path(first).read_text() if first else "")
    if names:
        machine.cable(names, lambda: plane_of(machine.tree))
    certificate, key = identity.tls_files(name, directory, address)
    server = _server(machine, certificate, key, address, int(port))
    handle = serve_handle(machine)
    process.announce(
        directory,
        handle=handle.server_address[1],
        port=server.server_address[1],
        certificate=str(certificate),
        users=USERS,
    )
    threading.Event().wait()
