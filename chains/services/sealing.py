# SPDX-License-Identifier: Apache-2.0
"""Seals a secret to the workers' public key: whoever seals cannot open. HPKE (RFC 9180), X25519, ChaCha20-Poly1305.

The web process needs VIADUCT_CREDENTIAL_PUBLIC alone; on one machine, where nothing is set, it is taken from the key
file that the workers use. Opening is `chains.engine.vault`. The name is sealed in: a row moved to another name does not
open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from django.conf import settings

from chains.errors import Conflict

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
PRIVATE, PUBLIC = "vck_", "vcp_"


class KeyFault(ValueError):
    """A key is missing or malformed. The text never holds it."""


def private_keys() -> tuple[X25519PrivateKey, ...]:
    """Of VIADUCT_CREDENTIAL_KEY (keys, or file:/PATH with them), the current one first. Errors: KeyFault."""
    text = str(settings.VIADUCT_CREDENTIAL_KEY)
    if text.startswith("file:"):
        try:
            text = Path(text.removeprefix("file:")).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFault(f"the key file cannot be read: {type(error).__name__}") from None
    words = text.replace(",", " ").split()
    if not words:
        raise KeyFault("VIADUCT_CREDENTIAL_KEY is not set; `manage.py credential keygen` makes one")
    return tuple(X25519PrivateKey.from_private_bytes(_octets(word, PRIVATE)) for word in words)


def public_key() -> X25519PublicKey:
    """What is sealed to. Errors: KeyFault."""
    text = str(settings.VIADUCT_CREDENTIAL_PUBLIC)
    if text:
        return X25519PublicKey.from_public_bytes(_octets(text, PUBLIC))
    if not settings.VIADUCT_CREDENTIAL_KEY:
        raise KeyFault("VIADUCT_CREDENTIAL_PUBLIC is not set; `manage.py credential keygen` prints it")
    return private_keys()[0].public_key()


def id_of(key: X25519PublicKey) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def seal(name: str, secret: str) -> tuple[bytes, str]:
    """(ciphertext, id of the key). Errors: Conflict without a usable public key."""
    try:
        key = public_key()
    except KeyFault as fault:
        raise Conflict(f"No credential can be stored here: {fault}.", code="no-credential-key") from None
    return seal_to(key, name, secret)


def seal_to(key: X25519PublicKey, name: str, secret: str) -> tuple[bytes, str]:
    return SUITE.encrypt(secret.encode(), key, info=label(name)), id_of(key)


def label(name: str) -> bytes:
    return b"viaduct.credential.1\n" + name.encode()


def new_pair() -> tuple[str, str]:
    """(private, public) as the settings take them."""
    key = X25519PrivateKey.generate()
    return text_of(PRIVATE, key.private_bytes_raw()), text_of(PUBLIC, key.public_key().public_bytes_raw())


def text_of(prefix: str, octets: bytes) -> str:
    return prefix + base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _octets(text: str, prefix: str) -> bytes:
    try:
        octets = base64.b64decode(text.removeprefix(prefix) + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not text.startswith(prefix) or len(octets) != 32:
        kind = "VIADUCT_CREDENTIAL_KEY" if prefix == PRIVATE else "VIADUCT_CREDENTIAL_PUBLIC"
        raise KeyFault(f"{kind} holds something that is no key: {prefix} and 43 characters, see `credential keygen`")
    return octets
