# SPDX-License-Identifier: Apache-2.0
"""What a schedule never changes is read once: ports, cables, VRFs, where segments are. Only to be faster.

Everything that the engine writes, and everything that a schedule switches, is read anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from django.db.models import Prefetch

from chains import models, selectors
from chains.engine import health
from chains.selectors import fabric
from chains.selectors import intent as chain_reading


@contextmanager
def _replaced(module: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _all_at_once(
    read: Callable[[Iterable[str]], dict[str, Any]],
) -> Callable[[Iterable[str]], dict[str, Any]]:
    every = lru_cache(lambda: read(models.Device.objects.values_list("name", flat=True)))
    return lambda names: {name: every()[name] for name in names if name in every()}


def _by_doubts(read: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    known = lru_cache(lambda names, doubts: read(names, dict(doubts)))
    return lambda names=None, doubts=MappingProxyType({}): known(names, tuple(sorted(doubts.items())))


@contextmanager
def kept() -> Iterator[None]:
    """For one schedule: the next one switches off other devices."""
    targets, tags, devices, peers = fabric.targets_of, fabric.vrf_tags, fabric._devices, health._peers
    with ExitStack() as stack:
        for module, name, value in (
            (fabric, "vrf_tags", lru_cache(tags)),
            (fabric, "_devices", _by_doubts(devices)),
            (health, "_peers", lru_cache(peers)),
            (selectors, "targets_of", _all_at_once(targets)),
            (chain_reading, "_chain_row", _Rows(chain_reading._chain_row)),
        ):
            stack.enter_context(_replaced(module, name, value))
        yield


class _Rows:
    """A chain's row anew, the attachments of its segments as they were."""

    def __init__(self, read: Callable[[int], models.Chain]) -> None:
        self._read = read
        self._attached: dict[int, list[models.Attachment]] = {}

    def __call__(self, pk: int) -> models.Chain:
        row = (
            models.Chain.objects.select_related("tenant", "source__vrf", "destination__vrf")
            .prefetch_related(
                "classifiers", Prefetch("hops", models.Hop.objects.select_related("function", "device"))
            )
            .get(pk=pk)
        )
        if not {row.source_id, row.destination_id} <= self._attached.keys():
            row = self._read(pk)
            for segment in (row.source, row.destination):
                self._attached[segment.pk] = list(segment.attachments.all())
            return row
        for segment in (row.source, row.destination):
            segment._prefetched_objects_cache = {"attachments": self._attached[segment.pk]}  # type: ignore[attr-defined]
        return row
