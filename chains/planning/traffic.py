# SPDX-License-Identifier: Apache-2.0
"""Where are a chain's packets dropped? Compares what neighbours on its way counted between two samples. Pure.

Called by `chains.selectors.traffic` with the chain's own items by device. Every redirect says to whom it hands its
packets, so what one device sent is held against what the next one saw; no path is assumed but that of the items.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain as together

from drivers.forward import Network
from drivers.state import (
    DeviceState,
    Direction,
    Filter,
    FunctionItem,
    Guard,
    Key,
    NextHop,
    Redirect,
)

# Fewer packets than that say nothing.
MIN_PACKETS = 5
# Devices bring their counters up to date with a delay (Open vSwitch: up to half a second, at both ends of a window).
LAG_S, MARGIN, MOST = 1.0, 0.02, 0.5


class Fate(StrEnum):
    """What became of the packets of one direction."""

    IDLE = "idle"  # none entered
    FLOWS = "flows"  # what entered left, but for the odd one
    DENIED = "denied"  # a policy said no
    LOST = "lost"  # counted at one device and not at the next
    SWALLOWED = "swallowed"  # a function took them and gave nothing back
    SHUT = "shut"  # met the closed door behind a redirect
    UNKNOWN = "unknown"  # not measured


@dataclass(frozen=True, slots=True)
class Delta:
    """What an item counted between two samples. On a switch `packets` counts those that it dropped too."""

    packets: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """deltas: by device, of one window. A device that was not read at both ends is not in it."""

    window_s: float
    deltas: Mapping[str, Mapping[Key, Delta]]

    def of(self, device: str, key: Key) -> Delta:
        return self.deltas.get(device, {}).get(key, Delta())

    @property
    def slack(self) -> float:
        """The share of packets that may seem to be missing only because counters come late."""
        return min(MOST, LAG_S / max(self.window_s, 0.001) + MARGIN)

    def is_much(self, missing: int, of: int) -> bool:
        return missing >= MIN_PACKETS and missing > of * self.slack


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets that went on from `after` and did not come to `before` ("": nothing counts there).

    device: where they were dropped, as far as one can say; hop: of the function there, -1 for none.
    packets: how many, `of`: out of how many. evidence: the counters, in words.
    """

    fate: Fate
    direction: Direction
    device: str
    hop: int
    after: str
    before: str
    packets: int
    of: int
    evidence: str


@dataclass(frozen=True, slots=True)
class Course:
    """One direction. losses in the order of the way. unread: devices on it that were not measured."""

    direction: Direction
    fate: Fate
    entered: int
    left: int
    losses: tuple[Loss, ...] = ()
    unread: tuple[str, ...] = ()


Place = tuple[str, str, int]


@dataclass(slots=True)
class _Node:
    """What decides about packets at one port and tag. sends: the items with where each hands its packets."""

    place: Place
    items: list[tuple[Key, Redirect | Filter]] = field(default_factory=list)
    guards: list[Key] = field(default_factory=list)

    @property
    def device(self) -> str:
        return self.place[0]


@dataclass(slots=True)
class _Span:
    """Between what sends and what should see it: a cable, or a function (`via`) with its cables."""

    via: str
    senders: list[tuple[str, Key]] = field(default_factory=list)
    seers: set[Place] = field(default_factory=set)


def courses(states: Mapping[str, DeviceState], network: Network, meter: Meter) -> tuple[Course, ...]:
    """Forward and reverse. states: the chain's own items by device, as the devices should hold them."""
    return tuple(_Walk(states, network, meter, direction).course() for direction in Direction)


