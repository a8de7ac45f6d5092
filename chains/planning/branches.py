# SPDX-License-Identifier: Apache-2.0
"""The branch of a chain: where packets go that leave a hop with its mark, instead of the rest of the chain. Pure.

Only on the way forward: replies carry no mark and come back by the main way. So what follows a branch, either way,
judges packet by packet. Called by plan (who serves it) and by routes (which way).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chains.planning.candidates import Context, Spot
from chains.planning.paths import EDGE, Stop, into, out_of, travel
from chains.planning.placement import Solution, place
from chains.planning.routing import INFINITE
from chains.planning.shares import Share
from chains.planning.types import Attachment, Capability, Endpoint, Hop, Realm, Reason, Refused
from drivers.state import MAX_PRECEDENCE

# Legs of branches: beyond those of copies.
BRANCH_LEG = 500


@dataclass(frozen=True, slots=True)
class Tail:
    """layer: of the hop that marks; mark: the DSCP; placed: the hops that follow."""

    layer: int
    mark: int
    placed: Solution


def branched(context: Context, solution: Solution) -> Tail | None:
    """Who serves the branch; None if the chain has none, or its hop is bypassed. Errors: Refused."""
    chain = context.chain
    found = [(layer, hop) for layer, hop in enumerate(solution.layers) if hop.branch is not None]
    if not found:
        return None
    layer, hop = found[0]
    assert hop.branch is not None
    _refuse_unfit(context, solution, layer, hop)
    first = solution.groups[layer].members[0]
    used = {spot.device for group in solution.groups for spot in (*group.members, *group.backups)}
    avoid = {o.name: "serves another hop of the chain" for o in context.fabric.offers if o.device in used}
    translated = any(other.capability is Capability.NAT for other in solution.layers[: layer + 1])
    vrf = chain.destination.vrf if translated else chain.source.vrf
    start = Attachment(first.exit, chain.source.prefixes)
    part = replace(
        chain, source=replace(chain.source, vrf=vrf, attachments=(start,)), hops=hop.branch.hops, latency_budget_us=None
    )
    return Tail(layer, hop.branch.dscp, place(replace(context, chain=part, avoid={**context.avoid, **avoid})))


def tails(
    solution: Solution, tail: Tail | None, share: Share, destination: Endpoint
) -> tuple[tuple[Stop, ...], ...]:
    """The ways of marked packets, from the member that marks and from its backup. Errors: Refused."""
    if tail is None:
        return ()
    spots = (share.spots[tail.layer], share.backups[tail.layer])
    stage = sum(hop.capability is Capability.NAT for hop in solution.layers[: tail.layer + 1])
    return tuple(_way(solution, tail, spot, stage, destination) for spot in spots if spot is not None)


def _way(solution: Solution, tail: Tail, start: Spot, stage: int, destination: Endpoint) -> tuple[Stop, ...]:
    found: list[Stop] = []
    here = out_of(start.exit, start, stage)
    for number, (hop, spot) in enumerate(zip(tail.placed.layers, tail.placed.spots, strict=True)):
        _refuse_unreachable(solution, here, spot.entry)
        here = travel(solution, BRANCH_LEG + number, here, spot.entry.device, found)
        if spot.offers[0].realm == Realm.SWITCH:
            here = replace(here, hop=hop.position)
            continue
        found.append(into(here, spot.entry.port, spot))
        here = out_of(spot.exit, spot, stage)
    _refuse_unreachable(solution, here, destination)
    here = travel(solution, BRANCH_LEG + len(tail.placed.layers), here, destination.device, found)
    return (*found, replace(here, egress=destination.port, leaves=EDGE))


def _refuse_unfit(context: Context, solution: Solution, layer: int, hop: Hop) -> None:
    assert hop.branch is not None
    why = ""
    if solution.groups[layer].members[0].offers[0].realm != Realm.APPLIANCE:
        why = "only an appliance gives marks: pin the hop to that realm"
    elif context.chain.precedence >= MAX_PRECEDENCE:
        why = "marked packets need a rank above the chain's: lower its priority"
    elif any(classifier.dscp == hop.branch.dscp for classifier in context.chain.classifiers):
        why = f"packets come with the mark {hop.branch.dscp} already: a classifier says so"
    elif any(other.realm == Realm.HOST for other in hop.branch.hops):
        why = "its hops run on the way, not on hosts"
    if why:
        detail = f"hop {hop.position + 1} ({hop.function}) cannot branch: {why}"
        raise Refused((Reason("branch", detail, hop.position),), solution.placement)


def _refuse_unreachable(solution: Solution, here: Stop, end: Endpoint) -> None:
    if solution.graph.cost(here.device, end.device) >= INFINITE:
        detail = f"marked packets find no way with room from {here.device} to {end.device}"
        raise Refused((Reason("no-route", detail),), solution.placement)
