# SPDX-License-Identifier: Apache-2.0
"""A command line over SSH, and SCP into a flash file system, for emulated devices.

A family gives a `Console`: what to print first, and the answer to a line. One event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import asyncssh


class Console(Protocol):
    """One log-in. `type` gives what the device prints, prompt and all; None ends the session."""

    def greet(self) -> bytes: ...

    def type(self, line: str) -> bytes | None: ...


Receive = Callable[[str, bytes], str]


class _Session(asyncssh.SSHServerSession):  # type: ignore[type-arg]
    """Either a terminal or `scp -t PATH`."""

    def __init__(self, console: Callable[[], Console], receive: Receive) -> None:
        self._make, self._receive = console, receive
        self._console: Console | None = None
        self._path, self._name, self._size, self._data, self._buffer = "", "", -1, b"", b""

    def connection_made(self, chan: Any) -> None:
        self._chan = chan

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        return True

    def shell_requested(self) -> bool:
        self._console = self._make()
        return True

    def exec_requested(self, command: str) -> bool:
        found = re.fullmatch(r"scp\s+(?:-\w+\s+)*?-t\s+(?:'([^']+)'|(\S+))", command)
        self._path = (found[1] or found[2]) if found else ""
        return bool(self._path)

    def session_started(self) -> None:
        self._chan.write(self._console.greet() if self._console else b"\0")

    def data_received(self, data: bytes, datatype: Any) -> None:
        self._buffer += data
        if self._console is not None:
            self._typed()
        else:
            self._copied()

    def eof_received(self) -> bool:
        return False

    def _typed(self) -> None:
        assert self._console is not None
        while b"\n" in self._buffer:
            raw, self._buffer = self._buffer.split(b"\n", 1)
            line = raw.decode(errors="replace").replace("\0", "").rstrip("\r")
            said = self._console.type(line)
            if said is None:
                self._chan.exit(0)
                return
            self._chan.write(line.encode() + b"\r\n" + said)

    def _copied(self) -> None:
        """SCP's sink: `C0644 SIZE NAME`, the bytes, a zero; each is answered by a zero."""
        if self._size < 0:
            if b"\n" not in self._buffer:
                return
            head, self._buffer = self._buffer.split(b"\n", 1)
            if head[:1] != b"C":
                self._chan.write(b"\0")
                return
            self._size = int(head.split()[1])
            self._chan.write(b"\0")
        if len(self._buffer) > self._size:
            data, self._buffer, self._size = self._buffer[: self._size], b"", -1
            said = self._receive(self._path, data)
            self._chan.write(b"\0" if not said else b"\1" + said.encode() + b"\n")
            self._chan.exit(1 if said else 0)


class _Server(asyncssh.SSHServer):
    def __init__(
        self, users: dict[str, str], console: Callable[[str], Console], receive: Receive, links: set[Any]
    ) -> None:
        self._users, self._console, self._receive, self._links, self._user = (
            users,
            console,
            receive,
            links,
            "",
        )

    def connection_made(self, conn: Any) -> None:
        self._conn = conn
        self._links.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.discard(self._conn)

    def begin_auth(self, username: str) -> bool:
        self._user = username
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return self._users.get(username) == password

    def session_requested(self) -> Any:
        return _Session(lambda: self._console(self._user), self._receive)


class Terminal:
    """Listens as soon as it is made. port: where."""

    def __init__(
        self, key: Path, users: dict[str, str], console: Callable[[str], Console], receive: Receive
    ) -> None:
        self._links: set[Any] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="terminal", daemon=True).start()

        async def listen() -> int:
            server = await asyncssh.create_server(
                lambda: _Server(users, console, receive, self._links),
                "127.0.0.1",
                0,
                server_host_keys=[str(key)],
                encoding=None,
                line_editor=False,
            )
            return int(server.get_port())

        self.port = asyncio.run_coroutine_threadsafe(listen(), self._loop).result(20)

    def cut(self) -> None:
        """Every connection is gone, without a word."""
        for link in list(self._links):
            self._loop.call_soon_threadsafe(link.abort)
