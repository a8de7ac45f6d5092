# SPDX-License-Identifier: Apache-2.0
"""Encrypted credentials: set, replaced and deleted by operators, and never given back to anybody.

Called by the API and a command. Only ciphertext reaches the database; the audit says who and which name. Opening is
the engine's (`chains.engine.vault`).
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from chains.errors import Conflict, FieldError, NotFound
from chains.models import Credential, Device, Outbox
from chains.references import NAME, VAULT
from chains.services.actor import Actor, require_operator
from chains.services.reading import invalid
from chains.services.sealing import seal
from chains.services.trail import audit, bell

MAX_SECRET = 65_536


@transaction.atomic
def credential_create(*, actor: Actor, name: str, secret: str) -> Credential:
    """Errors: Forbidden, Invalid, Conflict (the name is taken, no key)."""
    require_operator(actor)
    _check(name, secret)
    if Credential.objects.filter(name=name).exists():
        raise Conflict(f"There is a credential {name}. Fix: replace its secret.", code="name-taken")
    ciphertext, key_id = seal(name, secret)
    row, is_new = Credential.objects.get_or_create(
        name=name, defaults={"ciphertext": ciphertext, "key_id": key_id, "rotated_at": Now()}
    )
    if not is_new:
        raise Conflict(f"There is a credential {name}. Fix: replace its secret.", code="name-taken")
    return _told(actor, row, "credential.create")


@transaction.atomic
def credential_replace(*, actor: Actor, credential: Credential, secret: str) -> Credential:
    """A new secret under the same name: devices that name it are read with it. Errors: Forbidden, Invalid, NotFound."""
    require_operator(actor)
    _check(credential.name, secret)
    row = Credential.objects.select_for_update().filter(pk=credential.pk).first()
    if row is None:
        raise NotFound("Not found.")
    row.ciphertext, row.key_id = seal(row.name, secret)
    row.rotated_at = Now()
    row.save()
    return _told(actor, row, "credential.replace")


@transaction.atomic
def credential_set(*, actor: Actor, name: str, secret: str) -> Credential:
    """New or replaced. Errors: Forbidden, Invalid, Conflict."""
    row = Credential.objects.filter(name=name).first()
    if row is None:
        return credential_create(actor=actor, name=name, secret=secret)
    return credential_replace(actor=actor, credential=row, secret=secret)


@transaction.atomic
def credential_delete(*, actor: Actor, credential: Credential) -> None:
    """Errors: Forbidden, NotFound, Conflict while a device names it."""
    require_operator(actor)
    row = Credential.objects.select_for_update().filter(pk=credential.pk).first()
    if row is None:
        raise NotFound("Not found.")
    users = list(_devices(row).order_by("name").values_list("name", flat=True)[:5])
    if users:
        told = f"{', '.join(users)} would have no credential any more. Fix: load a fabric file that names another."
        raise Conflict(told, code="in-use")
    row.delete()
    audit(actor, "credential.delete", f"credential {row.name}", tenant=None)


@transaction.atomic
def credential_reseal(*, actor: Actor, credential: Credential, ciphertext: bytes, key_id: str) -> bool:
    """The same secret, sealed to another key. For the engine. False if it was replaced meanwhile."""
    rows = Credential.objects.filter(pk=credential.pk, key_id=credential.key_id, rotated_at=credential.rotated_at)
    if not rows.update(ciphertext=ciphertext, key_id=key_id):
        return False
    audit(actor, "credential.reseal", f"credential {credential.name}", tenant=None, detail={"key_id": key_id})
    return True


def _devices(row: Credential) -> QuerySet[Device]:
    return Device.objects.filter(credential=f"{VAULT}{row.name}")


def _told(actor: Actor, row: Credential, action: str) -> Credential:
    audit(actor, action, f"credential {row.name}", tenant=None, detail={"key_id": row.key_id})
    for pk in _devices(row).order_by("pk").values_list("pk", flat=True):
        bell(Outbox.Topic.DEVICE, pk)
    row.refresh_from_db()
    return row


def _check(name: str, secret: str) -> None:
    """Neither is quoted: somebody may have mixed them up."""
    errors = []
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        errors.append(FieldError("name", "invalid", "lower-case letters, digits and inner hyphens, 1 to 63"))
    if not isinstance(secret, str) or not 1 <= len(secret) <= MAX_SECRET or "\0" in secret:
        errors.append(FieldError("secret", "invalid", f"1 to {MAX_SECRET} characters, without NUL"))
    if errors:
        raise invalid(errors)
