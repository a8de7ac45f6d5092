# SPDX-License-Identifier: Apache-2.0
"""Port blocks on demand: who gets which, written down before any device is told.

Called by the engine through `record`. A subscriber's blocks lie side by side on one public address (RFC 6888, REQ-2:
paired pooling), so one range says them all; no block goes to anybody before it has rested.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.backends.postgresql.psycopg_any import NumericRange
from django.db.models import Q
from django.db.models.functions import Now

from chains.models import PoolAllocation, PortBlock
from chains.models.addresses import HOLD, PORT_BITS
from chains.services.clock import now
from drivers.nat import FIRST_PORT, Block, blocks_per_address

LAST_PORT = (1 << PORT_BITS) - 1


@dataclass(frozen=True, slots=True)
class Given:
    """held: one range for each subscriber. refused: who asked and got nothing, as no port next to his is free, or none.
    """

    held: tuple[Block, ...]
    refused: tuple[str, ...] = ()


def pools_claim(every_s: float) -> list[PoolAllocation]:
    """Those in force whose devices nobody has asked lately. Others find them claimed."""
    due = Q(asked_at=None) | Q(asked_at__lt=Now() - timedelta(seconds=every_s))
    found = PoolAllocation.objects.filter(due, until=None, blocks__gt=0, offer__device__is_enabled=True)
    found = found.exclude(offer__device__status__closed_until__gt=Now())
    with transaction.atomic():
        rows = list(found.select_related("offer__device").select_for_update(of=("self",), skip_locked=True))
        PoolAllocation.objects.filter(pk__in=[row.pk for row in rows]).update(asked_at=Now())
    return rows


@transaction.atomic
def blocks_settle(
    allocation: PoolAllocation, wanted: Mapping[str, int], seen: Collection[str], silent_s: float
) -> Given | None:
    """Give what is wanted, take back what nobody used for `silent_s`; None: the pool is not in force any more.

    wanted: subscriber -> of how many blocks he has used up every port; a wish that was met already is passed over.
    """
    pool = PoolAllocation.objects.select_for_update(of=("self",)).filter(pk=allocation.pk, until=None).first()
    if pool is None:
        return None
    at = now()
    in_use = PortBlock.objects.filter(allocation=pool, until=None)
    idle = in_use.filter(since__lt=at - timedelta(seconds=silent_s)).exclude(subscriber__in=[*seen, *wanted])
    idle.update(until=at, held_until=at + HOLD)
    held: dict[str, list[int]] = defaultdict(list)
    for row in in_use.order_by("ports"):
        held[row.subscriber].append(row.ports.lower)
    inside, refused = ipaddress.IPv4Network(pool.subscribers), []
    free = _free(pool, at) if wanted else {}
    for subscriber in sorted(wanted, key=ipaddress.IPv4Address):
        mine = held.get(subscriber, [])
        if wanted[subscriber] != len(mine) or ipaddress.IPv4Address(subscriber) not in inside:
            continue
        first = _next(pool, mine, free) if len(mine) < pool.blocks else None
        if first is None:
            refused.append(subscriber)
            continue
        free[first >> PORT_BITS].remove(first)
        held[subscriber] = sorted([*mine, first])
        PortBlock.objects.create(
            allocation=pool, subscriber=subscriber, ports=NumericRange(first, first + pool.block_size), since=at
        )
    return Given(tuple(_ranges(held, pool.block_size)), tuple(refused))


def _free(pool: PoolAllocation, at: datetime) -> dict[int, list[int]]:
    """By public address the blocks that are neither in use nor resting, whoever had them."""
    rows = PortBlock.objects.filter(Q(held_until=None) | Q(held_until__gt=at), ports__overlap=pool.ports)
    taken = sorted((row.ports.lower, row.ports.upper) for row in rows.order_by())
    found: dict[int, list[int]] = {}
    size = pool.block_size
    for address in range(pool.ports.lower >> PORT_BITS, pool.ports.upper >> PORT_BITS):
        start = (address << PORT_BITS) + FIRST_PORT
        whole = range(start, start + blocks_per_address(size) * size, size)
        here = [span for span in taken if span[0] >> PORT_BITS == address]
        found[address] = [first for first in whole if not any(low < first + size and first < up for low, up in here)]
    return found


def _next(pool: PoolAllocation, mine: list[int], free: Mapping[int, list[int]]) -> int | None:
    """Next to those that the subscriber has; a first one in the middle of the widest gap, where others may follow."""
    if mine:
        beside = (mine[-1] + pool.block_size, mine[0] - pool.block_size)
        return next((first for first in beside if first in free.get(first >> PORT_BITS, ())), None)
    most = max(free.values(), key=len, default=[])
    if not most:
        return None
    gaps: list[list[int]] = [[most[0]]]
    for first in most[1:]:
        if first == gaps[-1][-1] + pool.block_size:
            gaps[-1].append(first)
        else:
            gaps.append([first])
    widest = max(gaps, key=len)
    return widest[len(widest) // 2]


def _ranges(held: Mapping[str, list[int]], size: int) -> Iterator[Block]:
    for subscriber, firsts in sorted(held.items()):
        if firsts:
            public = str(ipaddress.IPv4Address(firsts[0] >> PORT_BITS))
            yield Block(subscriber, public, firsts[0] & LAST_PORT, (firsts[-1] & LAST_PORT) + size - 1)
