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
from chains.planning.shares import Share
from chains.planning.types import Capability, Endpoint, Path, Realm, Visit

EDGE, FUNCTION, LINK = "edge", "function", "link"


@dataclass(frozen=True, slots=True)
class Stop:
    """One switch on the way of one direction.

    arrives, leaves: by an EDGE (attachment), FUNCTION (appliance) or LINK port. leg: which leg the
    arriving link belongs to. hop: filter realised here, -1 for none. stage: translating hops passed.
    function: the appliance behind the egress port. legs: those that begin, end or pass here.
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
    legs: tuple[int, ...] = ()


def stops(
    solution: Solution, source: Endpoint, destination: Endpoint, share: Share, *, is_steered: bool = False
) -> tuple[Stop, ...]:
    """The forward way of one share of the traffic between two attachments.

    () when every hop is realised on the hosts, so nothing needs steering, unless `is_steered`.
    """
    stations = [
        (leg, hop, spot)
        for leg, (hop, spot) in enumerate(zip(solution.layers, share.spots, strict=True))
        if spot.offers[0].realm != Realm.HOST
    ]
    if not stations and not is_steered:
        return ()
    here = Stop(source.device, source.port, "", EDGE, "")
    found: list[Stop] = []
    for leg, hop, spot in stations:
        here = travel(solution, leg, here, spot.entry.device, found)
        if spot.offers[0].realm == Realm.SWITCH:
            here = replace(here, hop=hop.position)
            continue
        found.append(into(here, spot.entry.port, spot))
        here = out_of(spot.exit, spot, here.stage + (hop.capability is Capability.NAT))
    here = travel(solution, len(solution.layers), here, destination.device, found)
    found.append(replace(here, egress=destination.port, leaves=EDGE))
    return tuple(found)


def into(here: Stop, port: str, spot: Spot) -> Stop:
    """The switch hands over to an appliance."""
    return replace(here, egress=port, leaves=FUNCTION, function=spot.device)


def out_of(end: Endpoint, spot: Spot, stage: int) -> Stop:
    """The switch where packets come back from an appliance; where they go is not said yet."""
    return Stop(end.device, end.port, "", FUNCTION, "", stage=stage, came_from=spot.device)


def travel(solution: Solution, leg: int, here: Stop, end: str, found: list[Stop]) -> Stop:
    """The stops on the way to a switch go into `found`; the last one, which has no egress yet, is the answer."""
    here = replace(here, legs=(*here.legs, leg))
    for arc in solution.way(leg, here.device, end):
        found.append(replace(here, egress=arc.start.port, leaves=LINK, next_leg=leg))
        here = Stop(arc.end.device, arc.end.port, "", LINK, "", stage=here.stage, leg=leg, legs=(leg,))
    return here


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
    pair: Pair,
    forward: tuple[Stop, ...],
    spots: Mapping[int, Spot],
    tags: Mapping[Endpoint, int],
    sources: tuple[str, ...] = (),
) -> Path:
    """The path as people see it: switches, appliances and hosts in the order of the packets.

    spots: by hop position. tags: the tag on arrival, by endpoint and leg where it is not 0. sources: see `Path`.
    """
    return Path(
        pair.source.switch,
        pair.destination.switch,
        _visits(pair.source.host, pair.destination.host, forward, spots, tags, is_reverse=False),
        _visits(pair.destination.host, pair.source.host, backwards(forward), spots, tags, is_reverse=True),
        sources,
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
