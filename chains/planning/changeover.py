# SPDX-License-Identifier: Apache-2.0
"""In which waves a chain goes from one set of items to another, and what that costs its flows. Called by plan; pure.

Make before break in some order of the devices is tried first. Where hops change places on the same boxes there may be
none, as what comes out of a box does not say which order it began with: then the doors at the edges are closed first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from chains.planning.types import Endpoint, Plan, Reason
from drivers.diff import Change, diff
from drivers.order import Batch, Phase, order, order_of_entry
from drivers.state import DeviceState, Filter, Guard, Item, Key, NatPool, Redirect

# How many states between are looked at before the doors are closed.
MAX_STATES = 64
Waves = tuple[tuple[Batch, ...], ...]
States = Mapping[str, DeviceState]


def changes_of(base: States, target: States) -> dict[str, tuple[Change, ...]]:
    """By device, where there are any."""
    found = {}
    for device in sorted(base.keys() | target.keys()):
        changes = diff(base.get(device, DeviceState()), target.get(device, DeviceState()))
        if changes:
            found[device] = changes
    return found


def orders(
    changes: Mapping[str, Sequence[Change]], edges: frozenset[Endpoint], is_safe: Callable[[Waves], bool]
) -> Iterator[Waves]:
    """Those worth a proof: the usual order, then another of the switches if there is one with safe states only.

    Where an appliance begins to follow flows, what spares those that are there comes even before the usual order.
    is_safe: is nothing wrong in the state after these waves? In which order they came does not matter for that, so sets
    of switches are searched, not orders, and MAX_STATES of them at most.
    """
    ends = {(end.device, end.port) for end in edges}
    sparing = order_of_entry(changes, ends)
    if sparing:
        yield sparing
    waves = order(changes, ends)
    yield waves
    switches = [wave for wave in waves if wave[0].phase is Phase.SWITCH]
    before = tuple(wave for wave in waves if wave[0].phase is Phase.BUILD)
    after = tuple(wave for wave in waves if wave[0].phase is Phase.REMOVE)
    found = _search(len(switches), lambda done: is_safe((*before, *(switches[i] for i in sorted(done)))))
    if found is not None and found != tuple(range(len(switches))):
        yield (*before, *(switches[i] for i in found), *after)


def _search(count: int, is_safe: Callable[[frozenset[int]], bool]) -> tuple[int, ...] | None:
    """An order of so many steps in which the set of those done is safe after each, but for the last; None if unknown.

    Depth first, in the given order where it can be.
    """
    judged: dict[frozenset[int], bool] = {}
    stack: list[tuple[int, ...]] = [()]
    while stack:
        path = stack.pop()
        if len(path) == count:
            return path
        for step in reversed(range(count)):
            done = frozenset((*path, step))
            if step in path or done in judged:
                continue
            if len(done) < count:
                if len(judged) >= MAX_STATES:
                    return None
                judged[done] = is_safe(done)
            if len(done) == count or judged[done]:
                stack.append((*path, step))
    return None


def closed_doors(base: States, target: States, edges: frozenset[Endpoint]) -> Iterator[Waves]:
    """Close the edges, change everything behind them, open them; nothing where there is no door to close.

    What the doors drop meanwhile is lost, but nothing gets past a function. First with devices that serve no more
    cleaned at the very end: one of them may be dead, and nobody should wait for it while the doors are closed.
    """
    late = _behind_closed_doors(base, target, edges, frozenset(device for device in base if not target.get(device)))
    if late:
        yield late
    at_once = _behind_closed_doors(base, target, edges, frozenset())
    if at_once and at_once != late:
        yield at_once


def _behind_closed_doors(
    base: States, target: States, edges: frozenset[Endpoint], left: frozenset[str]
) -> Waves:
    """left: devices that are to hold nothing; those that have no door are cleaned when the doors are open again."""
    nothing = DeviceState()
    closed = {device: _closed(device, state, target.get(device, nothing), edges) for device, state in base.items()}
    if any(state is None for state in closed.values()):
        return ()
    shut: dict[str, DeviceState] = {device: state for device, state in closed.items() if state is not None}
    behind: dict[str, DeviceState] = {}
    late = frozenset(device for device in left if shut[device] == base[device])
    for device in (base.keys() | target.keys()) - late:
        held, then = shut.get(device, DeviceState()), target.get(device, DeviceState())
        kept = {key: item for key, item in held.items() if isinstance(item, Guard) and _is_edge(device, item, edges)}
        inner = {key: item for key, item in then.items() if not _is_edge(device, item, edges)}
        behind[device] = DeviceState({**inner, **kept})
    waves: list[tuple[Batch, ...]] = []
    cleaned = {device: base[device] for device in late}
    stages: tuple[tuple[States, States, Phase], ...] = (
        (base, shut, Phase.SWITCH), (shut, {**behind, **cleaned}, Phase.BUILD),
        ({**behind, **cleaned}, {**target, **cleaned}, Phase.SWITCH), (cleaned, {}, Phase.REMOVE),
    )  # fmt: skip
    for first, second, phase in stages:
        batches = [Batch(phase, device, changes) for device, changes in changes_of(first, second).items()]
        if phase is Phase.SWITCH:
            batches.sort(key=_leads_forward)
            waves.extend((batch,) for batch in batches)
        elif batches:
            waves.append(tuple(batches))
    return tuple(waves)


def _closed(device: str, state: DeviceState, then: DeviceState, edges: frozenset[Endpoint]) -> DeviceState | None:
    """Without what leads packets in, and with a closed door for each; None if some have none."""
    every = [*then.items(), *state.items()]
    doors = {_door(item): (key, item) for key, item in every if isinstance(item, Guard)}
    items: dict[Key, Item] = {}
    for key, item in state.items():
        if isinstance(item, Redirect | Filter) and _is_edge(device, item, edges):
            found = doors.get(_door(item))
            if found is None:
                return None
            if _door(item) not in {_door(other) for other in state.values() if isinstance(other, Guard)}:
                items[found[0]] = found[1]
        else:
            items[key] = item
    return DeviceState(items)


def _door(item: Redirect | Filter | Guard) -> tuple[object, ...]:
    return item.ingress, item.tag, item.match, item.precedence


def _is_edge(device: str, item: Item, edges: frozenset[Endpoint]) -> bool:
    ingress, tag = getattr(item, "ingress", ""), getattr(item, "tag", 0)
    return tag == 0 and Endpoint(device, ingress) in edges


def _leads_forward(batch: Batch) -> tuple[bool, str]:
    """Replies first."""
    return any(change.key.direction == "f" for change in batch.changes), batch.device


def flows_lost(base: States, target: States) -> tuple[Reason, ...]:
    """Which flows that are open now will not survive: those whose public addresses change."""
    kept = {(item.traffic, item.public, item.block_size) for item in _pools(target)}
    found = []
    for key, item in ((k, i) for s in base.values() for k, i in s.items() if isinstance(i, NatPool)):
        if (item.traffic, item.public, item.block_size) not in kept:
            inside = item.traffic.source
            detail = f"open flows of {inside} break: its public addresses {item.public} are not kept"
            found.append(Reason("addresses", detail, key.stage - 1))
    return tuple(dict.fromkeys(found))


def is_held(plan: Plan) -> bool:
    """Are packets of the chain dropped at its edges while it is applied?"""
    return any(reason.code == "held" for reason in plan.breaks)


def changing_places(plan: Plan) -> tuple[str, ...]:
    """Offers of the plan on devices that serve another hop than now: with another instance nothing may have to wait."""
    devices = {
        device
        for device in plan.base.keys() & plan.target.keys()
        if _stages(plan.base[device]) and _stages(plan.base[device]) != _stages(plan.target[device])
    }
    return tuple(sorted({use.offer for use in plan.offer_uses if use.offer.partition("@")[2] in devices}))


def _stages(state: DeviceState) -> frozenset[int]:
    return frozenset(key.stage for key, _ in state.functions())


def _pools(states: States) -> Iterator[NatPool]:
    return (item for state in states.values() for item in state.values() if isinstance(item, NatPool))
