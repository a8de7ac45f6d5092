# SPDX-License-Identifier: Apache-2.0
"""Turns a credential reference into the secret, in the worker and only there.

`file:/path` (not readable by others), `env:NAME` or `vault:NAME` (an encrypted row); "" is no secret. Never logs,
never quotes what it read.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from chains.engine.vault import EMPTY, Vault, unseal
from chains.references import FORMS
from drivers.base import DriverError, Rejected

# Fields of a credential that are no secret, and that errors may name.
PLAIN = frozenset(
    ("user", "name", "address", "port", "private_key_file", "known_hosts_file", "authority_file", "certificate")
)
SHORTEST = 4  # what is shorter stands in too many texts to be blotted out


def resolve(reference: str, device: str, vault: Vault = EMPTY) -> str:
    """The secret, without the final line feed. vault: the rows that were read for it.

    Errors: Rejected, naming the device and the reference's kind.
    """
    if not reference:
        return ""
    kind, _, rest = reference.partition(":")
    if kind == "env":
        if rest not in os.environ:
            raise Rejected(f"{device}: the environment has no {rest}; set it for the workers")
        return os.environ[rest]
    if kind == "file":
        return _read(Path(rest), device)
    if kind == "vault":
        if rest not in vault:
            raise Rejected(f"{device}: there is no credential of the name that it gives; fix: manage.py credential set")
        return unseal(vault[rest], device)
    # Not quoted: somebody may have put the secret itself there.
    raise Rejected(f"{device}: a credential is a reference, {FORMS}; this one is neither")


def without_secret(error: DriverError, secret: str) -> DriverError:
    """The error; if the device or a library put the secret, or a word of it, into the text: one without.

    Drivers promise not to. What a library quotes of a device's answer is nobody's promise.
    """
    text = clean = str(error)
    for word in _words(secret):
        clean = clean.replace(word, "***")
    return error if clean == text else type(error)(clean)


def _words(secret: str) -> list[str]:
    """The whole, and of JSON the password, token and the like; the longest first."""
    found = {secret}
    try:
        fields = json.loads(secret)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        named = (str(value) for key, value in fields.items() if key not in PLAIN and isinstance(value, str))
        found.update(named)
    return sorted((word for word in found if len(word) >= SHORTEST), key=len, reverse=True)


def _read(path: Path, device: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                raise Rejected(f"{device}: others can read the credential file; fix: chmod o= {path}")
            return file.read().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{device}: the credential file {path} cannot be read: {type(error).__name__}") from error
