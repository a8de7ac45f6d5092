# SPDX-License-Identifier: Apache-2.0
"""Who has which public address and ports, and who had them: written before any device translates, kept for ever.

A port of an address is one number, address * 65536 + port, so that a block is one range and the database itself can
refuse what overlaps: at no moment does a port belong to two, and for HOLD after its owner let it go to nobody else
(RFC 6888, REQ-8). A port belongs to one subscriber for all protocols.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import BigIntegerRangeField, DateTimeRangeField, RangeOperators
from django.db import models

from chains.models.inventory import Offer
from chains.models.tenancy import Tenant

HOLD = timedelta(seconds=120)
PORT_BITS = 16


class Period(models.Func):
    """From one moment, included, to another, left out; a null end is open."""

    function = "TSTZRANGE"
    output_field: ClassVar[models.Field] = DateTimeRangeField()  # type: ignore[type-arg]


IN_USE = Period("since", "until")
NOT_FREE = Period("since", "held_until")


def _rests(name: str) -> models.CheckConstraint:
    """What was let go rests; what is in use does not."""
    in_use = models.Q(until__isnull=True, held_until__isnull=True)
    let_go = models.Q(until__gte=models.F("since"), held_until__gte=models.F("until") + HOLD)
    return models.CheckConstraint(condition=in_use | let_go, name=name)


class PoolAllocation(models.Model):
    """Public addresses given to a chain's NAT hop. chain_number, not the chain: the record outlives it.

    subscribers: what is translated, in `vrf`. public, ports: to what. block_size: ports that a subscriber gets at a
    time; blocks: how many at most if they are given on demand, 0 for one from the start (drivers.nat says which).
    protocols: those that are translated. mapping: names all that decides who has a port; the same mapping may come
    back at once, as everybody gets the same ports again; null: not known, of records of old. held_until: nobody
    else may have the addresses before. asked_at: when a device was last asked who wants a block.
    """

    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="allocations")
    chain_number = models.PositiveIntegerField()
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="allocations")
    hop_position = models.PositiveSmallIntegerField()
    vrf = models.CharField(max_length=63, blank=True)
    subscribers = models.CharField(max_length=43)
    public = models.CharField(max_length=43)
    block_size = models.PositiveIntegerField()
    blocks = models.PositiveSmallIntegerField(default=0)
    protocols = models.JSONField(default=list)
    mapping = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    ports = BigIntegerRangeField()
    since = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["chain_number"], name="pool_by_chain"),
            # Every second somebody looks for them.
            models.Index(
                fields=["asked_at"], condition=models.Q(until=None, blocks__gt=0), name="pool_on_demand"
            ),
        ]
        constraints = [
            ExclusionConstraint(
                name="pool_public_once",
                expressions=[("ports", RangeOperators.OVERLAPS), (IN_USE, RangeOperators.OVERLAPS)],
            ),
            ExclusionConstraint(
                name="pool_public_rests",
                expressions=[
                    ("ports", RangeOperators.OVERLAPS),
                    (NOT_FREE, RangeOperators.OVERLAPS),
                    ("mapping", RangeOperators.NOT_EQUAL),
                ],
            ),
            _rests("pool_rests"),
        ]


class PortBlock(models.Model):
    """One block of an allocation whose blocks are given on demand: who has it, and since when."""

    allocation = models.ForeignKey(PoolAllocation, on_delete=models.PROTECT, related_name="given")
    subscriber = models.CharField(max_length=43)
    ports = BigIntegerRangeField()
    since = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["allocation", "subscriber"], condition=models.Q(until=None), name="block_in_use")
        ]
        constraints = [
            ExclusionConstraint(
                name="port_block_once",
                expressions=[("ports", RangeOperators.OVERLAPS), (NOT_FREE, RangeOperators.OVERLAPS)],
            ),
            _rests("block_rests"),
        ]
