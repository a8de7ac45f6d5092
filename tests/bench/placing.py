# SPDX-License-Identifier: Apache-2.0
"""Placing many chains at once against its rivals: gap, time to a bound, time to a first answer, equal time, Internet2.

Times are processor seconds of this process, so that a busy machine does not move the ratios; HiGHS runs on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from chains.planning.market.solve import Answer, Effort, solve
from tests.bench.instances import Instance, build, fat_tree, wide, zoo
from tests.bench.internet2 import internet2, optimum, stage_dp
from tests.bench.referee import faults
from tests.bench.report import Figure
from tests.bench.rivals import compact, greedy, pooled


def timed(case: Instance, effort: Effort | None = None) -> list[tuple[float, Answer]]:
    """Every answer and when it came."""
    began = time.process_time()
    return [(time.process_time() - began, answer) for answer in solve(case.network, case.demands, effort)]


def told(case: Instance) -> str:
    network = case.network
    return f"{case.demands.chains} chains, {network.nodes} nodes, {network.arcs} arcs, {network.sites} sites"


def gaps(case: Instance, goal: float, effort: Effort | None = None) -> Iterator[Figure]:
    """The certified gap in parts of a hundred, against plain greedy's, judged by the referee."""
    answers = timed(case, effort)
    yield from first_answer(case, answers)
    took_s, answer = answers[-1]
    wrong = faults(case.network, case.demands, answer)
    cost, _ = greedy(case.network, case.demands)
    yield Figure(
        f"placement.gap.{case.name}", 100 * answer.gap, "%", 100 * (cost / answer.bound - 1),
        f"{told(case)}, {took_s:.1f} s, {len(answer.unplaced)} left out{'; ' + wrong[0] if wrong else ''}",
        f"at most {goal} % from the proven bound, the referee agrees", 100 * answer.gap <= goal and not wrong,
    )  # fmt: skip


def first_answer(case: Instance, answers: list[tuple[float, Answer]]) -> Iterator[Figure]:
    """When the first answer within 1 % came, as a part of the whole time, and what HiGHS has by then."""
    if case.name != "fat-tree-8" or len(answers) < 2:
        return
    usable = [(at_s, answer) for at_s, answer in answers if answer.gap <= 0.01]
    if not usable:
        yield Figure("placement.first", 0, "s", None, told(case), "within 1 %", ok=False)
        return
    at_s, answer = usable[0]
    yield Figure(
        "placement.first", at_s, "s", answers[-1][0], f"{100 * answer.gap:.2f} % from the bound",
        "the first answer within 1 % at most 0.1 of the time of the last", at_s <= 0.1 * answers[-1][0],
    )  # fmt: skip
    nothing = np.zeros(len(case.network.capacity))
    rival = pooled(case.network, case.demands, nothing, 0.3, 8, at_s)
    yield Figure(
        "placement.first.highs", answer.cost, "cost", rival,
        f"HiGHS' MIP over 8 routes a chain, stopped after {at_s:.1f} s",
        "no dearer", answer.cost <= rival,
    )  # fmt: skip


def against_compact(chains: int, size: int) -> Iterator[Figure]:
    """Bound and placement against HiGHS on the textbook program: equal where it ends, and how much sooner."""
    small = build("fat-tree-4", fat_tree(4), 60, has_entries=False)
    small = replace(small, network=replace(small.network, site_fixed=np.zeros(small.network.sites)))
    answer = timed(small)[-1][1]
    exact, _, is_done = compact(small.network, small.demands, 120.0)
    apart = abs(answer.bound / exact - 1)
    yield Figure(
        "placement.bound",
        answer.bound,
        "cost",
        exact,
        told(small),
        "HiGHS' bound to 1e-4",
        is_done and apart <= 1e-4,
    )
    case = build(f"fat-tree-{size}", fat_tree(size), chains, has_entries=False)
    case = replace(case, network=replace(case.network, site_fixed=np.zeros(case.network.sites)))
    took_s = timed(case, Effort(polishes=0))[-1][0]
    _, highs_s, is_done = compact(case.network, case.demands, 55 * took_s)
    yield Figure(
        "placement.compact", took_s, "s", highs_s, f"{told(case)}; HiGHS {'ended' if is_done else 'was stopped'}",
        "at most 1/50 of HiGHS on the compact program", took_s <= highs_s / 50,
    )  # fmt: skip


def equal_time(chains: int) -> Iterator[Figure]:
    """HiGHS' MIP gets ten times our time, and routes at our own final prices to choose from."""
    case = build("fat-tree-8", fat_tree(8), chains)
    took_s, answer = timed(case)[-1]
    rival = pooled(case.network, case.demands, answer.price, 0.05, 12, min(10 * took_s, 100.0))
    yield Figure(
        "placement.equal-time", answer.cost, "cost", rival,
        f"{told(case)}, {took_s:.1f} s, {100 * answer.gap:.2f} % from the bound",
        "no dearer than HiGHS' MIP over routes at our prices, given 10 times our time (100 s at most)",
        answer.cost <= rival * (1 + 1e-9),
    )  # fmt: skip


def published(limit_s: float) -> Iterator[Figure]:
    case = internet2()
    took_s, answer = timed(case, Effort(nodes=200, polishes=6))[-1]
    wrong = faults(case.network, case.demands, answer)
    heuristic = stage_dp(case)
    yield Figure(
        "placement.internet2.dp", answer.cost, "cost", heuristic, f"{told(case)}, {took_s:.1f} s",
        "the published stage DP costs 1.15 times as much", heuristic / answer.cost >= 1.15 and not wrong,
    )  # fmt: skip
    exact, proven = optimum(case, limit_s)
    yield Figure(
        "placement.internet2.highs", answer.cost, "cost", exact,
        f"HiGHS proves {proven:.3f} in {limit_s:.0f} s, we {answer.bound:.3f}",
        "within 1.005 of HiGHS' best", answer.cost <= 1.005 * exact,
    )  # fmt: skip


def figures(is_large: bool) -> Iterator[Figure]:
    name, shape = zoo("Cogentco", 197, 243, 7)
    yield from gaps(build("fat-tree-8", fat_tree(8), 10_000), 0.3)
    yield from gaps(build("fat-tree-8-cut", fat_tree(8), 10_000, cut=0.45), 0.3)
    yield from gaps(build(name, shape, 10_000), 0.3)
    yield from gaps(build(f"{name}-cut", shape, 10_000, cut=0.5), 0.3)
    yield from against_compact(1000, 8)
    yield from equal_time(1000)
    yield from published(60.0)
    if is_large:
        yield from gaps(build("fat-tree-16", fat_tree(16), 10_000), 0.5)
        name, shape = zoo("Kdl", 754, 895, 11)
        yield from gaps(build(name, shape, 10_000), 1.0)


def small_figures() -> Iterator[Figure]:
    """For the test suite: that it runs and what must hold at any size."""
    yield from gaps(build("fat-tree-4", fat_tree(4), 300), 5.0, Effort(nodes=2, split=40, polishes=1))
    yield from gaps(build("wide-20", wide(20, 30, 3), 300), 5.0, Effort(nodes=2, split=40, polishes=1))
