# SPDX-License-Identifier: Apache-2.0
"""What a placement costs, term by term: the operator's prices, and what a function draws of what has a price. Pure.

Called by candidates (offers) and routing (links). All costs are in the operator's own cost unit, per the same time (an
hour, a month: whatever the prices mean). Part of `types`. It must not decide who may serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Prices:
    """Cost units for one of: a Gb/s over one link; a microsecond one way; a CPU core; a watt; a table entry of a
    switch; moving a hop that is in force (flows may break).

    entry_scarcity: by how much dearer the last entry of a table is than the first, as a factor on top (2: three times).
    """

    link_per_gbps: float = 1.0
    latency_per_us: float = 0.001
    core: float = 0.0
    watt: float = 0.0
    entry: float = 0.0
    entry_scarcity: float = 0.0
    move: float = 5.0


NAMES = tuple(field.name for field in fields(Prices))
DEFAULT = Prices()


class Draws(Protocol):
    """What of an offer has a price. cores, watts: for a Gb/s; measured ones stand in for declared ones."""

    @property
    def cost_per_gbps(self) -> float: ...
    @property
    def cost_fixed(self) -> float: ...
    @property
    def licence_per_gbps(self) -> float: ...
    @property
    def cores_per_gbps(self) -> float: ...
    @property
    def watts_per_gbps(self) -> float: ...
    @property
    def latency_us(self) -> int: ...
    @property
    def entries(self) -> int: ...
    @property
    def used_entries(self) -> int: ...


def terms(
    prices: Prices, offers: Sequence[Draws], gbps: float, entries: int, hairpin_us: int, latency_weight: float
) -> dict[str, float]:
    """Cost units by term for carrying `gbps`, shared evenly by the offers; terms that are always 0 are left out.

    entries: table entries taken in each; hairpin_us: the way from the switch to the function and back.
    """
    share = gbps / len(offers)
    found = {
        "function": sum(offer.cost_per_gbps * share for offer in offers),
        "instance": sum(offer.cost_fixed for offer in offers),
        "licence": sum(offer.licence_per_gbps * share for offer in offers),
        "cpu": prices.core * sum(offer.cores_per_gbps * share for offer in offers),
        "power": prices.watt * sum(offer.watts_per_gbps * share for offer in offers),
        "entries": sum(entries_cost(prices, offer, entries) for offer in offers) if entries else 0.0,
        "latency": max(offer.latency_us for offer in offers) * latency_weight,
        "hairpin": hairpin_us * latency_weight,
    }
    always = ("function", "instance", "latency")
    return {name: cost for name, cost in found.items() if cost or name in always}


def entries_cost(prices: Prices, offer: Draws, entries: int) -> float:
    """Dearer the fuller the table is, at the middle of what is taken; a table without a limit is never scarce."""
    fill = (offer.used_entries + entries / 2) / offer.entries if offer.entries else 0.0
    return prices.entry * entries * (1 + prices.entry_scarcity * min(1.0, fill))
