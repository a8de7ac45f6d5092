# SPDX-License-Identifier: Apache-2.0
"""The record of who gets which public addresses: opened before a device translates to them, closed after it stopped.

Called by `progress` inside its transactions, at the database's time. That nothing overlaps, and that what was let go
rests before somebody else has it, is the database's own doing: see models.addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.backends.postgresql.psycopg_any import NumericRange
from psycopg.errors import ExclusionViolation

from chains.errors import Conflict
from chains.models import Plan, PoolAllocation, PortBlock
from chains.models.addresses import HOLD, PORT_BITS
from chains.planning.addresses import mapping_name
from chains.planning.types import Allocation
from chains.selectors.addresses import allocation_of
from chains.services.clock import now
from chains.services.taking import offers_of
from drivers.nat import NAT_PROTOCOLS


def ports_of(public: str) -> NumericRange:
    """All ports of all addresses of a prefix, as one range."""
    network = ipaddress.IPv4Network(public)
    first, last = int(network.network_address), int(network.broadcast_address)
    return NumericRange(first << PORT_BITS, (last + 1) << PORT_BITS)


def allocations_open(plan: Plan) -> None:
    """Write down the plan's allocations that are not in force yet. What is translated now stays recorded as well.

    Errors: Conflict if somebody else has the addresses, or let them go too lately.
    """
    offers = offers_of(plan) if plan.allocations else {}
    for wanted in map(allocation_of, plan.allocations):
        mapping = mapping_name(plan.tenant.name, wanted)
        active = PoolAllocation.objects.select_for_update().filter(
            offer_id=offers[wanted.offer], public=wanted.public, chain_number=plan.chain_id, until=None
        )
        held = active.filter(mapping=mapping).first()
        protocols = [*(held.protocols if held else ()), *wanted.protocols]
        protocols = [name for name in NAT_PROTOCOLS if name in protocols]
        if held is None or held.protocols != protocols:
            at = now()
            _close([held.pk] if held else [], at)
            _open(plan, wanted, offers[wanted.offer], protocols, at)


def allocations_settle(chain_number: int, plan: Plan | None) -> None:
    """Close what the plan does not hold, and open what it holds; None: nothing is in force."""
    active = PoolAllocation.objects.filter(chain_number=chain_number, until=None)
    if plan is None:
        _close(active.values_list("pk", flat=True), now())
        return
    wanted = {}
    for allocation in map(allocation_of, plan.allocations):
        wanted[allocation.offer, mapping_name(plan.tenant.name, allocation)] = allocation
    over: list[int] = []
    for row in active.select_related("offer__device", "offer__function"):
        stays = wanted.get((str(row.offer), row.mapping))
        if stays is None or set(row.protocols) - set(stays.protocols):
            over.append(row.pk)
        elif row.hop_position != stays.hop:
            PoolAllocation.objects.filter(pk=row.pk).update(hop_position=stays.hop)
    _close(over, now())
    allocations_open(plan)


def _close(keys: Iterable[int], at: datetime) -> None:
    over = list(keys)
    PortBlock.objects.filter(allocation__in=over, until=None).update(until=at, held_until=at + HOLD)
    PoolAllocation.objects.filter(pk__in=over).update(until=at, held_until=at + HOLD)


def _open(plan: Plan, wanted: Allocation, offer: int, protocols: list[str], at: datetime) -> None:
    try:
        with transaction.atomic():
            PoolAllocation.objects.create(
                offer_id=offer,
                chain_number=plan.chain_id,
                tenant=plan.tenant,
                hop_position=wanted.hop,
                vrf=wanted.vrf,
                subscribers=wanted.subscribers,
                public=wanted.public,
                block_size=wanted.block_size,
                blocks=wanted.blocks,
                protocols=protocols,
                mapping=mapping_name(plan.tenant.name, wanted),
                ports=ports_of(wanted.public),
                since=at,
            )
    except IntegrityError as error:
        if not isinstance(error.__cause__, ExclusionViolation):
            raise
        detail = f"{wanted.public} of {wanted.offer} is another's, or was until a moment ago"
        raise Conflict(detail, code="addresses-taken") from error
