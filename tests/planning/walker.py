# SPDX-License-Identifier: Apache-2.0
"""One packet at a time through device states: a second opinion on what the proof says of sets of packets.

Written for the tests alone, from what items mean (`drivers.state`); shares no code with `drivers.forward` or the proof.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from drivers.state import (
    DeviceState,
    Filter,
    Guard,
    Match,
    NatPool,
    NextHop,
    Pass,
    Redirect,
    Rule,
    RuleSet,
    Verdict,
)

MOST_STEPS = 200


@dataclass(frozen=True, slots=True)
class Packet:
    source: str
    destination: str
    protocol: str = "tcp"
    sport: int = 40000
    dport: int = 80
    dscp: int = 0

    def reply(self) -> Packet:
        return replace(
            self, source=self.destination, destination=self.source, sport=self.dport, dport=self.sport
        )


@dataclass(slots=True)
class Fate:
    """end: delivered, base, denied, guarded, closed, lost, loop or ambiguous. met: whose functions it passed."""

    end: str = ""
    device: str = ""
    vrf: str = ""
    met: list[str] = field(default_factory=list)
    packet: Packet | None = None
    copies: list[str] = field(default_factory=list)  # where copies came to
    trail: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ground:
    """kinds by device; cables: port -> port; dead: ports without a link. marks: what a function marks, by device."""

    kinds: Mapping[str, str]
    cables: Mapping[tuple[str, str], tuple[str, str]]
    dead: frozenset[tuple[str, str]] = frozenset()
    marks: Mapping[str, int] = field(default_factory=dict)


@lru_cache(maxsize=200_000)
def is_in(address: str, prefix: str) -> bool:
    one, network = ipaddress.ip_address(address), ipaddress.ip_network(prefix)
    return one.version == network.version and one in network


def matches(match: Match, packet: Packet) -> bool:
    return (
        is_in(packet.source, match.source)
        and is_in(packet.destination, match.destination)
        and match.protocol in ("", packet.protocol)
        and match.source_ports[0] <= packet.sport <= match.source_ports[1]
        and match.destination_ports[0] <= packet.dport <= match.destination_ports[1]
        and match.dscp in (-1, packet.dscp)
    )


def travel(
    ground: Ground, states: Mapping[str, DeviceState], start: tuple[str, str], packet: Packet, is_reply: bool
) -> Fate:
    """From a switch port, untagged, to the end."""
    fate = Fate(packet=packet)
    where: tuple[str, str, int] | None = (*start, 0)
    while where is not None:
        device, port, tag = where
        fate.device = device
        fate.trail.append(f"{device}:{port}.{tag}")
        if len(fate.trail) > MOST_STEPS:
            fate.end = "loop"
            return fate
        state = states.get(device, DeviceState())
        if ground.kinds[device] == "switch":
            where = _switch(ground, states, state, where, fate)
        else:
            where = _box(ground, state, where, fate, is_reply)
    return fate


def _switch(
    ground: Ground,
    states: Mapping[str, DeviceState],
    state: DeviceState,
    where: tuple[str, str, int],
    fate: Fate,
) -> tuple[str, str, int] | None:
    device, port, tag = where
    assert fate.packet is not None
    found = [
        item
        for item in state.values()
        if isinstance(item, Redirect | Filter | Guard | Pass)
        and (item.ingress, item.tag) == (port, tag)
        and matches(item.match, fate.packet)
    ]
    if not found:
        fate.end = "base"
        return None
    best = max(_rank(item) for item in found)
    said = {_without_match(item) for item in found if _rank(item) == best}
    if len(said) > 1:
        fate.end = "ambiguous"
        return None
    item = next(item for item in found if _rank(item) == best)
    if isinstance(item, Guard | Pass):
        fate.end = "guarded" if isinstance(item, Guard) else "base"
        return None
    if isinstance(item, Filter):
        fate.met.append(device)
        if not permits(item.rules, item.default, fate.packet):
            fate.end = "denied"
            return None
    for copy in item.copies:
        _copy(ground, states, device, copy, fate)
    hand = item.next
    if (device, hand.port) in ground.dead and item.standby is not None:
        hand = item.standby
    if not hand.port:
        fate.end, fate.vrf = "delivered", hand.vrf
        return None
    return _over(ground, device, hand, fate)


def _over(ground: Ground, device: str, hand: NextHop, fate: Fate) -> tuple[str, str, int] | None:
    far = ground.cables.get((device, hand.port))
    if far is None or (device, hand.port) in ground.dead:
        fate.end = "lost"
        return None
    return (*far, hand.tag)


def _copy(
    ground: Ground, states: Mapping[str, DeviceState], device: str, hand: NextHop, fate: Fate
) -> None:
    assert fate.packet is not None
    far = ground.cables.get((device, hand.port))
    if far is None or (device, hand.port) in ground.dead:
        return
    aside = Fate(packet=fate.packet)
    where: tuple[str, str, int] | None = (*far, hand.tag)
    while where is not None and len(aside.trail) < MOST_STEPS:
        aside.trail.append(str(where))
        if ground.kinds[where[0]] != "switch":
            fate.copies.append(f"{where[0]}" if where[2] == 0 else f"tagged {where[0]}")
            return
        where = _switch(ground, states, states.get(where[0], DeviceState()), where, aside)
    fate.copies.append(f"{aside.end or 'loop'} at {aside.trail[-1]}")


def _rank(item: Redirect | Filter | Guard | Pass) -> tuple[int, int]:
    return item.precedence, 2 if isinstance(item, Pass) else 0 if isinstance(item, Guard) else 1


def _without_match(item: Redirect | Filter | Guard | Pass) -> str:
    if isinstance(item, Guard | Pass):
        return type(item).__name__
    return repr((item.next, item.standby, item.copies))


def permits(rules: tuple[Rule, ...], default: Verdict, packet: Packet) -> bool:
    for rule in rules:
        if matches(rule.match, packet):
            return rule.verdict is Verdict.PERMIT
    return default is Verdict.PERMIT


def _box(
    ground: Ground, state: DeviceState, where: tuple[str, str, int], fate: Fate, is_reply: bool
) -> tuple[str, str, int] | None:
    device, port, tag = where
    items = [item for _, item in state.functions() if port == (item.outside if is_reply else item.inside)]
    before = len(fate.met)
    for item in items:
        assert fate.packet is not None
        if isinstance(item, NatPool):
            done = _translated(item, fate.packet, is_reply)
            if done is None:
                continue
            fate.packet = done
        else:
            opener = fate.packet.reply() if is_reply else fate.packet
            if not matches(item.traffic, opener):
                continue
            if isinstance(item, RuleSet) and not permits(item.rules, item.default, opener):
                fate.end = "denied"
                return None
        if device not in fate.met[before:]:
            fate.met.append(device)
    if tag or len(fate.met) == before:
        fate.end = "closed"
        return None
    if not is_reply and device in ground.marks and fate.packet is not None:
        fate.packet = replace(fate.packet, dscp=ground.marks[device])
    out = items[0].inside if is_reply else items[0].outside
    far = ground.cables.get((device, out))
    if far is None or far in ground.dead:
        fate.end = "lost"
        return None
    return (*far, 0)


def _translated(item: NatPool, packet: Packet, is_reply: bool) -> Packet | None:
    """Blocks of ports in the order of the subscribers' addresses (RFC 7422)."""
    inside, public = ipaddress.ip_network(item.traffic.source), ipaddress.ip_network(item.public)
    per_address = (65536 - 1024) // item.block_size
    if not is_reply:
        if not matches(item.traffic, packet):
            return None
        index = int(ipaddress.ip_address(packet.source)) - int(inside.network_address)
        port = 1024 + (index % per_address) * item.block_size + packet.sport % item.block_size
        return replace(packet, source=str(public[index // per_address]), sport=port)
    if not is_in(packet.destination, item.public) or packet.dport < 1024:
        return None
    address = int(ipaddress.ip_address(packet.destination)) - int(public.network_address)
    index = address * per_address + (packet.dport - 1024) // item.block_size
    if index >= inside.num_addresses:
        return None
    return replace(packet, destination=str(inside[index]), dport=0)


def on_host(state: DeviceState, device: str, fate: Fate, is_reply: bool) -> None:
    """The rule sets of a host where packets start or end."""
    assert fate.packet is not None
    opener = fate.packet.reply() if is_reply else fate.packet
    for _, item in state.functions():
        if isinstance(item, RuleSet) and matches(item.traffic, opener):
            if device not in fate.met:
                fate.met.append(device)
            if not permits(item.rules, item.default, opener):
                fate.end = "denied"
