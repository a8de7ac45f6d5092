# SPDX-License-Identifier: Apache-2.0
"""Read devices, record what they hold, find drift and repair what is ours. A stranger's objects are never touched.

Called by tasks and the sweep with ids. Blind means still: what cannot be read is not written, and when more than
half of the devices are silent at once nothing is repaired anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from chains import models, selectors
from chains.engine import claims, converge
from chains.engine.carry import Job, carry, say
from chains.engine.freeze import Frozen, Gate
from chains.engine.health import refresh_health
from chains.engine.lease import LeaseBusy, LeaseLost, Leases, free_epochs
from chains.engine.limits import Limits, limits
from chains.engine.sessions import Fleet, fleet_of, read
from chains.services import record
from drivers.base import DriverError, Observation, Target
from drivers.diff import Change, diff, patch
from drivers.order import order
from drivers.registry import driver
from drivers.state import DeviceState

log = logging.getLogger(__name__)
Condition = models.DeviceStatus.Condition
DRIFT, SILENT = "drift", "unreachable"
CHAINS_AT_ONCE = 50
UNFINISHED = (models.Change.Status.RUNNING, models.Change.Status.REVERTING)


@dataclass(frozen=True, slots=True)
class Drift:
    """Our own items only. missing: wanted and not there; orphaned: there and wanted by no chain."""

    changes: tuple[Change, ...]

    @property
    def witness(self) -> dict[str, list[str]]:
        names = {"create": "missing", "update": "altered", "delete": "orphaned"}
        found: dict[str, list[str]] = {"missing": [], "altered": [], "orphaned": []}
        for change in self.changes:
            found[names[change.action.value]].append(str(change.key))
        return found

    @property
    def detail(self) -> str:
        return ", ".join(f"{len(keys)} {what}" for what, keys in self.witness.items() if keys)

    @property
    def chains(self) -> frozenset[int]:
        return frozenset(change.key.chain for change in self.changes)


def observe_device(device_id: int) -> None:
    observe_devices([device_id])


def observe_devices(device_ids: Collection[int]) -> None:
    """One reading of each, side by side; then drift, repairs, health and the chains that depend on them."""
    given = limits()
    rows = models.Device.objects.filter(pk__in=device_ids, is_enabled=True).exclude(driver="").order_by("pk")
    devices = {row.name: row for row in rows}
    if devices:
        gate = Gate()
        with fleet_of(devices.values(), given, gate.look) as fleet:
            _read_all(devices, fleet, given, gate)
    _after(device_ids)


def _read_all(devices: Mapping[str, models.Device], fleet: Fleet, given: Limits, gate: Gate) -> None:
    """What a switch says of its ports is acted on as it comes in; repairs wait until all have spoken."""
    epochs = free_epochs(row.pk for row in devices.values())
    statuses = models.DeviceStatus.objects.filter(device__in=list(epochs))
    links = dict(statuses.values_list("device_id", "links_up"))
    suspects = []
    for name, answer in fleet.arrivals({name: read for name, device in devices.items() if device.pk in epochs}):
        device = devices[name]
        if isinstance(answer, DriverError):
            record.device_unreachable(device, say(answer))
            witness = {"error": type(answer).__name__}
            record.finding_open(code=SILENT, device=device, detail=say(answer), witness=witness)
            continue
        if record.finding_close(code=SILENT, device=device):
            claims.hurry(device)
        # A reading from while somebody was writing says nothing: the writer records its own.
        if free_epochs([device.pk]).get(device.pk) == epochs[device.pk] and _seen(device, answer):
            suspects.append(device)
        if device.kind == models.Device.Kind.SWITCH and links.get(device.pk) != dict(answer.links_up):
            _after([device.pk])
    if suspects and given.drift == "enforce" and not is_suspect():
        for device in suspects:
            _repair(device, fleet, given, gate)


def _seen(device: models.Device, observation: Observation) -> bool:
    """Record the reading. True if it differs from what is wanted and no half-done change explains it."""
    status = record.observation_record(device, observation)
    if status.condition == Condition.IN_SYNC:
        record.finding_close(code=DRIFT, device=device)
    if status.condition != Condition.DRIFTED or _is_in_change(device):
        return False
    drift = Drift(diff(observation.state, selectors.desired_state(device)))
    detail = f"{device.name} is not as wanted: {drift.detail}"
    record.finding_open(code=DRIFT, device=device, detail=detail, witness=drift.witness)
    return True


def _is_in_change(device: models.Device) -> bool:
    started = (models.Step.Status.SENT, models.Step.Status.DONE, models.Step.Status.FAILED)
    return models.Step.objects.filter(
        plan_step__device=device, status__in=started, change__status__in=UNFINISHED
    ).exists()


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


def _repair(device: models.Device, fleet: Fleet, given: Limits, gate: Gate) -> None:
    """Push exactly the difference, under the lease, from a new reading. What goes wrong is kept in the finding."""
    try:
        gate.check()
        with Leases([device.pk], given, wait_s=0) as leases:
            if not _is_in_change(device):
                _repair_now(device, fleet, leases, gate)
    except Frozen as frozen:
        log.info("%s: not repaired: %s", device.name, frozen)
    except (LeaseBusy, LeaseLost):
        log.info("%s: a change is writing; its drift is looked at again later", device.name)


def _repair_now(device: models.Device, fleet: Fleet, leases: Leases, gate: Gate) -> None:
    def must_hold() -> None:
        gate.must_be_open()
        leases.must_hold()

    wanted = selectors.desired_state(device)
    for observation in fleet.each({device.name: read}).values.values():
        for job in _jobs(fleet.targets[device.name], observation.state, wanted):
            gate.check()
            leases.check()
            done = carry(fleet, {device.name: job}, must_hold)
            if done.errors:
                detail = f"{device.name}: the repair failed: {say(done.errors[device.name])}"
                witness = Drift(diff(observation.state, wanted)).witness
                record.finding_open(code=DRIFT, device=device, detail=detail, witness=witness)
                return
            observation = done.values[device.name].observation
        record.observation_record(device, observation)
        record.finding_close(code=DRIFT, device=device)


def _jobs(target: Target, held: DeviceState, wanted: DeviceState) -> Iterator[Job]:
    """One push where the device takes it all at once, else make before break."""
    family = driver(target.driver)
    changes = diff(held, wanted)
    if family.caps.is_atomic:
        batches = [changes] if changes else []
    else:
        batches = [batch.changes for wave in order({target.name: changes}) for batch in wave]
    for batch in batches:
        after = patch(held, batch)
        yield Job(target, None, held, after, family.render(batch, target), is_strict=True)
        held = after


def _after(device_ids: Collection[int]) -> None:
    """Health follows from links; chains follow from both."""
    refresh_health()
    held = models.Contribution.objects.filter(device__in=list(device_ids))
    troubled = held.exclude(device__status__condition=Condition.IN_SYNC)
    unsettled = held.filter(chain__status__in=converge.UNSETTLED).exclude(chain__status=models.Chain.Status.READY)
    chains = set(troubled.values_list("chain_id", flat=True)) | set(unsettled.values_list("chain_id", flat=True))
    for chain_id in sorted(chains):
        converge.look_at_chain(chain_id)
    for chain_id in converge.chains_to_look_at(CHAINS_AT_ONCE):
        converge.look_at_chain(chain_id)
