# SPDX-License-Identifier: Apache-2.0
"""Is what a plan counted on still free? Called by `services.intent` under the admission lock, before a change exists.

Two plans made side by side see the same free room. The second to be applied is refused here, before any
device is touched: capacity, table entries, exclusive appliances, stage tags and NAT addresses.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator

from chains.errors import Conflict, FieldError
from chains.models import Link, Offer, Plan
from chains.planning.addresses import mapping_name
from chains.selectors.addresses import allocation_of
from chains.selectors.usage import LinkTaken, OfferTaken, Taken, taken_by_others


def room_check(plan: Plan) -> None:
    """Errors: Conflict that names everything that was taken meanwhile."""
    if plan.goal in (Plan.Goal.REMOVE, Plan.Goal.CLOSE):  # takes nothing that it has not
        return
    taken = taken_by_others(plan.chain_id)
    faults = [*_offers(plan, taken), *_links(plan, taken), *_addresses(plan, taken)]
    if faults:
        errors = tuple(FieldError("", "room-taken", fault) for fault in faults)
        detail = f"{'; '.join(faults[:3])}. Fix: ask for a new plan."
        raise Conflict(detail, code="room-taken", errors=errors)


def _offers(plan: Plan, taken: Taken) -> Iterator[str]:
    wanted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for use in plan.summary.get("offer_uses", ()):
        wanted[use["offer"]][0] += use["bandwidth_mbps"]
        wanted[use["offer"]][1] += use["entries"]
    devices = [name.partition("@")[2] for name in wanted]
    rows = {
        str(row): row
        for row in Offer.objects.filter(device__name__in=devices).select_related("device", "function")
    }
    for name, (mbps, entries) in wanted.items():
        row, used = rows.get(name), taken.offers.get(name, OfferTaken())
        if row is None or not row.is_enabled or not row.device.is_enabled:
            yield f"{name} is no longer offered"
            continue
        if row.capacity_mbps and used.mbps + mbps > row.capacity_mbps:
            yield f"{name} has {row.capacity_mbps - used.mbps} Mb/s left of {mbps} wanted"
        if row.entries and used.entries + entries > row.entries:
            yield f"{name} has {row.entries - used.entries} table entries left of {entries} wanted"
        if not row.is_shared and used.tenants - {plan.tenant.name}:
            yield f"{name} serves another tenant"  # whose it is, is not this tenant's business


def _links(plan: Plan, taken: Taken) -> Iterator[str]:
    uses = plan.summary.get("link_uses", ())
    devices = {use["a"].partition(":")[0] for use in uses}
    rows = {
        (str(row.a), str(row.b)): row
        for row in Link.objects.filter(a__device__name__in=devices).select_related("a__device", "b__device")
    }
    for use in uses:
        ends = (use["a"], use["b"])
        row, used = rows.get(ends), taken.links.get(ends, LinkTaken())
        if row is None:
            yield f"the link {ends[0]} - {ends[1]} is gone"
            continue
        free = (row.capacity_mbps - used.from_a_mbps, row.capacity_mbps - used.from_b_mbps)
        if use["from_a_mbps"] > free[0] or use["from_b_mbps"] > free[1]:
            yield f"the link {ends[0]} - {ends[1]} has {min(free)} Mb/s left"
        if used.tags.intersection(use["tags"]):
            yield f"stage tags on the link {ends[0]} - {ends[1]} were taken"


def _addresses(plan: Plan, taken: Taken) -> Iterator[str]:
    for given in plan.allocations:
        wanted, others = ipaddress.ip_network(given["public"]), taken.offers.get(given["offer"], OfferTaken())
        mapping = mapping_name(plan.tenant.name, allocation_of(given))
        if any(wanted.overlaps(ipaddress.ip_network(public)) for public in others.public):
            yield f"public addresses of {given['offer']} were given to another chain"
        elif any(wanted.overlaps(ipaddress.ip_network(public)) for public, name in others.resting if name != mapping):
            yield f"public addresses of {given['offer']} were given to others and let go a moment ago"
