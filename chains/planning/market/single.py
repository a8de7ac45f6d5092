# SPDX-License-Identifier: Apache-2.0
"""One chain, now: its least priced route that fits what is left, in well under a millisecond.

Dynamic programming over the hops on tables that hold while prices hold. What the tables cannot see is checked
on the answer: a full arc, an arc crossed twice, a resource that two hops share. Where the check fails,
`layered` searches the graph itself, so the answer is exact in every case. Called by churn, fit and whoever
places one chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from chains.planning.market.layered import search
from chains.planning.market.types import Bools, Demands, Floats, Found, Ints, Network, Routes
from chains.planning.market.ways import Incidence, Ways, incidence, ways

# By how much the price of latency is raised, in cost units for a Mb/s and microsecond, where a budget binds
LATENCY_PRICES = tuple(1e-7 * 4.0**step for step in range(12))


@dataclass(frozen=True, slots=True)
class Menu:
    """A menu's sites at the prices in force. reach, leave [V, S]: from and to every node. uses [K, S]."""

    sites: Ints
    nodes: Ints
    reach: Floats
    leave: Floats
    price: Floats
    fixed: Floats
    kind_price: Floats
    uses: Ints
    has_kind_price: bool
    latency_us: Floats


@dataclass(slots=True)
class Desk:
    """What is left of every resource, and the tables at the prices in force.

    left [R + 1]: the last is the resource of sites that count nothing. Single-threaded; `refresh` after a
    change of prices or of what is closed. closed [A]: arcs that may not be used. shut [S]: sites likewise.
    """

    network: Network
    demands: Demands
    price: Floats
    left: Floats
    closed: Bools
    shut: Bools
    into: Incidence
    table: Ways
    # The same as lists, for one look-up at a time: room is `left`
    room: list[float]
    arc_price: list[float]
    arc_cost: list[float]
    site_cost: list[float]
    site_fixed: list[float]
    out: list[list[tuple[int, int]]]
    uses: list[list[int]]
    source: list[int]
    target: list[int]
    mbps: list[float]
    budget_us: list[float]
    menu_of: list[list[int]]
    needs: list[list[list[float]]]
    _menus: dict[int, Menu] = field(default_factory=dict)
    _between: dict[tuple[int, int], Floats] = field(default_factory=dict)
    _faster: dict[float, Desk] = field(default_factory=dict)

    def refresh(self, price: Floats) -> None:
        """New prices. price [R]."""
        self.price = price
        priced = self.network.arc_cost + price[: self.network.arcs]
        self.table = ways(self.network, priced, self.into, self.closed)
        self.arc_price = np.where(self.closed, np.inf, priced).tolist()
        self._menus.clear()
        self._between.clear()
        self._faster.clear()

    def place(self, chain: int) -> Found | None:
        """The least priced route of a chain of `demands` that fits; None if there is none."""
        found = self.relaxed(chain)
        if found is None:
            return None
        if not self.fits(chain, found.sites, found.arcs):
            found = search(self, chain)
        budget = self.budget_us[chain]
        if found is None or budget == np.inf or self.delay_us(found.sites, found.arcs) <= budget:
            return found
        return self._in_time(chain, budget)

    def delay_us(self, sites: tuple[int, ...], arcs: tuple[int, ...]) -> float:
        return float(
            self.network.arc_latency_us[list(arcs)].sum() + self.network.site_latency_us[list(sites)].sum()
        )

    def fits(self, chain: int, sites: tuple[int, ...], arcs: tuple[int, ...]) -> bool:
        """Counting an arc or a resource as often as it is used."""
        mbps, room = self.mbps[chain], self.room
        if len(set(arcs)) == len(arcs):
            for arc in arcs:
                if room[arc] < mbps:
                    return False
        else:
            for arc in set(arcs):
                if room[arc] < mbps * arcs.count(arc):
                    return False
        if len(sites) < 2:
            return True
        drawn = self.draws(chain, sites)
        return len(drawn) == len({key for key, _ in drawn}) or self._fits_together(drawn)

    def _fits_together(self, drawn: list[tuple[int, float]]) -> bool:
        totals: dict[int, float] = {}
        for resource, amount in drawn:
            totals[resource] = totals.get(resource, 0.0) + amount
        return all(self.room[resource] >= amount for resource, amount in totals.items())

    def draws(self, chain: int, sites: tuple[int, ...]) -> list[tuple[int, float]]:
        """What sites draw, arcs left out: (resource, amount)."""
        found: list[tuple[int, float]] = []
        needs, mbps = self.needs[chain], self.mbps[chain]
        for hop, site in enumerate(sites):
            for kind, resource in enumerate(self.uses[site]):
                if resource >= 0:
                    found.append((resource, needs[hop][kind - 1] if kind else mbps))
        return found

    def book(self, chain: int, sites: tuple[int, ...], arcs: tuple[int, ...], times: int = 1) -> None:
        """Take what the route draws; times -1 gives it back."""
        mbps = self.mbps[chain] * times
        room, left = self.room, self.left
        for arc in arcs:
            room[arc] -= mbps
            left[arc] -= mbps
        for resource, amount in self.draws(chain, sites):
            room[resource] -= amount * times
            left[resource] -= amount * times

    def cost(self, chain: int, sites: tuple[int, ...], arcs: tuple[int, ...]) -> float:
        """Of the route itself, prices left out."""
        arc_cost, site_cost, site_fixed = self.arc_cost, self.site_cost, self.site_fixed
        per_mbps = sum([arc_cost[arc] for arc in arcs]) + sum([site_cost[site] for site in sites])
        return self.mbps[chain] * per_mbps + sum([site_fixed[site] for site in sites])

    def priced(self, chain: int, found: Found) -> float:
        """What the route pays for the resources it draws."""
        drawn = [(arc, self.mbps[chain]) for arc in found.arcs] + self.draws(chain, found.sites)
        return float(sum([self.price[resource] * amount for resource, amount in drawn]))

    def menu(self, number: int) -> Menu:
        found = self._menus.get(number)
        if found is None:
            found = self._menus[number] = self._make(number)
        return found

    def _make(self, number: int) -> Menu:
        network, sites = self.network, self.demands.menus[number]
        nodes, uses = network.site_node[sites], network.site_uses[sites]
        dummy = len(network.capacity)
        uses = np.where(uses >= 0, uses, dummy)
        padded = np.append(self.price, 0.0)
        price = network.site_cost[sites] + padded[uses[:, 0]]
        kind_price = np.ascontiguousarray(padded[uses[:, 1:]].T)
        return Menu(
            sites, nodes, np.ascontiguousarray(self.table.cost[:, nodes]),
            np.ascontiguousarray(self.table.cost[nodes].T), np.where(self.shut[sites], np.inf, price),
            network.site_fixed[sites], kind_price, np.ascontiguousarray(uses.T), bool(kind_price.any()),
            network.site_latency_us[sites],
        )  # fmt: skip

    def between(self, here: int, there: int) -> Floats:
        found = self._between.get((here, there))
        if found is None:
            nodes = np.ix_(self.menu(here).nodes, self.menu(there).nodes)
            found = self._between[here, there] = np.ascontiguousarray(self.table.cost[nodes])
        return found

    def own(self, chain: int, hop: int, menu: Menu) -> Floats:
        """[S]: what a site costs for the hop, per Mb/s; infinite where it has no room."""
        mbps = self.mbps[chain]
        needs = self.needs[chain][hop]
        found = menu.fixed / mbps
        found += menu.price
        if menu.has_kind_price:
            for need, price in zip(needs, menu.kind_price, strict=True):
                found += price * (need / mbps)
        free = self.left[menu.uses]
        short = free[0] < mbps
        for kind in range(1, len(free)):
            short |= free[kind] < needs[kind - 1]
        np.copyto(found, np.inf, where=short)
        return found

    def relaxed(self, chain: int, barred: frozenset[tuple[int, int]] = frozenset()) -> Found | None:
        """The least priced route on the tables, which may not fit. barred: (hop, site)."""
        source, target, mbps = self.source[chain], self.target[chain], self.mbps[chain]
        numbers = [number for number in self.menu_of[chain] if number >= 0]
        if not numbers:
            total, picked = float(self.table.cost[source, target]), []
        else:
            menus = [self.menu(number) for number in numbers]
            owns = [self.own(chain, hop, menu) for hop, menu in enumerate(menus)]
            for hop, site in barred:
                owns[hop][menus[hop].sites == site] = np.inf
            have = menus[0].reach[source] + owns[0]
            stages = [have]
            for hop in range(1, len(numbers)):
                have = self._onward(have, numbers[hop - 1], numbers[hop]) + owns[hop]
                stages.append(have)
            have = have + menus[-1].leave[target]
            at = int(have.argmin())
            total, picked = float(have[at]), [at]
            for hop in range(len(numbers) - 1, 0, -1):
                at = int((stages[hop - 1] + self.between(numbers[hop - 1], numbers[hop])[:, at]).argmin())
                picked.append(at)
            picked.reverse()
        if total == np.inf:
            return None
        sites = tuple(
            [int(menu.sites[at]) for menu, at in zip(menus, picked, strict=True)] if numbers else ()
        )
        arcs: tuple[int, ...] = ()
        legs: list[int] = []
        here = source
        for leg in range(len(sites) + 1):
            there = int(menus[leg].nodes[picked[leg]]) if leg < len(sites) else target
            if here != there:
                way = self.table.way(here, there)
                arcs += way
                legs += [leg] * len(way)
            here = there
        return Found(sites, arcs, tuple(legs), self.cost(chain, sites, arcs), total * mbps)

    def _onward(self, have: Floats, here: int, there: int) -> Floats:
        """The least cost at each site of the next menu. A site that is dearer than the cheapest one and the way
        from there to it leads nowhere cheaper, so most are left out."""
        at = int(have.argmin())
        between = self.between(here, there)
        useful = (have < have[at] + self.between(here, here)[at]).nonzero()[0]
        if len(useful) == 0:
            useful = np.array([at])
        elif have[at] < np.inf:
            useful = np.append(useful, at)
        found: Floats = (have[useful][:, None] + between[useful]).min(0)
        return found

    def _in_time(self, chain: int, budget_us: float) -> Found | None:
        """The cheapest within the budget of those that a rising price of latency gives (as LARAC)."""
        best: Found | None = None
        for weight in LATENCY_PRICES:
            quicker = self._faster.get(weight)
            if quicker is None:
                quicker = self._faster[weight] = self._with_latency(weight)
            found = quicker.place_hurried(chain)
            if found is None:
                return None
            if self.delay_us(found.sites, found.arcs) <= budget_us:
                own = self.cost(chain, found.sites, found.arcs)
                best = replace(found, cost=own, value=own + self.priced(chain, found))
                break
        return best

    def place_hurried(self, chain: int) -> Found | None:
        found = self.relaxed(chain)
        if found is not None and not self.fits(chain, found.sites, found.arcs):
            return search(self, chain)
        return found

    def _with_latency(self, weight: float) -> Desk:
        network = self.network
        slow = Network(
            network.nodes, network.tail, network.head, network.arc_cost + weight * network.arc_latency_us,
            network.arc_latency_us, network.site_node, network.site_cost + weight * network.site_latency_us,
            network.site_fixed, network.site_latency_us, network.site_uses, network.capacity,
            network.module_cost, network.module_most,
        )  # fmt: skip
        quicker = desk(slow, self.demands, self.price, self.left[:-1], self.closed, self.shut, self.into)
        quicker.left, quicker.room = self.left, self.room  # one booking for all
        return quicker

    def as_routes(self, chains: list[int], found: list[Found]) -> Routes:
        hops = self.demands.menu.shape[1]
        sites = np.full((len(chains), hops), -1, np.int64)
        for row, one in enumerate(found):
            sites[row, : len(one.sites)] = one.sites
        starts = np.concatenate([[0], np.cumsum([len(one.arcs) for one in found])]).astype(np.int64)
        arcs = np.array([arc for one in found for arc in one.arcs], np.int64)
        legs = np.array([leg for one in found for leg in one.legs], np.int64)
        return Routes(np.array(chains, np.int64), sites, starts, arcs, legs)


