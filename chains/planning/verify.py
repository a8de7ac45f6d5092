# SPDX-License-Identifier: Apache-2.0
"""Prove a plan: in every state it goes through, no packet skips a function, loops or vanishes.

Works on packet sets, on the compiled states alone. It asks the intent what must hold, not compile.
Steps of one wave run side by side, so any subset of them may be in force: for build and remove the
proof is that no packet meets a steering item that is being added or removed, hence every subset
forwards alike; a switch wave has one device, or functions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from chains.planning.collisions import collisions
from chains.planning.demands import Demand
from chains.planning.judge import Case, Judge, judged, violation
from chains.planning.orders import Wanted, wanted_of
from chains.planning.remembered import Walks
from chains.planning.types import Endpoint, Proof, Violation
from drivers.diff import patch
from drivers.forward import Outcome, Trace
from drivers.order import Batch, Phase
from drivers.packets import Packets, packets, without
from drivers.state import (
    DeviceState,
    Direction,
    Filter,
    FunctionItem,
    Key,
    NatPool,
    Pass,
    Redirect,
)

CLAIMS = (
    "every packet passes its functions in order, or is dropped",
    "replies pass the same instances in reverse order",
    "no packet loops or is sent where no link is",
    "no packet of the chain falls back to base forwarding once the chain is in force",
    "packets arrive in the VRF and on the switch of their destination, nowhere else",
    "no item takes the place of another chain's",
    "whichever function is lost, and gone round by a switch itself, the same holds",
    "copies come to taps and nowhere else",
)

@dataclass(frozen=True, slots=True)
class Ground:
    """What does not hang on the order of the waves. violations: before any is walked."""

    wanted: Wanted
    before: Judge
    pieces: tuple[tuple[Demand, Trace], ...]
    taps: frozenset[str]
    violations: tuple[Violation, ...]
    is_translated_anew: bool
    walks: Walks


def ground(case: Case) -> Ground:
    """Of the case's beginning and end; `waves` is not looked at."""
    wanted = wanted_of(case.network, case.base, case.target)
    walks = Walks()
    before = judged(case, wanted, case.base, walks)
    asked = (*case.demands, *_old_demands(case))
    pieces = tuple((demand, trace) for demand in asked for trace in before.fates(demand))
    final = judged(case, wanted, case.target, walks)
    violations = [*collisions(case.target, case.others), *_asymmetries(case, final), *losses(case, final)]
    taps = case.taps | before.copied(pieces)
    is_anew = bool(case.base) and _pools(case.base) != _pools(case.target)
    return Ground(wanted, before, pieces, taps, tuple(dict.fromkeys(violations)), is_anew, walks)


def _pools(states: Mapping[str, DeviceState]) -> frozenset[tuple[str, str]]:
    """Who has which public addresses."""
    items = (item for state in states.values() for item in state.values())
    return frozenset((item.traffic.source, item.public) for item in items if isinstance(item, NatPool))


def prove(case: Case, *, known: Ground | None = None, is_quick: bool = False) -> Proof:
    """Walk every state. The proof holds if it has no violations.

    known: of this case with other waves. is_quick: the first violation is enough.
    """
    known = known or ground(case)
    pieces, violations = known.pieces, list(known.violations)
    earlier, states = known.before, 1
    most = 1 if is_quick else None
    if not case.waves:
        violations.extend(islice(earlier.violations(pieces, is_last=True), most))
        violations.extend(islice(earlier.leaks(pieces, case.taps), most))
    for wave in case.waves:
        if is_quick and violations:
            break
        after = _applied(earlier.network.states, wave)
        judge = judged(case, known.wanted, after, known.walks)
        moved = _steering(wave)
        if wave[0].phase is Phase.REMOVE:
            violations.extend(islice(earlier.met(pieces, moved, judge), most))
        if wave[0].phase is Phase.BUILD:
            violations.extend(islice(judge.met(pieces, moved, earlier), most))
        violations.extend(islice(_wrong(case, known, judge), most))
        earlier = judge
        states += 1
    unique = tuple(dict.fromkeys(violations))
    return Proof(states, len(pieces), CLAIMS, unique[:20])


def is_safe(case: Case, known: Ground, waves: Sequence[Sequence[Batch]]) -> bool:
    """Is nothing wrong in the state after these waves, whatever was before?"""
    states: Mapping[str, DeviceState] = case.base
    for wave in waves:
        states = _applied(states, wave)
    return next(_wrong(case, known, judged(case, known.wanted, states, known.walks)), None) is None


def _wrong(case: Case, known: Ground, judge: Judge) -> Iterator[Violation]:
    """In one state, whatever the way to it."""
    is_last = dict(judge.network.states) == _applied(case.target, ())
    yield from judge.violations(known.pieces, is_last)
    yield from judge.leaks(known.pieces, known.taps)
    if known.is_translated_anew:
        yield from judge.unanswered(known.pieces)


