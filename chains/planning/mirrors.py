# SPDX-License-Identifier: Apache-2.0
"""Copies for taps: which switch on the way makes them, and how they get to the tap. Pure.

A tap is never on the way. Its copies are made between the two hops of the chain that it stands between, in both
directions; a copy travels by stage tags of its own. Called by plan (which tap) and by routes (which way).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from chains.planning.candidates import Context, Spot, spots
from chains.planning.paths import EDGE, Stop, into, stops, travel
from chains.planning.placement import Solution
from chains.planning.routing import INFINITE
from chains.planning.shares import Share
from chains.planning.types import Candidate, Capability, Hop, HopPlacement, Realm

# Legs of copies: beyond those of the way and of the ways round lost hops.
COPY_LEG = 400


@dataclass(frozen=True, slots=True)
class Mirror:
    """index: of the forward stop that copies. way: from there to the tap, the first stop being that switch."""

    hop: int
    index: int
    way: tuple[Stop, ...]


def tapped(context: Context, solution: Solution) -> Solution:
    """The solution with a tap for every hop that asks for one, or the reason why it goes without."""
    used = {spot.device for group in solution.groups for spot in (*group.members, *group.backups)}
    hops = list(solution.placement.hops)
    taps: list[tuple[Hop, Spot]] = []
    for hop in context.chain.hops:
        if hop.capability is not Capability.TAP:
            continue
        able, unable = spots(context, hop)
        refused = list(unable)
        fit: list[tuple[float, Spot]] = []
        for spot in able:
            price = INFINITE if spot.device in used else _price(context, solution, hop, spot)
            if price < INFINITE:
                fit.append((spot.candidate.cost + price, spot))
            else:
                why = "serves another hop, or no switch between its neighbours can copy and reach it"
                refused.append(Candidate(spot.candidate.realm, spot.candidate.offers, excluded=why))
        fit.sort(key=lambda entry: (entry[0], entry[1].device))
        chosen = fit[0][1] if fit else None
        if chosen is not None:
            taps.append((hop, chosen))
            used.add(chosen.device)
        others = (*(spot.candidate for _, spot in fit[1:]), *refused)
        reason = "the cheapest that gets its copies" if chosen else "left out: a tap never holds up the traffic"
        hops.append(HopPlacement(hop.position, hop.function, chosen.candidate if chosen else None, others, reason))
    hops.sort(key=lambda placed: placed.position)
    return replace(solution, taps=tuple(taps), placement=replace(solution.placement, hops=tuple(hops)))


def mirrors(context: Context, solution: Solution, share: Share, forward: tuple[Stop, ...]) -> tuple[Mirror, ...]:
    """One for every tap."""
    found = []
    for number, (hop, spot) in enumerate(solution.taps):
        _, index = min(_places(context, solution, share, hop, spot, forward))
        stop = forward[index]
        way: list[Stop] = []
        here = Stop(stop.device, "", "", EDGE, "", stage=stop.stage)
        here = travel(solution, COPY_LEG + number, here, spot.entry.device, way)
        found.append(Mirror(hop.position, index, (*way, into(here, spot.entry.port, spot))))
    return tuple(found)


def _price(context: Context, solution: Solution, hop: Hop, spot: Spot) -> float:
    """Of the copies' ways, at worst; infinite if some share cannot be copied."""
    worst = 0.0
    for share in solution.shares:
        for source in context.chain.source.attachments:
            for destination in context.chain.destination.attachments:
                forward = stops(solution, source.switch, destination.switch, share, is_steered=True)
                places = list(_places(context, solution, share, hop, spot, forward))
                worst = max(worst, min(places)[0] if places else INFINITE)
    return worst


def _places(
    context: Context, solution: Solution, share: Share, hop: Hop, spot: Spot, forward: tuple[Stop, ...]
) -> Iterator[tuple[float, int]]:
    """(price of the way to the tap, index) of every stop that can copy between the hop's neighbours."""
    leg = len(solution.layers)
    for layer, (other, place) in enumerate(zip(solution.layers, share.spots, strict=True)):
        if other.position > hop.position and place.offers[0].realm != Realm.HOST:
            leg = layer
            break
    for index, stop in enumerate(forward):
        caps = context.fabric.devices[stop.device].caps
        if leg in stop.legs and caps is not None and caps.has_copies:
            price = solution.graph.cost(stop.device, spot.entry.device)
            if price < INFINITE:
                yield price, index
