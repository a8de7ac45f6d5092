# SPDX-License-Identifier: Apache-2.0
"""Place many chains at once: better answer after better answer, each with the bound that it is measured by.

Prices by dual ascent, whose last sweep nearly fits; then a master program over a pool of routes, whose duals
price new routes and whose vertex leaves few chains split; then an integral program on those that are split and
their rivals. No clock: `Effort` counts. Whoever has a deadline stops asking for the next answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from chains.planning.market.ascent import Market, Response, ascent, market, spread
from chains.planning.market.fit import Placed, as_routes, fit, reroute, total, wanted
from chains.planning.market.pool import Pool, pool
from chains.planning.market.program import drawn_by, relax, settle
from chains.planning.market.single import Desk, desk
from chains.planning.market.types import (
    Demands,
    Floats,
    Ints,
    Network,
    Routes,
    load,
    modules,
    no_routes,
    summed,
    usage,
)
from chains.planning.market.ways import incidence


@dataclass(frozen=True, slots=True)
class Effort:
    """sweeps: of dual ascent; quick: after which of them a first answer is due. masters: rounds of the master
    program. near: which routes enter it, by what they cost more than the best one, as a part of the mean cost.
    gap: stop below it. nodes, split, rivals: of the integral program, how many chains it may touch, and the
    routes of each.
    """

    sweeps: int = 4
    quick: int = 3
    masters: int = 15
    near: float = 0.02
    gap: float = 1e-5
    nodes: int = 20
    split: int = 150
    rivals: int = 8
    polishes: int = 6


QUICK = Effort(masters=0, polishes=0)
# Above this gap a greedy placement might be better, and is tried
PLAIN = 0.002
# Responses to prices far from the best ones, where capacity is bought
MIXTURES = 60
# So few routes cost the master program little
AT_LEAST = 12_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A placement and its certificate: no placement costs less than `bound` (cost, bound: cost units).

    routes: one for each placed chain, in order. unplaced: the chains left out, whose penalties are in the cost.
    price [R]: for one more unit of a resource; with these `bound` can be recomputed. bought [R]: modules.
    """

    routes: Routes
    unplaced: Ints
    cost: float
    bound: float
    price: Floats
    bought: Floats
    stage: str

    @property
    def gap(self) -> float:
        return (self.cost - self.bound) / max(abs(self.bound), 1e-12)


@dataclass(slots=True)
class Solver:
    """What is known: the best prices with their bound, and the best placement with its cost."""

    market: Market
    effort: Effort
    seed: int
    price: Floats
    bound: float = -np.inf
    response: Response | None = None
    cost: float = np.inf
    routes: Routes | None = None
    unplaced: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    stage: str = ""

    def learn(self, price: Floats) -> Response:
        """Keep the prices if they prove a better bound."""
        answer = self.market.respond(price)
        if answer.bound > self.bound:
            self.bound, self.price, self.response = answer.bound, price, answer
        return answer

    def valid(self, price: Floats) -> Floats:
        """As near as prices may be: none where there is no limit, none below what a module costs."""
        return np.where(np.isfinite(self.market.capacity), np.maximum(price, self.market.floor), 0.0)

    def offer(self, at: Desk, placed: Placed, homeless: list[int], stage: str) -> bool:
        """Keep the placement if it is cheaper."""
        held = as_routes(at, placed)
        network, demands = self.market.network, self.market.demands
        bought = modules(network, load(network, usage(network, demands, held)))
        cost = total(placed, at, homeless) + float((bought * network.module_cost).sum())
        if cost >= self.cost:
            return False
        self.cost, self.routes, self.stage = cost, held, stage
        self.unplaced = np.array(sorted(homeless), np.int64)
        return True

    def answer(self) -> Answer:
        assert self.routes is not None
        network, demands = self.market.network, self.market.demands
        bought = modules(network, load(network, usage(network, demands, self.routes)))
        return Answer(self.routes, self.unplaced, self.cost, self.bound, self.price, bought, self.stage)

    def place(self, held: Routes, rows: Ints, stage: str) -> tuple[Desk, Placed, list[int]]:
        """Make the routes fit, in the order of `rows`, and offer what comes out."""
        demands = self.market.demands
        at = desk(self.market.network, demands, self.price, into=self.market.into)
        first = wanted(held, rows, at)
        asked = {chain for chain, _ in first}
        placed, homeless = fit(at, first, [c for c in range(demands.chains) if c not in asked])
        self.offer(at, placed, homeless, stage)
        return at, placed, homeless

    @property
    def is_done(self) -> bool:
        return self.cost - self.bound <= self.effort.gap * abs(self.bound)


