# SPDX-License-Identifier: Apache-2.0
"""Looks at chains: who was looked at last, and whose look breaks. Called by the engine through `services.record`."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from chains.models import Chain, Finding
from chains.services.observed import finding_close, finding_open

BROKEN = "look-broken"


def chain_looked_at(chain_id: int) -> None:
    """Moves it behind all others. `updated_at` is when anything was last done with the row, a look included."""
    Chain.objects.filter(pk=chain_id).update(updated_at=Now())


@transaction.atomic
def look_broke(chain_id: int, error: str) -> None:
    """Nothing is done for the chain until its looks go well again: somebody has to know."""
    chain = Chain.objects.filter(pk=chain_id).first()
    if chain is not None:
        detail = f"chain {chain.name} cannot be looked at: {error}"
        finding_open(code=BROKEN, severity=Finding.Severity.CRITICAL, chain=chain, detail=detail)


def look_went_well(chain_id: int) -> None:
    """Closes the finding. Nothing open is no error."""
    finding_close(code=BROKEN, chain=Chain(pk=chain_id))
