# SPDX-License-Identifier: Apache-2.0
"""A device holds our items otherwise than wanted: say so, then repair it, leave it or adopt it, as its policy says.

Called by `observe` once all readings of a pass are in. Nothing is written to a device or taken over from it but under
its lease and from a new reading; never while the freeze switch is set, and never what belongs to a chain whose change
is half-done there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from chains import models, selectors
from chains.engine.adopt import adopt, consider
from chains.engine.carry import Job, carry, say
from chains.engine.freeze import Frozen, Gate
from chains.engine.lease import LeaseBusy, LeaseLost, Leases
from chains.engine.limits import Limits
from chains.engine.sessions import Fleet, read
from chains.errors import Conflict
from chains.services import record
from chains.services.foreign import REPAIR as LABEL
from chains.services.observed import UNKNOWN_CHAIN, chains_under_way, without
from drivers.base import Observation, Target, Unsupported
from drivers.diff import Change, diff, patch
from drivers.order import order
from drivers.registry import driver
from drivers.state import DeviceState

log = logging.getLogger(__name__)
DRIFT = "drift"
ENFORCE, REPORT, ADOPT = (str(policy) for policy in models.Device.Drift.values)
KINDS = {"create": "missing", "update": "altered", "delete": "orphaned"}


@dataclass(frozen=True, slots=True)
class Drift:
    """Our own items only. missing: wanted and not there; altered: there, but otherwise; orphaned: nobody wants it."""

    changes: tuple[Change, ...]

    @property
    def witness(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {kind: [] for kind in KINDS.values()}
        for change in self.changes:
            found[KINDS[change.action.value]].append(str(change.key))
        return found

    @property
    def detail(self) -> str:
        return ", ".join(f"{len(keys)} {what}" for what, keys in self.witness.items() if keys)


def drift_of(device: models.Device, held: DeviceState) -> Drift:
    """But for the items of chains whose change is half done there: those are the change's matter."""
    return Drift(diff(held, _wanted(device, held, chains_under_way(device))))


def _wanted(device: models.Device, held: DeviceState, busy: Collection[int]) -> DeviceState:
    """busy: chains whose items stay as they are held."""
    wanted = selectors.desired_state(device)
    if not busy:
        return wanted
    kept = {key: item for key, item in held.items() if key.chain in busy}
    return DeviceState({**without(wanted, busy), **kept})


def found(device: models.Device, held: DeviceState) -> None:
    """Open the finding, or bring it up to date."""
    drift = drift_of(device, held)
    detail = f"{device.name} is not as wanted: {drift.detail}"
    record.drift_found(device, detail=detail, witness=drift.witness)


def act(device: models.Device, fleet: Fleet, given: Limits, gate: Gate) -> None:
    """What the device's policy, or an operator's order about this drift, wants. What goes wrong is in the finding."""
    ordered, by = record.drift_order_of(device)
    policy = ordered or device.drift or given.drift
    if policy == REPORT:
        return
    try:
        gate.check()
        with Leases([device.pk], given, wait_s=0) as leases:
            busy = chains_under_way(device)
            if UNKNOWN_CHAIN in busy or (busy and policy == ADOPT):
                return
            for observation in fleet.each({device.name: read}).values.values():
                if policy == ADOPT:
                    _adopt(device, observation, by)
                else:
                    purpose = "enforce" if ordered else "repair"
                    _repair(device, observation, fleet, leases, gate, given, purpose)
    except Frozen as frozen:
        log.info("%s: left as it is: %s", device.name, frozen)
    except Conflict as conflict:
        record.drift_said(device, detail=f"{device.name} is not as wanted: {conflict.detail}")
    except Unsupported as error:
        record.drift_said(device, detail=f"{device.name} cannot be repaired from here: {say(error)}")
    except (LeaseBusy, LeaseLost):
        log.info("%s: a change is writing; its drift is looked at again later", device.name)


def _adopt(device: models.Device, observation: Observation, by: str) -> None:
    """Orphans stay, whoever asks: no chain could want them."""
    drift = drift_of(device, observation.state)
    if not drift.changes:
        _in_sync(device, observation)
        return
    verdict = consider(device, observation.state)
    if verdict.because:
        detail = f"{device.name} is not as wanted ({drift.detail}), and is neither adopted nor repaired: "
        critical = models.Finding.Severity.CRITICAL
        detail += verdict.because[0]
        detail += f" (and {len(verdict.because) - 1} more reasons)" if len(verdict.because) > 1 else ""
        record.drift_said(device, detail=detail[:2000], severity=critical, because=list(verdict.because))
        return
    if verdict.parts and not adopt(device, observation, verdict, by):
        return
    left = drift_of(device, observation.state)
    if left.changes:
        detail = f"{device.name} holds what no chain wants: {left.detail}; nobody could adopt that, and it is left"
        record.drift_found(device, detail=detail, witness=left.witness)
        record.drift_said(device, detail=detail)


def _repair(
    device: models.Device,
    observation: Observation,
    fleet: Fleet,
    leases: Leases,
    gate: Gate,
    given: Limits,
    purpose: str,
) -> None:
    """Push exactly the difference, and believe what is read back. Errors: Conflict if it would reach too far."""

    def must_hold() -> None:
        gate.must_be_open()
        leases.must_hold()

    wanted = _wanted(device, observation.state, chains_under_way(device))
    for number, bare in enumerate(_jobs(fleet.targets[device.name], observation, wanted)):
        job = _named(bare, f"{LABEL}{number}-{leases.epoch(device.pk)}", observation, given)
        gate.check()
        push = record.Push(device.pk, leases.epoch(device.pk), job.native)
        rows = record.writes_begin([push], purpose=purpose, soak_s=given.soak_s)
        leases.check()
        done = carry(fleet, {device.name: job}, must_hold)
        errors = {name: say(error) for name, error in done.errors.items()}
        record.writes_end(rows, errors)
        if errors:
            record.drift_said(device, detail=f"{device.name}: the repair failed: {errors[device.name]}")
            return
        observation = done.values[device.name].observation
    _in_sync(device, observation)


def _named(job: Job, label: str, observation: Observation, given: Limits) -> Job:
    """With a name for the commit where the device can take it back: it is confirmed at once, or goes by itself.

    One that a repair left behind, as its worker died, is settled first.
    """
    if not driver(job.target.driver).caps.has_confirmed_commit:
        return job
    left = (observation.pending,) if observation.pending.startswith(LABEL) else ()
    return replace(job, label=label, revert_in_s=given.confirm_s, settles=left)


def _in_sync(device: models.Device, observation: Observation) -> None:
    record.observation_record(device, observation)
    record.finding_close(code=DRIFT, device=device)


def _jobs(target: Target, seen: Observation, wanted: DeviceState) -> Iterator[Job]:
    """One push where the device takes it all at once, or its family orders what items share; else make before break.

    Errors: Unsupported, where what is damaged cannot be written from here.
    """
    family, held = driver(target.driver), seen.state
    changes = diff(held, wanted)
    if family.caps.is_atomic or family.caps.shares_objects:
        batches = [changes] if changes else []
    else:
        batches = [batch.changes for wave in order({target.name: changes}) for batch in wave]
    for batch in batches:
        after = patch(held, batch)
        native = family.render(batch, replace(target, held=held, residue=seen.residue))
        yield Job(target, None, held, after, native, is_strict=True)
        held = after