def desk(
    network: Network,
    demands: Demands,
    price: Floats,
    left: Floats | None = None,
    closed: Bools | None = None,
    shut: Bools | None = None,
    into: Incidence | None = None,
) -> Desk:
    """left [R]: all of the capacity if not told."""
    shut_arcs = np.zeros(network.arcs, bool) if closed is None else closed
    shut_sites = np.zeros(network.sites, bool) if shut is None else shut
    room = np.append(network.most if left is None else left, np.inf)
    arcs_into = into or incidence(network)
    priced = network.arc_cost + price[: network.arcs]
    out: list[list[tuple[int, int]]] = [[] for _ in range(network.nodes)]
    for arc, (tail, head) in enumerate(zip(network.tail.tolist(), network.head.tolist(), strict=True)):
        out[tail].append((arc, head))
    return Desk(
        network, demands, price, room, shut_arcs, shut_sites, arcs_into,
        ways(network, priced, arcs_into, shut_arcs),
        room.tolist(), np.where(shut_arcs, np.inf, priced).tolist(), network.arc_cost.tolist(),
        network.site_cost.tolist(), network.site_fixed.tolist(), out, network.site_uses.tolist(),
        demands.source.tolist(), demands.target.tolist(), demands.bandwidth_mbps.tolist(),
        demands.latency_us.tolist(), demands.menu.tolist(), demands.needs.tolist(),
    )  # fmt: skip
