# SPDX-License-Identifier: Apache-2.0
"""One writer per device, whatever the timing: leases raced from threads on their own connections."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict

import pytest
from django.db import DatabaseError, connection, connections
from django.db.models.functions import Now

from chains.models import Device, Lease
from chains.services.lease import lease_release, lease_renew, lease_take
from tests.builders import device

LONG_S = 60.0


def expire(row: Device) -> None:
    """Time passes: by the database's clock the lease is over."""
    with connection.cursor() as cursor:
        sql = "UPDATE chains_lease SET expires_at = clock_timestamp() - interval '1 ms' WHERE device_id = %s"
        cursor.execute(sql, [row.pk])


def holds(row: Device, holder: str, epoch: int) -> bool:
    return Lease.objects.filter(device=row, holder=holder, epoch=epoch, expires_at__gt=Now()).exists()


@pytest.mark.usefixtures("fabric")
class TestOneAtATime:
    def test_taken_released_taken_again_with_a_higher_epoch(self) -> None:
        leaf = device("leaf1").pk
        first = lease_take([leaf], "a", LONG_S)
        assert first == {leaf: 1}
        assert lease_take([leaf], "b", LONG_S) is None
        assert lease_take([leaf], "a", LONG_S) is None  # a holder names one attempt: it cannot hold twice
        lease_release(first, "a")
        assert lease_take([leaf], "b", LONG_S) == {leaf: 2}

    def test_an_expired_lease_is_taken_over_and_its_holder_can_do_nothing_more(self) -> None:
        leaf = device("leaf1")
        old = lease_take([leaf.pk], "a", LONG_S)
        assert old is not None and holds(leaf, "a", 1)
        expire(leaf)
        assert not holds(leaf, "a", 1)
        assert not lease_renew(old, "a", LONG_S)  # too late, though nobody took it yet
        assert lease_take([leaf.pk], "b", LONG_S) == {leaf.pk: 2}
        assert not lease_renew(old, "a", LONG_S)
        lease_release(old, "a")
        assert holds(leaf, "b", 2)

    def test_an_old_epoch_of_the_same_name_is_somebody_else(self) -> None:
        leaf = device("leaf1")
        old = lease_take([leaf.pk], "a", LONG_S)
        expire(leaf)
        new = lease_take([leaf.pk], "a", LONG_S)
        assert old == {leaf.pk: 1} and new == {leaf.pk: 2}
        assert not holds(leaf, "a", 1) and not lease_renew(old, "a", LONG_S)
        lease_release(old, "a")
        assert holds(leaf, "a", 2)

    def test_several_are_taken_and_renewed_all_or_none(self) -> None:
        leaf1, leaf2, spine1 = (device(name) for name in ("leaf1", "leaf2", "spine1"))
        held = lease_take([spine1.pk], "a", LONG_S)
        assert lease_take([leaf1.pk, leaf2.pk, spine1.pk], "b", LONG_S) is None
        assert not Lease.objects.filter(device__in=[leaf1, leaf2]).exists()
        lease_release(held or {}, "a")
        all_three = lease_take([spine1.pk, leaf2.pk, leaf1.pk, leaf1.pk], "b", LONG_S)
        assert all_three is not None and all_three == {leaf1.pk: 1, leaf2.pk: 1, spine1.pk: 2}
        before = list(Lease.objects.order_by("pk").values_list("expires_at", flat=True))
        expire(leaf2)
        assert not lease_renew(all_three, "b", LONG_S * 2)
        after = dict(Lease.objects.order_by("pk").values_list("device__name", "expires_at"))
        assert after["leaf1"] in before and after["spine1"] in before

    def test_nothing_wanted_is_nothing_taken(self) -> None:
        assert lease_take([], "a", LONG_S) == {}
        assert lease_renew({}, "a", LONG_S)
        lease_release({}, "a")


class Workers:
    """They take random devices, write to them under the lease, and give it back or fall asleep until it is over."""

    def __init__(self, devices: list[int], for_s: float) -> None:
        self.devices = devices
        self.stop_at = time.monotonic() + for_s
        self.inside: dict[int, str] = {}
        self.faults: list[str] = []
        self.epochs: dict[int, list[int]] = defaultdict(list)
        self.guard = threading.Lock()

    def work(self, seed: int) -> None:
        dice, turn = random.Random(seed), 0
        try:
            while time.monotonic() < self.stop_at:
                turn += 1
                holder = f"{seed}.{turn}"
                taken = lease_take(dice.sample(self.devices, dice.randint(1, 3)), holder, LONG_S)
                if taken is not None:
                    self._hold(taken, holder, falls_asleep=dice.random() < 0.2)
        except DatabaseError as error:
            self.faults.append(str(error))
        finally:
            connections.close_all()

    def _hold(self, taken: dict[int, int], holder: str, *, falls_asleep: bool) -> None:
        if lease_renew(taken, holder, LONG_S):
            self._write(taken, holder)
        if not falls_asleep:
            lease_release(taken, holder)
            return
        with connection.cursor() as cursor:
            for pk in sorted(taken):
                sql = "UPDATE chains_lease SET expires_at = clock_timestamp() WHERE device_id = %s AND holder = %s"
                cursor.execute(sql, [pk, holder])
        if lease_renew(taken, holder, LONG_S):
            self.faults.append(f"{holder} renewed what was over")

    def _write(self, taken: dict[int, int], holder: str) -> None:
        with self.guard:
            self.faults += [f"{holder} met {self.inside[pk]}" for pk in taken if pk in self.inside]
            self.inside.update(dict.fromkeys(taken, holder))
            for pk, epoch in taken.items():
                self.epochs[pk].append(epoch)
        with self.guard:  # others may run in between
            for pk in taken:
                self.inside.pop(pk, None)


@pytest.mark.usefixtures("shared_fabric")
def test_no_two_workers_ever_write_to_one_device_at_once() -> None:
    workers = Workers([device(name).pk for name in ("leaf1", "leaf2", "spine1")], for_s=3.0)
    threads = [threading.Thread(target=workers.work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert workers.faults == []
    for found in workers.epochs.values():
        assert found == sorted(set(found))  # every take-over raised the epoch
    assert sum(map(len, workers.epochs.values())) > 20
