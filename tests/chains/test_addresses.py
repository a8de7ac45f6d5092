# SPDX-License-Identifier: Apache-2.0
"""Who had a public port: the record against what plans told the devices, and what the database itself refuses."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from chains import models, selectors
from chains.engine import planner
from chains.errors import Conflict
from chains.services import intent, record
from chains.services.actor import SYSTEM
from chains.services.addresses import ports_of
from drivers.codec import state_from_json
from drivers.state import NatPool
from tests.builders import allocation, apply, decide, make_chain, make_fabric, make_plan, offer, tenant

pytestmark = pytest.mark.django_db

CGN = {"function": "cgn", "failure_mode": "block", "policy": {"block_size": 256}}
SIZES = (256, 300, 1024)
PROTOCOLS = ("", "tcp", "udp", "icmp")
POOL = ipaddress.ip_network("198.51.100.0/28")


@pytest.fixture(autouse=True)
def _fabric() -> None:
    make_fabric()
    models.Offer.objects.update(is_shared=True)


@dataclass
class Told:
    """What devices were told to translate, by the plan that told them, and between which moments they began and ended.

    Nothing here asks the record or the mapping's own code: blocks are dealt out one after the other.
    """

    tenant: str
    protocols: tuple[str, ...]
    began: tuple[datetime, datetime]
    ended: tuple[datetime, datetime] | None = None
    owners: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: models.Plan, began: tuple[datetime, datetime]) -> Iterator[Told]:
        for items in plan.target.values():
            for item in state_from_json(items).values():
                if isinstance(item, NatPool):
                    found = item.traffic.protocol
                    told = cls(plan.tenant.name, (found,) if found else ("icmp", "tcp", "udp"), began)
                    told._deal(item)
                    yield told

    def _deal(self, item: NatPool) -> None:
        public, port = iter(ipaddress.ip_network(item.public)), 1024
        address = next(public)
        for subscriber in ipaddress.ip_network(item.traffic.source):
            if port + item.block_size > 65536:
                address, port = next(public), 1024
            self.owners.setdefault(str(address), []).append((port, port + item.block_size - 1, str(subscriber)))
            port += item.block_size

    def owner(self, address: str, port: int) -> str:
        return next((who for low, high, who in self.owners.get(address, ()) if low <= port <= high), "")

    def is_in_force(self, at: datetime) -> bool | None:
        """None: just then it began or ended."""
        if at < self.began[0] or (self.ended and at > self.ended[1]):
            return False
        return True if at > self.began[1] and (not self.ended or at < self.ended[0]) else None


@dataclass
class History:
    told: list[Told] = field(default_factory=list)
    by_chain: dict[int, list[Told]] = field(default_factory=dict)

    def reconfigure(self, chain: models.Chain) -> bool:
        """Planned as it is, applied to its end, without devices. False if there is no safe order."""
        plan = planner.plan_chain(chain, "tester")
        if plan.status != models.Plan.Status.READY:
            assert {error["code"] for error in plan.errors} == {"unproven"}, plan.errors
            return False
        before = record.now()
        apply(plan)
        moment = (before, record.now())
        for one in self.by_chain.pop(chain.pk, ()):
            one.ended = moment
        self.by_chain[chain.pk] = list(Told.of(plan, moment))
        self.told += self.by_chain[chain.pk]
        return True

    def pass_time(self, by: timedelta) -> None:
        """All that was is longer ago."""
        for row in models.PoolAllocation.objects.order_by("since"):  # in this order none gets into another's way
            row.since -= by
            row.until, row.held_until = (end and end - by for end in (row.until, row.held_until))
            row.save()
        for one in self.told:
            one.began = (one.began[0] - by, one.began[1] - by)
            one.ended = (one.ended[0] - by, one.ended[1] - by) if one.ended else None

    def answer(self, address: str, port: int, protocol: str, at: datetime) -> set[tuple[str, str]] | None:
        """(tenant, subscriber), one at most; None if something began or ended just then."""
        found = set()
        for one in self.told:
            state = one.is_in_force(at)
            if state is None:
                return None
            if state and protocol in one.protocols and one.owner(address, port):
                found.add((one.tenant, one.owner(address, port)))
        return found


def nat_chain(chance: random.Random, of: str) -> models.Chain:
    classifier: dict[str, Any] = {"protocol": chance.choice(PROTOCOLS), "family": 4}
    policy = {"block_size": chance.choice(SIZES)}
    name = f"nat-{chance.randrange(10**9)}"
    return make_chain(of, name=name, destination="outside", classifiers=[classifier], hops=[{**CGN, "policy": policy}])


def lived(chance: random.Random, reconfigurations: int) -> History:
    """Chains of two tenants with the same addresses come, change and go; time passes, mostly less than the hold."""
    history, chains, done = History(), {}, 0
    while done < reconfigurations:
        of = chance.choice(("tenant-a", "tenant-b"))
        row = chains.get(of)
        if row is None:
            row = chains[of] = nat_chain(chance, of)
        elif chance.random() < 0.5:
            classifier = {"protocol": chance.choice(PROTOCOLS), "family": 4}
            intent.chain_update(actor=SYSTEM, chain=row, data={"classifiers": [classifier]})
        else:
            intent.chain_delete(actor=SYSTEM, chain=chains.pop(of))
        done += history.reconfigure(row)
        if of in chains:
            row.refresh_from_db()
        history.pass_time(timedelta(seconds=chance.choice((5, 20, 60, 400))))
    return history


def test_ten_thousand_questions_over_twenty_reconfigurations_have_the_one_right_answer() -> None:
    chance = random.Random(5)
    history = lived(chance, 24)
    first, last = min(one.began[0] for one in history.told), record.now()
    asked = answered = 0
    while asked < 10_000:
        at = first - timedelta(seconds=30) + chance.random() * (last - first + timedelta(seconds=30))
        address = str(POOL[chance.randrange(16)]) if chance.random() < 0.97 else "203.0.113.7"
        port, protocol = chance.randrange(65536), chance.choice(("tcp", "udp", "icmp", "sctp"))
        if chance.random() < 0.5:  # in or near the life of one of them
            one = chance.choice(history.told)
            at = one.began[1] + 1.1 * chance.random() * ((one.ended[0] if one.ended else last) - one.began[1])
            address, protocol = chance.choice(list(one.owners)), chance.choice(one.protocols)
            low, high, _ = chance.choice(one.owners[address])
            port = chance.choice((low - 1, low, high, min(high + 1, 65535)))
        expected = history.answer(address, port, protocol, at)
        if expected is None:
            continue
        asked += 1
        found = selectors.subscriber_at(address, port, protocol, at)
        assert ({(found.tenant, found.address)} if found else set()) == expected, (address, port, protocol, at)
        assert len(expected) <= 1
        answered += bool(expected)
    assert answered > 1000, "a test that asks about nobody shows nothing"


def test_the_answer_says_whose_address_and_which_ports_and_since_when() -> None:
    chain = make_chain()
    apply(make_plan(chain, allocations=[{**allocation("198.51.100.0/32"), "vrf": "a", "protocols": ["tcp"]}]))
    row = models.PoolAllocation.objects.get()
    found = selectors.subscriber_at("198.51.100.0", 1024 + 256 * 3 + 7, "tcp", record.now())
    assert found is not None
    assert (found.tenant, found.vrf, found.address, found.chain) == ("tenant-a", "a", "10.10.1.3", chain.pk)
    assert (found.first_port, found.last_port, found.offer) == (1792, 2047, "cgn@cgn1")
    assert (found.since, found.until) == (row.since, None)
    assert selectors.subscriber_at("198.51.100.0", 1799, "udp", record.now()) is None
    assert selectors.subscriber_at("198.51.100.0", 80, "tcp", record.now()) is None
    assert selectors.subscriber_at("198.51.100.0", 1799, "tcp", row.since - timedelta(microseconds=1)) is None
    assert selectors.subscriber_at("198.51.100.0", 1799, "tcp", record.now(), tenant=tenant("tenant-b").pk) is None


def test_behind_two_nat_hops_the_tenants_own_address_is_found() -> None:
    every = {"protocols": ["icmp", "tcp", "udp"]}
    inner = {**allocation("192.0.2.0/24", block_size=64512), "vrf": "a", **every}
    outer = {**allocation("198.51.100.0/32", subscribers="192.0.2.0/24"), "hop": 1, "vrf": "internet", **every}
    apply(make_plan(make_chain(), allocations=[inner, outer]))
    found = selectors.subscriber_at("198.51.100.0", 1024 + 256 * 9, "udp", record.now())
    assert found is not None and (found.vrf, found.address) == ("a", "10.10.1.9")
    between = selectors.subscriber_at("192.0.2.9", 5000, "udp", record.now())
    assert between is not None and between.address == "10.10.1.9"


def insert(public: str, since_s: float, until_s: float | None, mapping: str = "one", hold_s: float = 120) -> None:
    """A row as nobody's code would write it. Seconds before now."""
    now = record.now()
    until = None if until_s is None else now - timedelta(seconds=until_s)
    row = models.PoolAllocation(
        offer=offer("cgn@cgn1"), chain_number=1, tenant=tenant(), hop_position=0, subscribers="10.10.1.0/24",
        public=public, block_size=256, mapping=mapping, ports=ports_of(public), until=until,
        held_until=None if until is None else until + timedelta(seconds=hold_s), since=now - timedelta(seconds=since_s),
    )  # fmt: skip
    row.save()


