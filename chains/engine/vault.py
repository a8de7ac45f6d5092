# SPDX-License-Identifier: Apache-2.0
"""Opens encrypted credentials, in the worker and only there: it alone has VIADUCT_CREDENTIAL_KEY.

`sealed_of` reads rows (in the thread that owns the database), `unseal` opens one (in any thread). Never logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag

from chains import models
from chains.references import vault_name
from chains.services import record
from chains.services.actor import Actor
from chains.services.sealing import SUITE, KeyFault, id_of, label, private_keys, seal_to
from drivers.base import Rejected


@dataclass(frozen=True, slots=True)
class Sealed:
    name: str
    key_id: str
    ciphertext: bytes = field(repr=False)


Vault = Mapping[str, Sealed]
EMPTY: Vault = {}


def sealed_of(references: Iterable[str]) -> Vault:
    """By name, what these references name and the database has. No query if none names any."""
    names = {name for reference in references if (name := vault_name(reference))}
    if not names:
        return EMPTY
    rows = models.Credential.objects.filter(name__in=names)
    return {row.name: Sealed(row.name, row.key_id, bytes(row.ciphertext)) for row in rows}


def unseal(sealed: Sealed, device: str) -> str:
    """Errors: Rejected, naming the device and the fix."""
    told = f"{device}: the credential {sealed.name} cannot be opened"
    try:
        keys = {id_of(key.public_key()): key for key in private_keys()}
    except KeyFault as fault:
        raise Rejected(f"{told}: {fault}") from None
    if sealed.key_id not in keys:
        raise Rejected(
            f"{told}: it is sealed to the key {sealed.key_id}, which the workers do not have; set it anew, or add "
            "that key to VIADUCT_CREDENTIAL_KEY"
        )
    try:
        return SUITE.decrypt(sealed.ciphertext, keys[sealed.key_id], info=label(sealed.name)).decode()
    except (InvalidTag, UnicodeDecodeError):
        raise Rejected(f"{told}: its row was altered; set it anew") from None


def reseal(actor: Actor) -> list[str]:
    """Every credential to the first of the keys, so that older keys can be thrown away. The names of those that moved.

    Errors: Rejected, KeyFault.
    """
    current = private_keys()[0].public_key()
    moved = []
    for row in models.Credential.objects.exclude(key_id=id_of(current)).order_by("name"):
        secret = unseal(Sealed(row.name, row.key_id, bytes(row.ciphertext)), "credential rotate")
        ciphertext, key_id = seal_to(current, row.name, secret)
        if record.credential_reseal(actor=actor, credential=row, ciphertext=ciphertext, key_id=key_id):
            moved.append(row.name)
    return moved
