# SPDX-License-Identifier: Apache-2.0
"""May what a device holds instead of what a chain wants of it be taken over? Pure: item by item, then by the proof.

Called by `chains.engine.adopt` with snapshots. Doubt means no: an item may only say otherwise what becomes of the
packets that it means already, never mean others; closed doors and public addresses stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chains.planning.classes import pairs
from chains.planning.demands import demands
from chains.planning.judge import Case
from chains.planning.plan import edges_in_force, network_of
from chains.planning.types import Allocation, Chain, Fabric, Violation
from chains.planning.verify import prove_held
from drivers.state import EMPTY, DeviceState, FunctionItem, Item, Key, NatPool, Redirect, Signatures, slot

States = Mapping[str, DeviceState]


@dataclass(frozen=True, slots=True)
class Standing:
    """One chain in force. wanted: its own items by device; others: those of the tenant's other chains."""

    fabric: Fabric
    chain: Chain
    allocations: tuple[Allocation, ...]
    wanted: States
    others: States


def taken_over(wanted: DeviceState, held: DeviceState) -> DeviceState:
    """What would be wanted of the device from now on: what is wanted, as it is held. Orphans have no owner."""
    return DeviceState({key: held[key] for key in wanted if key in held})


def objections(standing: Standing, device: str, held: DeviceState) -> tuple[Violation, ...]:
    """Why the chain cannot take over what the device holds (all of ours, orphans too); empty if it can.

    Shown twice where there are orphans: with them, as the network is, and without them, as it may be any time.
    """
    wanted = standing.wanted.get(device, EMPTY)
    own = held.of_chain(standing.chain.number)
    found = list(_of_items(device, wanted, own))
    others = standing.others.get(device, EMPTY)
    found.extend(_of_packets(standing, device, taken_over(wanted, own), taken_over(others, held)))
    strays = {key: item for key, item in held.items() if key not in wanted and key not in others}
    if strays and not found:
        theirs = {key: item for key, item in held.items() if key in others or key in strays and key not in own}
        found.extend(_of_packets(standing, device, own, DeviceState(theirs)))
    return tuple(dict.fromkeys(found))


def _of_items(device: str, wanted: DeviceState, held: DeviceState) -> Iterator[Violation]:
    for key, item in wanted.items():
        if held.get(key) != item:
            reason = _of_item(item, held.get(key))
            if reason:
                yield Violation("not-adoptable", f"{device}, {key}: {reason}")


def _of_item(wanted: Item, held: Item | None) -> str:
    """"" if the proof is to decide."""
    if held is None:
        if isinstance(wanted, Redirect):
            return ""
        return "a function is missing" if isinstance(wanted, FunctionItem) else "only a redirect can be missed"
    if type(held) is not type(wanted) or slot(held) != slot(wanted):
        return "it means other packets, or is damaged"
    if isinstance(wanted, NatPool):
        return "it translates otherwise than the address records say"
    if isinstance(wanted, Signatures) and isinstance(held, Signatures):
        gone = set(wanted.patterns) - set(held.patterns)
        return f"{len(gone)} of its signatures are gone" if gone else ""
    return ""


def _of_packets(standing: Standing, device: str, own: DeviceState, others: DeviceState) -> tuple[Violation, ...]:
    """The proof over all devices, with `own` and `others` on this one."""
    chain, wanted = standing.chain, standing.wanted
    held = {name: state for name, state in {**wanted, device: own}.items() if state}
    around = {**standing.others, device: others}
    asked = demands(chain, pairs(chain, standing.allocations), around)
    edges = edges_in_force(standing.fabric, wanted)
    case = Case(network_of(standing.fabric), chain, wanted, held, around, asked, (), edges)
    return prove_held(case).violations


def keys_of(wanted: DeviceState, held: DeviceState) -> tuple[Key, ...]:
    """What is missing or altered."""
    return tuple(key for key, item in wanted.items() if held.get(key) != item)