def solve(
    network: Network,
    demands: Demands,
    effort: Effort | None = None,
    seed: int = 1,
    price: Floats | None = None,
) -> Iterator[Answer]:
    """Better and better answers; the last is the best. price [R]: to start from, as of an earlier answer.

    Equal input gives equal output. Errors: none for want of room: chains are left out and named.
    """
    order = _by_content(demands)
    for answer in _in_order(network, demands.of(order), effort or Effort(), seed, price):
        named = answer.routes.chain
        rows = np.argsort(order[named], kind="stable")
        routes = replace(answer.routes, chain=order[named]).of(rows)
        yield replace(answer, routes=routes, unplaced=np.sort(order[answer.unplaced]))


def _by_content(demands: Demands) -> Ints:
    """An order of chains that does not depend on the one they came in, so that neither does the answer."""
    keys = [demands.needs.reshape(demands.chains, -1), demands.menu]
    columns = [column for key in keys for column in key.T]
    return np.lexsort(
        (
            *columns,
            demands.latency_us,
            demands.penalty,
            demands.target,
            demands.source,
            demands.bandwidth_mbps,
        )
    ).astype(np.int64)


def _in_order(
    network: Network, demands: Demands, given: Effort, seed: int, price: Floats | None
) -> Iterator[Answer]:
    held = market(network, demands, incidence(network))
    state = Solver(held, given, seed, held.floor)
    if not demands.chains:
        state.bound, state.cost = held.respond(held.floor).bound, 0.0
        state.routes = no_routes(demands.menu.shape[1])
        yield state.answer()
        return
    columns = pool(network, demands)
    climb = ascent(held, price, seed)
    for sweep in range(1, given.sweeps + 1):
        seen = climb.sweep()
        if sweep >= given.quick or sweep == given.sweeps:
            state.learn(climb.mean)
            columns.add(seen)
            state.place(seen, _largest_first(demands, seen), "prices")
            yield state.answer()
            if state.is_done:
                return
    if given.masters:
        yield from _masters(state, columns)
    if state.cost - state.bound > PLAIN * abs(state.bound) and _plain(state):
        yield state.answer()


def _plain(state: Solver) -> bool:
    """Chain by chain at no prices, as a greedy planner would: never worse than that."""
    network, demands, before = state.market.network, state.market.demands, state.cost
    at = desk(network, demands, state.market.floor, into=state.market.into)
    placed, homeless = fit(at, [], list(range(demands.chains)))
    state.offer(at, placed, homeless, "greedy")
    return state.cost < before


def _masters(state: Solver, columns: Pool) -> Iterator[Answer]:
    """Master programs until their optimum is proven, their vertex made whole, then integral programs."""
    _stock(state, columns)
    weight = np.zeros(0)
    width = 0.04
    for turn in range(state.effort.masters):
        weight, is_proven = _round(state, columns, turn, width)
        if is_proven:
            break
        width *= 0.6
    at, placed, _ = state.place(columns.routes, _heaviest(columns, weight), "vertex")
    yield state.answer()
    for turn in range(state.effort.polishes):
        if state.is_done:
            return
        before = state.cost
        placed = _polish(state, columns, at, placed, turn)
        if state.cost < before:
            yield state.answer()


def _stock(state: Solver, columns: Pool) -> None:
    """The routes to begin with."""
    assert state.response is not None
    if state.routes is not None:
        columns.add(state.routes)
    columns.add(state.response.routes)
    if (state.market.network.module_cost > 0).any():
        # What a module is worth shows only where others are not bought
        for price in spread(state.price, MIXTURES, 1.0, state.seed):
            columns.add(state.market.respond(state.valid(price)).routes)


def _round(state: Solver, columns: Pool, turn: int, width: float) -> tuple[Floats, bool]:
    """One master program. Result: the weight of each route, and whether no other route can better it."""
    assert state.response is not None
    given = state.effort
    for price in spread(state.price, 3 if turn == 0 else 1, width, state.seed + turn):
        columns.add(state.learn(state.valid(price)).routes)
    columns.add(state.response.routes)
    kept = near(columns, state.price, state.response, given.near)
    objective, weight, price, excess = _master(state, columns, kept)
    for tried in (price, 0.5 * (price + state.price)):
        columns.add(state.learn(state.valid(tried)).routes)
    is_proven = objective - state.bound <= max(given.gap, 2e-5) * abs(state.bound)
    return weight, excess < 1e-7 and is_proven