class TestTheDatabaseItselfRefuses:
    @pytest.mark.parametrize("public", ["198.51.100.0/32", "198.51.100.0/31", "198.51.100.0/28"])
    @pytest.mark.parametrize("mapping", ["one", "two"])
    def test_two_owners_at_a_time(self, public: str, mapping: str) -> None:
        insert("198.51.100.0/31", 60, None)
        with pytest.raises(IntegrityError, match="pool_public_once"), transaction.atomic():
            insert(public, 10, None, mapping)

    def test_another_owner_within_two_minutes(self) -> None:
        insert("198.51.100.0/31", 600, 119)
        with pytest.raises(IntegrityError, match="pool_public_rests"), transaction.atomic():
            insert("198.51.100.1/32", 0, None, "two")
        insert("198.51.100.0/31", 0, None, "one")  # the very same subscribers have the very same ports again

    def test_another_owner_after_two_minutes_is_right(self) -> None:
        insert("198.51.100.0/31", 600, 121)
        insert("198.51.100.1/32", 0, None, "two")

    @pytest.mark.parametrize(("until_s", "hold_s"), [(60.0, 119.9), (700.0, 120)])
    def test_a_shorter_rest_and_an_end_before_the_beginning(self, until_s: float, hold_s: float) -> None:
        with pytest.raises(IntegrityError, match="pool_rests"), transaction.atomic():
            insert("198.51.100.0/31", 600, until_s, hold_s=hold_s)

    def test_a_block_of_two_subscribers(self) -> None:
        insert("198.51.100.0/31", 600, None)
        row = models.PoolAllocation.objects.get()
        first = row.ports.lower
        made = {"allocation": row, "since": record.now()}
        models.PortBlock.objects.create(**made, subscriber="10.10.1.1", ports=(first + 1024, first + 1088))
        with pytest.raises(IntegrityError, match="port_block_once"), transaction.atomic():
            models.PortBlock.objects.create(**made, subscriber="10.10.1.2", ports=(first + 1087, first + 1100))


