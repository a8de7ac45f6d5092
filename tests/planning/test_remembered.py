# SPDX-License-Identifier: Apache-2.0
"""A walk that is remembered is the one that would be made: in every state of random edits, for all packets."""

from __future__ import annotations

import random
from dataclasses import replace

from chains.planning.demands import demands
from chains.planning.judge import Case, Judge
from chains.planning.orders import wanted_of
from chains.planning.plan import draft_plan, make_plan, network_of
from chains.planning.remembered import Walks
from chains.planning.types import Refused
from drivers.forward import Network, Outcome, walk
from drivers.packets import packets
from drivers.state import DeviceState, Direction, Key, Kind, Match, NextHop, Redirect, RuleSet, Verdict
from tests.planning.test_properties import States, states_between
from tests.planning.worlds import world

CASES = range(25)


def test_walks_are_remembered_only_while_they_are_true() -> None:
    remembered = 0
    for seed in CASES:
        states: States = {}
        for fabric, wanted in world(seed).stories:
            try:
                plan = make_plan(fabric, wanted, states, {})
                draft = draft_plan(fabric, wanted, states)
            except Refused:
                continue
            assert draft.compiled is not None
            asked = demands(wanted, draft.compiled.pairs, {})
            network = network_of(fabric)
            case = Case(network, wanted, states, plan.target, {}, asked, (), draft.edges)
            order, shared = wanted_of(network, states, plan.target), Walks()
            for _, held in states_between(states, plan.steps, random.Random(seed)):
                with_memory = Judge(case, order, replace(network, states=held), walks=shared)
                without = Judge(case, order, replace(network, states=held))
                for demand in asked:
                    assert with_memory.fates(demand) == without.fates(demand)
            remembered += len(asked)
            states = plan.target
    assert remembered > 100


def test_what_a_walk_met_may_change_in_place() -> None:
    """The same keys with another verdict, another port or a dead one: nothing old is told."""
    traffic = Match("10.10.1.0/24", "10.10.2.0/24", "tcp")
    lead, work = Key(7, 1, Direction.FORWARD, 0, Kind.REDIRECT, 0), Key(7, 1, Direction.FORWARD, 1, Kind.RULESET, 0)
    kinds = {"s": "switch", "f": "appliance"}
    network = Network(kinds, {("s", "f"): ("f", "in"), ("f", "out"): ("s", "back")})
    walks = Walks()

    def ends(port: str, verdict: Verdict, dead: frozenset[tuple[str, str]] = frozenset()) -> set[Outcome]:
        states = {
            "s": DeviceState({lead: Redirect("a", 0, traffic, NextHop(port=port))}),
            "f": DeviceState({work: RuleSet(traffic, (), verdict, "in", "out")}),
        }
        here = replace(network, states=states, dead=dead)
        box = packets(traffic)
        found = walks.of(box, here, lambda net: walk(net, ("s", "a"), box, is_reply=False))
        return {trace.outcome for trace in found}

    assert ends("f", Verdict.PERMIT) == {Outcome.BASE}
    assert ends("f", Verdict.DENY) == {Outcome.DENIED}
    assert ends("f", Verdict.PERMIT, frozenset({("s", "f")})) == {Outcome.LOST}
    assert ends("nowhere", Verdict.PERMIT) == {Outcome.LOST}
    assert ends("f", Verdict.PERMIT) == {Outcome.BASE}
