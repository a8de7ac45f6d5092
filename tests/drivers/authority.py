# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for one test: short-lived keys that exist nowhere else."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM


@dataclass
class Authority:
    """Signs certificates; name tells two authorities apart."""

    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def issue(self, name: str) -> tuple[str, str]:
        """A new private key and its certificate, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        return private_pem(key), self._sign(name, key.public_key())

    def certificate(self) -> str:
        return self._sign(self.name, self.key.public_key())

    def credential(self, name: str) -> str:
        """Private key, certificate, authority: what an ssl: endpoint takes."""
        return "".join((*self.issue(name), self.certificate()))

    def files(self, name: str, folder: Path) -> tuple[str, str, str]:
        """The same three as files."""
        paths = tuple(str(folder / f"{name}-{part}.pem") for part in ("key", "cert", "ca"))
        for path, text in zip(paths, (*self.issue(name), self.certificate()), strict=True):
            Path(path).write_text(text)
        return paths[0], paths[1], paths[2]

    def _sign(self, name: str, public: ec.EllipticCurvePublicKey) -> str:
        now = datetime.datetime.now(datetime.UTC)
        is_authority = name == self.name
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(PEM).decode()


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    octets = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return octets.decode()
