# SPDX-License-Identifier: Apache-2.0
"""Walk packets through device states: where does each set of packets end, and what did it pass?

Shared by planning (is this plan safe?), by operators (trace) and by tests of fakes. The operator's
own forwarding is not modelled: a walk that falls back to it ends there, as BASE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from drivers.lookup import Row, table_of
from drivers.packets import Packets, interval, packets
from drivers.state import (
    DeviceState,
    Filter,
    FunctionItem,
    Guard,
    Key,
    NatPool,
    NextHop,
    Pass,
    Redirect,
    RuleSet,
    Signatures,
    Steering,
    Verdict,
    decisive,
)

MAX_STEPS = 128
Place = tuple[str, str]


class Outcome(StrEnum):
    ROUTED = "routed"  # handed to base forwarding in a VRF on purpose, by the last redirect
    BASE = "base"  # nothing of ours matched: base forwarding decides
    DENIED = "denied"  # a policy said no
    GUARDED = "guarded"  # the closed door behind a redirect
    CLOSED = "closed"  # an appliance that no function claims it on
    LOOP = "loop"
    LOST = "lost"  # sent to a port without a link
    COPIED = "copied"  # a copy that came to an appliance


@dataclass(frozen=True, slots=True)
class Network:
    """kinds: device -> switch, appliance, host or external. peers: port -> port at the other end of the link.

    A device holds what `states` and `others` say of it together: of many networks that differ in a few
    items, the rest is indexed once. dead: ports whose link is lost. marks: appliance -> DSCPs that its function may
    give to packets on their way forward.
    """

    kinds: Mapping[str, str]
    peers: Mapping[Place, Place]
    states: Mapping[str, DeviceState] = field(default_factory=dict)
    others: Mapping[str, DeviceState] = field(default_factory=dict)
    dead: frozenset[Place] = frozenset()
    marks: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def steering(self, device: str, ingress: str, tag: int, box: Packets) -> Sequence[Row]:
        """What may decide about packets of the box, as DeviceState.steering."""
        own = table_of(self.states[device], ingress, tag).about(box) if device in self.states else ()
        rest = table_of(self.others[device], ingress, tag).about(box) if device in self.others else ()
        return sorted((*own, *rest), key=lambda row: decisive(row[:2])) if own and rest else own or rest

    def functions(self, device: str) -> tuple[tuple[Key, FunctionItem], ...]:
        """As DeviceState.functions."""
        own = self.states[device].functions() if device in self.states else ()
        rest = self.others[device].functions() if device in self.others else ()
        return own + rest


@dataclass(frozen=True, slots=True)
class Trace:
    """One set of packets that fared alike.

    origin: as it entered (its part of what was asked); packets: as it ended, after translations.
    functions: (device, key) of the functions passed, in order; steering: of the steering items used. is_copy: these
    are copies for a tap, never the flow itself. marked: the appliance that gave them another DSCP, "" for none.
    """

    outcome: Outcome
    origin: Packets
    packets: Packets
    device: str
    vrf: str = ""
    functions: tuple[tuple[str, Key], ...] = ()
    steering: tuple[tuple[str, Key], ...] = ()
    trail: tuple[str, ...] = ()
    is_copy: bool = False
    marked: str = ""


@dataclass(frozen=True, slots=True)
class _Flight:
    """Packets on their way: about to enter `device` by `port` with `tag`."""

    trace: Trace
    device: str
    port: str
    tag: int


def walk(network: Network, start: Place, box: Packets, *, is_reply: bool) -> tuple[Trace, ...]:
    """All fates of the packets that enter the switch port `start` untagged.

    is_reply: replies of flows that the functions already know; else packets that open flows.
    """
    return tuple(trace for trace in walk_all(network, start, box, is_reply=is_reply) if not trace.is_copy)


def walk_all(network: Network, start: Place, box: Packets, *, is_reply: bool) -> tuple[Trace, ...]:
    """The same, with the fates of their copies."""
    device, port = start
    first = Trace(Outcome.LOOP, box, box, device)
    flights = [_Flight(first, device, port, 0)]
    ended: list[Trace] = []
    while flights:
        flight = flights.pop()
        kind = network.kinds.get(flight.device, "external")
        if len(flight.trace.trail) >= MAX_STEPS:
            ended.append(replace(flight.trace, outcome=Outcome.LOOP, device=flight.device))
            continue
        steps = _switch(network, flight) if kind == "switch" else _box(network, flight, is_reply)
        for step in steps:
            ended.append(step) if isinstance(step, Trace) else flights.append(step)
    return tuple(ended)


def on_host(network: Network, device: str, trace: Trace, *, is_reply: bool) -> tuple[Trace, ...]:
    """What the host's own rule sets do with packets that start or end there: outcome kept, or DENIED."""
    return tuple(_functions(network.functions(device), device, ("", ""), trace, is_reply))