def test_addresses_of_another_or_that_rest_are_a_conflict_for_the_plan() -> None:
    first, second = make_chain(), make_chain("tenant-b")
    apply(make_plan(first, allocations=[allocation("198.51.100.0/31")]))
    with pytest.raises(Conflict):
        record.allocations_record(make_plan(second, allocations=[allocation("198.51.100.1/32")]))
    first.refresh_from_db()
    apply(make_plan(first, allocations=[allocation("198.51.100.4/31")]))
    plan = make_plan(second, allocations=[allocation("198.51.100.0/31")])
    with pytest.raises(Conflict, match="let go a moment ago"):
        intent.change_create(actor=SYSTEM, plan=plan)
    with pytest.raises(Conflict, match="until a moment ago"):
        record.allocations_record(plan)
    History().pass_time(timedelta(seconds=121))
    decide(plan)


def test_more_protocols_are_recorded_before_and_fewer_only_after() -> None:
    chain = make_chain()
    one = {**allocation("198.51.100.0/32"), "vrf": "a"}

    def asked(protocol: str) -> bool:
        return selectors.subscriber_at("198.51.100.0", 1024, protocol, record.now()) is not None

    for before, after in ((["tcp"], ["udp"]), (["udp"], ["tcp", "udp"])):
        change = decide(make_plan(chain, allocations=[{**one, "protocols": after}]))
        assert all(asked(name) for name in (*after, *(before if models.PoolAllocation.objects.count() > 1 else ())))
        record.change_succeeded(change)
        chain.refresh_from_db()
        assert [name for name in ("icmp", "tcp", "udp") if asked(name)] == after


def test_the_question_costs_one_look_into_an_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chains_poolallocation (offer_id, chain_number, tenant_id, hop_position, vrf, subscribers,"
            " public, block_size, blocks, protocols, mapping, ports, since, until, held_until)"
            " SELECT %s, 1, %s, 0, 'a', '10.10.1.0/24', '192.0.2.0/32', 256, 0, '[\"tcp\"]', 'one',"
            " int8range((3221225984::bigint + n %% 16) << 16, (3221225985::bigint + n %% 16) << 16),"
            " t, t + interval '1 minute', t + interval '3 minutes'"
            " FROM (SELECT n, now() - n * interval '1 minute' AS t FROM generate_series(1, 4000) AS n) AS made",
            [offer("cgn@cgn1").pk, tenant().pk],
        )
        cursor.execute("ANALYZE chains_poolallocation")
    at = record.now() + timedelta(days=1)
    with CaptureQueriesContext(connection) as queries:
        assert selectors.subscriber_at("192.0.2.5", 1024, "tcp", at) is None
    question = queries.captured_queries[0]["sql"]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {question}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert len(queries) == 1 and "pool_public_once" in plan and "Seq Scan on chains_poolallocation" not in plan, plan
