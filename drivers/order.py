# SPDX-License-Identifier: Apache-2.0
"""In which order changes reach the devices: make before break.

build: what no packet meets yet. switch: what packets meet now, one device after the other.
remove: what no packet meets any more. Between switch and remove, old flows drain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from drivers.diff import Change
from drivers.packets import overlaps
from drivers.state import Filter, FunctionItem, Item, Key, NatPool, Redirect, RuleSet, Slot, slot


class Phase(StrEnum):
    BUILD = "build"
    SWITCH = "switch"
    DRAIN = "drain"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Batch:
    """One push to one device."""

    phase: Phase
    device: str
    changes: tuple[Change, ...]


def order(
    changes: Mapping[str, Sequence[Change]], edges: Iterable[tuple[str, str]] = ()
) -> tuple[tuple[Batch, ...], ...]:
    """Waves of batches: batches of a wave may run side by side, waves run in order.

    edges: (device, port) where packets enter the fabric from segments. What is written there is met
    at once, so it belongs to the switch, after the switches of devices without an edge.
    """
    ends = frozenset(edges)
    build: list[Batch] = []
    functions: list[Batch] = []
    inner: list[Batch] = []
    outer: list[Batch] = []
    remove: list[Batch] = []
    for device in sorted(changes):
        parts = _split(device, changes[device], ends)
        for phase, found in ((Phase.BUILD, build), (Phase.REMOVE, remove)):
            if parts[phase]:
                found.append(Batch(phase, device, tuple(parts[phase])))
        switched = tuple(parts[Phase.SWITCH])
        if not switched:
            continue
        batch = Batch(Phase.SWITCH, device, switched)
        if all(_is_function(change) for change in switched):
            functions.append(batch)
        elif any(_at_edge(device, change, ends) for change in switched):
            outer.append(batch)
        else:
            inner.append(batch)
    # Replies first: a stateful function that both directions leave one after the other must not see
    # replies of flows whose first packet it has not seen.
    outer.sort(key=lambda batch: (_steers_forward(batch, ends), batch.device))
    waves = [tuple(build), tuple(functions), *((batch,) for batch in (*inner, *outer)), tuple(remove)]
    return tuple(wave for wave in waves if wave)


def order_of_entry(
    changes: Mapping[str, Sequence[Change]], edges: Iterable[tuple[str, str]] = ()
) -> tuple[tuple[Batch, ...], ...]:
    """The same where an appliance begins to follow flows that are there already; empty if none does.

    It must not see replies to what it has not seen: all that forward packets meet is switched before anything that
    replies meet, and never in the same push, as replies to packets that went the old way are on their way back then.
    So a device may have two batches.
    """
    if not _is_entered(changes):
        return ()
    waves = order(changes, edges)
    parts = [part for wave in waves if wave[0].phase is Phase.SWITCH for batch in wave for part in _by_direction(batch)]
    functions = tuple(part for part in parts if all(_is_function(change) for change in part.changes))
    steering = sorted((part for part in parts if part not in functions), key=_is_for_replies)
    before = [wave for wave in waves if wave[0].phase is Phase.BUILD]
    after = [wave for wave in waves if wave[0].phase is Phase.REMOVE]
    return (*before, *((functions,) if functions else ()), *((part,) for part in steering), *after)


def _split(
    device: str, changes: Sequence[Change], edges: frozenset[tuple[str, str]]
) -> dict[Phase, list[Change]]:
    """A slot that is both left and taken is switched in one push; so is everything at an edge, and what says
    otherwise of some of the packets that are there. Nobody's public addresses are translated twice at once.
    """
    left: dict[Slot, Change] = {}
    taken: dict[Slot, Change] = {}
    for change in changes:
        if change.before is not None:
            left[slot(change.before)] = change
        if change.after is not None:
            taken[slot(change.after)] = change
    parts: dict[Phase, list[Change]] = {phase: [] for phase in Phase}
    against = _against(changes)
    for change in changes:
        is_update = change.before is not None and change.after is not None
        place = slot(change.item)
        if is_update or _at_edge(device, change, edges) or (place in left and place in taken) or change.key in against:
            parts[Phase.SWITCH].append(change)
        else:
            parts[Phase.BUILD if change.before is None else Phase.REMOVE].append(change)
    return parts


def _against(changes: Sequence[Change]) -> frozenset[Key]:
    """Changes that come and go at one place, in other slots, and would both be about some packets."""
    gone: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        if change.after is None and change.before is not None:
            gone.setdefault(_place(change.before), []).append(change)
    found: set[Key] = set()
    for change in changes:
        if change.before is not None or change.after is None:
            continue
        for other in gone.get(_place(change.after), ()):
            assert other.before is not None, "it goes"
            if _is_against(change.after, other.before):
                found |= {change.key, other.key}
    return frozenset(found)


def _place(item: Item) -> tuple[str, ...]:
    if isinstance(item, FunctionItem):
        return (type(item).__name__, item.inside, item.outside)
    role = "redirect" if isinstance(item, Redirect | Filter) else type(item).__name__
    return (role, item.ingress, str(item.tag), str(item.precedence))


def _is_against(one: Item, other: Item) -> bool:
    if isinstance(one, NatPool) and isinstance(other, NatPool):
        return overlaps(one.traffic, other.traffic)
    if isinstance(one, Redirect | Filter) and isinstance(other, Redirect | Filter):
        return overlaps(one.match, other.match) and replace(one, match=other.match) != other
    return False


def _at_edge(device: str, change: Change, edges: frozenset[tuple[str, str]]) -> bool:
    return any(
        (device, item.ingress) in edges and item.tag == 0
        for item in (change.before, change.after)
        if item is not None and not isinstance(item, FunctionItem)
    )


def _is_entered(changes: Mapping[str, Sequence[Change]]) -> bool:
    """Does an appliance begin to follow flows of a chain? One that did before knows those there are.

    Where translation begins as well no flow can be spared, and replies to new addresses have to find their way first.
    """
    is_found = False
    for found in changes.values():
        items = [(change.before is None, change.item) for change in found]
        if any(is_new and isinstance(item, NatPool) for is_new, item in items):
            return False
        rules = [is_new for is_new, item in items if isinstance(item, RuleSet) and item.inside]
        is_found |= bool(rules) and all(rules)
    return is_found


def _by_direction(batch: Batch) -> tuple[Batch, ...]:
    """What forward packets meet, then what replies meet; whole if the two share a place."""
    parts = [tuple(c for c in batch.changes if (c.key.direction == "r") == is_back) for is_back in (False, True)]
    places = [{slot(item) for change in part for item in (change.before, change.after) if item} for part in parts]
    if not all(parts) or places[0] & places[1]:
        return (batch,)
    return tuple(Batch(batch.phase, batch.device, part) for part in parts)


def _is_for_replies(batch: Batch) -> bool:
    return all(change.key.direction == "r" for change in batch.changes)


def _is_function(change: Change) -> bool:
    return isinstance(change.item, FunctionItem)


def _steers_forward(batch: Batch, edges: frozenset[tuple[str, str]]) -> bool:
    return any(
        change.key.direction == "f" and _at_edge(batch.device, change, edges) for change in batch.changes
    )
