# SPDX-License-Identifier: Apache-2.0
"""Which chains' packets are measured, and what was counted. Called where somebody looks, and by the engine.

Looking at a chain asks for its measurement for a while; nothing is measured that nobody looks at, unless the machine
is told to. A row holds three samples and never grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Case, Exists, OuterRef, Value, When
from django.db.models.functions import Now

from chains.models import Chain, Traffic
from drivers.base import Counter
from drivers.state import Key

WATCH_S = 60.0
# A look prolongs only what ends soon: a page that is fetched every few seconds does not write as often.
AGAIN_S = 30.0
EVERY_S = 2.0
SAMPLES = 3

Counts = Mapping[str, Mapping[Key, Counter]]


def traffic_watch(chain: Chain) -> None:
    """Measure this chain from now on for a minute. The chain is one that the actor got from `chain_get`."""
    if not chain.revision or Traffic.objects.filter(chain=chain.pk, watched_until__gt=Now() + _s(AGAIN_S)).exists():
        return
    row = Traffic(chain_id=chain.pk, watched_until=Now() + _s(WATCH_S), due_at=Now())
    Traffic.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["chain"], update_fields=["watched_until", "due_at"]
    )


@transaction.atomic
def traffic_claim(limit: int, always_s: float) -> dict[int, bool]:
    """Chains whose counters are due, by id: is it the last time, because nobody looks any more?

    always_s: how often every chain in force is measured whoever looks, 0 for never.
    """
    if always_s:
        bare = Chain.objects.filter(~Exists(Traffic.objects.filter(chain=OuterRef("pk"))), revision__gt=0)
        first = bare.values_list("pk", flat=True)[:limit]
        new = [Traffic(chain_id=pk, watched_until=Now(), due_at=Now()) for pk in first]
        Traffic.objects.bulk_create(new, ignore_conflicts=True)
    due = Traffic.objects.filter(due_at__lte=Now()).order_by("due_at")
    is_over = Case(When(watched_until__lte=Now(), then=Value(True)), default=Value(False))
    rows = due.select_for_update(skip_locked=True).annotate(is_over=is_over).values_list("chain_id", "is_over")[:limit]
    claimed = dict(rows)
    over = [pk for pk, is_over in claimed.items() if is_over]
    Traffic.objects.filter(chain__in=claimed.keys() - set(over)).update(due_at=Now() + _s(EVERY_S))
    Traffic.objects.filter(chain__in=over).update(due_at=Now() + _s(always_s) if always_s else None)
    return {pk: is_over and not always_s for pk, is_over in claimed.items()}


@transaction.atomic
def traffic_sample(counts: Mapping[int, Counts]) -> None:
    """One more sample for each of these chains, by id, from one reading of their devices; the oldest goes."""
    at = _clock_s()
    rows = list(Traffic.objects.select_for_update().filter(chain__in=counts.keys()).order_by("pk"))
    for row in rows:
        devices = {
            name: {str(key): [one.packets, one.dropped] for key, one in held.items() if key.chain == row.chain_id}
            for name, held in counts[row.chain_id].items()
        }
        row.samples = [*row.samples, {"at": at, "devices": devices}][-SAMPLES:]
    Traffic.objects.bulk_update(rows, ["samples"])


def _s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _clock_s() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        return float(cursor.fetchone()[0])
