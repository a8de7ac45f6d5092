# SPDX-License-Identifier: Apache-2.0
"""The page about placement says what the product computes, and the prices do what they are for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from chains.planning.worth import entries_cost
from tests.planning import debate
from tests.planning.debate import PRICES, fabric, filtered, firewalled, placed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "placement.md"


def test_every_number_of_the_page_is_computed():
    text, rows = PAGE.read_text(), list(debate.tables())
    shown = re.findall(r"^\| .*(?:Gb/s|empty|full) \|.*$", text, re.MULTILINE)
    assert shown == [row for row in rows if row.startswith("|")]
    figures = dict(row.split(": ") for row in rows if not row.startswith("|"))
    words = " ".join(text.split())
    assert f"until the list has {figures['rules at which an empty table loses']} rules" in words
    assert f"are taken, until {figures['the same, three quarters full']}." in words
    assert f"from {figures['Gb/s from which hosts win']} Gb/s the hosts are cheaper" in words
    assert figures["the same at 16 for a core"] == "never" and "the hosts never win" in words


@pytest.mark.parametrize("wanted", [firewalled(20), filtered(10, 30)])
def test_terms_add_up_with_every_price(wanted: object):
    placement = placed(wanted, fabric(used_entries=100)).placement  # type: ignore[arg-type]
    assert sum(placement.cost_terms.values()) == pytest.approx(placement.cost, abs=1e-5)
    for candidate in (placement.hops[0].chosen, *placement.hops[0].rejected):
        if candidate and not candidate.excluded:
            assert sum(candidate.cost_terms.values()) == pytest.approx(candidate.cost, abs=1e-4)


def test_each_price_is_in_its_own_term():
    before = placed(firewalled(10), fabric()).placement.hops[0].chosen
    assert before is not None
    expected = {"function": 60.0, "instance": 150.0, "licence": 90.0, "power": 12.0, "hairpin": 0.02}
    for name, cost in expected.items():
        assert before.cost_terms[name] == pytest.approx(cost), name
    hosts = next(c for c in placed(firewalled(10), fabric()).placement.hops[0].rejected if c.realm == "host")
    assert hosts.cost_terms["cpu"] == pytest.approx(120.0)
    dear = fabric(prices=replace(PRICES, link_per_gbps=3.0))
    links = placed(firewalled(10), fabric()).placement.cost_terms["links"]
    latency = 20 * PRICES.latency_per_us
    assert placed(firewalled(10), dear).placement.cost_terms["links"] - latency == pytest.approx(3 * (links - latency))


def test_more_room_in_a_table_never_costs_more():
    (offer,) = (offer for offer in fabric().offers if offer.realm == "switch")
    tables = [replace(offer, entries=size, used_entries=500) for size in (540, 800, 2000, 9000)]
    costs = [entries_cost(PRICES, table, 40) for table in tables]
    assert costs == sorted(costs, reverse=True) and costs[-1] > 0.02 * 40
    assert entries_cost(PRICES, replace(offer, entries=0), 40) == pytest.approx(0.8)


def test_a_latency_budget_counts_the_cables_to_a_box():
    solution = placed(firewalled(1), fabric())
    # Two links between leaves, two cables to the box, and what the box adds.
    assert solution.placement.latency_us == 2 * 10 + 2 * 10 + 50
