# SPDX-License-Identifier: Apache-2.0
"""What was seen: readings of devices, health of instances, findings, bells rung.

Called by the engine through `services.record`.
Unknown is unknown: nothing here keeps the last good value when a device cannot be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from chains.models import Chain, Change, Device, DeviceStatus, Finding, Instance, Link, Outbox, Plan, Step
from chains.selectors.ages import is_stale, stale_after_s
from chains.selectors.states import desired_states
from chains.services.statuses import statuses_open
from drivers.base import Observation
from drivers.codec import state_to_json
from drivers.state import DeviceState, Item, Key

Condition = DeviceStatus.Condition


def observation_record(
    device: Device, observation: Observation, *, desired_generation: int | None = None
) -> DeviceStatus:
    """One reading. The device is in sync when it equals the union of what the chains in force want.

    desired_generation: as it was before the device was read; if it moved since, the reading says nothing
    about the newer one. While a change is under way on the device, what its chain holds there is neither in sync
    nor drift, and nothing is said of it; the condition is about all that belongs to others.
    """
    observations_record({device: observation}, desired_generation=desired_generation)
    return DeviceStatus.objects.get(device=device)


@transaction.atomic
def observations_record(
    seen: Mapping[Device, Observation], *, desired_generation: int | None = None
) -> None:
    """The same for many devices, with as many queries as for one."""
    if not seen:
        return
    statuses_open([device.pk for device in seen])
    locked = DeviceStatus.objects.select_for_update().filter(device__in=list(seen)).order_by("device_id")
    # In one order, so that two of these cannot dead-lock. What was read before is not fetched: it may be large.
    held = list(locked.values_list("pk", "device_id", "desired_generation", "observed_generation"))
    found = {device.pk: observation for device, observation in seen.items()}
    desired, busy = desired_states(seen), _chains_under_way(seen)
    rows = []
    for pk, device_id, wanted, shown in held:
        seen_here, wanted_here = found[device_id], desired[device_id]
        row = {"id": pk, **_read(seen_here), **_judged(seen_here, wanted_here, busy.get(device_id, frozenset()))}
        read_for = wanted if desired_generation is None else desired_generation
        row["observed_generation"] = max(shown, read_for) if seen_here.state == wanted_here else shown
        rows.append(row)
    with connection.cursor() as cursor:
        cursor.execute(OBSERVED, {"rows": Jsonb(rows)})


# One statement for all: with a parameter for each value, composing it would take longer than running it.
OBSERVED = """
UPDATE chains_devicestatus AS status
   SET observed = seen.observed, counters = seen.counters, links_up = seen.links_up, "foreign" = seen."foreign",
       attached = seen.attached, pending = seen.pending, observed_generation = seen.observed_generation,
       condition = seen.condition, reason = seen.reason, observed_at = statement_timestamp()
  FROM jsonb_to_recordset(%(rows)s) AS seen (
       id bigint, observed jsonb, counters jsonb, links_up jsonb, "foreign" integer, attached jsonb, pending text,
       observed_generation bigint, condition text, reason text)
 WHERE status.id = seen.id
