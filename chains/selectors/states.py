# SPDX-License-Identifier: Apache-2.0
"""Desired device states from the chains' contributions. The engine calls; one query each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chains.models import Chain, Contribution, Device
from drivers.codec import state_from_json
from drivers.state import EMPTY, DeviceState, Item, Key


def chain_contributions(chain: Chain) -> dict[str, DeviceState]:
    """What the chain in force wants, by device name; devices without an item are left out."""
    rows = Contribution.objects.filter(chain=chain).order_by("device__name")
    return {
        name: state_from_json(items) for name, items in rows.values_list("device__name", "items") if items
    }


def others_on(devices: Iterable[str], chain: Chain, *, of_all: bool = False) -> dict[str, DeviceState]:
    """What the tenant's (of_all: everybody's) other chains want on these devices, by name; EMPTY where nothing."""
    stored = others_stored(devices, chain, of_all=of_all)
    return {name: state_from_json(items) if items else EMPTY for name, items in stored.items()}


def others_stored(devices: Iterable[str], chain: Chain, *, of_all: bool = False) -> dict[str, dict[str, Any]]:
    """The same as it is stored, for who compares it and looks into nothing."""
    names = list(devices)
    rows = Contribution.objects.filter(device__name__in=names).exclude(chain=chain.pk)
    if not of_all:
        rows = rows.filter(chain__tenant=chain.tenant_id)
    rows = rows.order_by("device__name", "chain")
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, items in rows.values_list("device__name", "items"):
        found[name].update(items)
    return found


def desired_state(device: Device) -> DeviceState:
    """The union of all chains' contributions to the device. Keys hold the chain's number, so they cannot collide."""
    return desired_states([device])[device.pk]


def desired_states(devices: Iterable[Device]) -> dict[int, DeviceState]:
    """The same of many, by device id."""
    items: dict[int, dict[Key, Item]] = {device.pk: {} for device in devices}
    rows = Contribution.objects.filter(device__in=list(items)).order_by("device", "chain")
    for device_id, stored in rows.values_list("device_id", "items"):
        items[device_id].update(state_from_json(stored))
    return {device_id: DeviceState(held) for device_id, held in items.items()}
