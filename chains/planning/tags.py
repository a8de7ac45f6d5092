# SPDX-License-Identifier: Apache-2.0
"""Which VLAN tag carries a stage of a chain over a link between switches.

Between switches the operator's base forwarding may carry the very same packets (same VRF, same
addresses), and a chain may cross a link twice: there an arrival by the VRF's own tag is ambiguous,
so each crossing gets a stage tag of its own. Everywhere else (at segments and functions) steering is
headerless. A stage tag takes the place of the VRF's tag, so packets do not grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chains.planning.paths import EDGE, LINK, Stop
from chains.planning.types import Chain, Endpoint, Fabric, Link, Reason, Refused
from drivers.state import DeviceState, Filter, Redirect

FIRST_TAG, LAST_TAG = 3000, 4094

Crossing = tuple[frozenset[Endpoint], int]


@dataclass(frozen=True, slots=True)
class Tags:
    """crossings: (the two ends of a link, leg) -> stage tag."""

    crossings: Mapping[Crossing, int]
    links: Mapping[frozenset[Endpoint], Link]
    peers: Mapping[Endpoint, Endpoint]

    def of(self, end: Endpoint, leg: int) -> int:
        return self.crossings[frozenset((end, self.peers[end])), leg]


def assign(
    fabric: Fabric,
    chain: Chain,
    ways: Iterable[tuple[Stop, ...]],
    peers: Mapping[Endpoint, Endpoint],
    base: Mapping[str, DeviceState],
    changed: frozenset[Crossing],
) -> Tags:
    """A tag for every crossing: the one in force, or for a `changed` one a tag that is not in force.

    A tag stands for all that follows it: what arrives with the old tag still goes the old way.

    Errors: Refused if a link has no stage tag left.
    """
    links = {frozenset((link.a, link.b)): link for link in fabric.links}
    found = [
        (before, stop, frozenset((Endpoint(stop.device, stop.ingress), Endpoint(before.device, before.egress))))
        for way in ways
        for before, stop in zip(way, way[1:], strict=False)
        if stop.arrives == LINK
    ]
    crossings: dict[Crossing, int] = {}
    taken = {ends: set(links[ends].tags) for _, _, ends in found}
    # First those whose tag can be followed from where the packets come from: another leg must not take it.
    for is_sure in (True, False):
        for before, stop, ends in found:
            if (ends, stop.leg) in crossings:
                continue
            kept = set() if (ends, stop.leg) in changed else _in_force(base, stop) - taken[ends]
            if is_sure:
                came = _tag_before(crossings, peers, before)
                kept &= _sent(base, before, came) if came is not None else set()
            if is_sure and not kept:
                continue
            held = {tag for end in ends for tag in _all_in_force(base, end)}
            tag = min(kept) if kept else _lowest(taken[ends] | held, chain, ends)
            taken[ends].add(tag)
            crossings[ends, stop.leg] = tag
    return Tags(crossings, links, peers)


def _tag_before(
    crossings: Mapping[Crossing, int], peers: Mapping[Endpoint, Endpoint], stop: Stop
) -> int | None:
    """With which tag packets come to a stop; None if that is not settled yet."""
    if stop.arrives != LINK:
        return 0
    end = Endpoint(stop.device, stop.ingress)
    return crossings.get((frozenset((end, peers[end])), stop.leg))


def _sent(base: Mapping[str, DeviceState], stop: Stop, tag: int) -> set[int]:
    """Tags with which the chain now sends on what comes to the stop with `tag`."""
    hands = [
        hand
        for item in base.get(stop.device, DeviceState()).values()
        if isinstance(item, Redirect | Filter)
        for hand in ((item.next, item.standby, *item.copies) if _comes_by(item, stop, tag) else ())
    ]
    return {hand.tag for hand in hands if hand is not None and hand.port == stop.egress}


def _comes_by(item: Redirect | Filter, stop: Stop, tag: int) -> bool:
    """A stop that begins a way aside has no ingress of its own: it may be any."""
    return not stop.ingress or (item.ingress, item.tag) == (stop.ingress, tag)


def _in_force(base: Mapping[str, DeviceState], stop: Stop) -> set[int]:
    """Tags by which the chain now arrives here and goes on by the same port: the crossing has not changed."""
    found = set()
    for item in base.get(stop.device, DeviceState()).values():
        if not isinstance(item, Redirect | Filter) or item.ingress != stop.ingress or item.tag < FIRST_TAG:
            continue
        if item.next.port == stop.egress or (item.next.vrf and not item.next.port and stop.leaves == EDGE):
            found.add(item.tag)
    return found


def _all_in_force(base: Mapping[str, DeviceState], end: Endpoint) -> set[int]:
    items = base.get(end.device, DeviceState()).values()
    return {item.tag for item in items if isinstance(item, Redirect | Filter) and item.ingress == end.port}


def _lowest(used: set[int], chain: Chain, ends: frozenset[Endpoint]) -> int:
    for tag in range(FIRST_TAG, LAST_TAG + 1):
        if tag not in used:
            return tag
    names = " and ".join(sorted(f"{end.device}:{end.port}" for end in ends))
    detail = f"no stage tag is left on the link between {names} ({LAST_TAG - FIRST_TAG + 1} are in use)"
    raise Refused((Reason("no-tag", f"chain {chain.name}: {detail}"),))
