# SPDX-License-Identifier: Apache-2.0
"""Credential references: where a secret is found, never the secret. Pure; used by the fabric file, the API, the engine.

`file:/PATH` on the workers, `env:NAME` in their environment, `vault:NAME` encrypted in the database; "" is none.
"""

from __future__ import annotations

import re

FORMS = "file:/PATH, env:NAME or vault:NAME"
VAULT = "vault:"
MAX_LENGTH = 255
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_reference(text: str) -> bool:
    """Is it one of the forms, or ""?"""
    if len(text) > MAX_LENGTH or not text.isprintable():
        return False
    if text.startswith(VAULT):
        return NAME.fullmatch(text.removeprefix(VAULT)) is not None
    return text == "" or text.startswith(("file:/", "env:"))


def vault_name(reference: str) -> str:
    """The name of the encrypted row, "" if the reference is of another form."""
    return reference.removeprefix(VAULT) if reference.startswith(VAULT) else ""
