# SPDX-License-Identifier: Apache-2.0
"""Enrolment of a host: its key and certificate are born here, and the one credential for the orchestrator.

Run once by the operator. The state directory keeps the key and the token's hash, never the token.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
from pathlib import Path

KEY_FILE, CERTIFICATE_FILE, IDENTITY_FILE = "key.pem", "certificate.pem", "identity.json"
VALID_DAYS = 397
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")


def enroll(*, state: Path, name: str, address: str, port: int) -> dict[str, object]:
    """Make the identity (replacing an older one) and return the credential, which is shown only now.

    Errors: ValueError for a bad name or address, OSError for the directory.
    """
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot be the name of a host; use letters, digits, dots and hyphens")
    ip = ipaddress.ip_address(address)
    key, certificate = _self_signed(name, ip)
    token = f"vdh_{secrets.token_urlsafe(32)}"
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    write_file(state / KEY_FILE, key)
    write_file(state / CERTIFICATE_FILE, certificate)
    identity = {"name": name, "address": str(ip), "port": port, "token_sha256": hash_of(token)}
    write_file(state / IDENTITY_FILE, json.dumps(identity).encode())
    credential = {"address": str(ip), "port": port, "token": token, "name": name}
    return {**credential, "certificate": certificate.decode()}


def hash_of(token: str) -> str:
    """A plain hash is enough for 256 random bits (OWASP ASVS 6.5.2)."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_token(given: str, token_sha256: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(hash_of(given), token_sha256)


def write_file(path: Path, content: bytes) -> None:
    """Whole or not at all, durable, readable by the owner only."""
    temporary = path.with_name(f".{path.name}.new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _self_signed(name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[bytes, bytes]:
    """Key and certificate in PEM. The certificate is pinned by the client, so it is its own authority."""
    # Imported here: only enrolment needs it, and it would double the time that the daemon takes to start.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(address)]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)
