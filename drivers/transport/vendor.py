# SPDX-License-Identifier: Apache-2.0
"""What the boxes of NAPALM's families have in common: logging in safely, and errors in our own kinds.

Verification of who the device is is on. It is off only where the device's setting `unverified` is "yes", which the
fabric file says and the audit log keeps; NAPALM and its libraries have it off by default.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from napalm.base import exceptions as napalm

from drivers.base import DriverError, Rejected, Target, Transient, is_unverified
from drivers.introspection import SSH, UNVERIFIED

BUSY = (napalm.LockError, napalm.SessionLockedException)
REFUSED = (
    napalm.MergeConfigException,
    napalm.ReplaceConfigException,
    napalm.CommitError,
    napalm.CommandErrorException,
    napalm.UnsupportedVersion,
)
GONE = (napalm.ConnectionException, OSError, EOFError, paramiko.SSHException)


@dataclass(frozen=True, slots=True)
class Login:
    """What the credential of a device says. port: 0 for the platform's own."""

    user: str
    password: str = field(default="", repr=False)
    private_key_file: str = ""
    known_hosts_file: str = ""
    authority_file: str = ""
    port: int = 0


def login_of(target: Target) -> Login:
    """target.secret: JSON with user, password or private_key_file, known_hosts_file (SSH), authority_file (TLS), port.

    Errors: Rejected; the text never holds the credential.
    """
    try:
        fields = json.loads(target.secret)
        found = Login(
            user=str(fields["user"]),
            password=str(fields.get("password", "")),
            private_key_file=str(fields.get("private_key_file", "")),
            known_hosts_file=str(fields.get("known_hosts_file", "")),
            authority_file=str(fields.get("authority_file", "")),
            port=int(fields.get("port", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Rejected(
            f"{target.name}: the credential must be JSON with user, password or private_key_file, known_hosts_file or "
            "authority_file, and port"
        ) from None
    if not (found.user + found.password).isprintable():
        raise Rejected(f"{target.name}: the credential's user or password has characters that cannot be sent")
    for file in (found.private_key_file, found.known_hosts_file, found.authority_file):
        if file and not Path(file).is_file():
            raise Rejected(f"{target.name}: the credential names {file}, which is not a file")
    return found


def is_verified(target: Target) -> bool:
    """Must the device prove who it is? Setting `unverified: yes` is the only way around it."""
    return not is_unverified(target.settings)


def required(target: Target, file: str, what: str) -> str:
    """The file that says who the device is. Errors: Rejected, with the way out."""
    if not file and is_verified(target):
        raise Rejected(
            f"{target.name}: nothing says who this device is: give its credential {what}, or set `unverified: yes` in "
            "the device's settings (anybody between us and the device can then read and change everything)"
        )
    return file


def ssh_proof(login: Login, transport: paramiko.Transport, host: str, port: int) -> str:
    """By the key that this connection was really made with."""
    if not login.known_hosts_file:
        return UNVERIFIED
    shown, known = transport.get_remote_server_key(), paramiko.HostKeys(login.known_hosts_file)
    return SSH if any(known.check(name, shown) for name in (host, f"[{host}]:{port}")) else UNVERIFIED


@contextmanager
def kinds(target: Target, doing: str) -> Iterator[None]:
    """NAPALM's and its libraries' errors as ours. doing: for people, in words. Errors: Transient, Rejected."""
    try:
        yield
    except DriverError:
        raise
    except paramiko.BadHostKeyException as error:
        raise Rejected(f"{target.name}: the SSH host key is not the known one; is this another machine?") from error
    except (paramiko.AuthenticationException, napalm.ConnectAuthError) as error:
        raise Rejected(f"{target.name}: the device refused the user, password or key of the credential") from error
    except BUSY as error:
        raise Transient(f"{target.name}: somebody else is configuring it ({brief(error)}); try again") from error
    except REFUSED as error:
        raise Rejected(f"{target.name}: {doing}: {brief(error)}") from error
    except GONE as error:
        raise Transient(f"{target.name}: {doing}: {brief(error)}") from error


def brief(error: BaseException) -> str:
    """One line, bounded: a device may say a lot."""
    if isinstance(error, socket.timeout):
        return "time-out"
    return " ".join(str(error).split())[:400] or type(error).__name__
