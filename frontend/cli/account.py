# SPDX-License-Identifier: Apache-2.0
"""Which server, and the token for it: from the environment, else from the user's own file, which nobody else reads."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from frontend.cli.printing import Failure

SERVER, TOKEN, AUTHORITY = "VIADUCT_SERVER", "VIADUCT_TOKEN", "VIADUCT_CA"


@dataclass(frozen=True, slots=True)
class Account:
    """server: its address without a path. ca: a file with the authority of its certificate, "" for the system's."""

    server: str
    token: str
    ca: str = ""


def place(environ: Mapping[str, str]) -> Path:
    """XDG Base Directory Specification 0.8."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "viaduct" / "account.json"


def load(environ: Mapping[str, str] = os.environ) -> Account:
    """Errors: Failure if nobody has logged in, or if others may read the file."""
    if environ.get(SERVER) and environ.get(TOKEN):
        return Account(checked(environ[SERVER]), environ[TOKEN], environ.get(AUTHORITY, ""))
    path = place(environ)
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise Failure(
                    f"{path} can be read by others. Fix: chmod 600 {path}, and revoke the token if they did"
                )
            return Account(**json.load(file))
    except FileNotFoundError:
        raise Failure(f"nobody is logged in. Fix: viaduct login, or set {SERVER} and {TOKEN}") from None
    except (OSError, ValueError, TypeError) as error:
        raise Failure(f"{path}: {error}. Fix: viaduct login") from None


def save(account: Account, environ: Mapping[str, str] = os.environ) -> Path:
    """Readable by the owner alone from its first byte on; whole or not at all."""
    path = place(environ)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(account), file)
    fresh.replace(path)
    return path


def checked(server: str) -> str:
    """The address in one form. Errors: Failure; without TLS a token goes to this machine only."""
    parts = urlsplit(server if "//" in server else f"https://{server}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise Failure(f"{server!r} is no address of a server. Fix: give it as https://viaduct.example")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise Failure(f"{server} has no TLS: whoever is on the way could read the token. Fix: use https")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/api/v1')}"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
