# SPDX-License-Identifier: Apache-2.0
"""Prove a plan: in every state it goes through, no packet skips a function, loops or vanishes.

Works on packet sets, on the compiled states alone. It asks the intent what must hold, not compile.
Steps of one wave run side by side, so any subset of them may be in force: for build and remove the
proof is that no packet meets a steering item that is being added or removed, hence every subset
forwards alike; a switch wave has one device, or functions only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chains.planning.classes import Pair
from chains.planning.collisions import collisions
from chains.planning.types import Chain, Endpoint, Proof, Violation
from drivers.diff import patch
from drivers.forward import Network, Outcome, Trace, on_host, walk
from drivers.order import Batch, Phase
from drivers.packets import Packets, packets, without
from drivers.state import (
    DeviceState,
    Direction,
    Filter,
    FunctionItem,
    Key,
    Match,
    Pass,
    Redirect,
    slot,
)

CLAIMS = (
    "every packet passes its functions in order, or is dropped",
    "replies pass the same instances in reverse order",
    "no packet loops or is sent where no link is",
    "no packet of the chain falls back to base forwarding once the chain is in force",
    "packets arrive in the VRF and on the switch of their destination, nowhere else",
    "no item takes the place of another chain's",
)

# One hop's function items, by (device, key): to pass the hop is to pass one of them.
Hop = frozenset[tuple[str, Key]]


@dataclass(frozen=True, slots=True)
class Demand:
    """What must become of some packets. hosts: where they start and end, "" if unknown."""

    direction: Direction
    start: Endpoint
    start_host: str
    box: Packets
    end_device: str = ""
    end_vrf: str = ""
    end_host: str = ""

    @property
    def is_reply(self) -> bool:
        return self.direction is Direction.REVERSE


@dataclass(frozen=True, slots=True)
class Case:
    """One plan to prove. hops: after the change. others: other chains' items on the same devices."""

    network: Network
    chain: Chain
    base: Mapping[str, DeviceState]
    target: Mapping[str, DeviceState]
    others: Mapping[str, DeviceState]
    demands: tuple[Demand, ...]
    waves: tuple[tuple[Batch, ...], ...]
    edges: frozenset[Endpoint]


def demands(chain: Chain, pairs: Sequence[Pair], others: Mapping[str, DeviceState]) -> tuple[Demand, ...]:
    """From the intent: both directions of every pair, less what a wide destination does not mean.

    Less also what chains of a higher precedence take at the same port: it is theirs.
    """
    found: list[Demand] = []
    for pair in pairs:
        source, destination = pair.source, pair.destination
        for match in pair.stages[0]:
            holes = (*_holes(chain, match), *_preceding(chain, others, source.switch))
            for box in without(packets(match), holes):
                found.append(
                    Demand(
                        Direction.FORWARD, source.switch, source.host, box,
                        destination.switch.device, chain.destination.vrf, destination.host,
                    )
                )  # fmt: skip
        for match in pair.stages[-1]:
            own = tuple(hole.reversed() for hole in _holes(chain, match)) if len(pair.stages) == 1 else ()
            holes = (*own, *_preceding(chain, others, destination.switch))
            for box in without(packets(match).reversed(), holes):
                found.append(
                    Demand(
                        Direction.REVERSE, destination.switch, destination.host, box,
                        source.switch.device, chain.source.vrf, source.host,
                    )
                )  # fmt: skip
    return tuple(dict.fromkeys(found))


def prove(case: Case) -> Proof:
    """Walk every state. The proof holds if it has no violations."""
    violations: list[Violation] = list(collisions(case.target, case.others))
    old_hops, new_hops = _hops(case.base), _hops(case.target)
    asked = (*case.demands, *_old_demands(case))
    before = _Judge(case, old_hops, new_hops, _network(case, case.base))
    pieces = [(demand, trace) for demand in asked for trace in before.fates(demand)]
    held: Mapping[str, DeviceState] = case.base
    states = 1
    for wave in case.waves:
        after = _applied(held, wave)
        is_last = after == dict(_applied(case.target, ()))
        judge = _Judge(case, old_hops, new_hops, _network(case, after))
        moved = _steering(wave)
        if wave[0].phase is Phase.REMOVE:
            violations.extend(_Judge(case, old_hops, new_hops, _network(case, held)).met(pieces, moved))
        if wave[0].phase is Phase.BUILD:
            violations.extend(judge.met(pieces, moved))
        violations.extend(judge.violations(pieces, is_last))
        held = after
        states += 1
    if not case.waves:
        violations.extend(before.violations(pieces, is_last=True))
    violations.extend(_asymmetries(case, _Judge(case, old_hops, new_hops, _network(case, case.target))))
    unique = tuple(dict.fromkeys(violations))
    return Proof(states, len(pieces), CLAIMS, unique[:20])


