# SPDX-License-Identifier: Apache-2.0
"""Who has, or had, a port of a public address. Read by planning's snapshots, the API and the pages.

The question costs one look into an index for each NAT hop that the packet has passed, however long the record is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from chains.models import PoolAllocation
from chains.models.addresses import PORT_BITS
from chains.planning import types
from drivers.nat import Block, holder

# Written as it is sent: thousands may be asked at a time, and composing it takes longer than answering it.
ALLOCATION_AT = """
SELECT row.id, row.blocks, tenant.id, tenant.name, row.vrf, row.chain_number, function.name || '@' || device.name,
       row.subscribers, row.public, row.block_size, row.since, row.until
  FROM chains_poolallocation AS row
  JOIN chains_tenant AS tenant ON tenant.id = row.tenant_id
  JOIN chains_offer AS offer ON offer.id = row.offer_id
  JOIN chains_device AS device ON device.id = offer.device_id
  JOIN chains_function AS function ON function.id = offer.function_id
 WHERE row.ports @> %(port)s::bigint AND tstzrange(row.since, row.until) @> %(at)s::timestamptz
   AND row.protocols ? %(protocol)s AND row.chain_number = coalesce(%(chain)s, row.chain_number)
"""
BLOCK_AT = """
SELECT subscriber, ports FROM chains_portblock
 WHERE ports @> %(port)s::bigint AND tstzrange(since, held_until) @> %(at)s::timestamptz
   AND tstzrange(since, until) @> %(at)s::timestamptz AND allocation_id = %(allocation)s
"""
LAST_PORT = 65535
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
    inside, found = address, None
    for _ in range(MAX_TRANSLATIONS):
        row = _allocation_at(inside, port, protocol, at, found.chain if found else None)
        if row is None or (tenant is not None and row.tenant_id != tenant):
            break
        block = _given_at(row, inside, port, at) if row.blocks else holder(*row.known, inside, port)
        if block is None:
            return None
        inside = block.subscriber
        if found is None:
            ends = (block.first_port, block.last_port, row.since, row.until)
            found = Subscriber(row.tenant, row.vrf, inside, row.chain, row.offer, *ends)
        else:
            found = replace(found, vrf=row.vrf, address=inside)
    return found


def allocations_in_force(chain_number: int) -> tuple[types.Allocation, ...]:
    """The public addresses that the chain has now, oldest first."""
    rows = PoolAllocation.objects.filter(chain_number=chain_number, until=None).order_by("pk")
    return tuple(
        types.Allocation(
            row.hop_position, str(row.offer), row.subscribers, row.public, row.block_size, row.vrf,
            tuple(row.protocols), row.blocks,
        )  # fmt: skip
        for row in rows.select_related("offer__device", "offer__function")
    )


def allocation_of(stored: Mapping[str, Any]) -> types.Allocation:
    """As a plan keeps it."""
    fields = {**stored, "protocols": tuple(stored.get("protocols", ()))}
    return types.Allocation(**fields)


class _Row(NamedTuple):
    key: int
    blocks: int
    tenant_id: int
    tenant: str
    vrf: str
    chain: int
    offer: str
    subscribers: str
    public: str
    block_size: int
    since: datetime
    until: datetime | None

    @property
    def known(self) -> tuple[str, str, int]:
        """All that decides about blocks that everybody has from the start."""
        return self.subscribers, self.public, self.block_size


def _given_at(row: _Row, address: str, port: int, at: datetime) -> Block | None:
    """Whose the block on demand was; its own index answers."""
    with connection.cursor() as cursor:
        cursor.execute(BLOCK_AT, {"port": _number(address, port), "at": at, "allocation": row.key})
        found = cursor.fetchone()
    if found is None:
        return None
    subscriber, ports = found
    first, last = (end & LAST_PORT for end in (ports.lower, ports.upper - 1))
    return Block(subscriber, address, first, last)


def _number(address: str, port: int) -> int:
    return (int(ipaddress.IPv4Address(address)) << PORT_BITS) + port


def _allocation_at(address: str, port: int, protocol: str, at: datetime, chain: int | None) -> _Row | None:
    """The constraint that forbids two answers is the index that finds the one."""
    with connection.cursor() as cursor:
        cursor.execute(ALLOCATION_AT, {"port": _number(address, port), "at": at, "protocol": protocol, "chain": chain})
        found = cursor.fetchone()
    return None if found is None else _Row(*found)
