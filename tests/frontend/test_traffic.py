# SPDX-License-Identifier: Apache-2.0
"""The chain's page says where its packets end, with the counters that show it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from chains import models
from chains.engine.pulse import beat
from drivers import fake
from drivers.state import Kind
from tests.frontend import world

pytestmark = pytest.mark.usefixtures("fabric")


def words_of(client: Client, address: str) -> str:
    response: Any = client.get(address)
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def pulse() -> None:
    """Two seconds pass."""
    for row in models.Traffic.objects.all():
        samples = [{**sample, "at": sample["at"] - 2} for sample in row.samples]
        models.Traffic.objects.filter(pk=row.pk).update(samples=samples, due_at="2000-01-01T00:00:00Z")
    beat()


def hung(device: str, packets: int = 200) -> None:
    """All that leads packets on counts so many more, but for what is behind `device` and the device itself."""
    for row in models.Device.objects.exclude(driver=""):
        with fake.box(row.name) as box:
            for key, item in box.state.items():
                ingress = getattr(item, "ingress", "")
                if key.kind is Kind.REDIRECT and not ingress.startswith((f"{device}-", "spine", "leaf")):
                    held = box.counters.get(str(key), [0, 0, 0])
                    box.counters[str(key)] = [held[0] + packets, 0, 0]


def test_the_page_names_the_hop_where_packets_end() -> None:
    row = world.chain({**world.NGFW, "device": "fw1"})
    world.apply(row)
    client = world.operator()
    assert "Being measured" in words_of(client, f"/chains/{row.pk}/")
    pulse()
    hung("fw1")
    with fake.box("fw1") as box:
        for key in box.state:
            box.counters[str(key)] = [200, 0, 0]
    pulse()
    seen = words_of(client, f"/chains/{row.pk}/live/")
    assert "Where packets go now" in seen
    assert "swallowed" in seen and "hop 1 (ngfw) on fw1 took 200 of 200 packets and gave nothing back" in seen
    assert "fw1 between them counted 200 in both directions" in seen, "with the counters as evidence"
    assert "traffic-lost" in words_of(client, "/findings/")


def test_a_draft_has_no_traffic() -> None:
    row = world.chain(world.NGFW)
    assert "Where packets go now" not in words_of(world.operator(), f"/chains/{row.pk}/")
    assert not models.Traffic.objects.exists()
