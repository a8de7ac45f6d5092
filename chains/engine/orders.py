# SPDX-License-Identifier: Apache-2.0
"""An operator decides about one device's drift: adopt it or set it right, once, whatever its policy is.

Called by API and pages. Answers at once from the last reading; what is ordered is carried out by a worker (`drift`)
from a new reading under the device's lease, and proved again then. Touches no device.
"""

from __future__ import annotations

from django.db import transaction

from chains import models
from chains.engine.adopt import consider, last_reading
from chains.engine.drift import ADOPT
from chains.engine.observe import is_suspect
from chains.errors import Conflict, FieldError
from chains.services.actor import Actor
from chains.services.drift import drift_order


@transaction.atomic
def order(*, actor: Actor, device: models.Device, what: str) -> models.Finding:
    """The finding that the order is about. what: adopt or enforce. Errors: Forbidden, Conflict with every reason."""
    found = drift_order(actor=actor, device=device, what=what)
    if is_suspect():
        told = "More than half of the devices are silent, or hold what nobody wants: nothing is touched until they are"
        raise Conflict(f"{told} read again.", code="blind")
    held = last_reading(device)
    if what == ADOPT and held is not None:
        verdict = consider(device, held)
        if verdict.because:
            told = f"What {device.name} holds cannot be adopted: {verdict.because[0]}"
            more = f" (and {len(verdict.because) - 1} more reasons)" if len(verdict.because) > 1 else ""
            errors = tuple(FieldError("", "not-adoptable", reason) for reason in verdict.because)
            raise Conflict(f"{told}{more}. Fix: enforce.", code="not-adoptable", errors=errors)
        if not verdict.parts:
            told = f"No chain could adopt what {device.name} holds too much: nobody owns it. Fix: enforce."
            raise Conflict(told, code="not-adoptable")
    return found