def prove_held(case: Case) -> Proof:
    """Do devices that hold `target` keep what was promised with `base`? Nothing moves: `waves` is not looked at.

    The functions to pass are those of `base`, so one that is gone is missed; and what `base` denied stays denied.
    """
    hops = _hops(case.base)
    before = _Judge(case, hops, hops, _network(case, case.base))
    after = _Judge(case, hops, hops, _network(case, case.target))
    pieces = [(demand, trace) for demand in (*case.demands, *_old_demands(case)) for trace in before.fates(demand)]
    violations: list[Violation] = list(collisions(case.target, case.others))
    violations.extend(after.violations(pieces, is_last=True))
    violations.extend(after.admitted(pieces))
    violations.extend(_asymmetries(case, after))
    return Proof(1, len(pieces), CLAIMS, tuple(dict.fromkeys(violations))[:20])


@dataclass(frozen=True, slots=True)
class _Judge:
    """What happens in one state, and whether it may."""

    case: Case
    old_hops: tuple[Hop, ...]
    new_hops: tuple[Hop, ...]
    network: Network

    def fates(self, demand: Demand) -> Iterator[Trace]:
        """From host to host."""
        start = (demand.start.device, demand.start.port)
        blank = Trace(Outcome.ROUTED, demand.box, demand.box, demand.start_host)
        for left in on_host(self.network, demand.start_host, blank, is_reply=demand.is_reply):
            if left.outcome is Outcome.DENIED:
                yield left
                continue
            for trace in walk(self.network, start, left.packets, is_reply=demand.is_reply):
                whole = replace(trace, origin=trace.origin, functions=(*left.functions, *trace.functions))
                if trace.outcome in (Outcome.ROUTED, Outcome.BASE) and demand.end_host:
                    yield from on_host(self.network, demand.end_host, whole, is_reply=demand.is_reply)
                else:
                    yield whole

    def again(self, demand: Demand, first: Trace) -> Iterator[Trace]:
        yield from self.fates(replace(demand, box=first.origin))

    def violations(self, pieces: Sequence[tuple[Demand, Trace]], is_last: bool) -> Iterator[Violation]:
        for demand, first in pieces:
            for trace in self.again(demand, first):
                problem = self._problem(demand, first, trace, is_last)
                if problem:
                    yield _violation(problem, demand, trace)

    def met(
        self, pieces: Sequence[tuple[Demand, Trace]], items: frozenset[tuple[str, Key]]
    ) -> Iterator[Violation]:
        """Packets that meet items of a wave in which the order of devices is open."""
        for demand, first in pieces:
            for trace in self.again(demand, first):
                if items & set(trace.steering):
                    yield _violation("race", demand, trace)

    def admitted(self, pieces: Sequence[tuple[Demand, Trace]]) -> Iterator[Violation]:
        """What a policy denied before and lets pass here."""
        for demand, first in pieces:
            if first.outcome is Outcome.DENIED:
                for trace in self.again(demand, first):
                    if trace.outcome in (Outcome.ROUTED, Outcome.BASE):
                        yield _violation("admitted", demand, trace)

    def _problem(self, demand: Demand, first: Trace, trace: Trace, is_last: bool) -> str:
        is_wanted = demand in self.case.demands
        was_bare = first.outcome is Outcome.BASE and not first.functions
        if not is_last and _fares_alike(trace, first):
            return ""
        if trace.outcome in (Outcome.LOOP, Outcome.LOST, Outcome.CLOSED):
            return trace.outcome.value
        if trace.outcome is Outcome.GUARDED:
            return "" if was_bare and not is_last else "blackhole"
        if trace.outcome is Outcome.DENIED:
            return ""
        if trace.outcome is Outcome.BASE:
            return self._base_problem(demand, trace, was_bare, is_wanted, is_last)
        if not self._in_order(demand, trace, is_last and is_wanted):
            return "bypass"
        if is_wanted and (trace.device, trace.vrf) != (demand.end_device, demand.end_vrf):
            return "astray"
        return ""

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
        if _passes(trace, self.new_hops, demand):
            return True
        if must_be_new:
            return False
        alike = _alike(self.case)
        old_hops = tuple(_widened(hop, alike) for hop in self.old_hops)
        new_hops = tuple(_widened(hop, alike) for hop in self.new_hops)
        if _passes(trace, new_hops, demand) or (old_hops and _passes(trace, old_hops, demand)):
            return True
        if len(old_hops) == len(new_hops):
            mixed = tuple(old | new for old, new in zip(old_hops, new_hops, strict=True))
            return bool(mixed) and _passes(trace, mixed, demand)
        return False


def _fares_alike(trace: Trace, first: Trace) -> bool:
    """Nothing has changed for these packets yet."""
    same_end = (trace.outcome, trace.device, trace.vrf) == (first.outcome, first.device, first.vrf)
    return same_end and trace.functions == first.functions


def _passes(trace: Trace, hops: tuple[Hop, ...], demand: Demand) -> bool:
    """Is there one item of every hop, in order, among the functions passed?"""
    wanted = list(reversed(hops)) if demand.is_reply else list(hops)
    for passed in trace.functions:
        if wanted and passed in wanted[0]:
            wanted.pop(0)
    return not wanted


