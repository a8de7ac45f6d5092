# SPDX-License-Identifier: Apache-2.0
"""What a chain in force takes: contributions, uses of offers and links. Called by `progress` only.

Always inside the caller's transaction, with the chain locked. Between the decision and the end of a change
the old and the new path are both on devices, so both are counted.
"""

from __future__ import annotations

from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from chains.models import (
    Chain,
    Change,
    Contribution,
    Device,
    DeviceStatus,
    Finding,
    Link,
    LinkUse,
    Offer,
    Plan,
    Use,
)
from chains.services.statuses import statuses_open

# One parameter for all of them: composing one for each device would take longer than writing them.
CONTRIBUTE = """
INSERT INTO chains_contribution (chain_id, device_id, items)
SELECT %(chain)s, given.device, given.items FROM jsonb_to_recordset(%(rows)s) AS given (device bigint, items jsonb)
ON CONFLICT (chain_id, device_id) DO UPDATE SET items = EXCLUDED.items
"""


def contributions_write(chain: Chain, plan: Plan) -> None:
    """The plan's target becomes what the chain wants. Devices whose part changed get a new desired generation."""
    held = dict(Contribution.objects.filter(chain=chain).values_list("device__name", "items"))
    target = {name: items for name, items in plan.target.items() if items}
    touched = {name for name in held.keys() | target.keys() if held.get(name) != target.get(name)}
    ids = dict(Device.objects.filter(name__in=touched | target.keys()).values_list("name", "pk"))
    Contribution.objects.filter(chain=chain).exclude(device__name__in=target.keys()).delete()
    rows = [{"device": ids[name], "items": target[name]} for name in sorted(touched & target.keys())]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(CONTRIBUTE, {"chain": chain.pk, "rows": Jsonb(rows)})
    # What was adopted from a device is the plan's matter from now on.
    Finding.objects.filter(code="drift-adopted", chain=chain, closed_at=None).update(closed_at=Now())
    touched_ids = sorted(ids[name] for name in touched)
    statuses_open(touched_ids)
    statuses = DeviceStatus.objects.select_for_update().filter(device__in=touched_ids).order_by("device_id")
    locked = list(statuses.values_list("pk", flat=True))  # in one order, so that two decisions cannot dead-lock
    DeviceStatus.objects.filter(pk__in=locked).update(desired_generation=F("desired_generation") + 1)


def uses_add(chain: Chain, plan: Plan) -> None:
    """New uses beside the old ones; where both take the same, the larger counts. As many queries for a hundred."""
    offers, links = offers_of(plan), _links(plan)
    held = {(row.hop_position, row.offer_id): row for row in Use.objects.filter(chain=chain)}
    uses = []
    for use in plan.summary.get("offer_uses", ()):
        offer = offers[use["offer"]]
        old = held.get((use["hop"], offer))
        row = Use(chain=chain, hop_position=use["hop"], offer_id=offer)
        row.bandwidth_mbps = max(use["bandwidth_mbps"], old.bandwidth_mbps if old else 0)
        row.entries = max(use["entries"], old.entries if old else 0)
        uses.append(row)
    Use.objects.bulk_create(
        uses,
        update_conflicts=True,
        unique_fields=["chain", "hop_position", "offer"],
        update_fields=["bandwidth_mbps", "entries"],
    )
    held_links = {row.link_id: row for row in LinkUse.objects.filter(chain=chain)}
    link_uses = []
    for use in plan.summary.get("link_uses", ()):
        link = links[use["a"], use["b"]]
        before = held_links.get(link)
        taken = LinkUse(chain=chain, link_id=link)
        taken.from_a_mbps = max(use["from_a_mbps"], before.from_a_mbps if before else 0)
        taken.from_b_mbps = max(use["from_b_mbps"], before.from_b_mbps if before else 0)
        taken.tags = sorted({*use["tags"], *(before.tags if before else ())})
        link_uses.append(taken)
    LinkUse.objects.bulk_create(
        link_uses,
        update_conflicts=True,
        unique_fields=["chain", "link"],
        update_fields=["from_a_mbps", "from_b_mbps", "tags"],
    )


def uses_settle(chain: Chain, plan: Plan) -> None:
    """Exactly what the plan says: what only the old path took is free again. Nothing is written where it is so."""
    offers, links = offers_of(plan), _links(plan)
    wanted = {
        (use["hop"], offers[use["offer"]]): (use["bandwidth_mbps"], use["entries"])
        for use in plan.summary.get("offer_uses", ())
    }
    uses = Use.objects.filter(chain=chain)
    rows = uses.values_list("hop_position", "offer_id", "bandwidth_mbps", "entries")
    if {(hop, offer): (mbps, entries) for hop, offer, mbps, entries in rows} != wanted:
        uses.delete()
        Use.objects.bulk_create(
            Use(chain=chain, hop_position=hop, offer_id=offer, bandwidth_mbps=mbps, entries=entries)
            for (hop, offer), (mbps, entries) in wanted.items()
        )
    wanted_links = {
        links[use["a"], use["b"]]: (use["from_a_mbps"], use["from_b_mbps"], sorted(use["tags"]))
        for use in plan.summary.get("link_uses", ())
    }
    link_uses = LinkUse.objects.filter(chain=chain)
    link_rows = link_uses.values_list("link_id", "from_a_mbps", "from_b_mbps", "tags")
    if {link: (from_a, from_b, tags) for link, from_a, from_b, tags in link_rows} != wanted_links:
        link_uses.delete()
        LinkUse.objects.bulk_create(
            LinkUse(chain=chain, link_id=link, from_a_mbps=from_a, from_b_mbps=from_b, tags=tags)
            for link, (from_a, from_b, tags) in wanted_links.items()
        )


def plan_in_force(chain: Chain, *, but: Plan | None = None) -> Plan | None:
    """The plan that the devices hold now, None if none."""
    applied = Plan.objects.filter(chain=chain, change__status=Change.Status.SUCCEEDED)
    if but is not None:
        applied = applied.exclude(pk=but.pk)
    plan = applied.order_by("-change__finished_at", "-id").first()
    return None if plan is None or plan.goal == Plan.Goal.REMOVE else plan


def offers_of(plan: Plan) -> dict[str, int]:
    """Their ids by name."""
    names = {use["offer"] for use in (*plan.summary.get("offer_uses", ()), *plan.allocations)}
    devices = {name.partition("@")[2] for name in names}
    rows = Offer.objects.filter(device__name__in=devices).order_by()
    found = rows.values_list("function__name", "device__name", "pk")
    return {name: pk for function, device, pk in found if (name := f"{function}@{device}") in names}


def _links(plan: Plan) -> dict[tuple[str, str], int]:
    """Their ids by the names of their ends."""
    ends = {(use["a"], use["b"]) for use in plan.summary.get("link_uses", ())}
    devices = {a.partition(":")[0] for a, _ in ends}
    rows = Link.objects.filter(a__device__name__in=devices).order_by()
    found = rows.values_list("a__device__name", "a__name", "b__device__name", "b__name", "pk")
    named = {(f"{a}:{a_port}", f"{b}:{b_port}"): pk for a, a_port, b, b_port, pk in found}
    return {both: named[both] for both in ends if both in named}
