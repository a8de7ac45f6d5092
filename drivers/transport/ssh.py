# SPDX-License-Identifier: Apache-2.0
"""SSH to a device whose host key is known: fixed commands, text on their standard input.

Called by drivers that speak to a command line. There is no way to accept an unknown host key, to log in
with a password, or to run a command that holds data.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import paramiko

from drivers.base import Rejected, Target, Transient

CHUNK_BYTES = 32768

# A box that is there answers a SYN at once; a command may take longer.
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Login:
    """What the credential of a device says."""

    user: str
    private_key_file: str
    known_hosts_file: str
    port: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a command said."""

    code: int
    output: str
    errors: str


class Shell:
    """An open connection. Every command is bounded by the same time."""

    def __init__(self, client: paramiko.SSHClient, device: str, timeout_s: float) -> None:
        self._client = client
        self._device = device
        self._timeout_s = timeout_s

    def run(self, command: str, text: str = "") -> Result:
        """Run one of the driver's fixed commands with `text` on its standard input.

        Errors: Transient, also when the connection is lost while the device may be acting on the text.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            transport = self._client.get_transport()
            if transport is None:
                raise Transient(f"{self._device}: the SSH connection is closed; try again")
            channel = transport.open_session(timeout=self._timeout_s)
            with channel:
                channel.exec_command(command)
                return self._converse(channel, text.encode(), deadline)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Transient(f"{self._device}: lost the SSH connection during {command!r} ({_why(error)})") from error

    def _converse(self, channel: paramiko.Channel, text: bytes, deadline: float) -> Result:
        """Text in, then all of the answer. What the command writes meanwhile waits in paramiko's window (2 MiB)."""
        channel.settimeout(_left(deadline))
        with suppress(OSError):
            # A command that refuses its input may end before it has read it all: its answer says why.
            channel.sendall(text)
            channel.shutdown_write()
        output, errors = bytearray(), bytearray()
        for receive, part in ((channel.recv, output), (channel.recv_stderr, errors)):
            channel.settimeout(_left(deadline))
            while data := receive(CHUNK_BYTES):
                part += data
                channel.settimeout(_left(deadline))
        if not channel.status_event.wait(_left(deadline)):
            raise TimeoutError("no exit status")
        return Result(channel.recv_exit_status(), output.decode(), errors.decode())


def _send_at_once(client: paramiko.SSHClient) -> None:
    """Small messages to and fro are slowed down to 25 a second otherwise (Nagle against delayed ACK)."""
    transport = client.get_transport()
    if transport is not None and isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _left(deadline: float) -> float:
    """Seconds until the deadline. Errors: TimeoutError if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("time-out")
    return left


class _OnlyKnown(paramiko.RejectPolicy):
    """RejectPolicy, with an error that says what to do."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> NoReturn:
        raise Rejected(
            f"the SSH host key of {hostname} is not known; add it to the known_hosts file of its credential"
        )


@contextmanager
def connect(target: Target, timeout_s: float) -> Iterator[Shell]:
    """A shell on the device, for the time of the block. Errors: Transient, Rejected.

    target.secret: JSON {"user", "private_key_file", "known_hosts_file", "port"}.
    """
    login = _login(target)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_OnlyKnown())
    try:
        client.load_host_keys(login.known_hosts_file)
        client.connect(
            target.management,
            port=login.port,
            username=login.user,
            key_filename=login.private_key_file,
            timeout=min(timeout_s, CONNECT_S),
            banner_timeout=timeout_s,
            auth_timeout=timeout_s,
            channel_timeout=timeout_s,
            allow_agent=False,
            look_for_keys=False,
        )
        _send_at_once(client)
        yield Shell(client, target.name, timeout_s)
    except paramiko.BadHostKeyException as error:
        raise Rejected(f"{target.name}: the SSH host key is not the known one; is this another machine?") from error
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        raise Rejected(f"{target.name}: SSH refused the user or key of the credential") from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise Transient(f"{target.name}: no SSH at {target.management} port {login.port} ({_why(error)})") from error
    finally:
        client.close()


def _login(target: Target) -> Login:
    """Errors: Rejected; the text never holds the credential."""
    try:
        fields = json.loads(target.secret)
        login = Login(
            str(fields["user"]),
            str(fields["private_key_file"]),
            str(fields["known_hosts_file"]),
            int(fields.get("port", 22)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Rejected(
            f"{target.name}: the credential must be JSON with user, private_key_file, known_hosts_file and port"
        ) from None
    for file in (login.private_key_file, login.known_hosts_file):
        if not Path(file).is_file():
            raise Rejected(f"{target.name}: the credential names {file}, which is not a file")
    return login


def _why(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return "time-out"
    return str(error) or type(error).__name__
