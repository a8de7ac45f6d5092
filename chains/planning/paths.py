# SPDX-License-Identifier: Apache-2.0
"""From a placement to the way of the packets: switch by switch, for each pair of attachments.

The reverse way is the forward way backwards, so both directions meet the same instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chains.planning.candidates import Spot
from chains.planning.classes import Pair
from chains.planning.placement import Solution
from chains.planning.types import Capability, Endpoint, Path, Realm, Visit

EDGE, FUNCTION, LINK = "edge", "function", "link"


@dataclass(frozen=True, slots=True)
class Stop:
    """One switch on the way of one direction.

    arrives, leaves: by an EDGE (attachment), FUNCTION (appliance) or LINK port. leg: which leg the
    arriving link belongs to. hop: filter realised here, -1 for none. stage: translating hops passed.
    function: the appliance behind the egress port.
    """

    device: str
    ingress: str
    egress: str
    arrives: str
    leaves: str
    hop: int = -1
    stage: int = 0
    leg: int = -1
    next_leg: int = -1
    function: str = ""
    came_from: str = ""


def stops(solution: Solution, pair: Pair) -> tuple[Stop, ...]:
    """The forward way; () when every hop is realised on the hosts, so nothing needs steering."""
    fabric_spots = [
        (leg, hop, spot)
        for leg, (hop, spot) in enumerate(zip(solution.layers, solution.spots, strict=True))
        if spot.offers[0].realm != Realm.HOST
    ]
    if not fabric_spots:
        return ()
    here = Stop(pair.source.switch.device, pair.source.switch.port, "", EDGE, "")
    found: list[Stop] = []
    for leg, hop, spot in fabric_spots:
        here = _travel(solution, leg, here, spot.entry.device, found)
        if spot.offers[0].realm == Realm.SWITCH:
            here = replace(here, hop=hop.position)
            continue
        found.append(replace(here, egress=spot.entry.port, leaves=FUNCTION, function=spot.device))
        stage = here.stage + (hop.capability is Capability.NAT)
        here = Stop(spot.exit.device, spot.exit.port, "", FUNCTION, "", stage=stage, came_from=spot.device)
    end = pair.destination.switch
    here = _travel(solution, len(solution.layers), here, end.device, found)
    found.append(replace(here, egress=end.port, leaves=EDGE))
    return tuple(found)


def backwards(forward: tuple[Stop, ...]) -> tuple[Stop, ...]:
    """The same way for the replies."""
    return tuple(
        replace(
            stop,
            ingress=stop.egress,
            egress=stop.ingress,
            arrives=stop.leaves,
            leaves=stop.arrives,
            leg=stop.next_leg,
            next_leg=stop.leg,
            function=stop.came_from,
            came_from=stop.function,
        )
        for stop in reversed(forward)
    )


def describe(
    pair: Pair, forward: tuple[Stop, ...], spots: Mapping[int, Spot], tags: Mapping[Endpoint, int]
) -> Path:
    """The path as people see it: switches, appliances and hosts in the order of the packets.

    spots: by hop position. tags: the tag on arrival, by endpoint and leg where it is not 0.
    """
    return Path(
        pair.source.switch,
        pair.destination.switch,
        _visits(pair.source.host, pair.destination.host, forward, spots, tags, is_reverse=False),
        _visits(pair.destination.host, pair.source.host, backwards(forward), spots, tags, is_reverse=True),
    )


def _visits(
    first: str,
    last: str,
    way: tuple[Stop, ...],
    spots: Mapping[int, Spot],
    tags: Mapping[Endpoint, int],
    *,
    is_reverse: bool,
) -> tuple[Visit, ...]:
    by_device = {spot.device: hop for hop, spot in spots.items() if spot.offers[0].realm == Realm.APPLIANCE}
    found = _host_visits(first, spots, is_reverse)
    for stop in way:
        tag = tags.get(Endpoint(stop.device, f"{stop.ingress}/{stop.leg}"), 0)
        found.append(Visit(stop.device, stop.ingress, stop.egress, stop.hop, tag))
        if stop.leaves == FUNCTION:
            hop = by_device[stop.function]
            offer = spots[hop].offers[0]
            arms = (offer.outside, offer.inside) if is_reverse else (offer.inside, offer.outside)
            found.append(Visit(stop.function, *arms, hop))
    found.extend(_host_visits(last, spots, is_reverse))
    return tuple(found)


def _host_visits(host: str, spots: Mapping[int, Spot], is_reverse: bool) -> list[Visit]:
    hops = [
        hop
        for hop, spot in sorted(spots.items(), reverse=is_reverse)
        if spot.offers[0].realm == Realm.HOST and host in {offer.device for offer in spot.offers}
    ]
    if not host:
        return []
    return [Visit(host, "", "", hop) for hop in hops] or [Visit(host, "", "")]


def _travel(solution: Solution, leg: int, here: Stop, end: str, found: list[Stop]) -> Stop:
    for arc in solution.way(leg, here.device, end):
        found.append(replace(here, egress=arc.start.port, leaves=LINK, next_leg=leg))
        here = Stop(arc.end.device, arc.end.port, "", LINK, "", stage=here.stage, leg=leg)
    return here
