# SPDX-License-Identifier: Apache-2.0
"""Chains come, go and lose their way: what is booked, who is hit, and where they go instead.

A book knows for every arc and site which chains cross it, so a failure costs as much as it hits and nobody else
moves. Pure: it proposes; whoever holds the database books. Called by the engine's planner and by improve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chains.planning.market.ascent import ascent, market, sample
from chains.planning.market.fit import within
from chains.planning.market.single import Desk, desk
from chains.planning.market.solve import Answer
from chains.planning.market.types import Demands, Floats, Found, Ints, Network, Routes


@dataclass(frozen=True, slots=True)
class Moved:
    """What a failure did. moved: chain -> its new route; lost: chains that nothing can serve now."""

    moved: dict[int, Found]
    lost: tuple[int, ...]


@dataclass(slots=True)
class Book:
    """placed: chain -> route. by_arc [A], by_site [S]: the chains there. Single-threaded."""

    desk: Desk
    placed: dict[int, Found]
    by_arc: list[set[int]]
    by_site: list[set[int]]

    def add(self, chain: int, found: Found) -> None:
        self.desk.book(chain, found.sites, found.arcs)
        self.placed[chain] = found
        for arc in found.arcs:
            self.by_arc[arc].add(chain)
        for site in found.sites:
            self.by_site[site].add(chain)

    def remove(self, chain: int) -> Found:
        """Errors: KeyError if the chain is not placed."""
        found = self.placed.pop(chain)
        self.desk.book(chain, found.sites, found.arcs, -1)
        for arc in set(found.arcs):
            self.by_arc[arc].discard(chain)
        for site in set(found.sites):
            self.by_site[site].discard(chain)
        return found

    def place(self, chain: int) -> Found | None:
        """Place a chain that is not placed; None if there is no room for it."""
        found = self.desk.place(chain)
        if found is not None:
            self.add(chain, found)
        return found

    def move(self, chain: int, found: Found) -> bool:
        """Make before break: the new route is taken while all others hold theirs. False if it has no room.

        What old and new route share is taken once, as it carries the chain once.
        """
        if not self.has_room(chain, found):
            return False
        self.remove(chain)
        self.add(chain, found)
        return True

    def has_room(self, chain: int, found: Found) -> bool:
        """Whether a placed chain could take the route now."""
        old = self.placed[chain]
        self.desk.book(chain, old.sites, old.arcs, -1)
        fits = within(self.desk, chain, found)
        self.desk.book(chain, old.sites, old.arcs)
        return fits

    def hit(self, arcs: Iterable[int] = (), sites: Iterable[int] = ()) -> list[int]:
        """The chains that use any of them, in order."""
        found: set[int] = set()
        for arc in arcs:
            found |= self.by_arc[arc]
        for site in sites:
            found |= self.by_site[site]
        return sorted(found)

    def fail(self, arcs: Iterable[int] = (), sites: Iterable[int] = ()) -> Moved:
        """These are gone: whoever used them is placed anew, largest first; nobody else moves."""
        gone_arcs, gone_sites = list(arcs), list(sites)
        affected = self.hit(gone_arcs, gone_sites)
        self.desk.closed[gone_arcs] = True
        self.desk.shut[gone_sites] = True
        self.desk.refresh(self.desk.price)
        for chain in affected:
            self.remove(chain)
        affected.sort(key=lambda chain: (-self.desk.mbps[chain], chain))
        placed = {chain: self.place(chain) for chain in affected}
        return Moved(
            {chain: found for chain, found in placed.items() if found is not None},
            tuple(chain for chain, found in placed.items() if found is None),
        )

    def restore(self, arcs: Iterable[int] = (), sites: Iterable[int] = ()) -> None:
        """These are back. Nobody moves for it."""
        self.desk.closed[list(arcs)] = False
        self.desk.shut[list(sites)] = False
        self.desk.refresh(self.desk.price)

    @property
    def cost(self) -> float:
        """Of what is placed."""
        return sum([found.cost for found in self.placed.values()])

    def active(self) -> Ints:
        """The placed chains, in order."""
        return self.routes().chain

    def routes(self) -> Routes:
        chains = sorted(self.placed)
        return self.desk.as_routes(chains, [self.placed[chain] for chain in chains])


def book(network: Network, demands: Demands, price: Floats) -> Book:
    """An empty one. price [R]: in force until refreshed."""
    at = desk(network, demands, price)
    return Book(at, {}, [set() for _ in range(network.arcs)], [set() for _ in range(network.sites)])


def opened(network: Network, demands: Demands, answer: Answer) -> Book:
    """Holding the answer's placement, at its prices."""
    found = book(network, demands, answer.price)
    held = answer.routes
    starts, arcs, legs = held.starts.tolist(), held.arcs.tolist(), held.legs.tolist()
    for row, (chain, sites) in enumerate(zip(held.chain.tolist(), held.sites.tolist(), strict=True)):
        at = tuple([site for site in sites if site >= 0])
        way = tuple(arcs[starts[row] : starts[row + 1]])
        on = tuple(legs[starts[row] : starts[row + 1]])
        found.add(chain, Found(at, way, on, found.desk.cost(chain, at, way), 0.0))
    return found


# How much was learnt before, in blocks: a refresh follows the prices, it does not search for them
WARM = 40


def refreshed(held: Book, every: int = 1, sweeps: int = 1, seed: int = 1) -> Floats:
    """Prices for what is placed now, from those in force and every so many-th chain. [R]

    In the background, never while somebody waits.
    """
    chains = held.active()
    demands = held.desk.demands.of(chains)
    whole = market(held.desk.network, demands, held.desk.into)
    some = sample(whole, every) if every > 1 else whole
    climb = ascent(some, held.desk.price, seed, WARM)
    for _ in range(sweeps):
        climb.sweep()
    return climb.mean
