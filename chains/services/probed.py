# SPDX-License-Identifier: Apache-2.0
"""Whose probes are due, and what they found. Called by the engine through `services.record`.

What a device says is new when its last answer is: a result that does not move on grows old here, by the database's
clock, whatever the device's own says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from chains.models import DeviceStatus, Instance
from chains.services.clock import now
from drivers.probe import ProbeResult

# A result that says what was said before is written down again only so often.
AGAIN_S = 3.0


@transaction.atomic
def askers_claim(names: Collection[str], again_s: float) -> list[str]:
    """Devices, by name, that are to be asked what their probes found; also those that ask and are to stop."""
    unreachable = DeviceStatus.Condition.UNREACHABLE
    rows = DeviceStatus.objects.filter(Q(device__name__in=names) | Q(probes_due_at__isnull=False))
    rows = rows.filter(Q(probes_due_at=None) | Q(probes_due_at__lte=Now()), device__is_enabled=True)
    rows = rows.exclude(condition=unreachable).filter(Q(closed_until=None) | Q(closed_until__lte=Now()))
    due = list(rows.select_for_update(skip_locked=True, of=("self",)).values_list("pk", "device__name"))
    if due:
        DeviceStatus.objects.filter(pk__in=[pk for pk, _ in due]).update(
            probes_due_at=Now() + timedelta(seconds=again_s)
        )
    return [name for _, name in due]


def asker_rests(name: str) -> None:
    """It asks nothing any more."""
    DeviceStatus.objects.filter(device__name=name).update(probes_due_at=None)


@transaction.atomic
def instances_claim(offers: Collection[int], again_s: float) -> list[Instance]:
    """Instances of these offers that a worker is to ask now."""
    rows = Instance.objects.filter(Q(probe_due_at=None) | Q(probe_due_at__lte=Now()), offer__in=offers)
    due = list(rows.select_for_update(skip_locked=True))
    if due:
        Instance.objects.filter(pk__in=[row.pk for row in due]).update(
            probe_due_at=Now() + timedelta(seconds=again_s)
        )
    return due


@transaction.atomic
def results_record(found: Mapping[int, Iterable[ProbeResult]], wanted: Mapping[int, Collection[str]]) -> int:
    """By offer id: what its probes found, and the names of all it has. How many rows were written."""
    if not found:
        return 0
    now_s = now().timestamp()
    rows = Instance.objects.select_for_update().filter(offer__in=list(found)).order_by("pk")
    moved = []
    for row in rows:
        kept = {name: held for name, held in row.results.items() if name in wanted.get(row.offer_id, ())}
        for result in found[row.offer_id]:
            before = kept.get(result.name)
            is_new = before is None or before["at_s"] != result.at_s
            is_told = before is not None and before["is_up"] == result.is_up and now_s - before["heard_s"] < AGAIN_S
            if is_new and not is_told:
                kept[result.name] = asdict(result) | {"heard_s": now_s}
        if kept != row.results:
            row.results = kept
            moved.append(row)
    Instance.objects.bulk_update(moved, ["results"])
    return len(moved)
