# SPDX-License-Identifier: Apache-2.0
"""The agent process on a host: serves the table `inet viaduct` over HTTPS to whoever has the token.

`python -m drivers.host.daemon enroll --state DIR --name NAME --address ADDR` prints the credential;
`python -m drivers.host.daemon run --state DIR` serves until SIGTERM. Needs CAP_NET_ADMIN and nft.
It never forwards a packet, never takes a path or a command, and its rules outlive it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from drivers.base import Rejected
from drivers.codec import state_to_json
from drivers.host.enrolment import CERTIFICATE_FILE, IDENTITY_FILE, KEY_FILE, enroll, is_token
from drivers.host.prober import Prober
from drivers.host.table import Refused, Stale, Table, links_up
from drivers.probe import probes_from_json, results_to_json
from drivers.transport.https import ServerSide

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_CONNECTIONS = 16
TIMEOUT_S = 15.0
IDLE_S = 60.0


class HttpError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """The six requests. Values in, values out; knows nothing of HTTP but the status."""

    def __init__(self, identity: Mapping[str, Any], table: Table, prober: Prober) -> None:
        self._identity = identity
        self._table = table
        self._prober = prober

    def answer(self, method: str, path: str, token: str, body: bytes) -> dict[str, Any]:
        """Errors: HttpError."""
        if not is_token(token, self._identity["token_sha256"]):
            raise HttpError(401, "the token is not the one of this agent's enrolment")
        try:
            return self._answer(method, path, body)
        except Stale as error:
            raise HttpError(409, str(error)) from error
        except (Refused, Rejected) as error:
            raise HttpError(422, str(error)) from error

    def _answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        if (method, path) == ("GET", "/v1/health"):
            told = {"platform": platform.system(), "version": platform.release()}
            return {"name": self._identity["name"], "generation": self._table.generation, **told}
        if (method, path) == ("GET", "/v1/state"):
            return self._state()
        if (method, path) == ("POST", "/v1/validate"):
            fields = _fields(body, {"native": str})
            self._table.validate(fields["native"])
            return {}
        if (method, path) == ("POST", "/v1/apply"):
            fields = _fields(body, {"native": str, "generation": int, "base": str})
            generation, digest = self._table.apply(fields["native"], fields["generation"], fields["base"])
            return {"generation": generation, "digest": digest}
        if (method, path) == ("GET", "/v1/probes"):
            return {"results": results_to_json(self._prober.results())}
        if (method, path) == ("POST", "/v1/probes"):
            try:
                self._prober.set(probes_from_json(_fields(body, {"probes": list})["probes"]))
            except ValueError as error:
                raise HttpError(422, str(error)[:400]) from error
            return {}
        raise HttpError(
            404, "no such resource; there are /v1/health, /v1/state, /v1/validate, /v1/apply and /v1/probes"
        )

    def _state(self) -> dict[str, Any]:
        seen, generation, digest = self._table.read()
        return {
            "name": self._identity["name"],
            "generation": generation,
            "digest": digest,
            "items": state_to_json(seen.state),
            "counters": {str(key): asdict(counter) for key, counter in seen.counters.items()},
            "links": links_up(),
            "foreign": self._table.foreign() + len(seen.attached),
            "attached": list(seen.attached),
        }


def _fields(body: bytes, types: Mapping[str, type]) -> dict[str, Any]:
    """Exactly these fields of these types. Errors: HttpError 400."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "the body is not JSON") from error
    if not isinstance(data, dict) or {name: type(value) for name, value in data.items()} != dict(types):
        wanted = ", ".join(f"{name} ({kind.__name__})" for name, kind in types.items())
        raise HttpError(400, f"the body needs exactly: {wanted}")
    return data


class Handler(BaseHTTPRequestHandler):
    """One connection, many requests. What it may take is bounded in size and time."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "viaduct", ""
    timeout = IDLE_S
    server: Server

    def do_GET(self) -> None:  # noqa: N802 (the name is the protocol of http.server)
        self._serve(b"")

    def do_POST(self) -> None:  # noqa: N802
        try:
            self._serve(self._body())
        except HttpError as error:
            # What is left of the body would be read as the next request.
            self.close_connection = True
            self._reply(error.status, {"error": str(error)})

    do_PUT = do_PATCH = do_DELETE = do_POST

    def _serve(self, body: bytes) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        try:
            answer = self.server.api.answer(self.command, self.path, token if scheme == "Bearer" else "", body)
        except HttpError as error:
            self._reply(error.status, {"error": str(error)})
        else:
            self._reply(200, answer)

    def _body(self) -> bytes:
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit()) or "Transfer-Encoding" in self.headers:
            raise HttpError(411, "Content-Length is needed")
        left = int(text)
        if left > MAX_BODY_BYTES:
            raise HttpError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        deadline, parts = time.monotonic() + TIMEOUT_S, []
        while left:
            part = self.rfile.read1(left)
            if not part or time.monotonic() > deadline:
                raise HttpError(408, "the body did not come in time")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _reply(self, status: int, data: Mapping[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Method, path and status; never a header or a body."""
        sys.stderr.write(f"{self.address_string()} {format % args}\n")


class Server(HTTPServer):
    """A thread per connection, at most MAX_CONNECTIONS; the handshake happens in the thread."""

    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], api: Api, side: ServerSide) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.api = api
        self._side = side
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Without the look-up of our own name that http.server makes, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._converse, args=(request, client_address), daemon=True).start()

    def _converse(self, request: socket.socket, client_address: Any) -> None:
        try:
            request.settimeout(TIMEOUT_S)
            with self._side.secured(request) as secure:
                Handler(secure, client_address, self)
        except (OSError, ValueError):
            # Whoever called is gone or does not speak TLS: nothing to answer, nothing has changed.
            self.shutdown_request(request)
        finally:
            self._slots.release()


def run(state: Path, listen: str) -> int:
    """Serve until SIGTERM or SIGINT."""
    identity = json.loads((state / IDENTITY_FILE).read_text())
    guard = open(state / "lock", "w")  # noqa: SIM115 (held as long as the process lives)
    fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    host, _, port = listen.rpartition(":") if listen else (identity["address"], "", str(identity["port"]))
    side = ServerSide(state / CERTIFICATE_FILE, state / KEY_FILE)
    table = Table(state)
    table.prepare()
    prober = Prober(state)
    prober.resume()
    server = Server((host.strip("[]"), int(port)), Api(identity, table, prober), side)

    def stop(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.stderr.write(f"agent {identity['name']} serves at {host}:{port}\n")
    server.serve_forever(poll_interval=0.2)
    server.server_close()
    prober.stop()
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m drivers.host.daemon", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("enroll", help="make key, certificate and token; print the credential as JSON")
    one.add_argument("--state", type=Path, required=True)
    one.add_argument("--name", required=True)
    one.add_argument("--address", required=True)
    one.add_argument("--port", type=int, default=8443)
    two = verbs.add_parser("run", help="serve")
    two.add_argument("--state", type=Path, required=True)
    two.add_argument("--listen", default="", metavar="ADDR:PORT", help="default: what was enrolled")
    given = parser.parse_args(arguments)
    try:
        if given.verb == "run":
            return run(given.state, given.listen)
        print(json.dumps(enroll(state=given.state, name=given.name, address=given.address, port=given.port)))
    except BlockingIOError:
        sys.stderr.write(f"{parser.prog}: another agent runs with {given.state}\n")
        return 1
    except (OSError, ValueError, Refused) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
