# SPDX-License-Identifier: Apache-2.0
"""Stores plans. Called by the engine's planner through `services.record`; the values are plain JSON by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from chains.errors import NotFound
from chains.models import Chain, Device, Plan, PlanStep


@transaction.atomic
def plan_store(*, steps: Sequence[Mapping[str, Any]] = (), **fields: Any) -> Plan:
    """fields: columns of Plan. steps: wave, phase, device (name, "" for a drain step), changes, native, reverse.

    `summary` holds `offer_uses` (hop, offer, bandwidth_mbps, entries) and `link_uses` (a, b as
    "device:port", from_a_mbps, from_b_mbps, tags): what the decision takes over into the ledger.
    Errors: KeyError if a step names a device that does not exist, NotFound if the chain was deleted meanwhile.
    """
    chain = fields["chain"]
    if not Chain.objects.select_for_update(no_key=True).filter(pk=chain.pk).exists():
        raise NotFound(f"The chain {chain.name} was deleted.")
    plan = Plan.objects.create(**fields)
    names = {step["device"] for step in steps if step["device"]}
    devices = dict(Device.objects.filter(name__in=names).values_list("name", "pk"))
    PlanStep.objects.bulk_create(
        PlanStep(
            plan=plan,
            wave=step["wave"],
            phase=step["phase"],
            device_id=devices[step["device"]] if step["device"] else None,
            changes=step["changes"],
            native=step["native"],
            reverse=step["reverse"],
        )
        for step in steps
    )
    return plan
