# SPDX-License-Identifier: Apache-2.0
"""A device holds ours as wanted and would lose it at a reload: save it, as its policy or an operator's order says.

Called by `observe` with a reading that says so. Under the device's lease and from a new reading, never while writes are
frozen or a change is under way there, and never where others' lines would be saved with ours: that is said instead.
"""

from __future__ import annotations

import logging

from chains import models, selectors
from chains.engine.carry import Job, carry, say
from chains.engine.drift import REPORT
from chains.engine.freeze import Frozen, Gate
from chains.engine.lease import LeaseBusy, LeaseLost, Leases
from chains.engine.limits import Limits
from chains.engine.sessions import Fleet, read
from chains.services import record
from chains.services.observed import chains_under_way
from drivers.base import Observation

log = logging.getLogger(__name__)
PURPOSE = "save"


def act(device: models.Device, fleet: Fleet, given: Limits, gate: Gate) -> None:
    """What goes wrong is in the finding."""
    if not record.save_order_of(device) and (device.drift or given.drift) == REPORT:
        return
    try:
        gate.check()
        with Leases([device.pk], given, wait_s=0) as leases:
            if chains_under_way(device):
                return
            for seen in fleet.each({device.name: read}).values.values():
                _save(device, seen, fleet, leases, gate)
    except Frozen as frozen:
        log.info("%s: not saved: %s", device.name, frozen)
    except (LeaseBusy, LeaseLost):
        log.info("%s: a change is writing; whether it is saved is looked at again later", device.name)


def _save(device: models.Device, seen: Observation, fleet: Fleet, leases: Leases, gate: Gate) -> None:
    if seen.is_saved or seen.pending or seen.state != selectors.desired_state(device):
        return

    def must_hold() -> None:
        gate.must_be_open()
        leases.must_hold()

    # Nothing is to be sent: whoever finds the goal held sees to it that it is saved.
    job = Job(fleet.targets[device.name], None, seen.state, seen.state, "", is_strict=True)
    rows = record.writes_begin([record.Push(device.pk, leases.epoch(device.pk), "")], purpose=PURPOSE)
    leases.check()
    done = carry(fleet, {device.name: job}, must_hold)
    errors = {name: say(error) for name, error in done.errors.items()}
    record.writes_end(rows, errors)
    if errors:
        record.unsaved_said(device, detail=errors[device.name])
    else:
        observation = done.values[device.name].observation
        record.observation_record(device, observation)
        record.finding_close(code=record.UNSAVED, device=device)
