# SPDX-License-Identifier: Apache-2.0
"""The master program over a pool of routes: its relaxation (prices, a vertex) and small integral parts of it.

HiGHS does the work, one thread, no clock: limits are counts, so that equal input gives equal output. highspy
cannot share a process with OR-Tools. Called by solve.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from chains.planning.market.pool import Pool
from chains.planning.market.types import Bools, Floats, Ints, load, summed, usage

INFINITY = highspy.kHighsInf


@dataclass(frozen=True, slots=True)
class Relaxed:
    """weight [N]: of each route. price [R]. excess: what is drawn beyond capacity, in units of capacity.

    move_price: of one more move, where moves are limited.
    """

    objective: float
    weight: Floats
    price: Floats
    excess: float
    columns: int
    rows: int
    move_price: float = 0.0


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Triples of the program, and the cost of its columns."""

    rows: list[Ints]
    columns: list[Ints]
    values: list[Floats]
    cost: list[Floats]

    def add(self, row: Ints, column: Ints, value: Floats) -> None:
        self.rows.append(row)
        self.columns.append(column)
        self.values.append(value)


@dataclass(frozen=True, slots=True)
class Moves:
    """is_move [N of the pool]: the route is not the one in force. price [C]: what moving a chain costs."""

    is_move: Bools
    price: Floats
    budget: float


def relax(pool: Pool, kept: Ints, left: Floats, box: Floats, moves: Moves | None = None) -> Relaxed:
    """The least cost over weights of the kept routes that add up to 1 for each of their chains.

    left [R]: capacity for them. box [R]: no price above it, so that a pool without a fitting mixture gives
    prices all the same. moves: weights of other routes than those in force add up to the budget at most.
    """
    network, demands = pool.network, pool.demands
    chain = pool.routes.chain[kept]
    chains, own = np.unique(chain, return_inverse=True)
    row, resource, amount = _draws(pool, kept)
    binding = _may_bind(chain[row], resource, amount, left, network.module_cost > 0)
    scale = np.maximum(left[binding], 1.0)
    number = np.full(len(left), -1)
    number[binding] = np.arange(len(binding))
    on = number[resource] >= 0
    many, few = len(kept), len(chains)
    parts = _Matrix([], [], [], [pool.cost[kept], demands.penalty[chains]])
    parts.add(own, np.arange(many), np.ones(many))
    parts.add(np.arange(few), many + np.arange(few), np.ones(few))
    bound = number[resource[on]]
    parts.add(few + bound, row[on], amount[on] / scale[bound])
    spill = many + few + np.arange(len(binding))
    parts.add(few + np.arange(len(binding)), spill, -np.ones(len(binding)))
    parts.cost.append(box[binding] * scale)
    limit = left[binding] / scale
    total = many + few + len(binding)
    upper = np.full(total, INFINITY)
    bought = np.flatnonzero(network.module_cost[binding] > 0)
    if len(bought):
        unit = network.capacity[binding[bought]]
        parts.add(few + bought, total + np.arange(len(bought)), -unit / scale[bought])
        parts.cost.append(network.module_cost[binding[bought]])
        upper = np.append(upper, left[binding[bought]] / unit)
        limit[bought] = 0.0
        total += len(bought)
    if moves is not None:
        moved = np.flatnonzero(moves.is_move[kept])
        parts.add(np.full(len(moved), few + len(binding)), moved, np.ones(len(moved)))
        parts.cost[0] = pool.cost[kept] + np.where(moves.is_move[kept], moves.price[chain], 0.0)
        limit = np.append(limit, moves.budget)
    lower_rows = np.concatenate([np.ones(few), np.full(len(limit), -INFINITY)])
    model = _model(parts, total, upper, lower_rows, np.concatenate([np.ones(few), limit]))
    engine = _engine()
    engine.setOptionValue("solver", "ipm" if many > 4000 else "simplex")
    engine.passModel(model)
    engine.run()
    solution = engine.getSolution()
    found = np.array(solution.col_value)
    price = np.zeros(len(left))
    duals = np.maximum(0.0, -np.array(solution.row_dual)[few:])
    price[binding] = duals[: len(binding)] / scale
    weight = np.zeros(len(pool.routes))
    weight[kept] = found[:many]
    excess = float(found[many + few : many + few + len(binding)].sum())
    return Relaxed(
        engine.getInfo().objective_function_value, weight, price, excess, many, len(binding),
        float(duals[-1]) if moves is not None else 0.0,
    )  # fmt: skip


