# SPDX-License-Identifier: Apache-2.0
"""What if, over the wire and on its page: a chain in force, its fate, and nothing touched."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from chains import models
from chains.engine.whatif import reserve_ask, what_if_ask
from chains.errors import Forbidden, Invalid
from chains.services.actor import SYSTEM
from tests.builders import editor
from tests.frontend import world
from tests.frontend.test_pages import words_of

pytestmark = pytest.mark.usefixtures("fabric")


def test_a_chain_in_force_is_told_where_it_would_go_and_nothing_is_touched() -> None:
    row = world.chain(world.NGFW, bandwidth_mbps=100)
    world.apply(row)
    other = world.chain(world.NGFW, name="other", of="tenant-b")
    world.apply(other)
    plans = models.Plan.objects.count()
    told = what_if_ask(actor=SYSTEM, data={"drained": ["fw1"]})
    (fate,) = [fate for fate in told["fates"] if fate["chain"] == row.pk]
    assert fate["before"] == [["ngfw@fw1"]] and fate["is_placed"] and fate["after"] != fate["before"]
    assert told["difference"] == pytest.approx(told["cost_after"] - told["cost_before"])
    assert told["untouched"] + len(told["fates"]) == 2
    client = world.operator()
    page = words_of(client.get("/what-if/?drained=fw1"))
    assert "tenant-a/web" in page and "affected" in page and fate["after"][0][0] in page
    grown = what_if_ask(actor=SYSTEM, data={"factors": {"tenant-a": 1000}})
    assert grown["homeless"] == 1 and grown["fates"][0]["remedy"]
    assert "no place" in words_of(client.get("/what-if/?tenant=tenant-a&factor=1000"))
    assert client.get("/what-if/?tenant=tenant-a&factor=much").status_code == 422
    assert models.Plan.objects.count() == plans
    assert world.member("anna").get("/what-if/").status_code == 404


def test_the_reserve_names_what_may_not_fail() -> None:
    world.apply(world.chain(world.CGN, destination="outside"))
    (failure,) = [found for found in reserve_ask(actor=SYSTEM) if found["failure"] == "device cgn1"]
    assert failure["chains"] == ["tenant-a/web"]
    with pytest.raises(CommandError):
        call_command("reserve", stdout=(out := StringIO()))
    assert "device cgn1: tenant-a/web" in out.getvalue()
    assert "device cgn1" in words_of(world.operator().get("/what-if/?reserve=1"))


def test_only_operators_ask_and_only_of_what_there_is() -> None:
    with pytest.raises(Forbidden):
        what_if_ask(actor=editor(), data={"drained": ["fw1"]})
    for data in ({}, {"drained": ["fw9"]}, {"lost": ["leaf1:nowhere"]}, {"off": ["cloud"]}, {"added": {"x@y": 1}}):
        with pytest.raises(Invalid):
            what_if_ask(actor=SYSTEM, data=data)
