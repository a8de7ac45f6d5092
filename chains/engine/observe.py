# SPDX-License-Identifier: Apache-2.0
"""Read devices, record what they hold and find what differs. A stranger's objects are never touched.

Called by tasks and the sweep with ids. Blind means still: what cannot be read is not written, and when more than
half of the devices are silent at once nothing is repaired anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db.models.functions import Now

from chains import models
from chains.engine import claims, converge, drift, saving
from chains.engine.carry import say
from chains.engine.drift import DRIFT
from chains.engine.freeze import Gate
from chains.engine.health import refresh_health
from chains.engine.lease import free_epochs
from chains.engine.limits import Limits, limits
from chains.engine.sessions import Fleet, fleet_of, read
from chains.services import record
from chains.services.observed import UNKNOWN_CHAIN, chains_under_way
from drivers.base import DriverError, Observation, Transient

Condition = models.DeviceStatus.Condition
SILENT = "unreachable"
CHAINS_AT_ONCE = 50


def observe_device(device_id: int) -> None:
    observe_devices([device_id])


def observe_devices(device_ids: Collection[int]) -> None:
    """One reading of each, side by side; then drift, repairs, health and the chains that depend on them."""
    given = limits()
    rows = models.Device.objects.filter(pk__in=device_ids, is_enabled=True).exclude(driver="").order_by("pk")
    rows = rows.exclude(status__closed_until__gt=Now())  # left alone
    devices = {row.name: row for row in rows}
    if devices:
        gate = Gate()
        with fleet_of(devices.values(), given, gate.look) as fleet:
            _read_all(devices, fleet, given, gate)
    _after(device_ids)


def _read_all(devices: Mapping[str, models.Device], fleet: Fleet, given: Limits, gate: Gate) -> None:
    """What a switch says of its ports is acted on as it comes in; repairs wait until all have spoken."""
    epochs = free_epochs(row.pk for row in devices.values())
    record.reading_begins(epochs, given.breaker_failures, given.breaker_s)
    statuses = models.DeviceStatus.objects.filter(device__in=list(epochs))
    links = dict(statuses.values_list("device_id", "links_up"))
    opened = record.findings_open(epochs)
    suspects, unsaved = [], []
    for name, answer in fleet.arrivals({name: read for name, device in devices.items() if device.pk in epochs}):
        device = devices[name]
        if isinstance(answer, DriverError):
            record.device_unreachable(device, say(answer))
            _judge(device, answer, given)
            witness = {"error": type(answer).__name__}
            record.finding_open(code=SILENT, device=device, detail=say(answer), witness=witness)
            continue
        was_open = record.device_answered([device.pk])
        is_back = (device.pk, SILENT) in opened and record.finding_close(code=SILENT, device=device)
        if is_back or was_open:
            claims.hurry(device)
        # A reading from while somebody was writing says nothing: the writer records its own.
        if free_epochs([device.pk]).get(device.pk) != epochs[device.pk]:
            record.device_answers(device)
        elif _seen(device, answer, opened):
            suspects.append(device)
        elif not answer.is_saved and not answer.pending:
            unsaved.append(device)
        if device.kind == models.Device.Kind.SWITCH and links.get(device.pk) != dict(answer.links_up):
            _after([device.pk])
    _act(suspects, unsaved, fleet, given, gate)


def _act(
    drifted: list[models.Device], unsaved: list[models.Device], fleet: Fleet, given: Limits, gate: Gate
) -> None:
    if (not drifted and not unsaved) or is_suspect():
        return
    for device in drifted:
        drift.act(device, fleet, given, gate)
    for device in unsaved:
        saving.act(device, fleet, given, gate)


def _judge(device: models.Device, answer: DriverError, given: Limits) -> None:
    """For the breaker: a device that answers what is not understood does answer."""
    if isinstance(answer, Transient):
        record.device_failed([device.pk], given.breaker_failures, given.breaker_s, was_counted=True)
    else:
        record.device_answered([device.pk])


def _seen(device: models.Device, observation: Observation, opened: Collection[tuple[int, str]]) -> bool:
    """Record the reading. True if it differs from what is wanted and no half-done change explains it."""
    status = record.observation_record(device, observation)
    record.foreign_found(device, observation, opened)
    if status.condition == Condition.IN_SYNC and (device.pk, DRIFT) in opened:
        record.finding_close(code=DRIFT, device=device)
    if status.condition != Condition.DRIFTED or UNKNOWN_CHAIN in chains_under_way(device):
        return False
    drift.found(device, observation.state)
    return True


def is_suspect() -> bool:
    """More than half of the programmed devices are silent, or hold items that nobody wants: suspect ourselves.

    A cut management network, an empty or an old database would look like that. Nothing is touched then.
    """
    statuses = models.DeviceStatus.objects.filter(device__is_enabled=True).exclude(device__driver="")
    half = statuses.count() / 2
    if statuses.filter(condition=Condition.UNREACHABLE).count() > half:
        return True
    findings = models.Finding.objects.filter(code=DRIFT, closed_at=None)
    return findings.exclude(witness__orphaned=[]).count() > half


def _after(device_ids: Collection[int]) -> None:
    """Health follows from links; chains follow from both."""
    refresh_health()
    held = models.Contribution.objects.filter(device__in=list(device_ids))
    troubled = held.exclude(device__status__condition=Condition.IN_SYNC)
    unsettled = held.filter(chain__status__in=converge.UNSETTLED).exclude(chain__status=models.Chain.Status.READY)
    chains = set(troubled.values_list("chain_id", flat=True)) | set(unsettled.values_list("chain_id", flat=True))
    for chain_id in sorted(chains):
        converge.look_safely(chain_id)
    for chain_id in converge.chains_to_look_at(CHAINS_AT_ONCE):
        converge.look_safely(chain_id)
