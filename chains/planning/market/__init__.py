# SPDX-License-Identifier: Apache-2.0
"""Placement as a market: capacities have prices, every chain takes its least priced route, prices prove a bound.

Arrays in, arrays out; no names, no database, no clock. What to call:

- `types.Network`, `types.Demands`: the fabric and the chains as arrays (units and shapes are told there). A hop's
  `menu` is the set of sites that may serve it, so capability, pins, tenants, drain and failure domains are decided
  by whoever makes the menus; capacities, latency budgets and what is drawn twice are decided here.
- `solve.solve(network, demands, effort)`: many chains; yields `Answer` after `Answer`, each a placement with its
  cost, proven lower bound, gap, prices and the chains left out. Stop whenever time is up. `solve.QUICK` for the
  first good one. Start again from `price=answer.price`.
- `single.desk(network, demands, price, left)`: one chain against what is left; `Desk.place(chain)` is exact at the
  prices in force; `Desk.book` takes (or gives back) what a route draws. Keep one in a worker and `refresh` prices.
- `churn.opened(network, demands, answer)`: a `Book` of what is placed: add, remove, move, `fail` arcs and sites
  (only those hit move), `restore`. `churn.refreshed(book)`: prices for what is placed now, in the background.
- `improve.improve(book, price, budget, move_cost)`: moves worth more than their cost, in an order in which each
  has room, and the proof of what so few moves can win at most.

A price is what one more unit of a resource would save; `Demands.penalty` is what leaving a chain out costs and
bounds all prices. highspy cannot share a process with OR-Tools. Measured by `./run bench placement`.
"""
