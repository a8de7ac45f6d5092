# SPDX-License-Identifier: Apache-2.0
"""Turns a credential reference into the secret, in the worker and only there.

`file:/path` (not readable by others) or `env:NAME`; "" is no secret. Never logs, never quotes what it read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from drivers.base import Rejected


def resolve(reference: str, device: str) -> str:
    """The secret, without the final line feed. Errors: Rejected, naming the device and the reference's kind."""
    if not reference:
        return ""
    kind, _, rest = reference.partition(":")
    if kind == "env":
        if rest not in os.environ:
            raise Rejected(f"{device}: the environment has no {rest}; set it for the workers")
        return os.environ[rest]
    if kind == "file":
        return _read(Path(rest), device)
    # Not quoted: somebody may have put the secret itself there.
    raise Rejected(f"{device}: a credential is a reference, file:/path or env:NAME; this one is neither")


def _read(path: Path, device: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                raise Rejected(f"{device}: others can read the credential file; fix: chmod o= {path}")
            return file.read().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{device}: the credential file {path} cannot be read: {type(error).__name__}") from error
