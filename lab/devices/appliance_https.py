# SPDX-License-Identifier: Apache-2.0
"""The HTTPS side of emulated appliances: one key in a header, GET, and faults. Anything but GET is heard and refused.

Called by `lab.devices.panos` and `lab.devices.fortios`.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from abc import abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lab.devices.identity import tls_files
from lab.devices.machine import Machine, serve_handle
from lab.devices.process import announce

KEY = "emulated-key"  # of nothing but this process
SILENT_S = 3600.0


class Appliance(Machine):
    """A machine that is asked for paths."""

    FAULTS = {
        "bad_key": "the key is refused",
        "not_ready": "the device answers 503",
        "cut": "the answer ends in its middle",
        "refuse": "the request is refused in the device's own form",
        "silent": "so many requests are never answered",
        "down": "names of interfaces without a link, separated by spaces",
    }

    @abstractmethod
    def reply(self, path: str, query: dict[str, str]) -> bytes:
        """KeyError for a path that does not exist."""

    @abstractmethod
    def key_in(self, headers: dict[str, str]) -> str:
        """The key that a request carries, headers in small letters."""

    @abstractmethod
    def clear(self) -> None:
        """As new."""

    def ask(self, path: str, body: object) -> object:
        if path == "/reset":
            with self.lock:
                self.clear()
                self.faults, self.transcript = {}, []
            return {}
        return super().ask(path, body)

    def tick(self) -> None:
        pass


def serve(machine: Appliance, directory: Path) -> None:
    """Never returns."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # the head goes out before the body
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one write an answer: two would wait for each other on the wire

        def _any(self) -> None:
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
            with machine.lock:
                machine.hear(f"{self.command} {address.path} {json.dumps(query, sort_keys=True)}")
                is_silent = bool(machine.fault("silent"))
                code, text = self._reply(address.path, query, headers)
            if is_silent:
                time.sleep(SILENT_S)
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _reply(self, path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
            if machine.key_in(headers) != KEY or machine.fault("bad_key"):
                return 403, b"forbidden"
            if self.command != "GET":
                return 405, b"this key may only read"
            if machine.fault("not_ready"):
                return 503, b""
            try:
                text = machine.reply(path, query)
            except KeyError:
                return 404, b""
            return 200, text[: len(text) // 2] if machine.fault("cut") else text

        do_GET = do_POST = do_PUT = do_DELETE = _any

        def log_message(self, format: str, *args: object) -> None:
            pass

    certificate, key = tls_files(machine.name, directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    handle = serve_handle(machine)
    port = server.server_address[1]
    secret = {"user": "reader", "password": KEY, "authority_file": str(certificate), "port": port}
    announce(directory, handle=handle.server_address[1], port=port, secret=json.dumps(secret))
    threading.current_thread().name = f"https-{machine.name}"
    server.serve_forever()
