# SPDX-License-Identifier: Apache-2.0
"""From a placement to device states: what one chain contributes to every device, both directions.

Pure and per chain: a device's desired state is the union of such contributions. Items that are
already in force keep their keys, so that an unchanged item is neither rewritten nor loses its counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chains.planning.addresses import translations_before
from chains.planning.behind import behind
from chains.planning.branches import Tail
from chains.planning.candidates import Context
from chains.planning.classes import Pair, pairs
from chains.planning.draft import MAX_STOPS, Draft
from chains.planning.paths import Stop, backwards, describe
from chains.planning.placement import Solution
from chains.planning.routes import Route, routes
from chains.planning.shares import MAX_ITEMS
from chains.planning.tags import Crossing, Tags, assign
from chains.planning.types import (
    Allocation,
    Chain,
    Endpoint,
    Mode,
    Path,
    Reason,
    Refused,
)
from drivers.state import KIND_OF_ITEM, DeviceState, Direction, Item, Key


@dataclass(frozen=True, slots=True)
class Compiled:
    """target: the chain's items by device. edges: the ports where its traffic enters the fabric.

    pairs: all of the traffic between attachments; routes: the ways of its shares.
    """

    target: Mapping[str, DeviceState]
    revision: int
    paths: tuple[Path, ...]
    pairs: tuple[Pair, ...]
    routes: tuple[Route, ...]
    tags: Tags
    edges: frozenset[Endpoint]


def compile_states(
    context: Context,
    solution: Solution,
    allocations: Sequence[Allocation],
    base: Mapping[str, DeviceState],
    tail: Tail | None = None,
) -> Compiled:
    """Errors: Refused where two stages of the chain cannot be told apart, or a rule cannot be kept behind a NAT hop."""
    chain = context.chain
    hops = (*chain.hops, *(tail.placed.layers if tail else ()))
    chain = replace(chain, hops=tuple(behind(chain, hop, allocations) for hop in hops))
    context = replace(context, chain=chain)
    solution = replace(solution, layers=tuple(behind(chain, hop, allocations) for hop in solution.layers))
    found = routes(context, solution, allocations, tail)
    for route in found:
        if len(route.forward) > MAX_STOPS:
            detail = f"its way has {len(route.forward)} switches, {MAX_STOPS} are the most: pin hops closer together"
            raise Refused((Reason("too-long", detail),), solution.placement)
    draft = _steered(context, solution, found, base, tail)
    for layer, (hop, group) in enumerate(zip(solution.layers, solution.groups, strict=True)):
        translations = translations_before(chain, hop)
        for spot in group.members:
            draft.realise(hop, [spot], [r.pair for r in found if r.share.spots[layer] is spot], translations)
        for spot in group.backups:
            draft.realise(hop, [spot], [r.pair for r in found if r.share.backups[layer] is spot], translations)
    for hop, spot in zip(tail.placed.layers, tail.placed.spots, strict=True) if tail else ():
        draft.realise(hop, [spot], [r.pair for r in found], translations_before(chain, hop), is_marked=True)
    draft.finish(chain.hops, allocations)
    target, revision = _keyed(draft, chain, base)
    paths = tuple(_path(solution, route, draft) for route in found)
    return Compiled(target, revision, paths, pairs(chain, allocations), found, draft.tags, frozenset(draft.edges))


def _steered(
    context: Context,
    solution: Solution,
    found: Sequence[Route],
    base: Mapping[str, DeviceState],
    tail: Tail | None,
) -> Draft:
    """The steering items. A crossing keeps its tag only if all that arrives by it stays as it is in force."""
    directed: list[tuple[Stop, ...]] = []
    for route in found:
        directed += [route.forward, backwards(route.forward)]
    for route in found:
        directed += [way for detour in route.detours for way in detour.ways]
        directed += [mirror.way for mirror in route.mirrors]
        directed += route.tails
    groups = (*solution.groups, *(tail.placed.groups if tail else ()))
    bumps = frozenset(
        spot.device
        for group in groups
        for spot in (*group.members, *group.backups)
        if spot.offers[0].mode is Mode.TRANSPARENT
    )
    changed: frozenset[Crossing] = frozenset()
    while True:
        tags = assign(context.fabric, context.chain, directed, context.peers, base, changed)
        mark = tail.mark if tail else -1
        draft = Draft(context.fabric, context.chain, tags, len(solution.shares) > 1, bumps, mark)
        for route in found:
            draft.steer(route)
        draft.settle()
        moved = draft.moved(base) - changed
        if not moved:
            return draft
        changed |= moved


def _path(solution: Solution, route: Route, draft: Draft) -> Path:
    spots = {hop.position: spot for hop, spot in zip(solution.layers, route.share.spots, strict=True)}
    is_part = len(solution.shares) > 1
    sources = tuple(dict.fromkeys(match.source for match in route.pair.stages[0])) if is_part else ()
    return describe(route.pair, route.forward, spots, draft.arrivals, sources)


def _keyed(
    draft: Draft, chain: Chain, base: Mapping[str, DeviceState]
) -> tuple[Mapping[str, DeviceState], int]:
    """Keys: the one in force for an item that is in force, else one of the next revision."""
    fresh = (chain.revision + 1) % 4096
    states: dict[str, dict[Key, Item]] = {}
    counts: Counter[tuple[str, Direction, int, str]] = Counter()
    held: dict[tuple[str, Direction, int, Item], Key] = {}
    for device, state in base.items():
        for key, item in state.items():
            held.setdefault((device, key.direction, key.stage, item), key)
    is_changed = False
    for placed in draft.placed.values():
        kind = KIND_OF_ITEM[type(placed.item)]
        kept = held.get((placed.device, placed.direction, placed.stage, placed.item))
        if kept is None:
            is_changed = True
            counter = (placed.device, placed.direction, placed.stage, kind)
            if counts[counter] >= MAX_ITEMS:
                detail = f"{placed.device} would need more than {MAX_ITEMS} items at one place: use fewer classifiers"
                raise Refused((Reason("too-many-items", detail),))
            kept = Key(chain.number, fresh, placed.direction, placed.stage, kind, counts[counter])
            counts[counter] += 1
        states.setdefault(placed.device, {})[kept] = placed.item
    target = {device: DeviceState(items) for device, items in sorted(states.items())}
    gone = any(set(state) - set(target.get(device, ())) for device, state in base.items())
    return target, fresh if is_changed or gone else chain.revision
