# SPDX-License-Identifier: Apache-2.0
"""Which chains are worth moving, within a budget of moves: what churn has spoilt, put right a little at a time.

A program over the routes in force and their rivals with one row more, the budget; its optimum is also the proof of
how much so few moves can win at most. A move must win more than it costs by a margin, so that nothing moves to and
fro. Moves come in an order in which each finds room while its old route is still held. Called by whoever holds a
book; the moves are carried out as ordinary plans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chains.planning.market.ascent import Market, market, spread
from chains.planning.market.churn import Book
from chains.planning.market.pool import pool
from chains.planning.market.program import Moves, relax
from chains.planning.market.solve import reduced
from chains.planning.market.types import Bools, Floats, Found, Ints, Routes

# A detour may cost so much of a route more, for as long as it lasts
PARKING = 1.0


@dataclass(frozen=True, slots=True)
class Move:
    """gain: own cost that it saves, by itself."""

    chain: int
    old: Found
    new: Found
    gain: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """moves: in the order to make them. before, after: cost. least: no set of so many moves among the routes
    looked at ends below it. bound: no placement at all costs less. blocked: moves without room to make first."""

    moves: tuple[Move, ...]
    before: float
    after: float
    least: float
    bound: float
    blocked: int


def improve(
    held: Book,
    price: Floats,
    budget: int,
    move_cost: Floats,
    margin: float = 1.2,
    rounds: int = 3,
    seed: int = 1,
) -> Proposal:
    """price [R]: fresh. budget: moves at most. move_cost [C]: cost and risk of moving a chain, in cost units.
    margin: a move must win so many times its cost. The book is left as it was."""
    chains = held.active()
    demands = held.desk.demands.of(chains)
    local = held.routes()
    current = Routes(np.arange(len(chains)), local.sites, local.starts, local.arcs, local.legs)
    whole = market(held.desk.network, demands, held.desk.into)
    columns = pool(whole.network, demands)
    columns.add(current)
    toll = margin * move_cost[chains]
    best, bound = price, -np.inf
    weight: Floats = np.zeros(0)
    least = np.inf
    for turn in range(rounds):
        answer = whole.respond(best)
        bound = max(bound, answer.bound)
        columns.add(answer.routes)
        for near_by in spread(best, 3, 0.05 * 0.6**turn, seed + turn):
            columns.add(whole.respond(np.where(np.isfinite(whole.capacity), near_by, 0.0)).routes)
        is_move = np.arange(len(columns.routes)) >= len(chains)
        kept = _worth_it(columns.routes.chain, reduced(columns, best, answer), is_move)
        ceiling = np.maximum(6.0 * price, 0.05 * float(price.max(initial=0.0)) + 1e-9)
        found = relax(columns, kept, whole.network.most, ceiling, Moves(is_move, toll, budget))
        weight, least = found.weight, found.objective
        # What answers the program's own prices wins something even where moves are dear
        columns.add(whole.respond(found.price).routes)
        best = 0.5 * (best + found.price)
    picked = np.flatnonzero((weight > 0.5) & (np.arange(len(weight)) >= len(chains)))
    return _carried_out(held, whole, chains, columns.routes.of(picked), budget, toll, least, bound)


def _worth_it(chain: Ints, beyond: Floats, is_move: Bools) -> Ints:
    """The routes in force, and those that cost less at the prices, or little more."""
    now = np.zeros(int(chain.max(initial=0)) + 1)
    now[chain[~is_move]] = beyond[~is_move]
    return np.flatnonzero(~is_move | (beyond <= now[chain] + 0.02 * float(now.mean() + beyond.mean())))


def _carried_out(
    held: Book,
    whole: Market,
    chains: Ints,
    wished: Routes,
    budget: int,
    toll: Floats,
    least: float,
    bound: float,
) -> Proposal:
    """Try the moves on the book in an order that works, and take them back."""
    before = held.cost
    waiting: dict[int, Found] = {}
    starts, arcs, legs = wished.starts.tolist(), wished.arcs.tolist(), wished.legs.tolist()
    for row, (local, sites) in enumerate(zip(wished.chain.tolist(), wished.sites.tolist(), strict=True)):
        chain, way = int(chains[local]), tuple(arcs[starts[row] : starts[row + 1]])
        at = tuple([site for site in sites if site >= 0])
        cost = held.desk.cost(chain, at, way)
        waiting[chain] = Found(at, way, tuple(legs[starts[row] : starts[row + 1]]), cost, 0.0)
    made: list[Move] = []
    while waiting:
        # Those that win most first; a move makes room for others, so go round until none fits
        some = False
        for chain in sorted(waiting, key=lambda c: (waiting[c].cost - held.placed[c].cost, c)):
            old = held.placed[chain]
            if len(made) < budget and held.move(chain, waiting[chain]):
                new = waiting.pop(chain)
                made.append(Move(chain, old, new, old.cost - new.cost))
                some = True
        if not some and not _parked(held, waiting, made, budget):
            break
    for move in reversed(made):
        held.remove(move.chain)
        held.add(move.chain, move.old)
    kept = _best_prefix(made, {int(chain): float(price) for chain, price in zip(chains, toll, strict=True)})
    after = before - sum([move.gain for move in kept])
    return Proposal(tuple(kept), before, after, least, bound, len(waiting))


def _best_prefix(made: list[Move], toll: dict[int, float]) -> list[Move]:
    """As far as it is worth going: a detour that was not made good is left out."""
    won, best, length = 0.0, 0.0, 0
    for count, move in enumerate(made, 1):
        won += move.gain - toll[move.chain]
        if won > best:
            best, length = won, count
    return made[:length]


def _parked(held: Book, waiting: dict[int, Found], made: list[Move], budget: int) -> bool:
    """Break a ring of chains that wait for each other: one goes where there is room now, and makes its move later.

    Only while the budget lasts for both of its moves and for the one that it lets through.
    """
    parked = {move.chain for move in made}
    wants = {
        chain: {resource for resource, _ in held.desk.draws(chain, found.sites)} | set(found.arcs)
        for chain, found in waiting.items()
    }
    for chain in sorted(waiting, key=lambda c: (held.desk.mbps[c], c)):
        if len(made) + 3 > budget or chain in parked:
            continue
        old = held.remove(chain)
        aside = held.desk.place(chain)
        if aside is None or aside.sites == old.sites or aside.cost - old.cost > PARKING * old.cost:
            held.add(chain, old)
            continue
        held.add(chain, aside)
        freed = {resource for resource, _ in held.desk.draws(chain, old.sites)} | set(old.arcs)
        rivals = [other for other in waiting if other != chain and freed & wants[other]]
        if any(held.has_room(other, waiting[other]) for other in rivals):
            made.append(Move(chain, old, aside, old.cost - aside.cost))
            return True
        held.remove(chain)
        held.add(chain, old)
    return False
