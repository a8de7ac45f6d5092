# SPDX-License-Identifier: Apache-2.0
"""The page and the command that say why a chain runs where it does, and what would change that."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from chains import models
from tests.builders import offer
from tests.frontend import world
from tests.frontend.test_pages import words_of

pytestmark = pytest.mark.usefixtures("fabric")


def command(name: str) -> str:
    out = StringIO()
    call_command("why", name, stdout=out)
    return out.getvalue()


def test_the_page_and_the_command_tell_what_binds_and_where_it_flips() -> None:
    row = world.chain(world.NGFW, bandwidth_mbps=100)
    models.Offer.objects.filter(pk=offer("ngfw@fw1").pk).update(capacity_mbps=60)
    page = words_of(world.member("anna").get(f"/chains/{row.pk}/why/"))
    binds = "ngfw@fw1 has 60 Mb/s left, 100 are needed: 40 more Mb/s at ngfw@fw1 would save"
    assert binds in page
    assert "is chosen" in page and "All places" in page
    told = command("tenant-a/web")
    assert binds in told and "rises above" in told and "* ngfw@" in told
    assert not models.Plan.objects.exists()


def test_a_chain_without_a_place_is_told_what_would_be_enough() -> None:
    row = world.chain(world.NGFW)
    models.Offer.objects.filter(function__name="ngfw").update(is_enabled=False)
    page = words_of(world.member("anna").get(f"/chains/{row.pk}/why/"))
    assert "the chain has no place" in page and "switch ngfw@fw1 on: the chain would cost" in page
    assert "would be enough: switch ngfw@fw1 on" in command("tenant-a/web")


def test_others_do_not_see_it() -> None:
    row = world.chain(world.NGFW)
    assert world.member("bob", tenant_b="editor").get(f"/chains/{row.pk}/why/").status_code == 404