def _master(state: Solver, columns: Pool, kept: Ints) -> tuple[float, Floats, Floats, float]:
    """Chains with one route left are settled and only take room. Result: objective, weight [N], price, excess."""
    network, demands = state.market.network, state.market.demands
    count = np.bincount(columns.routes.chain[kept], minlength=demands.chains)
    is_open = count[columns.routes.chain[kept]] > 1
    settled, free = kept[~is_open], kept[is_open]
    left = network.most - drawn_by(columns, settled)
    weight = np.zeros(len(columns.routes))
    weight[settled] = 1.0
    own = float(columns.cost[settled].sum())
    if not len(free):
        return own, weight, state.price, 0.0
    ceiling = np.maximum(4.0 * state.price, 0.05 * float(state.price.max(initial=0.0)) + 1e-9)
    found = relax(columns, free, np.maximum(left, 0.0), ceiling)
    weight[free] = found.weight[free]
    price = np.where(network.module_cost > 0, np.maximum(found.price, state.market.floor), found.price)
    return found.objective + own, weight, price, found.excess


def near(columns: Pool, price: Floats, answer: Response, part: float) -> Ints:
    """Rows of routes whose priced cost is within a part of the mean cost of their chain's least, or AT_LEAST rows."""
    beyond = reduced(columns, price, answer)
    if len(beyond) <= AT_LEAST:
        return np.arange(len(beyond))
    limit = max(part * float(answer.value.mean()), float(np.partition(beyond, AT_LEAST)[AT_LEAST]))
    return np.flatnonzero(beyond <= limit)


def reduced(columns: Pool, price: Floats, answer: Response) -> Floats:
    """[N]: what a route costs at the prices beyond its chain's least."""
    used = usage(columns.network, columns.demands, columns.routes)
    priced = summed(used.row, used.amount * price[used.resource], len(columns.routes))
    return columns.cost + priced - answer.value[columns.routes.chain]


def _heaviest(columns: Pool, weight: Floats) -> Ints:
    """For each chain the route that weighs most, whole ones first and larger chains before smaller."""
    chain = columns.routes.chain[: len(weight)]
    order = np.lexsort((-weight, chain))
    first = order[np.flatnonzero(np.diff(np.concatenate([[-1], chain[order]])))]
    rows = first[weight[first] > 1e-6]
    mbps = columns.demands.bandwidth_mbps[chain[rows]]
    return rows[np.lexsort((-mbps, weight[rows] < 1 - 1e-6))]


def _polish(state: Solver, columns: Pool, at: Desk, base: Placed, turn: int) -> Placed:
    """Free the chains whose choice is nearest to a draw, fix all others, and choose again as a whole."""
    assert state.response is not None
    network, demands, given = state.market.network, state.market.demands, state.effort
    current = columns.add(as_routes(at, base))
    beyond = reduced(columns, state.price, state.response)
    chain = columns.routes.chain
    loss = np.full(demands.chains, np.inf)
    loss[chain[current]] = beyond[current]
    rival = np.full(demands.chains, np.inf)
    others = np.ones(len(columns.routes), bool)
    others[current] = False
    np.minimum.at(rival, chain[others], beyond[others])
    # First those that pay most for where they are, then those that would lose least elsewhere
    losers = np.argsort(-loss, kind="stable")[: given.split // 2]
    is_free = np.zeros(demands.chains, bool)
    is_free[losers[loss[losers] > 1e-9]] = True
    draw = np.random.default_rng(state.seed + 100 + turn)
    by_rival = np.argsort(rival * draw.uniform(0.5, 1.5, demands.chains), kind="stable")
    is_free[by_rival[~is_free[by_rival]][: max(0, given.split - int(is_free.sum()))]] = True
    is_fixed = ~is_free[chain[current]]
    kept = _cheapest(
        columns,
        np.flatnonzero(is_free[chain]),
        beyond,
        given.rivals if not network.module_cost.any() else MIXTURES,
    )
    kept = np.union1d(kept, current[~is_fixed])
    left = network.most - drawn_by(columns, current[is_fixed])
    chosen = settle(columns, kept, left, given.nodes)
    if chosen is None:
        return base
    after, placed, homeless = state.place(
        columns.routes, np.concatenate([current[is_fixed], chosen]), "polish"
    )
    after.refresh(np.zeros(len(network.capacity)))
    if reroute(after, placed, [loser for loser in losers.tolist() if loser in placed]):
        state.offer(after, placed, homeless, "polish")
    return placed


def _cheapest(columns: Pool, rows: Ints, beyond: Floats, each: int) -> Ints:
    """Of each chain the few routes that cost least beyond the best."""
    chain = columns.routes.chain[rows]
    order = np.lexsort((beyond[rows], chain))
    ordered = chain[order]
    first = np.searchsorted(ordered, ordered)
    return rows[order[np.arange(len(order)) - first < each]]


def _largest_first(demands: Demands, held: Routes) -> Ints:
    return np.argsort(-demands.bandwidth_mbps[held.chain], kind="stable")