class _Walk:
    """One direction of one chain."""

    def __init__(
        self, states: Mapping[str, DeviceState], network: Network, meter: Meter, direction: Direction
    ) -> None:
        self.states, self.network, self.meter, self.direction = states, network, meter, direction
        self.nodes: dict[Place, _Node] = {}
        # What functions say that they dropped is shared by both directions, and used up once.
        self.denied = {
            (device, key): meter.of(device, key).dropped
            for device, state in states.items()
            for key, _ in state.functions()
        }
        for device, state in states.items():
            if network.kinds.get(device) == "switch":
                self._collect(device, state)
        self.spans = self._spans()

    def _collect(self, device: str, state: DeviceState) -> None:
        for key, item in state.items():
            if key.direction is not self.direction or not isinstance(item, Redirect | Filter | Guard):
                continue
            place = (device, item.ingress, item.tag)
            node = self.nodes.setdefault(place, _Node(place))
            if isinstance(item, Guard):
                node.guards.append(key)
            else:
                node.items.append((key, item))

    # --- the way --------------------------------------------------------------------------------

    def _spans(self) -> list[_Span]:
        """Items that may hand to the same place are one span: a standby's packets come either way."""
        found: list[_Span] = []
        for node in self.nodes.values():
            for key, item in node.items:
                hands = [self._target(node.device, hand) for hand in (item.next, item.standby) if hand is not None]
                seers = {place for place, _ in hands if place is not None}
                via = next((via for _, via in hands if via), "")
                if not seers and not via:
                    continue
                span = _Span(via, [(node.device, key)], seers)
                for other in [one for one in found if one.seers & seers or (via and one.via == via)]:
                    found.remove(other)
                    span.senders = other.senders + span.senders
                    span.seers |= other.seers
                    span.via = span.via or other.via
                found.append(span)
        return found

    def _target(self, device: str, hand: NextHop) -> tuple[Place | None, str]:
        """Where it is counted next (None: nowhere, it leaves or nobody knows), and the function before that."""
        if not hand.port:
            return None, ""
        peer = self.network.peers.get((device, hand.port))
        kind = self.network.kinds.get(peer[0], "") if peer else ""
        if peer is None or kind not in ("switch", "appliance"):
            return None, ""
        if kind == "switch":
            return (*peer, hand.tag), ""
        for _, item in self._functions(peer[0]):
            if peer[1] in (item.inside, item.outside):
                other = item.outside if peer[1] == item.inside else item.inside
                back = self.network.peers.get((peer[0], other))
                return ((*back, 0) if back else None), peer[0]
        return None, peer[0]

    def _functions(self, device: str) -> tuple[tuple[Key, FunctionItem], ...]:
        return self.states[device].functions() if device in self.states else ()

    # --- the counters ---------------------------------------------------------------------------

    def _sent(self, device: str, key: Key) -> int:
        """What a redirect or filter handed on."""
        delta = self.meter.of(device, key)
        return max(0, delta.packets - delta.dropped)

    def _closed(self, node: _Node) -> int:
        return sum(max(d.packets, d.dropped) for d in (self.meter.of(node.device, key) for key in node.guards))

    def _seen(self, node: _Node) -> int:
        return sum(self.meter.of(node.device, key).packets for key, _ in node.items) + self._closed(node)

    def course(self) -> Course:
        fed = {place for span in self.spans for place in span.seers}
        entries = [node for place, node in self.nodes.items() if place not in fed]
        entered = sum(self._seen(node) for node in entries)
        onward = {sender for span in self.spans for sender in span.senders}
        left = sum(
            self._sent(node.device, key)
            for node in self.nodes.values()
            for key, _ in node.items
            if (node.device, key) not in onward
        )
        devices = {node.device for node in self.nodes.values()}
        unread = tuple(sorted(devices - self.meter.deltas.keys()))
        losses = self._losses(entries)
        fate = self._fate(entered, losses, unread if self.nodes else ())
        return Course(self.direction, fate, entered, left, losses, unread)

    def _fate(self, entered: int, losses: tuple[Loss, ...], unread: tuple[str, ...]) -> Fate:
        faults = [loss for loss in losses if loss.fate is not Fate.DENIED]
        if faults:
            return max(faults, key=lambda loss: loss.packets).fate
        if losses:
            return Fate.DENIED
        if unread:
            return Fate.UNKNOWN
        return Fate.FLOWS if entered >= MIN_PACKETS else Fate.IDLE

    def _losses(self, entries: list[_Node]) -> tuple[Loss, ...]:
        """In the order of the way; hosts, which are at its ends, last."""
        found: list[Loss] = []
        reached: set[Place] = set()
        waiting = sorted(entries, key=lambda node: node.place)
        while waiting:
            node = waiting.pop(0)
            if node.place in reached:
                continue
            reached.add(node.place)
            found += self._at_node(node)
            keys = {(node.device, key) for key, _ in node.items}
            for span in self.spans:
                if keys & set(span.senders):
                    if span.senders and keys & {span.senders[0]}:
                        found += self._in_span(span)
                    waiting += [self.nodes[place] for place in sorted(span.seers) if place in self.nodes]
        return tuple(together(found, self._at_hosts()))

    def _at_node(self, node: _Node) -> Iterator[Loss]:
        seen = self._seen(node)
        for key, item in node.items:
            denied = self.meter.of(node.device, key).dropped
            if isinstance(item, Filter) and denied >= MIN_PACKETS:
                told = f"the filter on {node.device} let {self._sent(node.device, key)} through and denied {denied}"
                yield self._loss(Fate.DENIED, node.device, key.stage - 1, (node.device, ""), (denied, seen), told)
        closed = self._closed(node)
        if closed >= MIN_PACKETS:
            told = f"{closed} packets met the closed door at {node.device}:{node.place[1]}: nothing leads them on"
            yield self._loss(Fate.SHUT, node.device, -1, (node.device, ""), (closed, seen), told)

    def _in_span(self, span: _Span) -> Iterator[Loss]:
        sent = sum(self._sent(device, key) for device, key in span.senders)
        after = ", ".join(sorted({device for device, _ in span.senders}))
        before = ", ".join(sorted({place[0] for place in span.seers}))
        if not {device for device, _ in span.senders} <= self.meter.deltas.keys():
            return
        if not {place[0] for place in span.seers} <= self.meter.deltas.keys() or not sent:
            return
        seen = sum(self._seen(self.nodes[place]) for place in span.seers if place in self.nodes)
        missing = sent - seen
        counted = f"{after} sent {sent}, {before or 'nobody'} saw {seen} in {self.meter.window_s:.1f} s"
        if not span.via:
            if self.meter.is_much(missing, sent):
                yield self._loss(Fate.LOST, after, -1, (after, before), (missing, sent), counted)
            return
        yield from self._in_function(span.via, missing, sent, (after, before), counted)

    def _in_function(
        self, device: str, missing: int, sent: int, ends: tuple[str, str], counted: str
    ) -> Iterator[Loss]:
        functions = self._functions(device)
        hop = min((key.stage - 1 for key, _ in functions), default=-1)
        for key, _ in functions:
            denied = min(self.denied[device, key], max(missing, 0))
            if denied >= MIN_PACKETS:
                self.denied[device, key] -= denied
                missing -= denied
                told = f"{counted}; {device} says that it denied {denied}"
                yield self._loss(Fate.DENIED, device, key.stage - 1, ends, (denied, sent), told)
        if not self.meter.is_much(missing, sent):
            return
        if device not in self.meter.deltas:
            told = f"{counted}; {device} between them was not read"
            yield self._loss(Fate.LOST, device, hop, ends, (missing, sent), told)
            return
        met = sum(self.meter.of(device, key).packets + self.meter.of(device, key).dropped for key, _ in functions)
        told = f"{counted}; {device} between them counted {met} in both directions"
        if self.meter.is_much(sent - met, sent):
            yield self._loss(Fate.LOST, ends[0], hop, (ends[0], device), (missing, sent), told)
        else:
            yield self._loss(Fate.SWALLOWED, device, hop, ends, (missing, sent), told)

    def _at_hosts(self) -> Iterator[Loss]:
        """A rule set on a host judges before packets enter or after they left; it is told once, as forward."""
        if self.direction is not Direction.FORWARD:
            return
        totals: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
        for device, state in self.states.items():
            if self.network.kinds.get(device) != "host":
                continue
            for key, _ in state.functions():
                delta = self.meter.of(device, key)
                totals[device, key.stage - 1][0] += delta.dropped
                totals[device, key.stage - 1][1] += delta.dropped + delta.packets
        for (device, hop), (denied, seen) in sorted(totals.items()):
            if denied >= MIN_PACKETS:
                told = f"the rules on {device} denied {denied} of {seen}"
                yield self._loss(Fate.DENIED, device, hop, (device, ""), (denied, seen), told)

    def _loss(
        self, fate: Fate, device: str, hop: int, ends: tuple[str, str], packets: tuple[int, int], told: str
    ) -> Loss:
        return Loss(fate, self.direction, device, hop, ends[0], ends[1], packets[0], packets[1], told)
