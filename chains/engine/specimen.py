# SPDX-License-Identifier: Apache-2.0
"""Items to try a device with: every kind that it holds, for packets that nobody sends (addresses of RFC 5737, 3849).

Called by `live`. Pure. Their chain number is one that no chain ever gets, so what is left behind is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.base import Driver, PortInfo, Target, Unsupported
from drivers.diff import diff
from drivers.narrow import normal
from drivers.state import (
    ANY_PORT,
    EMPTY,
    KIND_OF_ITEM,
    DeviceState,
    Direction,
    Filter,
    Guard,
    Item,
    Key,
    Kind,
    Match,
    NatPool,
    NextHop,
    Pass,
    Redirect,
    Rule,
    RuleSet,
    Signatures,
    Verdict,
)

CHAIN = (1 << 24) - 1
LAST_TAG = 4094
SOURCES = {4: "192.0.2.0/25", 6: "2001:db8:51fe::/64"}
DESTINATIONS = {4: "198.51.100.0/25", 6: "2001:db8:51ff::/64"}
OTHERS = {4: "203.0.113.0/25", 6: "2001:db8:51fd::/64"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the device: its ports (the first is used, the second is led to), a VRF, an appliance's two arms."""

    ports: tuple[PortInfo, ...] = ()
    vrf: str = ""
    inside: str = ""
    outside: str = ""


@dataclass(frozen=True, slots=True)
class Specimen:
    """Two revisions of the same slots with other contents. left_out: what the family cannot express here, and why."""

    first: DeviceState
    second: DeviceState
    left_out: tuple[str, ...] = ()


def specimen(family: Driver, target: Target, place: Place) -> Specimen:
    """Each item is rendered by itself; what is Unsupported is left out."""
    first, second = (_state(family, place, number) for number in (1, 2))
    left_out: dict[Key, str] = {}
    for key in first:
        try:
            for item in (first[key], second[key]):
                family.render(diff(EMPTY, {key: item}), target)
        except Unsupported as error:
            left_out[key] = str(error)
    kept = [DeviceState({key: state[key] for key in state if key not in left_out}) for state in (first, second)]
    return Specimen(kept[0], kept[1], tuple(f"{key.kind}: {text}" for key, text in left_out.items()))


def wishes(family: Driver, target: Target, place: Place, crossings: tuple[str, ...]) -> DeviceState:
    """What chains could want here: a policy at each of the place's ports, a stage tag on each of the crossings, a rule
    set. For a log-in, which tells what that would need. What is Unsupported is left out.
    """
    items: list[Item] = []
    families = (4, 6) if family.caps.has_ipv6 else (4,)
    for ip in families:
        for port in place.ports:
            items.append(Guard(port.name, 0, Match(SOURCES[ip], DESTINATIONS[ip], "tcp"), 3))
        if place.ports and place.vrf:
            vrf = place.vrf if family.caps.is_routed else ""
            for index, crossing in enumerate(crossings):
                match = Match(SOURCES[ip], DESTINATIONS[ip], "udp", ANY_PORT, (9000 + index, 9000 + index))
                items.append(Redirect(place.ports[0].name, 0, match, NextHop(crossing, LAST_TAG, "", vrf), 2))
        if not place.ports:
            items.extend(_rules(place, ip, 1))
    wanted = [item for item in items if KIND_OF_ITEM[type(item)] in family.caps.kinds]
    found: dict[Key, Item] = {}
    for index, item in enumerate(wanted):
        try:
            family.render(diff(EMPTY, {_key(item, index): item}), target)
        except Unsupported:
            continue
        found[_key(item, index)] = item
    return DeviceState(found)


def _state(family: Driver, place: Place, number: int) -> DeviceState:
    families = (4, 6) if family.caps.has_ipv6 else (4,)
    items = [item for ip in families for item in (*_steering(family, place, ip, number), *_rules(place, ip, number))]
    items.append(NatPool(Match(SOURCES[4], "0.0.0.0/0"), "203.0.113.128/28", 256 * number, place.inside, place.outside))
    held = [item for item in items if KIND_OF_ITEM[type(item)] in family.caps.kinds]
    return DeviceState({_key(item, index): item for index, item in enumerate(held)})


def _key(item: Item, index: int) -> Key:
    kind: Kind = KIND_OF_ITEM[type(item)]
    return Key(CHAIN, 1, Direction.FORWARD, 1, kind, index)


def _steering(family: Driver, place: Place, ip: int, number: int) -> list[Item]:
    if not place.ports:
        return []
    port, hop = place.ports[0].name, _hop(family, place)
    web = Match(SOURCES[ip], DESTINATIONS[ip], "tcp", ANY_PORT, (80, 82 + number))
    api = Match(SOURCES[ip], DESTINATIONS[ip], "tcp", ANY_PORT, (8080, 8083))
    one = Rule(Verdict.PERMIT, Match(SOURCES[ip], DESTINATIONS[ip], "tcp", ANY_PORT, (8080 + number, 8080 + number)))
    return [
        Guard(port, 0, web, 3),
        Redirect(port, 0, web, hop, 3),
        Pass(port, 0, Match(SOURCES[ip], OTHERS[ip], "udp", ANY_PORT, (53, 52 + number)), 3),
        normal(Filter(port, 0, api, hop, (one,), Verdict.DENY, 1)),
    ]


def _hop(family: Driver, place: Place) -> NextHop:
    """Out of the second port, if somebody is known there; else into the operator's routing."""
    far = place.ports[1] if len(place.ports) > 1 else None
    if family.caps.is_routed:
        is_known = far is not None and far.peer_mac and far.peer_addresses
        return NextHop(far.name, 0, far.peer_mac, place.vrf) if far and is_known else NextHop(vrf=place.vrf)
    return NextHop(far.name, 0, far.peer_mac) if far else NextHop(vrf=place.vrf)


def _rules(place: Place, ip: int, number: int) -> list[Item]:
    traffic = Match(SOURCES[ip], DESTINATIONS[ip], "tcp")
    one = Rule(Verdict.PERMIT, Match(SOURCES[ip], DESTINATIONS[ip], "tcp", ANY_PORT, (80, 80 + number)))
    return [
        RuleSet(traffic, (one,), Verdict.DENY, place.inside, place.outside),
        Signatures(traffic, (f"c0ffee{number:02x}",), place.inside, place.outside),
    ]
