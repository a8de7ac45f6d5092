# SPDX-License-Identifier: Apache-2.0
"""Prove a plan: in every state it goes through, no packet skips a function, loops or vanishes.

Works on packet sets, on the compiled states alone. It asks the intent what must hold, not compile.
Steps of one wave run side by side, so any subset of them may be in force: for build and remove the
proof is that no packet meets a steering item that is being added or removed, hence every subset
forwards alike; a switch wave has one device, or functions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from chains.planning.collisions import collisions
from chains.planning.demands import Demand
from chains.planning.judge import Case, Judge, hops_of, judged, violation
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

def prove(case: Case) -> Proof:
    """Walk every state. The proof holds if it has no violations."""
    violations: list[Violation] = list(collisions(case.target, case.others))
    old_hops, new_hops = hops_of(case.base), hops_of(case.target)
    asked = (*case.demands, *_old_demands(case))
    before = judged(case, old_hops, new_hops, case.base)
    pieces = [(demand, trace) for demand in asked for trace in before.fates(demand)]
    held: Mapping[str, DeviceState] = case.base
    allowed = case.taps | before.copied(pieces)
    states = 1
    for wave in case.waves:
        after = _applied(held, wave)
        is_last = after == dict(_applied(case.target, ()))
        judge = judged(case, old_hops, new_hops, after)
        moved = _steering(wave)
        if wave[0].phase is Phase.REMOVE:
            violations.extend(judged(case, old_hops, new_hops, held).met(pieces, moved, judge))
        if wave[0].phase is Phase.BUILD:
            violations.extend(judge.met(pieces, moved, judged(case, old_hops, new_hops, held)))
        violations.extend(judge.violations(pieces, is_last))
        violations.extend(judge.leaks(pieces, allowed))
        held = after
        states += 1
    if not case.waves:
        violations.extend(before.violations(pieces, is_last=True))
        violations.extend(before.leaks(pieces, case.taps))
    final = judged(case, old_hops, new_hops, case.target)
    violations.extend(_asymmetries(case, final))
    violations.extend(losses(case, final))
    unique = tuple(dict.fromkeys(violations))
    return Proof(states, len(pieces), CLAIMS, unique[:20])


def prove_held(case: Case) -> Proof:
    """Do devices that hold `target` keep what was promised with `base`? Nothing moves: `waves` is not looked at.

    The functions to pass are those of `base`, so one that is gone is missed; and what `base` denied stays denied.
    """
    hops = hops_of(case.base)
    before = judged(case, hops, hops, case.base)
    after = judged(case, hops, hops, case.target)
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
        hops = tuple(hop for hop in judge.new_hops if judge.must_pass(hop, device))
        without = replace(judge, new_hops=hops, network=replace(judge.network, dead=ports))
        after = [(demand, trace) for demand, first in met for trace in without.again(demand, first)]
        for demand, trace in after:
            problem = without.problem_without(demand, trace)
            if problem:
                yield violation(problem, demand, trace)
        yield from asymmetries(after)


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
    yield from asymmetries(seen)


def asymmetries(seen: Iterable[tuple[Demand, Trace]]) -> Iterator[Violation]:
    """Among what arrives. Packets that a function marked are left out: only what needs no replies follows a mark."""
    there: dict[frozenset[str], list[tuple[Packets, frozenset[str]]]] = {}
    back: dict[frozenset[str], list[tuple[Packets, frozenset[str]]]] = {}
    for demand, trace in seen:
        if trace.outcome not in (Outcome.ROUTED, Outcome.BASE) or trace.marked:
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


