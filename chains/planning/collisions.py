# SPDX-License-Identifier: Apache-2.0
"""Items of two chains that would take the same packets at the same place: which wins would be chance.

Called by plan (to look for another box) and by verify (to refuse).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chains.planning.types import Violation
from drivers.packets import overlaps, packets
from drivers.state import DeviceState, FunctionItem, Guard, Item, Key, Match, Pass


def function_collisions(
    target: Mapping[str, DeviceState], others: Mapping[str, DeviceState]
) -> Iterator[tuple[str, Key, Key]]:
    """(device, own key, other key) of function items of one kind, between the same arms, that share packets."""
    for device, state in target.items():
        theirs = others.get(device, DeviceState()).functions()
        for key, item in state.functions():
            for other_key, other in theirs:
                is_same_place = (item.inside, item.outside) == (other.inside, other.outside)
                if is_same_place and type(item) is type(other) and overlaps(item.traffic, other.traffic):
                    yield device, key, other_key


def steering_collisions(
    target: Mapping[str, DeviceState], others: Mapping[str, DeviceState]
) -> Iterator[tuple[str, Key, Key]]:
    """The same for redirects (or guards) of one precedence that meet packets at the same place."""
    for device, state in target.items():
        theirs = others.get(device, DeviceState())
        for key, item in state.items():
            if isinstance(item, FunctionItem | Pass):
                continue
            for other_key, other in theirs.steering(item.ingress, item.tag):
                is_same_role = isinstance(item, Guard) == isinstance(other, Guard) and not isinstance(
                    other, Pass
                )
                if is_same_role and item.precedence == other.precedence and overlaps(item.match, other.match):
                    yield device, key, other_key


def collisions(target: Mapping[str, DeviceState], others: Mapping[str, DeviceState]) -> Iterator[Violation]:
    """Two chains' items of one rank that match one packet: which wins would be chance."""
    for found in (function_collisions, steering_collisions):
        for device, key, other_key in found(target, others):
            own, theirs = _match(target[device][key]), _match(others[device][other_key])
            witness = packets(own).intersect(packets(theirs))
            text = f"on {device} {key} and {other_key} of another chain would both take {own}"
            yield Violation("collision", text, witness.witness() if witness else "")


def _match(item: Item) -> Match:
    return item.traffic if isinstance(item, FunctionItem) else item.match
