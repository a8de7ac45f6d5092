# SPDX-License-Identifier: Apache-2.0
"""A TLS credential in one PEM text, as files that programs and `ssl` can open.

Called by the OpenFlow and OVSDB transports. The files live in a private directory for as long as the
session; nothing of them is ever logged.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.base import Rejected

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of the private key, our certificate and the authority's certificates."""

    key: str
    certificate: str
    authority: str


@contextmanager
def files(secret: str) -> Iterator[Files]:
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
