# SPDX-License-Identifier: Apache-2.0
"""A chain that shares its fate lets no packet in while a hop has nobody, and opens again by itself."""

from __future__ import annotations

import pytest

from chains import models
from chains.planning.plan import edges_in_force
from chains.selectors import chain_contributions, fabric_snapshot
from drivers.state import DeviceState, Filter, Guard, Redirect
from tests.engine import world
from tests.engine.test_health import power


def made(*hops: dict[str, object], **values: object) -> models.Chain:
    row = world.chain(*hops, shares_fate=True, **values)
    assert world.apply(row).status == "succeeded"
    world.sweep_on(1)
    return row


def entries(chain: models.Chain, states: dict[str, DeviceState]) -> list[tuple[str, str]]:
    """Where packets are let in, on the devices themselves. Ports of segments: nothing of ours is behind them."""
    ends = {
        (port.device.name, port.name)
        for port in models.Port.objects.filter(attachments__isnull=False).select_related("device")
    }
    return sorted(
        (name, item.ingress)
        for name, state in states.items()
        for item in state.of_chain(chain.pk).values()
        if isinstance(item, Redirect | Filter) and item.tag == 0 and (name, item.ingress) in ends
    )


@pytest.fixture
def chain(fabric: None) -> models.Chain:
    return made(world.NGFW, world.IPS)


def test_it_closes_where_packets_enter_and_opens_again(chain: models.Chain) -> None:
    before = world.network()
    assert len(entries(chain, before)) == 2, "one for each direction"
    power("ips1", on=False)
    world.sweep_on(4)
    chain.refresh_from_db()
    now = world.network()
    assert entries(chain, now) == []
    for name, ingress in entries(chain, before):
        doors = [item for item in now[name].values() if isinstance(item, Guard) and item.ingress == ingress]
        assert doors, "the closed door stays: dropped, not passed by"
    change = models.Change.objects.latest("id")
    assert (change.plan.goal, change.status, change.is_urgent) == ("close", "succeeded", True)
    assert set(now["fw1"].of_chain(chain.pk)) == set(before["fw1"].of_chain(chain.pk)), "all else stays as it was"
    assert sorted(chain.uses.values_list("hop_position", flat=True)) == [0, 1], "and what it took stays taken"
    assert chain.status == "degraded"
    assert models.Finding.objects.get(code="chain-closed", closed_at=None).severity == "critical"
    assert chain.conditions.get(kind="ready").status == "false"
    plans = models.Plan.objects.count()
    world.sweep_on(2)
    assert models.Plan.objects.count() == plans, "closed once"
    power("ips1", on=True)
    world.sweep_on(5)
    chain.refresh_from_db()
    assert len(entries(chain, world.network())) == 2
    assert chain.status == "ready", chain.status_reason
    assert not models.Finding.objects.filter(code="chain-closed", closed_at=None).exists()
    assert chain.conditions.get(kind="ready").status == "true"


def test_with_another_instance_it_moves_and_is_not_closed(chain: models.Chain) -> None:
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    power("ips1", on=False)
    world.sweep_on(3)
    assert not models.Plan.objects.filter(goal="close").exists()
    assert len(entries(chain, world.network())) == 2


def test_a_closed_chain_opens_on_another_instance_too(chain: models.Chain) -> None:
    power("ips1", on=False)
    world.sweep_on(4)
    assert entries(chain, world.network()) == []
    models.Offer.objects.filter(device__name="ips2").update(is_enabled=True)
    world.sweep_on(4)
    chain.refresh_from_db()
    assert len(entries(chain, world.network())) == 2
    assert chain.status == "ready"
    assert chain.uses.get(hop_position=1).offer == world.offer("ips@ips2")


def test_without_the_wish_only_the_hop_is_closed(fabric: None) -> None:
    row = world.chain(world.NGFW, world.IPS)
    assert world.apply(row).status == "succeeded"
    power("ips1", on=False)
    world.sweep_on(4)
    assert len(entries(row, world.network())) == 2
    assert not models.Plan.objects.filter(goal="close").exists()


def test_a_nat_keeps_its_addresses_while_it_is_closed(fabric: None) -> None:
    row = made(world.CGN, world.NGFW, destination="outside")
    given = list(models.PoolAllocation.objects.filter(until=None).values_list("public", flat=True))
    box = row.uses.get(hop_position=1).offer.device.name
    models.Offer.objects.filter(function__name="ngfw").exclude(device__name=box).update(is_enabled=False)
    power(box, on=False)
    world.sweep_on(4)
    assert entries(row, world.network()) == []
    assert list(models.PoolAllocation.objects.filter(until=None).values_list("public", flat=True)) == given
    base = chain_contributions(row)
    assert edges_in_force(fabric_snapshot(row), base) == frozenset()