def settle(pool: Pool, kept: Ints, left: Floats, nodes: int, most_s: float = INFINITY) -> Ints | None:
    """One of the kept routes, or none, for each of their chains, within what is left, at least cost.

    nodes: how many the branch and bound may look at. most_s: for who measures; with it two runs may differ.
    Result: rows of the pool; None if nothing was found.
    """
    network, demands = pool.network, pool.demands
    chain = pool.routes.chain[kept]
    chains, own = np.unique(chain, return_inverse=True)
    row, resource, amount = _draws(pool, kept)
    binding = _may_bind(chain[row], resource, amount, left, network.module_cost > 0)
    number = np.full(len(left), -1)
    number[binding] = np.arange(len(binding))
    on = number[resource] >= 0
    many, few = len(kept), len(chains)
    parts = _Matrix([], [], [], [pool.cost[kept], demands.penalty[chains]])
    parts.add(own, np.arange(many), np.ones(many))
    parts.add(np.arange(few), many + np.arange(few), np.ones(few))
    parts.add(few + number[resource[on]], row[on], amount[on])
    limit = left[binding].copy()
    upper = np.ones(many + few)
    bought = np.flatnonzero(network.module_cost[binding] > 0)
    total = many + few + len(bought)
    if len(bought):
        unit = network.capacity[binding[bought]]
        parts.add(few + bought, many + few + np.arange(len(bought)), -unit)
        parts.cost.append(network.module_cost[binding[bought]])
        upper = np.append(upper, np.floor(limit[bought] / unit))
        limit[bought] = 0.0
    lower_rows = np.concatenate([np.ones(few), np.full(len(binding), -INFINITY)])
    model = _model(parts, total, upper, lower_rows, np.concatenate([np.ones(few), limit]))
    model.integrality_ = [highspy.HighsVarType.kInteger] * total
    engine = _engine()
    engine.setOptionValue("mip_max_nodes", nodes)
    engine.setOptionValue("mip_rel_gap", 1e-6)
    engine.setOptionValue("time_limit", most_s)
    engine.passModel(model)
    engine.run()
    found = np.array(engine.getSolution().col_value)
    if len(found) != total or not engine.getInfo().primal_solution_status:
        return None
    return kept[found[:many] > 0.5]


def _draws(pool: Pool, kept: Ints) -> tuple[Ints, Ints, Floats]:
    """(row, resource, amount), each pair once."""
    used = usage(pool.network, pool.demands, pool.routes.of(kept))
    many = len(pool.network.capacity)
    keys, place = np.unique(used.row * many + used.resource, return_inverse=True)
    return keys // many, keys % many, summed(place, used.amount, len(keys))


def _may_bind(chain: Ints, resource: Ints, amount: Floats, left: Floats, bought: Bools) -> Ints:
    """The resources that the routes could overdraw, were each chain to draw the most it can."""
    many = len(left)
    keys, place = np.unique(chain * many + resource, return_inverse=True)
    most = np.zeros(len(keys))
    np.maximum.at(most, place, amount)
    drawn = np.bincount(keys % many, most, minlength=many)
    return np.flatnonzero((drawn > left) | (bought & (drawn > 0)))


def _model(parts: _Matrix, columns: int, upper: Floats, low: Floats, high: Floats) -> highspy.HighsLp:
    row, column = np.concatenate(parts.rows), np.concatenate(parts.columns)
    value = np.concatenate(parts.values)
    order = np.lexsort((row, column))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = columns, len(low)
    model.col_cost_ = np.concatenate(parts.cost)
    model.col_lower_, model.col_upper_ = np.zeros(columns), upper
    model.row_lower_, model.row_upper_ = low, high
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=columns))])
    model.a_matrix_.start_ = starts.astype(np.int32)
    model.a_matrix_.index_, model.a_matrix_.value_ = (
        row[order].astype(np.int32),
        value[order].astype(np.float64),
    )
    return model


def _engine() -> highspy.Highs:
    engine: highspy.Highs = highspy.Highs()  # type: ignore[no-untyped-call]
    engine.setOptionValue("output_flag", False)
    engine.setOptionValue("threads", 1)
    engine.setOptionValue("random_seed", 1)
    return engine


def drawn_by(pool: Pool, rows: Ints) -> Floats:
    """[R]."""
    return load(pool.network, usage(pool.network, pool.demands, pool.routes.of(rows)))
