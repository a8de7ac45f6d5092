# SPDX-License-Identifier: Apache-2.0
"""The operators' page that says who had a public port."""

from __future__ import annotations

import pytest

from chains import models
from tests.builders import allocation, apply, make_plan
from tests.frontend import world

pytestmark = pytest.mark.usefixtures("fabric")

ASKED = {"address": "198.51.100.0", "port": "1280", "protocol": "tcp", "at": "", "reason": ""}


def test_an_operator_asks_and_is_told() -> None:
    client = world.operator()
    apply(make_plan(world.chain(), allocations=[{**allocation("198.51.100.0/32"), "protocols": ["tcp"]}]))
    page = client.get("/subscribers/").content.decode()
    assert "Who had this address and port?" in page and not models.AuditRow.objects.filter(action="subscriber.ask")
    told = client.post("/subscribers/", ASKED).content.decode()
    assert "10.10.1.1 of tenant-a" in told and "1280-1535" in told and "still so" in told
    assert "Nobody" in client.post("/subscribers/", {**ASKED, "port": "80"}).content.decode()
    assert models.AuditRow.objects.filter(action="subscriber.ask").count() == 2


def test_a_wrong_question_keeps_what_was_typed() -> None:
    reply = world.operator().post("/subscribers/", {**ASKED, "address": "nowhere"})
    assert reply.status_code == 422
    assert 'value="nowhere"' in reply.content.decode() and "IPv4 address" in reply.content.decode()


def test_to_others_there_is_no_such_page() -> None:
    client = world.member("ada")
    assert client.get("/subscribers/").status_code == 404
    assert "/subscribers/" not in client.get("/").content.decode()
