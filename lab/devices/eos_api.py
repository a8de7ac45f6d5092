# SPDX-License-Identifier: Apache-2.0
"""The wire of the emulated EOS: JSON-RPC `runCmds` at /command-api, over HTTPS with Basic auth.

Called by `lab.devices.eos`. Source: Arista "eAPI Command API guide": commands run in order until one fails; the error
has code 1002 and, in `data`, what each command answered up to the one that failed.
"""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.devices.tree import Unknown

if TYPE_CHECKING:
    from lab.devices.eos import Eos


class Refused(ValueError):
    """What the command line says."""


class Cut(Exception):
    """The connection dies here."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, machine: Eos, address: str, port: int) -> None:
        super().__init__((address, port), Handler)
        self.machine = machine

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that do not trust us hang up in the handshake."""


class Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # the head goes out before the body
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        machine = self.server.machine
        with machine.lock:
            slow, life = machine.faults.get("slow"), machine.life
            is_refused = bool(machine.fault("refuse_login"))
            is_garbled = bool(machine.fault("garbled"))
        if slow:
            time.sleep(float(slow))
        if life != machine.life:
            return  # the device that was asked is no more
        if is_refused or not _is_allowed(self.headers.get("Authorization", "")):
            self._reply(401, b"Bad username/password combination\n")
        elif is_garbled:
            self._reply(503, b"<html>agent is restarting</html>")
        else:
            self._run(json.loads(body))

    def _run(self, request: dict[str, Any]) -> None:
        try:
            answer = run(self.server.machine, request)
        except Cut:
            self.close_connection = True
            self.connection.close()
            return
        self._reply(200, json.dumps(answer).encode())

    def _reply(self, code: int, data: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve_api(machine: Eos, certificate: Path, key: Path, port: int, address: str = "127.0.0.1") -> Server:
    """It listens; the caller serves."""
    server = Server(machine, address, port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def _is_allowed(header: str) -> bool:
    from lab.devices.eos import PASSWORD, USER

    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return hmac.compare_digest(header.encode(), wanted.encode())


def run(machine: Eos, request: dict[str, Any]) -> dict[str, Any]:
    """A whole request, alone on the machine. Errors: Cut."""
    from lab.devices.eos import USER, Client

    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
    commands = [one["cmd"] if isinstance(one, dict) else one for one in request["params"]["cmds"]]
    results: list[dict[str, Any]] = []
    client = Client(USER)
    with machine.lock:
        machine.tick()
        for number, command in enumerate(commands, start=1):
            line = " ".join(command.split())
            _cut(machine, "cut_before", line)
            try:
                results.append(machine.command(client, line))
            except (Refused, Unknown) as error:
                said = str(error) if isinstance(error, Refused) else f"Invalid input (at token 0: '{error}')"
                message = f"CLI command {number} of {len(commands)} '{line}' failed: invalid command"
                answer["error"] = {"code": 1002, "message": message, "data": [*results, {"errors": [said]}]}
                return answer
            _cut(machine, "cut_after", line)
    answer["result"] = results
    return answer


def _cut(machine: Eos, fault: str, line: str) -> None:
    wanted = machine.faults.get(fault)
    if wanted and wanted in line:
        del machine.faults[fault]
        raise Cut
