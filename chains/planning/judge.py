# SPDX-License-Identifier: Apache-2.0
"""What becomes of packets in one state of the network, and whether it may. Called by verify for every state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from chains.planning.demands import Demand
from chains.planning.orders import Hop, Wanted
from chains.planning.remembered import Walks
from chains.planning.types import Chain, Endpoint, Violation
from chains.planning.walks import fates
from drivers.forward import Network, Outcome, Trace, walk_all
from drivers.order import Batch
from drivers.packets import Packets, packets
from drivers.state import EMPTY, DeviceState, Direction, Filter, FunctionItem, Item, Key, Redirect


@dataclass(frozen=True, slots=True)
class Case:
    """One plan to prove. others: other chains' items on the same devices. taps: who may get copies after it.

    closes: it is meant to drop packets where they enter. may_hold: packets may meet the closed door on the way.
    """

    network: Network
    chain: Chain
    base: Mapping[str, DeviceState]
    target: Mapping[str, DeviceState]
    others: Mapping[str, DeviceState]
    demands: tuple[Demand, ...]
    waves: tuple[tuple[Batch, ...], ...]
    edges: frozenset[Endpoint]
    taps: frozenset[str] = frozenset()
    closes: bool = False
    may_hold: bool = False


@dataclass(frozen=True, slots=True)
class Judge:
    """What happens in one state, and whether it may. walks: of all states of the proof."""

    case: Case
    wanted: Wanted
    network: Network
    has_copies: bool = False
    walks: Walks = field(default_factory=Walks)

    def fates(self, demand: Demand) -> tuple[Trace, ...]:
        """From host to host."""
        return self.walks.of(demand, self.network, lambda network: tuple(fates(network, demand)))

    def again(self, demand: Demand, first: Trace) -> tuple[Trace, ...]:
        return self.fates(demand if first.origin == demand.box else replace(demand, box=first.origin))

    def violations(self, pieces: Sequence[tuple[Demand, Trace]], is_last: bool) -> Iterator[Violation]:
        for demand, first in pieces:
            for trace in self.again(demand, first):
                problem = self._problem(demand, first, trace, is_last)
                if problem:
                    yield violation(problem, demand, trace)

    def met(
        self, pieces: Sequence[tuple[Demand, Trace]], items: frozenset[tuple[str, Key]], without: Judge
    ) -> Iterator[Violation]:
        """Packets that meet items of a wave in which the order of devices is open.

        without: the same network without those items. Where it does just the same with the packets at every place,
        any part of the wave does.
        """
        for demand, first in pieces:
            for trace in self.again(demand, first):
                if items & set(trace.steering):
                    others = list(without.fates(replace(demand, box=trace.origin)))
                    if not others or any(without.said(other) != self.said(trace) for other in others):
                        yield violation("race", demand, trace)
            for trace in self.copies(demand, first.origin):
                if items & set(trace.steering):
                    others = list(without.copies(demand, trace.origin))
                    if all(without.said(other) != self.said(trace) for other in others):
                        yield violation("race", demand, trace)

    def said(self, trace: Trace) -> tuple[object, ...]:
        """What became of packets, place by place: where they came in, and where they were sent."""
        places = [(device, self._item(device, key)) for device, key in trace.steering]
        steps = [
            (device, item.ingress, item.tag, getattr(item, "next", None), getattr(item, "standby", None))
            for device, item in places
            if not isinstance(item, FunctionItem)
        ]
        met = tuple(device for device, _ in trace.functions)
        return trace.outcome, trace.device, trace.vrf, tuple(steps), tuple(dict.fromkeys(met))

    def _item(self, device: str, key: Key) -> Item:
        held = self.network.states.get(device, EMPTY).get(key)
        return held if held is not None else self.network.others[device][key]

    def copies(self, demand: Demand, box: Packets) -> Iterator[Trace]:
        """Where copies of these packets end; nothing where no item makes any."""
        if self.has_copies:
            start = (demand.start.device, demand.start.port)
            found = self.walks.of(
                (start, box, demand.is_reply),
                self.network,
                lambda network: walk_all(network, start, box, is_reply=demand.is_reply),
            )
            yield from (trace for trace in found if trace.is_copy)

    def copied(self, pieces: Sequence[tuple[Demand, Trace]]) -> frozenset[str]:
        """Who gets copies."""
        found = (trace for demand, first in pieces for trace in self.copies(demand, first.origin))
        return frozenset(trace.device for trace in found if trace.outcome is Outcome.COPIED)

    def leaks(self, pieces: Sequence[tuple[Demand, Trace]], taps: frozenset[str]) -> Iterator[Violation]:
        """A copy comes to its tap, or nowhere."""
        for demand, first in pieces:
            for trace in self.copies(demand, first.origin):
                if trace.outcome is not Outcome.COPIED or trace.device not in taps:
                    yield violation("leak", demand, trace)

    def unanswered(self, pieces: Sequence[tuple[Demand, Trace]]) -> Iterator[Violation]:
        """Packets of a chain in force that arrive, while their replies are nobody's and go their own way back.

        Only where translation changes do replies come to addresses that nothing was about before.
        """
        asked = []
        for demand, first in pieces:
            if demand.is_reply or not first.steering:
                continue
            now = (trace for trace in self.again(demand, first) if trace.outcome is Outcome.ROUTED)
            asked += [trace.packets.reversed() for trace in now if trace.functions]
        for demand in self.case.demands:
            if demand.is_reply:
                for trace in self.fates(demand):
                    if trace.outcome is Outcome.BASE and any(trace.origin.intersect(box) for box in asked):
                        yield violation("bypass", demand, trace)

    def admitted(self, pieces: Sequence[tuple[Demand, Trace]]) -> Iterator[Violation]:
        """What a policy denied before and lets pass here."""
        for demand, first in pieces:
            if first.outcome is Outcome.DENIED:
                for trace in self.again(demand, first):
                    if trace.outcome in (Outcome.ROUTED, Outcome.BASE):
                        yield violation("admitted", demand, trace)

    def _problem(self, demand: Demand, first: Trace, trace: Trace, is_last: bool) -> str:
        is_wanted = demand in self.case.demands
        was_bare = first.outcome is Outcome.BASE and not first.functions
        if not is_last and _fares_alike(trace, first):
            return ""
        if trace.outcome in (Outcome.LOOP, Outcome.LOST, Outcome.CLOSED):
            return trace.outcome.value
        if trace.outcome is Outcome.GUARDED:
            may_be = self.case.closes or (was_bare or self.case.may_hold) and not is_last
            return "" if may_be else "blackhole"
        if trace.outcome is Outcome.DENIED:
            return ""
        if trace.outcome is Outcome.BASE:
            was_on_hosts = first.outcome is Outcome.BASE and bool(first.functions)
            if was_on_hosts and not is_last and self._in_order(demand, trace, must_be_new=False):
                return ""  # hosts still do what they did, and more: the rest of the way is not switched yet
            return self._base_problem(demand, trace, was_bare, is_wanted, is_last)
        if not self._in_order(demand, trace, is_last and is_wanted):
            return "bypass"
        if is_wanted and (trace.device, trace.vrf) != (demand.end_device, demand.end_vrf):
            return "astray"
        return ""

    def must_pass(self, hop: Hop, lost: str) -> bool:
        """A hop that may be bypassed is missed with the function that is lost."""
        if lost not in {device for device, _ in hop}:
            return True
        stages = {key.stage for _, key in hop}
        return any(hop.blocks for hop in self.case.chain.hops if hop.position + 1 in stages)

    def problem_without(self, demand: Demand, trace: Trace) -> str:
        """A function is lost: packets may be dropped, but never go wrong."""
        if trace.outcome in (Outcome.LOST, Outcome.GUARDED, Outcome.DENIED, Outcome.CLOSED):
            return ""
        if trace.outcome is not Outcome.ROUTED:
            return "loop" if trace.outcome is Outcome.LOOP else "bypass"
        if not self.wanted.new.are_passed(trace, demand):
            return "bypass"
        is_there = (trace.device, trace.vrf) == (demand.end_device, demand.end_vrf)
        return "" if is_there else "astray"

    def _base_problem(
        self, demand: Demand, trace: Trace, was_bare: bool, is_wanted: bool, is_last: bool
    ) -> str:
        """Base forwarding is right where hosts realise every hop, and where no chain is in force."""
        needs_steering = any(
            isinstance(i, Redirect | Filter) for s in self.case.target.values() for i in s.values()
        )
        if is_wanted and not needs_steering and self._in_order(demand, trace, must_be_new=is_last):
            return ""
        if not is_wanted and (is_last or was_bare or not _holds(self.case, demand, trace.packets)):
            return ""
        return "" if was_bare and not is_last else "bypass"

    def _in_order(self, demand: Demand, trace: Trace, must_be_new: bool) -> bool:
        """All hops of the new chain, or (on the way there) of the old one, or a mix hop by hop."""
        if self.wanted.new.are_passed(trace, demand):
            return True
        return not must_be_new and any(each.are_passed(trace, demand) for each in self.wanted.meanwhile)


def judged(case: Case, wanted: Wanted, states: Mapping[str, DeviceState], walks: Walks) -> Judge:
    """walks: those of the same case and `wanted`."""
    has_copies = any(state.remembered("makes copies", partial(_makes_copies, state)) for state in states.values())
    marks: dict[str, frozenset[int]] = {}
    for each in (wanted.old, wanted.new):
        for device in each.devices:
            marks[device] = marks.get(device, frozenset()) | {each.mark}
    network = replace(case.network, states=states, others=case.others, marks=marks)
    return Judge(case, wanted, network, has_copies, walks)


def _makes_copies(state: DeviceState) -> bool:
    return any(isinstance(item, Redirect | Filter) and item.copies for item in state.values())


def _fares_alike(trace: Trace, first: Trace) -> bool:
    """Nothing has changed for these packets yet."""
    same_end = (trace.outcome, trace.device, trace.vrf) == (first.outcome, first.device, first.vrf)
    return same_end and trace.functions == first.functions


def _holds(case: Case, demand: Demand, box: Packets) -> bool:
    """Does any item of the target at an edge mean these packets, in their direction?"""
    return any(
        isinstance(item, Redirect | Filter) and not item.tag and key.direction == demand.direction
        and Endpoint(device, item.ingress) in case.edges and packets(item.match).intersect(box)
        for device, state in case.target.items() for key, item in state.items()
    )  # fmt: skip


def violation(code: str, demand: Demand, trace: Trace) -> Violation:
    texts = {
        "loop": "packets go round in a circle",
        "lost": "packets are sent to a port without a link",
        "closed": "packets reach an appliance that does not know them, and are dropped",
        "blackhole": "packets are dropped at the closed door instead of being redirected",
        "bypass": "packets get past a function",
        "astray": f"packets end on {trace.device} in VRF {trace.vrf}, not on {demand.end_device} in {demand.end_vrf}",
        "admitted": "packets pass that the chain's policy denies",
        "leak": f"copies come to {trace.device}, which is no tap of the chain's",
        "race": "packets meet items of devices that are written side by side",
    }
    way = "forward" if demand.direction is Direction.FORWARD else "reverse"
    return Violation(code, f"{way}: {texts[code]}", trace.origin.witness(), (*trace.trail, trace.device))
