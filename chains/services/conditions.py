# SPDX-License-Identifier: Apache-2.0
"""Keeps what was judged of chains: only what differs is written, and `since` moves with the answer alone.

Called where a chain's status is set and at the end of every look at a chain.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models.functions import Now

from chains.models import Chain, Condition
from chains.selectors.conditions import facts_of, judge

FIELDS = ("status", "reason", "detail", "generation")


@transaction.atomic
def conditions_write(chain_ids: Iterable[int]) -> int:
    """How many rows were written: none when nothing changed."""
    facts = facts_of(chain_ids)
    held = {(row.chain_id, row.kind): row for row in Condition.objects.filter(chain__in=facts)}
    new, moved, reworded = [], [], []
    for chain_id in sorted(facts):
        for one in judge(facts[chain_id]):
            row = held.get((chain_id, one.kind))
            values = {name: getattr(one, name) for name in FIELDS}
            if row is None:
                new.append(Condition(chain_id=chain_id, kind=one.kind, since=Now(), **values))
            elif any(getattr(row, name) != value for name, value in values.items()):
                (moved if row.status != one.status else reworded).append(row)
                for name, value in values.items():
                    setattr(row, name, value)
    if not (new or moved or reworded):
        return 0
    # A chain that goes at this moment takes its conditions along.
    alive = set(Chain.objects.select_for_update().filter(pk__in=facts).order_by("pk").values_list("pk", flat=True))
    for row in moved:
        row.since = Now()
    fresh = [row for row in new if row.chain_id in alive]
    # A twin that judged at the same moment wrote the same.
    Condition.objects.bulk_create(fresh, ignore_conflicts=True)
    Condition.objects.bulk_update(moved, [*FIELDS, "since"])
    Condition.objects.bulk_update(reworded, FIELDS)
    return len(fresh) + len(moved) + len(reworded)