def prove_held(case: Case) -> Proof:
    """Do devices that hold `target` keep what was promised with `base`? Nothing moves: `waves` is not looked at.

    The functions to pass are those of `base`, so one that is gone is missed; and what `base` denied stays denied.
    """
    wanted = wanted_of(case.network, case.base, case.base)
    walks = Walks()
    before = judged(case, wanted, case.base, walks)
    after = judged(case, wanted, case.target, walks)
    pieces = [(demand, trace) for demand in (*case.demands, *_old_demands(case)) for trace in before.fates(demand)]
    violations: list[Violation] = list(collisions(case.target, case.others))
    violations.extend(after.violations(pieces, is_last=True))
    violations.extend(after.admitted(pieces))
    violations.extend(_asymmetries(case, after))
    return Proof(1, len(pieces), CLAIMS, tuple(dict.fromkeys(violations))[:20])


def _old_demands(case: Case) -> Iterator[Demand]:
    """What the chain in force steers, read from its items at the edges."""
    wanted: dict[tuple[Endpoint, Direction], list[Packets]] = {}
    for demand in case.demands:
        wanted.setdefault((demand.start, demand.direction), []).append(demand.box)
    for device, state in case.base.items():
        for key, item in state.items():
            start = Endpoint(device, item.ingress) if isinstance(item, Redirect | Filter) else None
            if start not in case.edges or not isinstance(item, Redirect | Filter) or item.tag:
                continue
            holes = tuple(
                packets(i.match) for i in state.values() if isinstance(i, Pass) and i.ingress == item.ingress
            )
            for box in without(packets(item.match), holes):
                if not any(box.intersect(asked) == box for asked in wanted.get((start, key.direction), ())):
                    yield Demand(key.direction, start, "", box)


def losses(case: Case, judge: Judge) -> Iterator[Violation]:
    """With each function lost that switches go round by themselves: what passes has passed the rest in order."""
    seen = [(demand, trace) for demand in case.demands for trace in judge.fates(demand)]
    for device, ports in sorted(_lost(case).items()):
        met = [(demand, trace) for demand, trace in seen if device in {name for name, _ in trace.functions}]
        if not met:
            continue
        missed = frozenset(hop for hop in judge.wanted.new.main if not judge.must_pass(hop, device))
        wanted = replace(judge.wanted, new=judge.wanted.new.without(missed))
        without = replace(judge, wanted=wanted, network=replace(judge.network, dead=ports))
        after = [(demand, trace) for demand, first in met for trace in without.again(demand, first)]
        for demand, trace in after:
            problem = without.problem_without(demand, trace)
            if problem:
                yield violation(problem, demand, trace)
        yield from asymmetries(after, judge.wanted.new.mark)


def _lost(case: Case) -> dict[str, frozenset[tuple[str, str]]]:
    """Appliances that a switch goes round by itself -> the ports of switches that lead to them."""
    found: dict[str, frozenset[tuple[str, str]]] = {}
    for switch, state in case.target.items():
        for item in state.values():
            if isinstance(item, Redirect | Filter) and item.standby is not None:
                device = case.network.peers.get((switch, item.next.port), ("", ""))[0]
                if device not in found:
                    ends = case.network.peers.items()
                    found[device] = frozenset(end for end, other in ends if other[0] == device)
    return found


def _asymmetries(case: Case, judge: Judge) -> Iterator[Violation]:
    """Replies must meet the instances that saw the flow open: those of a flow, not of some other one beside it."""
    seen = [(demand, trace) for demand in case.demands for trace in judge.fates(demand)]
    yield from asymmetries(seen, judge.wanted.new.mark)


def asymmetries(seen: Iterable[tuple[Demand, Trace]], mark: int) -> Iterator[Violation]:
    """Among what arrives. Packets with the mark of a branch are left out: nothing that follows one needs replies."""
    there: dict[frozenset[str], list[tuple[Packets, frozenset[str]]]] = {}
    back: dict[frozenset[str], list[tuple[Packets, frozenset[str]]]] = {}
    for demand, trace in seen:
        if trace.outcome not in (Outcome.ROUTED, Outcome.BASE) or trace.packets.dscp == (mark, mark):
            continue
        ends = frozenset((demand.start_host, demand.end_host))
        box = trace.packets.reversed() if demand.is_reply else trace.origin
        met = frozenset(device for device, _ in trace.functions)
        (back if demand.is_reply else there).setdefault(ends, []).append((box, met))
    for ends, opened in there.items():
        for box, met in opened:
            for reply, met_back in back.get(ends, ()):
                both = box.intersect(reply) if met != met_back and _meet(box, reply) else None
                if both is not None:
                    names = {"f": sorted(met), "r": sorted(met_back)}
                    hosts = " and ".join(sorted(ends))
                    yield Violation(
                        "asymmetry", f"between {hosts} the directions differ: {names}", both.witness()
                    )


def _meet(one: Packets, other: Packets) -> bool:
    """Could there be a packet in both? Asked very often."""
    return one.source[0] <= other.source[1] and other.source[0] <= one.source[1]


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


