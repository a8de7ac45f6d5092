# SPDX-License-Identifier: Apache-2.0
"""What every write leaves behind: a bell to ring and a line in the audit. Called inside the write's transaction.

Nothing here talks to the broker: the relay reads the outbox. NOTIFY reaches it when the transaction commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from chains.models import AuditRow, Outbox, Tenant
from chains.services.actor import Actor

CHANNEL = "viaduct_outbox"


def bell(topic: Outbox.Topic, ref: int) -> Outbox:
    """Ask the workers to look at `ref`. Errors: RuntimeError outside a transaction: it could outlive a failed write."""
    _require_transaction()
    row = Outbox.objects.create(topic=topic, ref=ref)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
    return row


def audit(
    actor: Actor, action: str, subject: str, *, tenant: Tenant | None, detail: Mapping[str, Any] | None = None
) -> AuditRow:
    """Who did what to whom. No secret may be in `detail`."""
    _require_transaction()
    return AuditRow.objects.create(
        actor=actor.name,
        tenant=tenant,
        action=action,
        subject=subject,
        detail=dict(detail or {}),
        request_id=actor.request_id,
    )


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("a bell and an audit row belong into the transaction of their write")