def _alike(case: Case) -> dict[tuple[str, Key], tuple[str, Key]]:
    """Function items that take each other's place: on the way from one to the other either will do."""
    found = {}
    for device, state in case.target.items():
        before = {slot(item): (key, item) for key, item in case.base.get(device, DeviceState()).items()}
        for key, item in state.items():
            old_key, old = before.get(slot(item), (key, item))
            if isinstance(item, FunctionItem | Filter) and type(old) is type(item) and old_key != key:
                found[device, key] = (device, old_key)
                found[device, old_key] = (device, key)
    return found


def _widened(hop: Hop, alike: Mapping[tuple[str, Key], tuple[str, Key]]) -> Hop:
    return hop | {alike[place] for place in hop if place in alike}


def _hops(states: Mapping[str, DeviceState]) -> tuple[Hop, ...]:
    """Function items by hop: compile puts the hop's position + 1 into their stage."""
    found: dict[int, set[tuple[str, Key]]] = {}
    for device, state in states.items():
        for key, item in state.items():
            if isinstance(item, FunctionItem | Filter):
                found.setdefault(key.stage, set()).add((device, key))
    return tuple(frozenset(found[stage]) for stage in sorted(found))


def _old_demands(case: Case) -> Iterator[Demand]:
    """What the chain in force steers, read from its items at the edges."""
    wanted = {(demand.start, demand.direction, demand.box) for demand in case.demands}
    for device, state in case.base.items():
        for key, item in state.items():
            start = Endpoint(device, item.ingress) if isinstance(item, Redirect | Filter) else None
            if start not in case.edges or not isinstance(item, Redirect | Filter) or item.tag:
                continue
            holes = tuple(
                packets(i.match) for i in state.values() if isinstance(i, Pass) and i.ingress == item.ingress
            )
            for box in without(packets(item.match), holes):
                if (start, key.direction, box) not in wanted:
                    yield Demand(key.direction, start, "", box)


def _asymmetries(case: Case, judge: _Judge) -> Iterator[Violation]:
    """Replies must meet the instances that saw the flow open."""
    met: dict[frozenset[str], dict[Direction, set[str]]] = {}
    for demand in case.demands:
        for trace in judge.fates(demand):
            if trace.outcome in (Outcome.ROUTED, Outcome.BASE):
                hosts = frozenset((demand.start_host, demand.end_host))
                seen = met.setdefault(hosts, {}).setdefault(demand.direction, set())
                seen.update(device for device, _ in trace.functions)
    for hosts, by_direction in met.items():
        if len(set(map(frozenset, by_direction.values()))) > 1:
            names = {direction.value: sorted(devices) for direction, devices in by_direction.items()}
            yield Violation(
                "asymmetry", f"between {' and '.join(sorted(hosts))} the directions differ: {names}"
            )


def _holes(chain: Chain, match: Match) -> tuple[Packets, ...]:
    wide = packets(match)
    found = []
    for prefix in chain.excluded:
        if (":" in prefix) == (match.family == 6) and prefix != match.destination:
            hole = packets(replace(match, destination=prefix))
            if wide.intersect(hole) == hole:
                found.append(hole)
    return tuple(found)


def _preceding(chain: Chain, others: Mapping[str, DeviceState], end: Endpoint) -> Iterator[Packets]:
    held = others.get(end.device, DeviceState()).steering(end.port, 0)
    return (packets(item.match) for _, item in held if item.precedence > chain.precedence)


def _holds(case: Case, demand: Demand, box: Packets) -> bool:
    """Does any item of the target at an edge mean these packets, in their direction?"""
    return any(
        isinstance(item, Redirect | Filter) and not item.tag and key.direction == demand.direction
        and Endpoint(device, item.ingress) in case.edges and packets(item.match).intersect(box)
        for device, state in case.target.items() for key, item in state.items()
    )  # fmt: skip


def _network(case: Case, states: Mapping[str, DeviceState]) -> Network:
    """The chain's own items, with what others hold on the same devices."""
    return replace(case.network, states=states, others=case.others)


def _applied(states: Mapping[str, DeviceState], wave: Sequence[Batch]) -> dict[str, DeviceState]:
    after = dict(states)
    for batch in wave:
        after[batch.device] = patch(after.get(batch.device, DeviceState()), batch.changes)
    return {device: state for device, state in after.items() if state}


def _steering(wave: Sequence[Batch]) -> frozenset[tuple[str, Key]]:
    return frozenset(
        (batch.device, change.key)
        for batch in wave
        for change in batch.changes
        if not isinstance(change.item, FunctionItem)
    )


def _violation(code: str, demand: Demand, trace: Trace) -> Violation:
    texts = {
        "loop": "packets go round in a circle",
        "lost": "packets are sent to a port without a link",
        "closed": "packets reach an appliance that does not know them, and are dropped",
        "blackhole": "packets are dropped at the closed door instead of being redirected",
        "bypass": "packets get past a function",
        "astray": f"packets end on {trace.device} in VRF {trace.vrf}, not on {demand.end_device} in {demand.end_vrf}",
        "admitted": "packets pass that the chain's policy denies",
        "race": "packets meet items of devices that are written side by side",
    }
    way = "forward" if demand.direction is Direction.FORWARD else "reverse"
    return Violation(code, f"{way}: {texts[code]}", trace.origin.witness(), (*trace.trail, trace.device))
