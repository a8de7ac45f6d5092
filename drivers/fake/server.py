# SPDX-License-Identifier: Apache-2.0
"""Fake devices behind a socket: `python -m drivers.fake.server --port N --store FOLDER`.

Serves any number of devices by name, one connection a session; each connection has a thread, and a device does one
thing at a time. A device that does not answer (unreachable, cut off, reply lost) closes the connection. Listens on
loopback unless told otherwise, as nobody is asked who he is. With a store no death of this process loses a device.
"""

from __future__ import annotations

import argparse
import math
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from drivers import fake
from drivers.base import PortInfo, Rejected, Target, Transient
from drivers.fake.lines import MAX_LINE_BYTES, observation_to_json, pack, unpack
from drivers.fake.session import ConfirmingFakeSession, FakeSession
from drivers.fake.store import NAME

LOOPBACK = "127.0.0.1"
Fields = Mapping[str, Any]


class Server(socketserver.ThreadingTCPServer):
    """store: as in the fakes' settings; "" for devices in the memory of this process."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, store: str = "", bind: str = LOOPBACK, port: int = 0) -> None:
        self.store = store
        self._open: set[socket.socket] = set()
        super().__init__((bind, port), Connection)

    @property
    def address(self) -> str:
        """What goes into the setting `address` of a target."""
        return "{}:{}".format(*self.socket.getsockname()[:2])

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """End every connection in the middle of whatever it does; new ones are taken."""
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Connection(socketserver.StreamRequestHandler):
    """One session. It goes on after a refusal, and ends with anything that is no request."""

    disable_nagle_algorithm = True
    server: Server

    def handle(self) -> None:
        # The other end may be gone at any moment; what is pending stays so, as after the death of a client.
        with suppress(OSError):
            self._converse()

    def _converse(self) -> None:
        session: FakeSession | None = None
        while True:
            line = self.rfile.readline(MAX_LINE_BYTES + 1)
            if not line.endswith(b"\n"):
                return
            try:
                fields = unpack(line)
                call = fields.pop("call", None)
                value = None
                if session is None:
                    session = _opened(call, fields, self.server.store)
                else:
                    value = _answer(session, call, fields)
                reply = pack({"value": value})
            except Transient:
                return
            except Rejected as error:
                self.wfile.write(pack({"refused": str(error)}))
                continue
            except ValueError as error:
                self.wfile.write(pack({"refused": f"no request: {error}"}))
                return
            self.wfile.write(reply)
            if call == "close":
                return


def _opened(call: object, fields: Fields, store: str) -> FakeSession:
    """Errors: Rejected, Transient."""
    if call != "open":
        raise Rejected(f"a session begins with an open, not with {str(call)[:80]!r}")
    device, family, quirks = (_text(fields, name) for name in ("device", "family", "quirks"))
    ports = fields.get("ports")
    if not isinstance(ports, list) or NAME.fullmatch(device) is None:
        raise Rejected(f"{device[:80]!r} is no name of a device, or its ports are no list")
    settings = {"store": store, "quirks": quirks}
    target = Target(device, family, "", settings, {str(port): PortInfo(str(port)) for port in ports})
    # Whoever waits knows for how long; the device does not.
    session = fake.local_session(family, target, math.inf)
    session.reach()
    return session


def _answer(session: FakeSession, call: object, fields: Fields) -> Any:
    """The reply's value. Errors: Rejected, Transient."""
    calls: dict[object, Callable[[], Any]] = {
        "read": lambda: observation_to_json(session.read()),
        "validate": lambda: session.validate(_text(fields, "native")),
        "push": lambda: session.push(_text(fields, "native")),
        "save": session.save,
        "close": session.close,
    }
    if isinstance(session, ConfirmingFakeSession):
        calls["commit"] = lambda: session.commit(
            _text(fields, "native"), _text(fields, "label"), fields.get("revert_in_s", 0)
        )
        calls["confirm"] = lambda: session.confirm(_text(fields, "label"))
        calls["cancel"] = lambda: session.cancel(_text(fields, "label"))
    if not isinstance(call, str) or call not in calls:
        raise Rejected(f"% Unknown command: {str(call)[:80]!r}")
    return calls[call]()


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise Rejected(f"{name} is missing or no text")
    return value


@contextmanager
def serving(store: str = "", port: int = 0) -> Iterator[Server]:
    """In a thread of this process, on loopback. In the end every connection is cut."""
    with Server(store, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.cut()
            thread.join()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m drivers.fake.server", description="Fake devices behind a socket."
    )
    parser.add_argument("--port", type=int, required=True, help="0 for any free one; it is printed")
    parser.add_argument("--store", default="", help="folder in which the devices live")
    parser.add_argument("--bind", default=LOOPBACK, help=f"address to listen on (default {LOOPBACK})")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server(given.store, given.bind, given.port) as server, suppress(KeyboardInterrupt):
        print(f"listening on {server.address}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
