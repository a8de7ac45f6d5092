# SPDX-License-Identifier: Apache-2.0
"""What others have put into our objects on a device, or in their way, and what a reload would lose: only said here.

The engine calls through `services.record` with every reading that counts.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction

from chains.models import Device, Finding, Step
from chains.services.observed import finding_close, finding_open
from chains.services.saving import UNSAVED, unsaved_found
from drivers.base import SHADOWS, Observation

ATTACHED, COMMIT = "foreign-attached", "foreign-commit"
REPAIR = "si-repair-"
# What a witness holds at most: a device may be full of them.
MAX_LINES = 100


@transaction.atomic
def foreign_found(device: Device, observation: Observation, opened: Collection[tuple[int, str]]) -> None:
    """Open what there is, close what is gone. opened: (device, code) of the findings that were open before."""
    if observation.attached:
        _attached(device, observation.attached)
    elif (device.pk, ATTACHED) in opened:
        finding_close(code=ATTACHED, device=device)
    if observation.pending and not _is_ours(device, observation.pending):
        text = f"{device.name} holds a commit that nobody confirmed, {observation.pending!r}, and it is not ours: "
        text += "nothing can be committed there until it ends"
        finding_open(code=COMMIT, device=device, detail=text, witness={"pending": observation.pending})
    elif (device.pk, COMMIT) in opened:
        finding_close(code=COMMIT, device=device)
    # A commit that waits for its confirmation is saved with that.
    if not observation.is_saved and not observation.pending:
        unsaved_found(device)
    elif (device.pk, UNSAVED) in opened:
        finding_close(code=UNSAVED, device=device)


def _attached(device: Device, lines: tuple[str, ...]) -> None:
    taking = sum(SHADOWS in line for line in lines)
    severity = Finding.Severity.CRITICAL if taking else Finding.Severity.WARNING
    what = f"{len(lines)} objects of others" if len(lines) > 1 else "an object of others"
    detail = f"{device.name} holds {what} inside ours or in their way"
    detail += f"; {taking} may take packets that a chain in force is to have" if taking else ""
    witness = {"lines": list(lines[:MAX_LINES]), "more": max(0, len(lines) - MAX_LINES)}
    finding_open(code=ATTACHED, severity=severity, device=device, detail=detail, witness=witness)


def _is_ours(device: Device, label: str) -> bool:
    """Named in a step that is not confirmed yet, or by a repair."""
    return label.startswith(REPAIR) or Step.objects.filter(plan_step__device=device, label=label).exists()
