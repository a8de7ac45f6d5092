# SPDX-License-Identifier: Apache-2.0
"""Port blocks on demand: what devices are told, what the record says, and that the record comes first."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest

from chains import models, selectors
from chains.engine.giving import give_blocks
from chains.engine.limits import limits
from chains.services import freeze, record
from chains.services.actor import SYSTEM
from drivers import fake
from drivers.nat import Block
from drivers.state import NatPool
from tests.engine import world

pytestmark = pytest.mark.usefixtures("fabric")

POLICY = {"block_size": 1024, "blocks": 3, "addresses": 1}
CGN = {**world.CGN, "policy": POLICY}


@pytest.fixture
def pool(fabric: None) -> models.PoolAllocation:
    """One public address for all of the tenant's clients, 63 blocks of 1,024 ports, three at most for each."""
    made = world.apply(world.chain(CGN, destination="outside"))
    assert made.status == "succeeded", world.events(made)
    return models.PoolAllocation.objects.get(until=None)


def ask(**wishes: int) -> None:
    with fake.box("cgn1") as box:
        box.wishes = {f"10.10.1.{number.removeprefix('n')}": level for number, level in wishes.items()}
    models.PoolAllocation.objects.update(asked_at=None)
    assert give_blocks(limits()) == 1


def told() -> dict[str, Block]:
    with fake.box("cgn1") as box:
        (rows,) = box.given.values() or ([],)
        return {row[0]: Block(*row) for row in rows}


def owners() -> dict[tuple[str, int], str]:
    return {
        (one.public, port): one.subscriber
        for one in told().values()
        for port in range(one.first_port, one.last_port + 1)
    }


def test_nobody_has_a_block_before_he_asks(pool: models.PoolAllocation) -> None:
    (item,) = (item for item in world.held("cgn1").values() if isinstance(item, NatPool))
    assert (item.blocks, item.block_size, item.public) == (3, 1024, pool.public)
    ask()
    assert told() == {} and not models.PortBlock.objects.exists()
    ask(n7=0, n9=0)
    assert told().keys() == {"10.10.1.7", "10.10.1.9"}
    assert models.PortBlock.objects.count() == 2
    ask(n7=0)  # an old wish
    assert models.PortBlock.objects.count() == 2


def test_more_blocks_lie_beside_the_first_up_to_the_limit(pool: models.PoolAllocation) -> None:
    for level in range(4):
        ask(n7=level, n9=level)
    for block in told().values():
        assert block.last_port - block.first_port + 1 == 3 * 1024
    assert len(owners()) == 6 * 1024, "no port has two owners"
    finding = models.Finding.objects.get(code="pool-exhausted", closed_at=None)
    assert set(finding.witness["subscribers"]) == {"10.10.1.7", "10.10.1.9"}
    ask()
    assert not models.Finding.objects.filter(code="pool-exhausted", closed_at=None).exists()


def test_the_record_names_exactly_who_was_told(pool: models.PoolAllocation) -> None:
    before = record.now()
    for level in range(2):
        ask(**{f"n{number}": level for number in range(1, 25)})
    found = owners()
    assert len(found) > 20 * 1024
    now = record.now()
    address = str(ipaddress.ip_network(pool.public)[0])
    for port in range(0, 65536, 251):
        said = selectors.subscriber_at(address, port, "udp", now)
        assert (said.address if said else None) == found.get((address, port))
        assert selectors.subscriber_at(address, port, "udp", before) is None


def test_a_pool_that_is_used_up_gives_nothing_twice(pool: models.PoolAllocation) -> None:
    ask(**{f"n{number}": 0 for number in range(1, 81)})
    assert len(told()) == 63 and len(owners()) == 63 * 1024
    assert models.Finding.objects.filter(code="pool-exhausted", closed_at=None).exists()


def test_what_nobody_used_for_long_is_taken_back_and_rests(pool: models.PoolAllocation) -> None:
    ask(n7=0)
    first = told()["10.10.1.7"]
    long_ago = record.now() - timedelta(hours=3)
    models.PortBlock.objects.update(since=long_ago)
    ask(**{f"n{number}": 0 for number in range(100, 170)})
    assert "10.10.1.7" not in told() and len(told()) == 62
    assert (first.public, first.first_port) not in owners(), "it rests for two minutes"
    row = models.PortBlock.objects.exclude(until=None).get()
    assert row.subscriber == "10.10.1.7" and row.held_until - row.until == timedelta(seconds=120)
    said = selectors.subscriber_at(first.public, first.first_port, "tcp", long_ago + timedelta(hours=1))
    assert said is None or said.address == "10.10.1.7"


def test_a_device_that_lost_them_is_told_again(pool: models.PoolAllocation) -> None:
    ask(n7=0, n9=0)
    before = told()
    with fake.box("cgn1") as box:
        box.given.clear()
    ask()
    assert told() == before and models.PortBlock.objects.count() == 2


def test_what_was_not_recorded_is_taken_away(pool: models.PoolAllocation) -> None:
    ask(n7=0)
    before = told()
    with fake.box("cgn1") as box:
        next(iter(box.given.values())).append(["10.10.1.66", "198.51.100.0", 60000, 60010])
    ask()
    assert told() == before


def test_a_device_that_cannot_be_told_leaves_a_record_and_is_told_later(pool: models.PoolAllocation) -> None:
    with fake.box("cgn1") as box:
        box.faults.reject = "no"
    ask(n7=0)
    assert models.PortBlock.objects.count() == 1
    with fake.box("cgn1") as box:
        assert not box.given
        box.faults.reject = ""
    ask()
    assert told().keys() == {"10.10.1.7"}


def test_nothing_is_given_while_frozen(pool: models.PoolAllocation) -> None:
    freeze.freeze_set(actor=SYSTEM, reason="core reboot")
    ask(n7=0)
    assert not models.PortBlock.objects.exists()


def test_with_the_chain_all_blocks_end(pool: models.PoolAllocation) -> None:
    ask(n7=0)
    world.delete(models.Chain.objects.get())
    world.sweep_on(2)
    assert not models.PortBlock.objects.filter(until=None).exists()
    assert give_blocks(limits()) == 0
