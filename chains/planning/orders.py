# SPDX-License-Identifier: Apache-2.0
"""In which order packets have to pass functions: of the chain that is in force, of the new one, and on the way between.

Called by verify, which holds traces to it. A chain with a branch has two orders: packets with its mark may take either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

from chains.planning.demands import Demand
from chains.planning.types import Endpoint
from drivers.forward import Network, Trace
from drivers.state import DeviceState, Filter, FunctionItem, Item, Key, Redirect, slot

# One hop's function items, by (device, key): to pass the hop is to pass one of them.
Hop = frozenset[tuple[str, Key]]
Items = Mapping[tuple[str, Key], tuple[str, Key]]
# Hops of a branch come behind those of the chain: see chains.services.hop_data.
FIRST_TAIL_STAGE = 13


@dataclass(frozen=True, slots=True)
class Order:
    """main: hop by hop. tail: what packets with `mark` may pass instead, which `devices` give; -1: no branch."""

    main: tuple[Hop, ...]
    tail: tuple[Hop, ...] = ()
    mark: int = -1
    devices: frozenset[str] = frozenset()

    def are_passed(self, trace: Trace, demand: Demand) -> bool:
        if _passes(trace, self.main, demand):
            return True
        is_marked = self.mark >= 0 and trace.packets.dscp == (self.mark, self.mark)
        return is_marked and not demand.is_reply and _passes(trace, self.tail, demand)

    def widened(self, alike: Items) -> Order:
        return replace(
            self,
            main=tuple(_widened(hop, alike) for hop in self.main),
            tail=tuple(_widened(hop, alike) for hop in self.tail),
        )

    def without(self, hops: frozenset[Hop]) -> Order:
        """As if these hops were none."""
        return replace(
            self,
            main=tuple(hop for hop in self.main if hop not in hops),
            tail=tuple(hop for hop in self.tail if hop not in hops),
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """meanwhile: what will do while the change is under way."""

    old: Order
    new: Order
    meanwhile: tuple[Order, ...]


def wanted_of(
    network: Network, base: Mapping[str, DeviceState], target: Mapping[str, DeviceState]
) -> Wanted:
    old, new = order_of(network, base), order_of(network, target)
    alike = _alike(base, target)
    wide_old, wide_new = old.widened(alike), new.widened(alike)
    meanwhile = [wide_new]
    if old.main:
        meanwhile.append(wide_old)
    if old.main and len(old.main) == len(new.main):
        mixed = tuple(one | other for one, other in zip(wide_old.main, wide_new.main, strict=True))
        meanwhile.append(replace(wide_new, main=mixed))
    return Wanted(old, new, tuple(meanwhile))


def order_of(network: Network, states: Mapping[str, DeviceState]) -> Order:
    """From the items: compile puts a hop's position + 1 into their stage, and a branch is one precedence above."""
    found: dict[int, set[tuple[str, Key]]] = {}
    for device, state in states.items():
        for key, item in state.items():
            if isinstance(item, FunctionItem | Filter):
                found.setdefault(key.stage, set()).add((device, key))
    hops = {stage: frozenset(found[stage]) for stage in sorted(found)}
    main = tuple(hop for stage, hop in hops.items() if stage < FIRST_TAIL_STAGE)
    ends = marked_ends(states)
    marked = {network.peers.get((end.device, end.port), ("", ""))[0]: mark for end, mark in ends.items()}
    if not marked:
        return Order(main)
    begins = min((stage for stage, hop in hops.items() if marked.keys() & {d for d, _ in hop}), default=0)
    tail = tuple(hop for stage, hop in hops.items() if stage <= begins or stage >= FIRST_TAIL_STAGE)
    return Order(main, tail, min(marked.values()), frozenset(marked))


def marked_ends(states: Mapping[str, DeviceState]) -> dict[Endpoint, int]:
    """Ports of switches where packets with a mark are taken before the others -> the mark."""
    found: dict[Endpoint, int] = {}
    for switch, state in states.items():
        plain = {
            (item.ingress, item.precedence, replace(item.match, dscp=-1))
            for item in state.values()
            if isinstance(item, Redirect | Filter) and not item.tag
        }
        for item in state.values():
            if _has_mark(item) and (item.ingress, item.precedence - 1, replace(item.match, dscp=-1)) in plain:
                found[Endpoint(switch, item.ingress)] = item.match.dscp
    return found


def _has_mark(item: Item) -> TypeGuard[Redirect | Filter]:
    return isinstance(item, Redirect | Filter) and not item.tag and item.match.dscp >= 0


def _passes(trace: Trace, hops: tuple[Hop, ...], demand: Demand) -> bool:
    """Is there one item of every hop, in order, among the functions passed?"""
    wanted = list(reversed(hops)) if demand.is_reply else list(hops)
    for passed in trace.functions:
        if wanted and passed in wanted[0]:
            wanted.pop(0)
    return not wanted


def _alike(base: Mapping[str, DeviceState], target: Mapping[str, DeviceState]) -> Items:
    """Function items that take each other's place: on the way from one to the other either will do."""
    found = {}
    for device, state in target.items():
        before = {slot(item): (key, item) for key, item in base.get(device, DeviceState()).items()}
        for key, item in state.items():
            old_key, old = before.get(slot(item), (key, item))
            if isinstance(item, FunctionItem | Filter) and type(old) is type(item) and old_key != key:
                found[device, key] = (device, old_key)
                found[device, old_key] = (device, key)
    return found


def _widened(hop: Hop, alike: Items) -> Hop:
    return hop | {alike[place] for place in hop if place in alike}
