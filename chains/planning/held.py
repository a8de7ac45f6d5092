# SPDX-License-Identifier: Apache-2.0
"""What a chain holds of what it shares with others: addresses, offers, buckets of its groups; part of `types`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allocation:
    """Public addresses for a NAT hop: recorded before they are activated.

    vrf: where the subscribers have their addresses. protocols: those that are translated. blocks: as in
    drivers.state.NatPool.
    """

    hop: int
    offer: str
    subscribers: str
    public: str
    block_size: int
    vrf: str = ""
    protocols: tuple[str, ...] = ()
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class OfferUse:
    hop: int
    offer: str
    bandwidth_mbps: int
    entries: int


@dataclass(frozen=True, slots=True)
class Buckets:
    """A group's members by bucket of the source prefixes (a power of two of them), as offer names.

    homes: whose each bucket is: of a member that was lost, the others only keep it.
    """

    owners: tuple[str, ...]
    homes: tuple[str, ...]
