# SPDX-License-Identifier: Apache-2.0
"""Everything in force at once: the fabric with all that is taken, and every chain with its part. For questions, not
for plans: the engine places what a question touches and writes nothing.
"""

from __future__ import annotations

from collections import defaultdict

from chains.models import Chain, LinkUse, Use
from chains.planning import types
from chains.planning.whatif import Held
from chains.selectors.fabric import whole_snapshot
from chains.selectors.intent import chain_snapshot


def all_in_force() -> tuple[types.Fabric, tuple[Held, ...]]:
    """About eight queries for each chain."""
    offers: dict[int, list[types.OfferUse]] = defaultdict(list)
    uses = Use.objects.select_related("offer__function", "offer__device").order_by("chain_id", "hop_position", "id")
    for use in uses:
        found = types.OfferUse(use.hop_position, str(use.offer), use.bandwidth_mbps, use.entries)
        offers[use.chain_id].append(found)
    links: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
    for row in LinkUse.objects.select_related("link__a__device", "link__b__device").order_by("id"):
        links[row.chain_id][f"{row.link.a} - {row.link.b}"] = (row.from_a_mbps, row.from_b_mbps)
    rows = Chain.objects.filter(revision__gt=0, is_wanted=True).select_related("tenant").order_by("pk")
    held = tuple(Held(chain_snapshot(row), tuple(offers[row.pk]), links[row.pk]) for row in rows)
    return whole_snapshot(), held
