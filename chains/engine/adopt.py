# SPDX-License-Identifier: Apache-2.0
"""The device is right: what it holds otherwise than wanted becomes what the chains want of it, if the proof allows.

Called by `drift` with a new reading under the device's lease, and by API and pages with the last reading, to answer
an operator at once. Touches no device. All of a device's drift is taken over, or nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chains import models, selectors
from chains.engine.planner import consistent_read
from chains.planning.adoption import Standing, keys_of, objections, taken_over
from chains.selectors.usage import HALVES
from chains.services import record
from chains.services.actor import SYSTEM, Actor
from drivers.base import Observation
from drivers.codec import state_from_json
from drivers.state import EMPTY, DeviceState


@dataclass(frozen=True, slots=True)
class Verdict:
    """parts: what each chain with drift would want of the device; {}: only orphans differ, which nobody can adopt.

    wanted: what these chains want now, by device. because: why nothing may be adopted, one line each.
    """

    parts: Mapping[int, DeviceState]
    wanted: Mapping[int, Mapping[str, DeviceState]]
    because: tuple[str, ...]


def consider(device: models.Device, held: DeviceState) -> Verdict:
    """May the chains take over what the device holds? Nothing is written."""
    parts: dict[int, DeviceState] = {}
    wanted: dict[int, Mapping[str, DeviceState]] = {}
    because: list[str] = []
    with consistent_read():
        for chain in _drifted(device, held):
            wanted[chain.pk] = selectors.chain_contributions(chain)
            parts[chain.pk] = taken_over(wanted[chain.pk].get(device.name, EMPTY), held)
            because.extend(_against(chain, wanted[chain.pk], device, held))
    return Verdict(parts, wanted, tuple(because))


def adopt(device: models.Device, observation: Observation, verdict: Verdict, by: str) -> bool:
    """Take over what `consider` allowed for this reading. False if the chains moved meanwhile: look again later."""
    actor = Actor(by, None, models.Role.OPERATOR) if by else SYSTEM
    if not record.contributions_adopt(device, verdict.parts, verdict.wanted, actor=actor):
        return False
    record.observation_record(device, observation)
    return True


def _drifted(device: models.Device, held: DeviceState) -> Iterator[models.Chain]:
    desired = selectors.desired_state(device)
    numbers = {key.chain for key in keys_of(desired, held)}
    yield from models.Chain.objects.select_related("tenant").filter(pk__in=numbers).order_by("pk")


def _against(
    chain: models.Chain, wanted: Mapping[str, DeviceState], device: models.Device, held: DeviceState
) -> Iterator[str]:
    name = f"chain {chain.tenant.name}/{chain.name}"
    if not chain.is_wanted:
        yield f"{name} is being deleted"
    elif chain.generation != chain.observed_generation:
        yield f"{name} was edited since it was applied: apply a plan first"
    elif models.Change.objects.filter(plan__chain=chain, status__in=HALVES).exists():
        yield f"a change of {name} is under way"
    else:
        for violation in objections(_standing(chain, wanted, device, held), device.name, held):
            packet = f" (for example {violation.packet})" if violation.packet else ""
            yield f"{name}: {violation.detail}{packet}"


def _standing(
    chain: models.Chain, wanted: Mapping[str, DeviceState], device: models.Device, held: DeviceState
) -> Standing:
    names = wanted.keys() | {device.name}
    return Standing(
        selectors.fabric_snapshot(chain),
        selectors.chain_snapshot(chain),
        selectors.allocations_in_force(chain.pk),
        wanted,
        selectors.others_on(names, chain),
    )


def last_reading(device: models.Device) -> DeviceState | None:
    """None if it was never read."""
    status = models.DeviceStatus.objects.filter(device=device).first()
    return None if status is None or status.observed is None else state_from_json(status.observed)
