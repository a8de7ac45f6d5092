# SPDX-License-Identifier: Apache-2.0
"""Looks at chains: who was looked at last, whose look breaks, and whom no worker survives.

Called by the engine through `services.record`. A look is written down before it is made, as a bell that was rung
already, with the chain's number below zero; it is gone when the look has ended. What is left are workers' deaths.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import models, transaction
from django.db.models.functions import Now

from chains.models import Chain, Finding, Outbox
from chains.services.observed import finding_close, finding_open

BROKEN = "look-broken"
# So many deaths in a row, and the chain is left alone until they are so old.
MOST_DEATHS = 5
REST_S = 600.0


@transaction.atomic
def look_begins(chain_id: int) -> bool:
    """May the chain be looked at? It moves behind all others: `updated_at` counts a look as something done."""
    died = _looks(chain_id).filter(rung_at__gt=Now() - timedelta(seconds=REST_S)).count()
    if died >= MOST_DEATHS:
        look_broke(chain_id, f"{died} workers died of it, one after the other; tried again in some minutes")
        return False
    Chain.objects.filter(pk=chain_id).update(updated_at=Now())
    Outbox.objects.create(topic=Outbox.Topic.CHAIN, ref=-chain_id, rung_at=Now())
    return True


@transaction.atomic
def look_broke(chain_id: int, error: str) -> None:
    """Nothing is done for the chain until its looks go well again: somebody has to know."""
    chain = Chain.objects.filter(pk=chain_id).first()
    if chain is not None:
        detail = f"chain {chain.name} cannot be looked at: {error}"
        finding_open(code=BROKEN, severity=Finding.Severity.CRITICAL, chain=chain, detail=detail)


def look_ends(chain_id: int, error: str = "") -> None:
    """The worker is alive. error: what nobody foresaw; without one the finding closes."""
    _looks(chain_id).delete()
    if error:
        look_broke(chain_id, error)
    else:
        finding_close(code=BROKEN, chain=Chain(pk=chain_id))


def _looks(chain_id: int) -> models.QuerySet[Outbox]:
    return Outbox.objects.filter(topic=Outbox.Topic.CHAIN, ref=-chain_id)
