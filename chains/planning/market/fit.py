# SPDX-License-Identifier: Apache-2.0
"""From routes that may not fit together to a placement that does.

Wanted routes are booked in order while there is room; who finds none is placed anew at the prices in force,
largest first, and one of those already placed makes room where nothing else helps. Called by solve and churn.
"""

from __future__ import annotations

from math import inf

import numpy as np

from chains.planning.market.single import Desk
from chains.planning.market.types import Found, Ints, Routes

Placed = dict[int, Found]


def wanted(held: Routes, rows: Ints, desk: Desk) -> list[tuple[int, Found]]:
    """As (chain, route), in the order of `rows`."""
    starts, arcs, legs = held.starts.tolist(), held.arcs.tolist(), held.legs.tolist()
    sites, chains = held.sites.tolist(), held.chain.tolist()
    found = []
    for row in rows.tolist():
        chain, first, end = chains[row], starts[row], starts[row + 1]
        at = tuple([site for site in sites[row] if site >= 0])
        way = tuple(arcs[first:end])
        found.append((chain, Found(at, way, tuple(legs[first:end]), desk.cost(chain, at, way), 0.0)))
    return found


def fit(desk: Desk, routes: list[tuple[int, Found]], others: list[int]) -> tuple[Placed, list[int]]:
    """Books what fits, then the rest and `others`. Result: what is placed, and the chains that are not."""
    placed: Placed = {}
    left: list[int] = list(others)
    for chain, found in routes:
        if within(desk, chain, found):
            desk.book(chain, found.sites, found.arcs)
            placed[chain] = found
        else:
            left.append(chain)
    return placed, insert(desk, placed, left)


def insert(desk: Desk, placed: Placed, chains: list[int]) -> list[int]:
    """Place them one by one at the prices in force, largest first. Result: those without a place."""
    homeless = []
    for chain in sorted(chains, key=lambda chain: (-desk.mbps[chain], chain)):
        found = desk.place(chain)
        if found is None or found.cost >= desk.demands.penalty[chain]:
            homeless.append(chain)
        else:
            desk.book(chain, found.sites, found.arcs)
            placed[chain] = found
    return homeless


def within(desk: Desk, chain: int, found: Found) -> bool:
    """Whether there is room for the route, sites included, and it is quick enough."""
    room, budget = desk.room, desk.budget_us[chain]
    if budget != inf and desk.delay_us(found.sites, found.arcs) > budget:
        return False
    if any(room[resource] < amount for resource, amount in desk.draws(chain, found.sites)):
        return False
    return desk.fits(chain, found.sites, found.arcs)


def reroute(desk: Desk, placed: Placed, chains: list[int], least: float = 1e-9) -> int:
    """Take each up and put it down where its own cost is least. Result: how many moved.

    Own cost, not priced cost: at the end of a batch nobody comes after.
    """
    moved = 0
    for chain in chains:
        old = placed[chain]
        desk.book(chain, old.sites, old.arcs, -1)
        new = desk.place(chain)
        if new is None or new.cost >= old.cost - least:
            new = old
        else:
            moved += 1
        desk.book(chain, new.sites, new.arcs)
        placed[chain] = new
    return moved


def as_routes(desk: Desk, placed: Placed) -> Routes:
    """In the order of chains."""
    chains = sorted(placed)
    return desk.as_routes(chains, [placed[chain] for chain in chains])


def total(placed: Placed, desk: Desk, homeless: list[int]) -> float:
    """Own costs and penalties; modules left out."""
    own = sum([found.cost for found in placed.values()])
    return own + float(np.sum(desk.demands.penalty[homeless])) if homeless else own
