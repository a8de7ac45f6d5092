# SPDX-License-Identifier: Apache-2.0
"""Who has, or had, a port of a public address. Read by planning's snapshots, the API and the pages.

The question costs one look into an index for each NAT hop that the packet has passed, however long the record is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from chains.models import PoolAllocation
from chains.models.addresses import IN_USE, PORT_BITS
from chains.planning import types
from drivers.nat import holder

# More NAT hops than that no chain has.
MAX_TRANSLATIONS = 12


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Whose a port was. address: inside, in `vrf` of the tenant. first_port, last_port: of the public block.

    since, until: of the public address' allocation; until is None while it is in force.
    """

    tenant: str
    vrf: str
    address: str
    chain: int
    offer: str
    first_port: int
    last_port: int
    since: datetime
    until: datetime | None


def subscriber_at(
    address: str, port: int, protocol: str, at: datetime, *, tenant: int | None = None
) -> Subscriber | None:
    """The one subscriber who had the public port at that moment; None if it was nobody's.

    port: of TCP and UDP, for ICMP the identifier. tenant: only if it was this one's. Where several NAT hops follow
    one another it is asked on until the tenant's own address is found.
    """
    outer = row = _allocation_at(PoolAllocation.objects.all(), address, port, protocol, at)
    first: tuple[int, int] | None = None
    inside, vrf = address, ""
    for _ in range(MAX_TRANSLATIONS):
        if row is None:
            break
        block = holder(row.subscribers, row.public, row.block_size, inside, port)
        if block is None:
            return None
        first = first or (block.first_port, block.last_port)
        inside, vrf = block.subscriber, row.vrf
        of_chain = PoolAllocation.objects.filter(chain_number=row.chain_number)
        row = _allocation_at(of_chain.exclude(pk=row.pk), inside, port, protocol, at)
    if outer is None or first is None or (tenant is not None and outer.tenant_id != tenant):
        return None
    return Subscriber(
        outer.tenant.name, vrf, inside, outer.chain_number, str(outer.offer), *first, outer.since, outer.until
    )


def allocations_in_force(chain_number: int) -> tuple[types.Allocation, ...]:
    """The public addresses that the chain has now, oldest first."""
    rows = PoolAllocation.objects.filter(chain_number=chain_number, until=None).order_by("pk")
    return tuple(
        types.Allocation(
            row.hop_position, str(row.offer), row.subscribers, row.public, row.block_size, row.vrf, tuple(row.protocols)
        )
        for row in rows.select_related("offer__device", "offer__function")
    )


def allocation_of(stored: Mapping[str, Any]) -> types.Allocation:
    """As a plan keeps it."""
    fields = {**stored, "protocols": tuple(stored.get("protocols", ()))}
    return types.Allocation(**fields)


def _allocation_at(
    rows: QuerySet[PoolAllocation], address: str, port: int, protocol: str, at: datetime
) -> PoolAllocation | None:
    number = (int(ipaddress.IPv4Address(address)) << PORT_BITS) + port
    found = rows.alias(in_use=IN_USE).filter(ports__contains=number, in_use__contains=at, protocols__contains=protocol)
    return found.select_related("tenant", "offer__device", "offer__function").order_by().first()
