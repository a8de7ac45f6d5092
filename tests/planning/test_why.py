# SPDX-License-Identifier: Apache-2.0
"""What is said of a placement is what placing again does: limits, remedies, and the figures at which it flips."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chains.planning.candidates import Context
from chains.planning.classes import count_matches
from chains.planning.placement import place
from chains.planning.routing import peers
from chains.planning.shortage import Limit
from chains.planning.types import Chain, Fabric, Health, Refused
from chains.planning.why import Flip, missing, why
from tests.planning.fabrics import chain, demo, hop


def context(fabric: Fabric, wanted: Chain) -> Context:
    return Context(fabric, wanted, peers(fabric), count_matches(wanted))


def changed(fabric: Fabric, name: str, **fields: object) -> Fabric:
    assert name in {offer.name for offer in fabric.offers}
    offers = tuple(replace(o, **fields) if o.name == name else o for o in fabric.offers)  # type: ignore[arg-type]
    return replace(fabric, offers=offers)


def runs_at(fabric: Fabric, wanted: Chain, position: int = 0) -> tuple[str, ...]:
    hop = place(context(fabric, wanted)).placement.hops[position]
    assert hop.chosen is not None
    return hop.chosen.offers


def flipped(fabric: Fabric, flip: Flip, to: float) -> Fabric:
    for name in flip.offer.split(", "):
        fabric = changed(fabric, name, **{flip.figure: to})
    return fabric


@pytest.mark.parametrize("bandwidth_mbps", [100, 900, 4000])
def test_before_a_flip_the_choice_stands_and_past_it_it_is_the_one_told(bandwidth_mbps: int):
    fabric = changed(demo().fabric(), "ngfw@fw1", capacity_mbps=8000)
    wanted = chain("ngfw", "ips", bandwidth_mbps=bandwidth_mbps)
    told = why(context(fabric, wanted))
    assert [placed.function for placed in told.hops] == ["ngfw", "ips"]
    assert {flip.figure for flip in told.hops[0].flips} == {"cost_per_gbps", "cost_fixed", "capacity_mbps"}
    for placed in told.hops:
        assert placed.chosen is not None and placed.flips
        for flip in placed.flips:
            step = 0.01 if flip.at >= flip.now else -0.01
            if flip.figure == "capacity_mbps":
                near, past = int(flip.at), int(flip.at) - 1
            else:
                near, past = flip.at - step, flip.at + step  # type: ignore[assignment]
            assert runs_at(flipped(fabric, flip, near), wanted, placed.position) == placed.chosen.offers, flip.words
            assert runs_at(flipped(fabric, flip, past), wanted, placed.position) == flip.then, flip.words


def test_a_limit_is_worth_what_placing_without_it_saves():
    fabric = changed(demo().fabric(), "ngfw@fw1", capacity_mbps=1000, used_mbps=950)
    wanted = chain("ngfw", bandwidth_mbps=100)
    told = why(context(fabric, wanted))
    assert told.placement is not None and told.hops[0].chosen.offers == ("ngfw@fw2",)  # type: ignore[union-attr]
    (binding,) = told.bindings
    assert (binding.where, binding.left, binding.needed) == ("ngfw@fw1", 50, 100)
    free = place(context(changed(fabric, "ngfw@fw1", capacity_mbps=1050), wanted)).placement
    assert binding.saves == pytest.approx(told.placement.cost - free.cost, abs=1e-5)
    assert binding.each == pytest.approx(binding.saves / 50, abs=1e-5)
    assert "has 50 Mb/s left, 100 are needed: 50 more Mb/s" in binding.words


def test_nothing_binds_where_there_is_room():
    assert why(context(demo().fabric(), chain("ngfw", "ips"))).bindings == ()


def test_a_full_link_binds_with_as_much_as_is_crossed():
    fabric = demo().fabric()
    fabric = changed(fabric, "ngfw@fw1", cost_fixed=30.0)
    full = tuple(
        replace(link, used_from_a_mbps=9950) if "spine1" in (link.a.device, link.b.device) else link
        for link in fabric.links
    )
    # Both ends at one leaf: fw2 costs two crossings each way that are not there.
    here = chain("ngfw").source
    wanted = replace(chain(hop(0, "ngfw", realm="appliance"), bandwidth_mbps=100), destination=here)
    told = why(context(replace(fabric, links=full), wanted))
    assert told.hops[0].chosen is not None and told.hops[0].chosen.offers == ("ngfw@fw1",)
    assert [(b.limit, b.left, b.needed) for b in told.bindings] == [("link", 50, 200)] * 2
    assert "together with the others" in told.bindings[0].words


@pytest.mark.parametrize(
    ("fields", "limit", "remedy"),
    [
        ({"capacity_mbps": 120, "used_mbps": 70}, Limit.BANDWIDTH, "50 more Mb/s at cgn@cgn1"),
        ({"is_draining": True}, Limit.DRAINED, "end the drain of cgn@cgn1"),
        ({"is_enabled": False}, Limit.OFF, "switch cgn@cgn1 on"),
        ({"health": Health.DOWN}, Limit.DOWN, "repair cgn@cgn1"),
    ],
)
def test_who_has_no_place_is_told_what_is_missing_and_that_it_is_enough(
    fields: dict[str, object], limit: Limit, remedy: str
):
    fabric = changed(demo().fabric(), "cgn@cgn1", **fields)
    wanted = chain("ngfw", "cgn")
    with pytest.raises(Refused):
        place(context(fabric, wanted))
    told = why(context(fabric, wanted))
    assert told.placement is None and told.reasons
    assert told.remedies[0].startswith(remedy)
    assert [short.limit for short in missing(context(fabric, wanted))] == [limit]


def test_the_cheapest_remedy_comes_first_and_entries_are_counted():
    builder = demo()
    builder.offer("leaf2", "filter", builder.offers[-3].realm, cost_fixed=9.0, is_shared=True, entries=4)
    fabric = changed(builder.fabric(), "filter@leaf1", entries=10, used_entries=8)
    wanted = chain("filter")
    told = why(context(fabric, wanted))
    assert told.placement is None and len(told.remedies) == 2
    first = missing(context(fabric, wanted))[0]
    assert (first.where, first.left) == ("filter@leaf1", 2)
    assert told.remedies[0].startswith(f"{first.missing} more table entries at filter@leaf1")
    enough = changed(fabric, "filter@leaf1", entries=8 + first.needed)
    assert runs_at(enough, wanted) == ("filter@leaf1",)
    with pytest.raises(Refused):
        place(context(changed(fabric, "filter@leaf1", entries=8 + first.needed - 1), wanted))
