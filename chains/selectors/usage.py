# SPDX-License-Identifier: Apache-2.0
"""What the chains take of the fabric: in force (rows) and promised to changes under way (their plans).

Read by `selectors.fabric` for placement and by `services.room` before a plan is let through. Both must
count the same, or two plans made at the same time could take the same tag, addresses or capacity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import CharField, Exists, F, Func, OuterRef, Q, Sum
from django.db.models.functions import Now

from chains.models import Change, LinkUse, Plan, PoolAllocation, Use

LinkName = tuple[str, str]  # "device:port" of both ends, in the link's own order
# Begun: devices may hold a part of it.
HALVES = (Change.Status.RUNNING, Change.Status.REVERTING)
UNDER_WAY = (Change.Status.PENDING, *HALVES)
# Holds its chain and its room; one that waits for a second person is never due.
OPEN = (Change.Status.WAITING, *UNDER_WAY)
ENDED = tuple(status for status in Change.Status if status not in OPEN)


@dataclass(slots=True)
class OfferTaken:
    """By other chains. public: NAT prefixes. resting: those let go by anyone too lately for another mapping."""

    mbps: int = 0
    entries: int = 0
    tenants: set[str] = field(default_factory=set)
    public: set[str] = field(default_factory=set)
    resting: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class LinkTaken:
    """By other chains, in each direction."""

    from_a_mbps: int = 0
    from_b_mbps: int = 0
    tags: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Taken:
    """offers by name (`function@device`), links by the names of their ends."""

    offers: Mapping[str, OfferTaken]
    links: Mapping[LinkName, LinkTaken]


def taken_by_others(chain_id: int | None) -> Taken:
    """All that other chains than this one hold or were promised. Seven queries, whatever their number."""
    offers: dict[str, OfferTaken] = defaultdict(OfferTaken)
    links: dict[LinkName, LinkTaken] = defaultdict(LinkTaken)
    _add_offers(offers, chain_id)
    _add_links(links, chain_id)
    for plan in plans_under_way(chain_id):
        _add_plan(offers, links, plan)
    return Taken(offers, links)


def plans_under_way(but_of_chain: int | None) -> list[Plan]:
    """Plans that were let through: their items may be on devices, or will be.

    A failed change counts until a later one succeeded.
    """
    later = Change.objects.filter(
        plan__chain=OuterRef("chain"), id__gt=OuterRef("change__id"), status=Change.Status.SUCCEEDED
    )
    found = Plan.objects.filter(
        Q(change__status__in=OPEN) | Q(change__status=Change.Status.FAILED) & ~Exists(later)
    ).exclude(chain=None)
    if but_of_chain is not None:
        found = found.exclude(chain=but_of_chain)
    return list(found.select_related("tenant").only("summary", "allocations", "tenant__name").order_by("id"))


def _add_offers(offers: dict[str, OfferTaken], chain_id: int | None) -> None:
    names = ("offer__function__name", "offer__device__name")
    uses = Use.objects.exclude(chain=chain_id) if chain_id is not None else Use.objects.all()
    rows = (
        uses.order_by()
        .values_list(*names)
        .annotate(Sum("bandwidth_mbps"), Sum("entries"), names=ArrayAgg("chain__tenant__name", distinct=True))
    )
    for function, device, mbps, entries, tenants in rows:
        offers[f"{function}@{device}"] = OfferTaken(mbps, entries, set(tenants))
    active = PoolAllocation.objects.filter(until=None)
    if chain_id is not None:
        active = active.exclude(chain_number=chain_id)
    for function, device, public in active.order_by().values_list(*names, "public"):
        offers[f"{function}@{device}"].public.add(public)
    resting = PoolAllocation.objects.filter(held_until__gt=Now()).order_by()
    for function, device, public, mapping in resting.values_list(*names, "public", "mapping"):
        offers[f"{function}@{device}"].resting.add((public, mapping or ""))


def _add_links(links: dict[LinkName, LinkTaken], chain_id: int | None) -> None:
    ends = ("link__a__device__name", "link__a__name", "link__b__device__name", "link__b__name")
    uses = (
        LinkUse.objects.exclude(chain=chain_id) if chain_id is not None else LinkUse.objects.all()
    ).order_by()
    sums = uses.values_list(*ends).annotate(Sum("from_a_mbps"), Sum("from_b_mbps"))
    for a_device, a_port, b_device, b_port, from_a, from_b in sums:
        links[f"{a_device}:{a_port}", f"{b_device}:{b_port}"] = LinkTaken(from_a, from_b)
    each_tag = Func(
        F("tags"), function="jsonb_array_elements_text", output_field=CharField(), set_returning=True
    )
    tags = uses.exclude(tags=[]).annotate(tag=each_tag).values_list(*ends, "tag").distinct()
    for a_device, a_port, b_device, b_port, tag in tags:
        links[f"{a_device}:{a_port}", f"{b_device}:{b_port}"].tags.add(int(tag))


def _add_plan(offers: dict[str, OfferTaken], links: dict[LinkName, LinkTaken], plan: Plan) -> None:
    for use in plan.summary.get("offer_uses", ()):
        offer = offers[use["offer"]]
        offer.mbps += use["bandwidth_mbps"]
        offer.entries += use["entries"]
        offer.tenants.add(plan.tenant.name)
    for use in plan.summary.get("link_uses", ()):
        link = links[use["a"], use["b"]]
        link.from_a_mbps += use["from_a_mbps"]
        link.from_b_mbps += use["from_b_mbps"]
        link.tags.update(use["tags"])
    for allocation in plan.allocations:
        offers[allocation["offer"]].public.add(allocation["public"])