def _switch(network: Network, flight: _Flight) -> Iterator[Trace | _Flight]:
    """The first matching item in order of precedence and rank decides, for each part of the set."""
    trace = replace(flight.trace, trail=(*flight.trace.trail, f"{flight.device}:{flight.port}"))
    rest: tuple[Packets, ...] = (trace.packets,)
    for key, item, match in network.steering(flight.device, flight.port, flight.tag, trace.packets):
        if not rest:
            break
        if len(rest) == 1 and rest[0].intersect(match) is None:
            continue
        missed: list[Packets] = []
        for part in rest:
            hit = part.intersect(match)
            if hit is None:
                missed.append(part)
                continue
            missed.extend(part.minus(match))
            yield from _hit(network, flight.device, flight.port, key, item, _narrowed(trace, hit))
        rest = tuple(missed)
    for part in rest:
        yield replace(_narrowed(trace, part), outcome=Outcome.BASE, device=flight.device)


def _hit(
    network: Network, device: str, port: str, key: Key, item: Steering, trace: Trace
) -> Iterator[Trace | _Flight]:
    used = replace(trace, steering=(*trace.steering, (device, key)), device=device)
    if isinstance(item, Guard):
        yield replace(used, outcome=Outcome.GUARDED)
    elif isinstance(item, Pass):
        yield replace(used, outcome=Outcome.BASE)
    elif isinstance(item, Redirect):
        yield from _hand_over(network, device, item, used)
    else:
        passed = replace(used, functions=(*used.functions, (device, key)))
        for part, is_permitted in _judge(item, passed.packets):
            if is_permitted:
                yield from _hand_over(network, device, item, _narrowed(passed, part))
            else:
                yield replace(_narrowed(passed, part), outcome=Outcome.DENIED)


def _hand_over(
    network: Network, device: str, item: Redirect | Filter, trace: Trace
) -> Iterator[Trace | _Flight]:
    """Copies first; a copy of a copy is none, and where one cannot be sent it is as if it had not been made."""
    for copy in item.copies:
        if (device, copy.port) not in network.dead:
            yield _send(network, device, copy, replace(trace, is_copy=True))
    hand = item.next
    if (device, hand.port) in network.dead and item.standby is not None:
        hand = item.standby
    yield _send(network, device, hand, trace)


def _send(network: Network, device: str, hand: NextHop, trace: Trace) -> Trace | _Flight:
    if hand.vrf and not hand.port:
        return replace(trace, outcome=Outcome.ROUTED, vrf=hand.vrf)
    peer = network.peers.get((device, hand.port))
    if peer is None or (device, hand.port) in network.dead:
        return replace(trace, outcome=Outcome.LOST)
    return _Flight(trace, *peer, tag=hand.tag)


