# SPDX-License-Identifier: Apache-2.0
"""Ways round a hop that is lost, taken by the switch in front of it by itself. Pure.

To a backup of the hop where there is one; else, where the hop may be bypassed, past it to the next one. Called by
routes. Each way has stage tags of its own, so what arrives by it cannot be taken for anything else. A NAT hop has none:
its backup has other addresses, so that is the orchestrator's matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from chains.planning.candidates import Context, Spot
from chains.planning.classes import Pair
from chains.planning.paths import EDGE, Stop, backwards, into, out_of, travel
from chains.planning.placement import Solution
from chains.planning.routing import INFINITE
from chains.planning.shares import Share
from chains.planning.types import Capability, Endpoint, Realm
from drivers.state import Direction

# Legs of detours: beyond those of the way. Each layer has its own, by purpose.
FIRST_LEG, LEGS_PER_LAYER = 20, 30
TO_BACKUP, ONWARD, BACK_TO_BACKUP, BACKWARD = 0, 1, 14, 15


@dataclass(frozen=True, slots=True)
class Detour:
    """end: the port whose link is lost. ways: stops; the first of the first way is the switch in front of it."""

    layer: int
    end: Endpoint
    direction: Direction
    ways: tuple[tuple[Stop, ...], ...]


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all detours of one route are made from."""

    context: Context
    solution: Solution
    pair: Pair
    share: Share

    def stage(self, layer: int) -> int:
        """Translating hops before the layer."""
        return sum(hop.capability is Capability.NAT for hop in self.solution.layers[:layer])

    def can(self, device: str) -> bool:
        caps = self.context.fabric.devices[device].caps
        return caps is not None and caps.has_standby


def detours(context: Context, solution: Solution, pair: Pair, share: Share) -> tuple[Detour, ...]:
    """Both directions of every hop that can be gone round."""
    ground = _Ground(context, solution, pair, share)
    found: list[Detour] = []
    for layer, (hop, spot) in enumerate(zip(solution.layers, share.spots, strict=True)):
        if spot.offers[0].realm != Realm.APPLIANCE or hop.capability is Capability.NAT:
            continue
        if not (ground.can(spot.entry.device) and ground.can(spot.exit.device)):
            continue
        backup = share.backups[layer]
        if backup is not None:
            found.extend(_to_backup(ground, layer, spot, backup))
        elif not hop.blocks:
            found.extend(_past(ground, layer, spot))
    return tuple(found)


def _to_backup(ground: _Ground, layer: int, spot: Spot, backup: Spot) -> Iterator[Detour]:
    """Both directions or none: a flow's replies must meet what its packets met."""
    stage, first = ground.stage(layer), FIRST_LEG + LEGS_PER_LAYER * layer
    there = _straight(ground, first + TO_BACKUP, spot.entry.device, stage, backup.entry, backup)
    onward = _onward(ground, layer, out_of(backup.exit, backup, stage), first + ONWARD)
    back = _straight(ground, first + BACK_TO_BACKUP, spot.exit.device, stage, backup.exit, backup)
    before = _before(ground, layer, backup, first + BACKWARD)
    if there and onward and back and before:
        yield Detour(layer, spot.entry, Direction.FORWARD, (there, onward))
        yield Detour(layer, spot.exit, Direction.REVERSE, (back, backwards(before)))


def _past(ground: _Ground, layer: int, spot: Spot) -> Iterator[Detour]:
    """To the hop behind this one, and back to the hop before it."""
    stage, first = ground.stage(layer), FIRST_LEG + LEGS_PER_LAYER * layer
    onward = _onward(ground, layer, Stop(spot.entry.device, "", "", EDGE, "", stage=stage), first + ONWARD)
    end = Stop(spot.exit.device, "", "", EDGE, "", stage=stage)
    before = _between(ground, layer, end.device, first + BACKWARD)
    # A filter in the very switch that would go round it cannot be part of a standby.
    if onward and before and onward[0].hop < 0 and before[-1].hop < 0:
        yield Detour(layer, spot.entry, Direction.FORWARD, (onward,))
        yield Detour(layer, spot.exit, Direction.REVERSE, (backwards(before),))


def _straight(
    ground: _Ground, leg: int, start: str, stage: int, end: Endpoint, backup: Spot
) -> tuple[Stop, ...]:
    """From a switch into the backup by this port; () if there is no way."""
    found: list[Stop] = []
    if ground.solution.graph.cost(start, end.device) >= INFINITE:
        return ()
    here = travel(ground.solution, leg, Stop(start, "", "", EDGE, "", stage=stage), end.device, found)
    return (*found, into(here, end.port, backup))


def _onward(ground: _Ground, layer: int, here: Stop, leg: int) -> tuple[Stop, ...]:
    """From behind the layer to the next appliance, or to the destination; filters on the way are passed."""
    found: list[Stop] = []
    for later in range(layer + 1, len(ground.solution.layers)):
        spot = ground.share.spots[later]
        if spot.offers[0].realm == Realm.HOST:
            continue
        if ground.solution.graph.cost(here.device, spot.entry.device) >= INFINITE:
            return ()
        here = travel(ground.solution, leg + later - layer - 1, here, spot.entry.device, found)
        if spot.offers[0].realm == Realm.APPLIANCE:
            return (*found, into(here, spot.entry.port, spot))
        here = replace(here, hop=ground.solution.layers[later].position)
    end = ground.pair.destination.switch
    if ground.solution.graph.cost(here.device, end.device) >= INFINITE:
        return ()
    here = travel(ground.solution, leg + len(ground.solution.layers) - layer - 1, here, end.device, found)
    return (*found, replace(here, egress=end.port, leaves=EDGE))


def _before(ground: _Ground, layer: int, backup: Spot, leg: int) -> tuple[Stop, ...]:
    """From the appliance before the layer, or from the source, into the backup, in the forward direction."""
    found = _between(ground, layer, backup.entry.device, leg)
    return (*found[:-1], into(found[-1], backup.entry.port, backup)) if found else ()


def _between(ground: _Ground, layer: int, end: str, leg: int) -> tuple[Stop, ...]:
    """From the appliance before the layer, or from the source, to a switch, where it is open how it goes on."""
    begin = 0
    here = Stop(ground.pair.source.switch.device, ground.pair.source.switch.port, "", EDGE, "")
    for earlier in range(layer):
        spot = ground.share.spots[earlier]
        if spot.offers[0].realm == Realm.APPLIANCE:
            begin, here = earlier + 1, out_of(spot.exit, spot, ground.stage(earlier + 1))
    found: list[Stop] = []
    for earlier in range(begin, layer):
        spot = ground.share.spots[earlier]
        if spot.offers[0].realm == Realm.HOST:
            continue
        if ground.solution.graph.cost(here.device, spot.entry.device) >= INFINITE:
            return ()
        here = travel(ground.solution, leg + earlier - begin, here, spot.entry.device, found)
        here = replace(here, hop=ground.solution.layers[earlier].position)
    if ground.solution.graph.cost(here.device, end) >= INFINITE:
        return ()
    here = travel(ground.solution, leg + layer - begin, here, end, found)
    return (*found, here)
