# SPDX-License-Identifier: Apache-2.0
"""Where a switch listens, and the TLS credential that it wants, as files.

Called by the OpenFlow and OVSDB transports. Endpoints are addresses, never names, paths or options.
The files live in a private directory for as long as the session; nothing of them is ever logged.
"""

from __future__ import annotations

import ipaddress
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.base import Rejected

_FORM = re.compile(r"(tcp|ssl):(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """text is what Open vSwitch's own programs take: tcp:ADDRESS:PORT or ssl:ADDRESS:PORT."""

    text: str
    is_encrypted: bool
    address: str
    port: int


def parse(text: str) -> Endpoint:
    """Errors: Rejected unless it is an IPv4 address or an IPv6 address in brackets, with a port."""
    found = _FORM.fullmatch(text)
    try:
        if found is None or not 1 <= int(found[4]) <= 65535:
            raise ValueError("not of that form")
        address = ipaddress.ip_address(found[2] or found[3])
    except ValueError as error:
        raise Rejected(f"{text!r} is not tcp:ADDRESS:PORT or ssl:ADDRESS:PORT ({error})") from error
    return Endpoint(text, found[1] == "ssl", str(address), int(found[4]))


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of the private key, our certificate and the authority's certificates."""

    key: str
    certificate: str
    authority: str


@contextmanager
def credential(secret: str) -> Iterator[Files]:
    """secret: private key, our certificate, then at least one certificate of the authority.

    Errors: Rejected, without quoting any of it.
    """
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(secret)]
    keys = [text for kind, text in blocks if kind.endswith("PRIVATE KEY")]
    certificates = [text for kind, text in blocks if kind == "CERTIFICATE"]
    if len(keys) != 1 or len(certificates) < 2:
        raise Rejected(
            "an ssl: endpoint needs a credential of three PEM blocks: private key, certificate, authority"
        )
    with tempfile.TemporaryDirectory(prefix="viaduct-") as directory:
        paths = []
        for name, text in (("key", keys[0]), ("cert", certificates[0]), ("ca", "\n".join(certificates[1:]))):
            path = Path(directory) / f"{name}.pem"
            path.touch(mode=0o600)
            path.write_text(text)
            paths.append(str(path))
        yield Files(*paths)
