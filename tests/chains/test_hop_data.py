# SPDX-License-Identifier: Apache-2.0
"""Hops with several instances, with branches, and taps: as sent, as stored, as shown, as planning gets them."""

from __future__ import annotations

import pytest

from chains import models, selectors
from chains.errors import Invalid
from chains.planning import types
from chains.services import intent
from tests.builders import CGN, FILTER, IPS, NGFW, editor, make_chain, make_fabric

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fabric() -> None:
    make_fabric()
    models.Function.objects.create(name="mirror", capability="tap")


def faults(*hops: dict[str, object]) -> dict[str, str]:
    with pytest.raises(Invalid) as found:
        make_chain(hops=list(hops))
    return {error.field: error.detail for error in found.value.errors}


def test_a_branch_and_a_group_come_back_as_they_were_sent() -> None:
    branch = {"dscp": 10, "hops": [FILTER]}
    chain = make_chain(hops=[{**NGFW, "instances": 3, "standby": 1}, {**IPS, "branch": branch}, FILTER])
    assert sorted(chain.hops.values_list("position", "branch_of")) == [(0, None), (1, None), (2, None), (12, 1)]
    shown = selectors.chain_intent(models.Chain.objects.get())
    assert [hop["instances"] for hop in shown["hops"]] == [3, 1, 1]
    assert shown["hops"][1]["branch"]["dscp"] == 10
    assert [hop["function"] for hop in shown["hops"][1]["branch"]["hops"]] == ["filter"]
    again = intent.chain_update(actor=editor(), chain=chain, data={"hops": shown["hops"]})
    assert again.generation == chain.generation  # nothing changed


def test_planning_gets_the_branch_inside_its_hop() -> None:
    chain = make_chain(hops=[{**IPS, "branch": {"dscp": 0, "hops": []}}, {**NGFW, "instances": 2, "standby": 1}][:1])
    (hop,) = selectors.chain_snapshot(chain).hops
    assert hop.branch == types.Branch(0, ())
    group = make_chain(name="group", hops=[{**NGFW, "instances": 2, "standby": 1}], priority=1)
    (hop,) = selectors.chain_snapshot(group).hops
    assert (hop.instances, hop.standby, hop.branch) == (2, 1, None)


def test_a_tap_never_blocks_and_is_not_on_the_way() -> None:
    chain = make_chain(hops=[{"function": "mirror", "failure_mode": "block"}, NGFW])
    assert chain.hops.get(position=0).failure_mode == "bypass"
    assert "one copy" in faults({"function": "mirror", "instances": 2})["hops.0.instances"]
    assert "comes back" in faults({"function": "mirror", "branch": {"dscp": 1, "hops": []}})["hops.0.branch"]


def test_what_follows_a_branch_must_not_need_both_directions() -> None:
    branching = {**IPS, "branch": {"dscp": 10, "hops": [NGFW]}}
    found = faults(branching, NGFW)
    assert set(found) == {"hops.1.function", "hops.0.branch.hops.0.function"}
    assert "both directions" in found["hops.1.function"]
    second = faults({**IPS, "branch": {"dscp": 1, "hops": []}}, {**IPS, "branch": {"dscp": 2, "hops": []}})
    assert "second branch" in second["hops.1.branch"]


def test_numbers_have_bounds_and_one_device_is_one_instance() -> None:
    assert "1 to 300" in faults({**NGFW, "instances": 301})["hops.0.instances"]
    assert "0 to 32" in faults({**NGFW, "standby": 33})["hops.0.standby"]
    assert "several instances" in faults({**NGFW, "instances": 2, "device": "fw1"})["hops.0.device"]
    assert "0 to 63" in faults({**IPS, "branch": {"dscp": 64, "hops": []}})["hops.0.branch.dscp"]
    assert "is required" in faults({**IPS, "branch": {"hops": []}})["hops.0.branch.dscp"]
    grouped = {**IPS, "branch": {"dscp": 1, "hops": [{**CGN, "instances": 2}]}}
    assert "no field" in faults(grouped)["hops.0.branch.hops.0"]
