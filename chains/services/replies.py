# SPDX-License-Identifier: Apache-2.0
"""Replies kept by `Idempotency-Key`, so that a write that is sent again happens once.

Called by the API inside the transaction of the write: key, write and reply are committed together. A twin in
flight is told by an advisory lock, which dies with its connection: a crash leaves nothing to clean.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from cryptography.fernet import Fernet
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from chains.errors import Conflict, Problem
from chains.models import KeptReply

SALT = "viaduct.kept-reply.1"
KEEP_S = 86_400.0


class Mismatch(Problem):
    status = 422
    code = "idempotency-mismatch"


@dataclass(frozen=True, slots=True)
class Key:
    """A caller's name for one write. fingerprint: of what was asked, hexadecimal HMAC-SHA-256."""

    owner: str
    value: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


def reply_claim(key: Key) -> Reply | None:
    """The kept reply; None if the caller is the first and is to write now, and then to call `reply_keep`.

    Errors: Mismatch if the key named another request, Conflict if its twin is under way; RuntimeError outside
    a transaction.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("a key is claimed in the transaction of its write")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_lock_number(key)])
        if not cursor.fetchone()[0]:
            raise _in_flight()
    row = KeptReply.objects.filter(owner=key.owner, key=key.value).first()
    if row is None:
        try:
            with transaction.atomic():
                KeptReply.objects.create(owner=key.owner, key=key.value, fingerprint=key.fingerprint)
        except IntegrityError:  # its twin ended after this transaction's view of the rows was taken
            raise _in_flight() from None
        return None
    if row.fingerprint != key.fingerprint:
        raise Mismatch("This Idempotency-Key was used for another request. Fix: a new key for each write.")
    if not row.status:
        raise _in_flight()
    return Reply(row.status, row.headers, _box(key).decrypt(bytes(row.sealed)))


def reply_keep(key: Key, reply: Reply) -> None:
    KeptReply.objects.filter(owner=key.owner, key=key.value).update(
        status=reply.status, headers=dict(reply.headers), sealed=_box(key).encrypt(reply.body)
    )


def replies_prune(keep_s: float = KEEP_S) -> int:
    """Forget what is older; returns how many. For the sweep."""
    return KeptReply.objects.filter(created_at__lt=Now() - timedelta(seconds=keep_s)).delete()[0]


def _in_flight() -> Conflict:
    detail = "A request with this Idempotency-Key is under way. Fix: wait a moment and send it again."
    return Conflict(detail, code="idempotency-in-flight")


def _lock_number(key: Key) -> int:
    digest = hashlib.sha256(f"{SALT}\n{key.owner}\n{key.value}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _box(key: Key) -> Fernet:
    """Sealed with SECRET_KEY: a copy of the database alone reveals no token that a reply once showed."""
    digest = salted_hmac(SALT, f"{key.owner}\n{key.value}", algorithm="sha256").digest()
    return Fernet(base64.urlsafe_b64encode(digest))
