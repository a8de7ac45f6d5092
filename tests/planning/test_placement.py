# SPDX-License-Identifier: Apache-2.0
"""Where hops are placed, and why."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest

from chains.planning.candidates import Context, spots
from chains.planning.classes import count_matches
from chains.planning.placement import Solution, place
from chains.planning.plan import make_plan
from chains.planning.routing import cables, graph, peers
from chains.planning.types import Fabric, Health, Realm, Refused
from tests.planning.fabrics import Builder, chain, demo, hop


def solve(fabric: Fabric, wanted: object) -> Solution:
    return place(Context(fabric, wanted, peers(fabric), count_matches(wanted)))  # type: ignore[arg-type]


def chosen(solution: Solution) -> list[tuple[str, ...]]:
    return [h.chosen.offers if h.chosen else () for h in solution.placement.hops]


def test_the_cheapest_instances_are_taken_and_terms_add_up():
    solution = solve(demo().fabric(), chain("ngfw", "ips", "cgn"))
    assert chosen(solution) == [("ngfw@fw1",), ("ips@ips1",), ("cgn@cgn1",)]
    assert sum(solution.placement.cost_terms.values()) == pytest.approx(solution.placement.cost)
    for placed in solution.placement.hops:
        for candidate in (placed.chosen, *placed.rejected):
            if candidate and not candidate.excluded:
                assert sum(candidate.cost_terms.values()) == pytest.approx(candidate.cost, abs=1e-5)
                assert candidate.cost >= solution.placement.cost - 1e-6


def test_every_candidate_is_kept_with_cost_or_constraint():
    builder = demo()
    fabric = builder.fabric()
    offers = tuple(replace(o, tenants=frozenset({"b"})) if o.device == "fw1" else o for o in fabric.offers)
    solution = solve(replace(fabric, offers=offers), chain("ngfw"))
    placed = solution.placement.hops[0]
    assert placed.chosen is not None and placed.chosen.offers == ("ngfw@fw2",)
    reasons = {c.offers: c.excluded for c in placed.rejected}
    assert reasons[("ngfw@fw1",)] == "dedicated to another tenant"
    assert reasons[("ngfw@a1",)] == "" and reasons[("ngfw@a2",)] == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"health": Health.DOWN}, "down"),
        ({"is_enabled": False}, "switched off by an operator"),
        ({"is_draining": True}, "being drained"),
        ({"capacity_mbps": 1000, "used_mbps": 950}, "needs 100 Mb/s, 50 Mb/s are left"),
    ],
)
def test_an_offer_that_cannot_serve_is_refused_by_name(change: dict[str, object], why: str):
    fabric = demo().fabric()
    offers = tuple(replace(o, **change) if o.function == "cgn" else o for o in fabric.offers)  # type: ignore[arg-type]
    with pytest.raises(Refused) as refused:
        solve(replace(fabric, offers=offers), chain("ngfw", "cgn"))
    assert refused.value.reasons[0].hop == 1
    assert f"cgn@cgn1: {why}" in refused.value.reasons[0].detail


def test_a_bypass_hop_without_an_instance_is_skipped_and_says_why():
    fabric = demo().fabric()
    offers = tuple(replace(o, health=Health.DOWN) if o.function == "ips" else o for o in fabric.offers)
    broken = replace(fabric, offers=offers)
    plan = make_plan(broken, chain("ngfw", hop(1, "ips", blocks=False)), {}, {})
    assert plan.placement is not None
    assert plan.placement.hops[1].chosen is None and "bypassed" in plan.placement.hops[1].reason
    with pytest.raises(Refused):
        make_plan(broken, chain("ngfw", "ips"), {}, {})


def test_table_entries_and_pool_are_limits():
    fabric = demo().fabric()
    offers = tuple(
        replace(o, entries=20, used_entries=5) if o.function == "filter" else o for o in fabric.offers
    )
    with pytest.raises(Refused, match="table entries, 15 are left"):
        make_plan(replace(fabric, offers=offers), chain("filter"), {}, {})
    full = tuple(
        replace(o, taken=frozenset({"198.51.100.0/28"})) if o.function == "cgn" else o for o in fabric.offers
    )
    with pytest.raises(Refused, match="has no room"):
        make_plan(replace(fabric, offers=full), chain("cgn"), {}, {})


def test_a_link_crossed_twice_counts_twice():
    """fw2 behind the spine, ips2 back at leaf1: leaf1-spine1 is crossed three times, each way."""
    fabric = demo().fabric()
    pinned = chain(hop(0, "ngfw", device="fw2"), hop(1, "ips", device="ips2"), bandwidth_mbps=400)
    links = tuple(
        replace(link, capacity_mbps=1000)
        if link.a.device in ("leaf1", "leaf2") and link.b.device == "spine1"
        else link
        for link in fabric.links
    )
    with pytest.raises(Refused, match="no way with enough free bandwidth"):
        make_plan(replace(fabric, links=links), pinned, {}, {})
    plan = make_plan(replace(fabric, links=links), replace(pinned, bandwidth_mbps=300), {}, {})
    uses = {(use.a.device, use.b.device): (use.from_a_mbps, use.from_b_mbps) for use in plan.link_uses}
    assert uses["leaf1", "spine1"] == (900, 900)


def test_latency_budget():
    builder = demo()
    builder.appliance("slow", "ngfw", "leaf1", cost_fixed=1.0, latency_us=5000)
    fabric = builder.fabric()
    assert chosen(solve(fabric, chain("ngfw"))) == [("ngfw@slow",)]
    fast = solve(fabric, chain("ngfw", latency_budget_us=500))
    assert fast.placement.latency_us <= 500 and chosen(fast) != [("ngfw@slow",)]
    with pytest.raises(Refused, match="the budget is 10 us"):
        solve(fabric, chain("ngfw", latency_budget_us=10))


def test_a_live_hop_stays_unless_moving_pays():
    fabric = demo().fabric()
    stays = chain("ngfw", current={0: ("ngfw@fw2",)})
    assert chosen(solve(fabric, stays)) == [("ngfw@fw2",)]
    dear = tuple(replace(o, cost_fixed=40.0) if o.device == "fw2" else o for o in fabric.offers)
    assert chosen(solve(replace(fabric, offers=dear), stays)) == [("ngfw@fw1",)]


def test_host_realm_only_at_its_own_end_of_the_chain():
    fabric = demo().fabric()
    first = make_plan(fabric, chain(hop(0, "ngfw", realm="host"), "ips"), {}, {})
    assert first.placement is not None and first.placement.hops[0].chosen is not None
    assert first.placement.hops[0].chosen.offers == ("ngfw@a1",)
    last = make_plan(fabric, chain("ips", hop(1, "ngfw", realm="host")), {}, {})
    assert last.placement is not None and last.placement.hops[1].chosen is not None
    assert last.placement.hops[1].chosen.offers == ("ngfw@a2",)
    with pytest.raises(Refused, match="no way"):
        make_plan(fabric, chain("ips", hop(1, "ngfw", realm="host", device="a1"), "filter"), {}, {})


@pytest.mark.parametrize("seed", range(30))
def test_equals_brute_force_on_random_fabrics(seed: int):
    """Exact means exact: every assignment is tried by hand and none is cheaper."""
    rng = random.Random(seed)
    fabric = random_fabric(rng)
    wanted = chain("ngfw", "ips", "filter", bandwidth_mbps=rng.choice([10, 500]))
    context = Context(fabric, wanted, peers(fabric), count_matches(wanted), cables=cables(fabric))
    ways = graph(fabric, wanted)
    best = float("inf")
    options = [spots(context, h)[0] for h in wanted.hops]
    for picks in product(*options):
        if any(p.offers[0].realm == Realm.HOST for p in picks) or len({p.device for p in picks}) < len(picks):
            continue
        here, cost = "leaf1", 0.0
        for pick in picks:
            cost += ways.cost(here, pick.entry.device) + pick.candidate.cost
            here = pick.exit.device
        best = min(best, cost + ways.cost(here, "leaf2"))
    found = solve(fabric, wanted)
    if all(spot.offers[0].realm != Realm.HOST for spot in found.spots):
        assert found.placement.cost == pytest.approx(best)
    else:
        assert found.placement.cost <= best + 1e-6


def random_fabric(rng: random.Random) -> Fabric:
    builder: Builder = demo()
    for index in range(rng.randint(1, 4)):
        builder.device(f"extra{index}", "switch")
        for other in ("leaf1", "leaf2", "spine1"):
            if rng.random() < 0.6:
                builder.link(f"extra{index}:{other}", f"{other}:extra{index}", latency_us=rng.randint(1, 100))
        builder.link(f"extra{index}:up", f"spine1:up{index}")
        builder.appliance(
            f"box{index}", rng.choice(["ngfw", "ips"]), f"extra{index}", cost_fixed=rng.uniform(0, 20)
        )
        builder.offer(f"extra{index}", "filter", Realm.SWITCH, cost_fixed=rng.uniform(0, 5), is_shared=True)
    return builder.fabric()