def _box(network: Network, flight: _Flight, is_reply: bool) -> Iterator[Trace | _Flight]:
    """An appliance: in by one arm, through the functions between both arms, out by the other."""
    device, port = flight.device, flight.port
    items = network.functions(device)
    arms = {(item.inside, item.outside) for _, item in items}
    pair = next((pair for pair in sorted(arms) if port == (pair[1] if is_reply else pair[0])), None)
    trail = (*flight.trace.trail, f"{device}:{port}")
    trace = replace(flight.trace, trail=trail, device=device)
    if trace.is_copy and network.kinds.get(device) == "appliance" and not flight.tag:
        yield replace(trace, outcome=Outcome.COPIED)
        return
    if network.kinds.get(device) != "appliance" or pair is None or flight.tag:
        yield replace(trace, outcome=Outcome.CLOSED)
        return
    leaves = pair[0] if is_reply else pair[1]
    peer = network.peers.get((device, leaves))
    before = len(trace.functions)
    for done in _functions(items, device, pair, trace, is_reply):
        if done.outcome is Outcome.DENIED:
            yield done
        elif len(done.functions) == before:
            yield replace(done, outcome=Outcome.CLOSED)
        elif peer is None:
            yield replace(done, outcome=Outcome.LOST)
        else:
            yield _Flight(done, *peer, tag=0)
            for mark in sorted(network.marks.get(device, ())) if not is_reply else ():
                marked = replace(done.packets, dscp=(mark, mark))
                yield _Flight(replace(done, packets=marked, marked=device), *peer, tag=0)


def _functions(
    items: Iterable[tuple[Key, FunctionItem]],
    device: str,
    arms: tuple[str, str],
    trace: Trace,
    is_reply: bool,
) -> list[Trace]:
    """Every function item between the arms judges what is its traffic; what none claims is untouched."""
    alive = [trace]
    for key, item in items:
        if (item.inside, item.outside) != arms:
            continue
        traffic = _claimed(item, is_reply)
        after: list[Trace] = []
        for one in alive:
            hit = None if one.outcome is Outcome.DENIED else one.packets.intersect(traffic)
            if hit is None:
                after.append(one)
                continue
            after.extend(_narrowed(one, part) for part in one.packets.minus(traffic))
            passed = replace(_narrowed(one, hit), functions=(*one.functions, (device, key)))
            after.extend(_through(item, passed, is_reply, device))
        alive = after
    return alive


def _through(item: FunctionItem, trace: Trace, is_reply: bool, device: str) -> Iterator[Trace]:
    if isinstance(item, Signatures):
        yield trace
    elif isinstance(item, NatPool):
        yield replace(trace, packets=_translated(item, trace.packets, is_reply))
    else:
        box = trace.packets.reversed() if is_reply else trace.packets
        for part, is_permitted in _judge(item, box):
            seen = _narrowed(trace, part.reversed() if is_reply else part)
            yield seen if is_permitted else replace(seen, outcome=Outcome.DENIED, device=device)


def _claimed(item: FunctionItem, is_reply: bool) -> Packets:
    if not is_reply:
        return packets(item.traffic)
    replies = packets(item.traffic).reversed()
    if isinstance(item, NatPool):
        return replace(replies, destination=interval(item.public), destination_ports=(0, 65535))
    return replies


def _translated(item: NatPool, box: Packets, is_reply: bool) -> Packets:
    if is_reply:
        return replace(
            box, destination=interval(item.traffic.source), destination_ports=item.traffic.source_ports
        )
    return replace(box, source=interval(item.public), source_ports=(0, 65535))


def _judge(item: Filter | RuleSet, box: Packets) -> Iterator[tuple[Packets, bool]]:
    """First matching rule, else the default: disjoint parts of the box with the verdict."""
    rest: tuple[Packets, ...] = (box,)
    for rule in item.rules:
        match = packets(rule.match)
        missed: list[Packets] = []
        for part in rest:
            hit = part.intersect(match)
            if hit is None:
                missed.append(part)
                continue
            missed.extend(part.minus(match))
            yield hit, rule.verdict is Verdict.PERMIT
        rest = tuple(missed)
    for part in rest:
        yield part, item.default is Verdict.PERMIT


def _narrowed(trace: Trace, part: Packets) -> Trace:
    """The same trace for a part of its packets; the origin is narrowed while nothing was translated or marked."""
    origin = part if trace.origin == trace.packets and not trace.marked else trace.origin
    return replace(trace, packets=part, origin=origin)