"""


def _read(observation: Observation) -> dict[str, Any]:
    """What a device showed, as it is stored."""
    counters = observation.counters
    return {
        "observed": state_to_json(observation.state),
        "counters": {
            str(key): {"packets": value.packets, "octets": value.octets, "dropped": value.dropped}
            for key, value in counters.items()
        },
        "links_up": dict(observation.links_up),
        "foreign": observation.foreign,
        "attached": list(observation.attached),
        "pending": observation.pending[:63],
    }


def _judged(observation: Observation, desired: DeviceState, busy: Collection[int]) -> dict[str, str]:
    if observation.state == desired:
        return {"condition": Condition.IN_SYNC, "reason": ""}
    if busy and without(observation.state, busy) == without(desired, busy):
        return {"condition": Condition.IN_SYNC, "reason": "but for a change that is under way"}
    return {
        "condition": Condition.DRIFTED,
        "reason": _drift_text(len(desired), len(observation.state)),
    }


@transaction.atomic
def device_unreachable(device: Device, reason: str) -> DeviceStatus:
    """It did not answer: its links and items are unknown; what was read last keeps its time."""
    status = _locked(device)
    status.condition, status.reason = Condition.UNREACHABLE, reason[:512]
    status.links_up = {}
    status.save(update_fields=["condition", "reason", "links_up"])
    return status


def device_answers(device: Device) -> None:
    """It answers again, but what it said is not to be relied on: it is not silent any more, and not known yet."""
    silent = DeviceStatus.objects.filter(device=device, condition=Condition.UNREACHABLE)
    silent.update(condition=Condition.UNKNOWN, reason="it answers again; somebody was writing to it meanwhile")


def readings_expire() -> int:
    """Devices that nobody read lately are unknown from now on; how many became so."""
    good = DeviceStatus.objects.filter(is_stale(), condition__in=(Condition.IN_SYNC, Condition.DRIFTED))
    text = f"not read for longer than {stale_after_s():g} s: nobody knows what it holds now"
    return good.update(condition=Condition.UNKNOWN, reason=text)


def is_under_way(device: Device) -> bool:
    """Is a change half done on the device?"""
    return bool(chains_under_way(device))


UNKNOWN_CHAIN = 0


def chains_under_way(device: Device) -> frozenset[int]:
    """The chains (`UNKNOWN_CHAIN` for one that is gone) with a change half done on the device."""
    return _chains_under_way([device]).get(device.pk, frozenset())


def _chains_under_way(devices: Iterable[Device]) -> dict[int, frozenset[int]]:
    """The same by device id; devices without one are left out.

    A change that is parked before its decision is half done: it may still be taken back.
    """
    started = (Step.Status.SENT, Step.Status.DONE, Step.Status.FAILED)
    halves = Q(change__status__in=(Change.Status.RUNNING, Change.Status.REVERTING))
    halves |= Q(change__status=Change.Status.FAILED, change__decided_at=None)
    steps = Step.objects.filter(halves, plan_step__device__in=list(devices), status__in=started)
    found: dict[int, frozenset[int]] = {}
    for device_id, number in steps.values_list("plan_step__device", "change__plan__chain"):
        found[device_id] = found.get(device_id, frozenset()) | {number or UNKNOWN_CHAIN}
    return found


def without(state: DeviceState, chains: Collection[int]) -> dict[Key, Item]:
    """What belongs to other chains."""
    return {key: item for key, item in state.items() if key.chain not in chains}


@transaction.atomic
def instance_health_set(
    instance: Instance, health: str, reason: str = "", flaps: Mapping[str, Any] | None = None
) -> bool:
    """True if it changed. The time is that of the last change. flaps: None for as they are."""
    row = Instance.objects.select_for_update().filter(pk=instance.pk).first()
    if row is None:
        return False
    is_new = row.health != health
    row.health, row.health_reason = Instance.Health(health), reason[:255]
    row.flaps = row.flaps if flaps is None else dict(flaps)
    if is_new or row.health_at is None:
        row.health_at = Now()
    row.save(update_fields=["health", "health_reason", "health_at", "flaps"])
    row.refresh_from_db()
    instance.health, instance.health_reason, instance.health_at = row.health, row.health_reason, row.health_at
    return is_new


@transaction.atomic
def link_set(link: Link) -> None:
    """It has a link, or has none any more; one finding for each device at its first end."""
    Link.objects.filter(pk=link.pk).update(is_up=link.is_up)
    down = Link.objects.filter(a__device=link.a.device_id, is_up=False).select_related("a__device", "b__device")
    cables = [f"{row.a} - {row.b}" for row in down]
    if not cables:
        finding_close(code="link-down", device=link.a.device)
        return
    detail = f"no link: {', '.join(cables)}"
    finding_open(code="link-down", device=link.a.device, detail=detail, witness={"links": cables})


@transaction.atomic
def finding_open(
    *,
    code: str,
    detail: str,
    severity: str = Finding.Severity.WARNING,
    device: Device | None = None,
    chain: Chain | None = None,
    plan: Plan | None = None,
    witness: Mapping[str, Any] | None = None,
) -> tuple[Finding, bool]:
    """(finding, is it new): one open finding for each code and subject; an open one gets the new detail."""
    values = {"severity": severity, "detail": detail, "plan": plan, "witness": dict(witness or {})}
    subject = {"code": code, "device": device, "chain": chain}
    still_open = Finding.objects.filter(code=code, device=device, chain=chain, closed_at=None)
    held = set(still_open.values_list("pk", flat=True))
    # A twin that opens it at the same moment is met by the unique constraint, not by an error.
    Finding.objects.bulk_create([Finding(**subject, **values)], ignore_conflicts=True)
    found = still_open.select_for_update().get()
    if found.pk in held and any(getattr(found, name) != value for name, value in values.items()):
        for name, value in values.items():
            setattr(found, name, value)
        found.save()
    return found, found.pk not in held


def findings_open(device_ids: Iterable[int]) -> frozenset[tuple[int, str]]:
    """(device, code) of what is open about these devices."""
    rows = Finding.objects.filter(device__in=list(device_ids), closed_at=None)
    return frozenset(rows.values_list("device_id", "code"))


def finding_close(*, code: str, device: Device | None = None, chain: Chain | None = None) -> int:
    """Close what is open of this code and subject; how many. Nothing open is no error."""
    return Finding.objects.filter(code=code, device=device, chain=chain, closed_at=None).update(
        closed_at=Now()
    )


def outbox_prune(keep_s: float = 86_400.0) -> int:
    """Drop bells that were rung longer ago."""
    return Outbox.objects.filter(Q(rung_at__lt=Now() - timedelta(seconds=keep_s))).delete()[0]


def _locked(device: Device) -> DeviceStatus:
    rows = DeviceStatus.objects.select_for_update()
    row = rows.filter(device=device).first()
    if row is not None:
        return row
    DeviceStatus.objects.bulk_create([DeviceStatus(device=device)], ignore_conflicts=True)
    return rows.get(device=device)


def _drift_text(desired: int, observed: int) -> str:
    return f"holds {observed} of our items, {desired} are wanted, or some differ: see the difference"
