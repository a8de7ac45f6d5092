# SPDX-License-Identifier: Apache-2.0
"""Where a firewall sends a chain's packets on by itself, whatever its routes say: setting `steers: "yes"`.

Called by `panos`, `fortios` and `srx`. Pure. Without the setting the firewall's own routes must lead there, which is
checked. With it each rule set brings redirect rules of its own: what enters inside leaves by outside, to the address
behind that port, and replies go the other way. Where no rule means a packet, the routes decide, and the policy between
the zones denies whatever they lead elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drivers.appliance.policy import (
    DEFAULT,
    Line,
    Route,
    interface_of,
    is_damaged,
    misled,
    parse_name,
    prefix_of,
)
from drivers.base import Target, Unsupported
from drivers.narrow import intersection
from drivers.state import DeviceState, Key, Match, RuleSet

SETTING = "steers"
THERE, BACK = "there", "back"
_NAME = re.compile(rf"(SI-c\d{{1,8}}r\d{{1,4}}[fr]\d{{1,2}}u\d{{1,4}}-)({THERE}|{BACK})")


@dataclass(frozen=True, slots=True)
class Steer:
    """One redirect rule: what enters by port `ingress` and matches goes out of port `egress` to the address `hop`.

    back: the address behind `ingress`, to which replies go.
    """

    name: str
    ingress: str
    egress: str
    match: Match
    hop: str
    back: str


def is_steering(target: Target) -> bool:
    return target.settings.get(SETTING, "no") == "yes"


def key_of(name: str) -> Key | None:
    """Of a redirect rule's name."""
    found = _NAME.fullmatch(name)
    named = parse_name(f"{found[1]}0") if found else None
    return named[0] if named else None


def names_for(key: Key) -> tuple[str, str]:
    """Of the redirect rules that an item may have."""
    return f"{prefix_of(key)}{THERE}", f"{prefix_of(key)}{BACK}"


def steers_of(state: DeviceState, target: Target) -> tuple[Steer, ...]:
    """In key order, both directions. Errors: Unsupported."""
    if not is_steering(target):
        return ()
    found: list[Steer] = []
    for key, item in state.items():
        if isinstance(item, RuleSet) and not is_damaged(item):
            found += _both(key, item, target)
    _agree(found, target)
    return tuple(found)


def _both(key: Key, item: RuleSet, target: Target) -> Iterator[Steer]:
    inside, outside, family = item.inside, item.outside, item.traffic.family
    near, far = (hop_behind(target, port, family) for port in (inside, outside))
    there, back = names_for(key)
    yield Steer(there, inside, outside, item.traffic, far, near)
    yield Steer(back, outside, inside, item.traffic.reversed(), near, far)


def hop_behind(target: Target, port: str, family: int) -> str:
    """Errors: Unsupported, with what the fabric file lacks."""
    hops = (ipaddress.ip_interface(text).ip for text in target.ports[port].peer_addresses)
    found = next((str(hop) for hop in hops if hop.version == family), "")
    if not found:
        said = f"to steer, it must know the IPv{family} address behind port {port}"
        raise Unsupported(f"{target.name}: {said}: give the port at the other end of its link `addresses`")
    return found


def _agree(found: list[Steer], target: Target) -> None:
    """The first rule that matches decides: no two may lead the same packet two ways."""
    for number, one in enumerate(found):
        for other in found[:number]:
            is_same = (one.egress, one.hop) == (other.egress, other.hop)
            if one.ingress == other.ingress and not is_same and intersection(one.match, other.match) is not None:
                said = f"{other.name} and {one.name} would send the same packets two ways"
                raise Unsupported(f"{target.name}: {said}; give one of the chains another appliance")


def unreached(lines: Iterable[Line], routes: Iterable[Route], target: Target) -> Iterator[str]:
    """For every item's traffic: are the addresses that it is handed to reached by the ports it leaves by?"""
    table = list(routes)
    for line in lines:
        if line.said == DEFAULT:
            for port in (line.inside, line.outside):
                hop = ipaddress.ip_address(hop_behind(target, port, line.match.family))
                yield from misled(f"{hop}/{hop.max_prefixlen}", interface_of(target, port), table)
