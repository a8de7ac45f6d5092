# SPDX-License-Identifier: Apache-2.0
"""Placement of many chains: every answer is a placement, costs what it says and is proven, and so is one chain's."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.planning.market import churn, improve
from chains.planning.market.fit import fit, total
from chains.planning.market.single import Desk, desk
from chains.planning.market.solve import QUICK, Answer, Effort, solve
from chains.planning.market.types import Demands, Network
from tests.bench.instances import Instance, build, fat_tree, wide
from tests.bench.referee import faults

SHORT = Effort(masters=3, polishes=1, nodes=2, split=40, rivals=4)
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def last(network: Network, demands: Demands, effort: Effort = SHORT) -> Answer:
    return list(solve(network, demands, effort))[-1]


@pytest.mark.parametrize(
    ("shape", "cut"),
    [(fat_tree(4), 1.0), (fat_tree(4), 0.5), (wide(20, 30, 3), 0.6)],
    ids=["k4", "k4cut", "wan"],
)
def test_every_answer_is_a_placement_with_its_proof(
    shape: tuple[int, list[tuple[int, int]], list[int]], cut: float
) -> None:
    case = build("", shape, 300, cut=cut)
    answers = list(solve(case.network, case.demands, SHORT))
    for answer in answers:
        assert faults(case.network, case.demands, answer) == []
    assert [answer.cost for answer in answers] == sorted([answer.cost for answer in answers], reverse=True)
    assert answers[-1].gap < 0.05


def test_the_gap_shrinks_with_the_number_of_chains() -> None:
    case = build("", fat_tree(4), 2500)
    answer = last(case.network, case.demands, QUICK)
    assert not len(answer.unplaced)
    assert answer.gap < 0.01


def test_the_referee_sees_what_is_wrong() -> None:
    case = build("", fat_tree(4), 60)
    network, demands, right = case.network, case.demands, last(case.network, case.demands, QUICK)
    assert faults(network, demands, right) == []
    sites = right.routes.sites.copy()
    sites[0, 0] = demands.menus[int((demands.menu[right.routes.chain[0], 0] + 1) % 6)][0]
    arcs = right.routes.arcs.copy()
    arcs[0] = (arcs[0] + 7) % network.arcs
    wrongs = {
        "costs": replace(right, cost=right.cost * 0.999),
        "prove": replace(right, bound=right.bound * 1.001),
        "not on menu": replace(right, routes=replace(right.routes, sites=sites)),
        "not start": replace(right, routes=replace(right.routes, arcs=arcs)),
        "left out": replace(right, routes=right.routes.of(np.arange(1, len(right.routes)))),
    }
    for said, wrong in wrongs.items():
        assert any(said in fault for fault in faults(network, demands, wrong)), said
    scarce = replace(network, capacity=network.capacity * 0.3)
    assert any("are drawn" in fault for fault in faults(scarce, demands, right))


def layered_dijkstra(held: Desk, chain: int) -> float:
    """The least priced cost over arcs and sites with room for the chain once; a yardstick by itself."""
    demands, network = held.demands, held.network
    mbps = demands.bandwidth_mbps[chain]
    numbers = [number for number in demands.menu[chain].tolist() if number >= 0]
    queue = [(0.0, 0, int(demands.source[chain]))]
    done = set()
    while queue:
        cost, layer, node = heapq.heappop(queue)
        if (layer, node) in done:
            continue
        done.add((layer, node))
        if layer == len(numbers) and node == demands.target[chain]:
            return cost
        for arc in np.flatnonzero(network.tail == node):
            if held.left[arc] >= mbps and not held.closed[arc]:
                price = mbps * (network.arc_cost[arc] + held.price[arc])
                heapq.heappush(queue, (cost + float(price), layer, int(network.head[arc])))
        if layer == len(numbers):
            continue
        for site in demands.menus[numbers[layer]]:
            needs = [mbps, *demands.needs[chain, layer]]
            drawn = [(r, need) for r, need in zip(network.site_uses[site], needs, strict=True) if r >= 0]
            has_room = all(held.left[r] >= need for r, need in drawn)
            if network.site_node[site] == node and not held.shut[site] and has_room:
                own = mbps * network.site_cost[site] + network.site_fixed[site]
                own += sum(held.price[r] * need for r, need in drawn)
                heapq.heappush(queue, (cost + float(own), layer + 1, node))
    return np.inf


@pytest.mark.parametrize("cut", [1.0, 0.35])
def test_one_chain_costs_what_exact_dijkstra_says(cut: float) -> None:
    """On a network filled to the brim: where nothing is drawn twice the costs are equal, never below."""
    case = build("", fat_tree(4), 400, cut=cut)
    answer = last(case.network, case.demands, QUICK)
    held = churn.opened(case.network, case.demands, answer)
    rows = answer.routes.chain[::4].tolist()
    equal = 0
    for chain in rows:
        held.remove(chain)
        exact = layered_dijkstra(held.desk, chain)
        found = held.place(chain)
        assert found is not None and found.value >= exact - 1e-9
        equal += found.value <= exact + 1e-9
    assert equal >= 0.9 * len(rows)


def line(capacity: float) -> tuple[Network, Demands]:
    """a - b - c; the only site is at c, the target is a: everything crosses b - c there and back."""
    tail, head = np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1])
    network = Network(
        3, tail, head, np.full(4, 0.001), np.full(4, 10.0), np.array([2, 2]), np.full(2, 0.001), np.zeros(2),
        np.zeros(2), np.array([[4], [4]]), np.array([9.0, 9.0, 9.0, 9.0, capacity]),
    )  # fmt: skip
    demands = Demands(
        np.array([1]), np.array([1]), np.array([5.0]), np.array([[0, 0]]), np.zeros((1, 2, 0)), np.array([100.0]),
        np.array([np.inf]), (np.array([0, 1]),),
    )  # fmt: skip
    return network, demands


def test_a_resource_that_two_hops_draw_on_counts_twice() -> None:
    for capacity, is_placed in ((10.0, True), (9.0, False)):
        network, demands = line(capacity)
        found = desk(network, demands, np.zeros(5)).place(0)
        assert (found is not None) == is_placed
        answer = last(network, demands)
        assert faults(network, demands, answer) == []
        assert len(answer.unplaced) == (not is_placed)


def test_an_arc_crossed_twice_counts_twice() -> None:
    """From a to c by way of a site at a dead end: arc b-d there, d-b back, and a-b once in each direction."""
    edges = [(0, 1), (1, 2), (1, 3)]
    tail = np.array([end for a, b in edges for end in (a, b)])
    head = np.array([end for a, b in edges for end in (b, a)])
    network = Network(
        4, tail, head, np.full(6, 0.001), np.full(6, 10.0), np.array([3, 0]), np.full(2, 0.001), np.zeros(2),
        np.zeros(2), np.full((2, 1), -1), np.array([9.0, 9.0, 9.0, 9.0, 9.0, 9.0]),
    )  # fmt: skip
    # First the site at d, then the one at a: a-b is crossed out, back, and out again
    demands = Demands(
        np.array([0]), np.array([2]), np.array([5.0]), np.array([[0, 1]]), np.zeros((1, 2, 0)), np.array([9.0]),
        np.array([np.inf]), (np.array([0]), np.array([1])),
    )  # fmt: skip
    assert desk(network, demands, np.zeros(6)).place(0) is None
    wider = replace(network, capacity=np.array([10.0, 9.0, 9.0, 9.0, 9.0, 9.0]))
    assert desk(wider, demands, np.zeros(6)).place(0) is not None


def test_a_budget_of_latency_is_kept() -> None:
    """The short way is dear; it is taken only by the chain that must."""
    tail, head = np.array([0, 0, 2]), np.array([1, 2, 1])
    network = Network(
        3, tail, head, np.array([0.01, 0.001, 0.001]), np.array([10.0, 100.0, 100.0]), np.array([], int),
        np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 1), int), np.full(3, 100.0),
    )  # fmt: skip
    demands = Demands(
        np.array([0, 0, 0]), np.array([1, 1, 1]), np.full(3, 5.0), np.zeros((3, 0), int), np.zeros((3, 0, 0)),
        np.full(3, 9.0), np.array([np.inf, 50.0, 5.0]), (),
    )  # fmt: skip
    held = desk(network, demands, np.zeros(3))
    found = [held.place(chain) for chain in range(3)]
    assert [one.arcs if one else None for one in found] == [(1, 2), (0,), None]
    answer = last(network, demands)
    assert faults(network, demands, answer) == []
    assert answer.unplaced.tolist() == [2]


def test_capacity_is_bought_where_it_pays() -> None:
    """Two places: modules of 10 at 1 each, or of 100 at 5 each. 60 Mb/s take the second, 10 the first."""
    tail, head = np.array([0, 1]), np.array([1, 0])
    network = Network(
        2, tail, head, np.full(2, 1e-6), np.zeros(2), np.array([0, 1]), np.zeros(2), np.zeros(2), np.zeros(2),
        np.array([[2], [3]]), np.array([1e6, 1e6, 10.0, 100.0]), np.array([0, 0, 1.0, 5.0]),
        np.array([1, 1, 9.0, 9.0]),
    )  # fmt: skip
    for many, bought in ((6, [0, 1]), (1, [1, 0])):
        demands = Demands(
            np.zeros(many, int), np.ones(many, int), np.full(many, 10.0), np.zeros((many, 1), int),
            np.zeros((many, 1, 0)), np.full(many, 99.0), np.full(many, np.inf), (np.array([0, 1]),),
        )  # fmt: skip
        answer = last(network, demands)
        assert faults(network, demands, answer) == []
        assert answer.bought[2:].tolist() == bought


@st.composite
def cases(draw: st.DrawFn) -> Instance:
    shape = draw(st.sampled_from([fat_tree(2), wide(8, 11, 1), wide(12, 14, 2)]))
    seed, cut = draw(st.integers(1, 99)), draw(st.sampled_from([1.0, 0.5, 0.25]))
    return build("", shape, draw(st.integers(1, 25)), seed, cut=cut)


@few
@given(cases())
def test_feasible_and_never_worse_than_greedy(case: Instance) -> None:
    answer = last(case.network, case.demands)
    assert faults(case.network, case.demands, answer) == []
    held = desk(case.network, case.demands, np.zeros(len(case.network.capacity)))
    placed, homeless = fit(held, [], list(range(case.demands.chains)))
    assert answer.cost <= total(placed, held, homeless) * (1 + 1e-9) or answer.gap <= 0.002


@few
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_chains_is_nothing(case: Instance, shuffler: object) -> None:
    order = np.arange(case.demands.chains)
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    one = last(case.network, case.demands)
    other = last(case.network, case.demands.of(order))
    assert other.cost == pytest.approx(one.cost, rel=1e-9)
    assert other.bound == pytest.approx(one.bound, rel=1e-9)


@few
@given(cases(), st.floats(1.0, 3.0))
def test_more_capacity_never_costs_more_beyond_the_gap(case: Instance, factor: float) -> None:
    small = last(case.network, case.demands)
    large = last(replace(case.network, capacity=np.floor(case.network.capacity * factor)), case.demands)
    assert large.bound <= small.cost * (1 + 1e-9)
    assert large.cost <= small.cost + large.gap * large.bound + 1e-9


def test_a_failure_moves_those_it_hits_and_nobody_else() -> None:
    case = build("", fat_tree(4), 400)
    held = churn.opened(case.network, case.demands, last(case.network, case.demands, QUICK))
    busiest = max(
        range(0, case.network.arcs, 2), key=lambda arc: len(held.by_arc[arc]) + len(held.by_arc[arc + 1])
    )
    before, hit = dict(held.placed), set(held.hit([busiest, busiest + 1]))
    assert hit
    done = held.fail([busiest, busiest + 1])
    assert set(done.moved) | set(done.lost) == hit and not held.hit([busiest, busiest + 1])
    assert all(held.placed[chain] is found for chain, found in before.items() if chain not in hit)
    assert all(layered_dijkstra(held.desk, chain) == np.inf for chain in done.lost)
    held.restore([busiest, busiest + 1])
    assert not held.desk.closed.any()
    for chain in list(held.placed):
        held.remove(chain)
    assert np.array_equal(held.desk.left[:-1], case.network.capacity)
    assert held.desk.room == held.desk.left.tolist()


def test_improving_keeps_its_budget_its_margin_and_its_word() -> None:
    """After all prices were forgotten for half of the chains."""
    case = build("", fat_tree(4), 400)
    answer = last(case.network, case.demands)
    held = churn.opened(case.network, case.demands, answer)
    half = answer.routes.chain[::2].tolist()
    for chain in half:
        held.remove(chain)
    held.desk.refresh(np.zeros(len(case.network.capacity)))
    assert all(held.place(chain) for chain in half)
    spoilt, before = held.cost, dict(held.placed)
    assert spoilt > answer.cost
    dear = improve.improve(held, answer.price, 20, np.full(400, 1e6))
    assert dear.moves == () and dear.after == dear.before
    found = improve.improve(held, answer.price, 20, np.zeros(400))
    assert 0 < len(found.moves) <= 20 and held.placed == before
    for move in found.moves:
        assert held.placed[move.chain] == move.old and held.move(move.chain, move.new)
    assert held.cost == pytest.approx(found.after) and found.bound <= found.after < spoilt
    assert (held.desk.left >= 0).all()
