# SPDX-License-Identifier: Apache-2.0
"""One writer per device: leases with epochs on the database's clock, held together by one attempt.

Used by reconcile and observe. Always in the caller's thread; never a database transaction during device I/O.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType

from django.db.models.functions import Now

from chains import models
from chains.engine.limits import Limits
from chains.services import record

POLL_S = 0.1


def free_epochs(device_ids: Iterable[int]) -> dict[int, int]:
    """The epochs of devices that nobody holds now, 0 for one that was never held; held ones are left out."""
    free = dict.fromkeys(device_ids, 0)
    rows = models.Lease.objects.filter(device__in=list(free)).annotate(now=Now())
    for device_id, epoch, expires_at, now in rows.values_list("device_id", "epoch", "expires_at", "now"):
        free[device_id] = epoch
        if expires_at is not None and expires_at > now:
            del free[device_id]
    return free


class LeaseBusy(Exception):
    """Another attempt holds one of the devices. Not an error: try again soon."""


class LeaseLost(Exception):
    """Another attempt took over: stop at once, write nothing more."""


class Leases:
    """Leases of several devices, all or none, in the order of their ids so that two attempts cannot dead-lock."""

    def __init__(self, device_ids: Iterable[int], limits: Limits, *, wait_s: float) -> None:
        self._ids = tuple(sorted(set(device_ids)))
        self._limits = limits
        self._wait_s = wait_s
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._epochs: dict[int, int] = {}
        self._renewed = 0.0
        self.on_renewed: Callable[[], None] = lambda: None

    def __enter__(self) -> Leases:
        """Errors: LeaseBusy after `wait_s`."""
        deadline = time.monotonic() + self._wait_s
        while not self._take():
            if time.monotonic() >= deadline:
                raise LeaseBusy
            time.sleep(POLL_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record.lease_release(self._epochs, self._holder)

    def _take(self) -> bool:
        found = record.lease_take(self._ids, self._holder, self._limits.lease_ttl_s)
        if found is None:
            return False
        self._epochs = dict(found)
        self._renewed = time.monotonic()
        return True

    def epoch(self, device_id: int) -> int:
        """Of the lease that is held."""
        return self._epochs[device_id]

    def keep(self) -> None:
        """Renew after a third of the life. Errors: LeaseLost."""
        if time.monotonic() - self._renewed >= self._limits.lease_ttl_s / 3:
            self.check()

    def must_hold(self) -> None:
        """The same without a question, for a device's thread between a reading and its push: a process that was
        stopped and woken must not write with a lease that ended meanwhile. Errors: LeaseLost.
        """
        if time.monotonic() - self._renewed >= self._limits.lease_ttl_s - self._limits.device_timeout_s:
            raise LeaseLost

    def check(self) -> None:
        """Ours still, and for a whole life from now? Asked right before every push. Errors: LeaseLost."""
        asked = time.monotonic()
        if not record.lease_renew(self._epochs, self._holder, self._limits.lease_ttl_s):
            raise LeaseLost
        self._renewed = asked
        self.on_renewed()
