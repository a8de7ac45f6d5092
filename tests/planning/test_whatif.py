# SPDX-License-Identifier: Apache-2.0
"""What a question answers is what placing does in the network it asks about; who is not touched does not move."""

from __future__ import annotations

from dataclasses import replace

from chains.planning.candidates import Context
from chains.planning.classes import count_matches
from chains.planning.placement import place
from chains.planning.routing import cables, peers
from chains.planning.shortage import crossings
from chains.planning.types import Chain, Fabric
from chains.planning.uses import offer_uses
from chains.planning.whatif import Held, Question, what_if
from tests.planning.fabrics import chain, demo


def held(fabric: Fabric, wanted: Chain) -> Held:
    """As if it were in force in an empty network."""
    context = Context(fabric, wanted, peers(fabric), count_matches(wanted), cables=cables(fabric))
    solution = place(context)
    chosen = {hop.position: hop.chosen.offers for hop in solution.placement.hops if hop.chosen}
    mbps = wanted.bandwidth_mbps
    links = {name: (count * mbps, count * mbps) for name, count in crossings(solution, context).items()}
    return Held(replace(wanted, current=chosen, revision=1), offer_uses(context, solution), links)


def with_all(fabric: Fabric, *all_held: Held) -> Fabric:
    """Everything counted as used."""
    used = {use.offer: 0 for one in all_held for use in one.offers}
    for one in all_held:
        for use in one.offers:
            used[use.offer] += use.bandwidth_mbps
    offers = tuple(replace(offer, used_mbps=used.get(offer.name, 0)) for offer in fabric.offers)
    return replace(fabric, offers=offers)


def two() -> tuple[Fabric, Held, Held]:
    """Both at fw1 and ips1; fw2 has room for one of them."""
    fabric = demo().fabric()
    offers = tuple(
        replace(o, capacity_mbps={"ngfw@fw1": 300, "ngfw@fw2": 150}.get(o.name, 0), is_shared=True)
        for o in fabric.offers
        if o.realm != "host"
    )
    fabric = replace(fabric, offers=offers)
    one, other = held(fabric, chain("ngfw", "ips", number=1)), held(fabric, chain("ngfw", number=2))
    return with_all(fabric, one, other), one, other


def test_a_drained_box_moves_whom_it_can_and_tells_the_others_what_is_missing():
    fabric, one, other = two()
    outcome = what_if(fabric, (one, other), Question(drained=frozenset({"fw1"})))
    first, second = outcome.fates
    assert first.before[0] == ("ngfw@fw1",) and first.after[0] == ("ngfw@fw2",)
    assert first.cost_before is not None and first.cost_after is not None
    assert not second.is_placed and "ngfw@fw1" in second.reasons[0]
    assert second.remedy.startswith("50 more Mb/s at ngfw@fw2")
    assert (outcome.moved, outcome.homeless, outcome.untouched) == (1, 1, 0)
    assert outcome.cost_after > outcome.cost_before
    enough = tuple(replace(o, capacity_mbps=200) if o.name == "ngfw@fw2" else o for o in fabric.offers)
    assert what_if(replace(fabric, offers=enough), (one, other), Question(drained=frozenset({"fw1"}))).homeless == 0


def test_who_is_not_touched_is_left_alone_and_more_appliances_help():
    fabric, one, other = two()
    outcome = what_if(fabric, (one, other), Question(drained=frozenset({"ips1"})))
    assert [fate.chain for fate in outcome.fates] == [1] and outcome.untouched == 1
    assert outcome.fates[0].after == (("ngfw@fw1",), ("ips@ips2",))
    asked = Question(drained=frozenset({"fw1"}), added={"ngfw@fw2": 1})
    outcome = what_if(fabric, (one, other), asked)
    assert outcome.homeless == 0
    assert sorted(fate.after[0] for fate in outcome.fates) == [("ngfw@fw2",), ("ngfw@fw2+1",)]


def test_more_traffic_is_placed_with_what_the_others_leave():
    fabric, one, other = two()
    assert what_if(fabric, (one, other), Question(factors={"a": 1.5})).homeless == 0
    outcome = what_if(fabric, (one, other), Question(factors={"a": 1.6}))
    assert (len(outcome.fates), outcome.homeless) == (2, 1)
    half = what_if(fabric, (one, other), Question(factors={"a": 0.5}))
    assert half.homeless == 0 and half.cost_after < half.cost_before


def test_a_lost_link_and_a_realm_turned_off():
    fabric, one, other = two()
    outcome = what_if(fabric, (one, other), Question(lost=frozenset({"leaf1:spine1"})))
    assert outcome.homeless == 2
    outcome = what_if(fabric, (one, other), Question(off=frozenset({"appliance"})))
    assert outcome.homeless == 2
    assert what_if(fabric, (one, other), Question(off=frozenset({"switch"}))).fates == ()
