# SPDX-License-Identifier: Apache-2.0
"""One chain's whole plan: place, route, compile, diff, order, prove. The only entry into planning.

Called by the engine with a snapshot; what it returns is stored and is what gets applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from chains.planning.allocate import allocate
from chains.planning.branches import Tail, branched
from chains.planning.candidates import Context
from chains.planning.changeover import States, Waves, changes_of, closed_doors, flows_lost, orders
from chains.planning.classes import count_matches
from chains.planning.collisions import function_collisions
from chains.planning.compile import Compiled, compile_states
from chains.planning.demands import demands
from chains.planning.judge import Case
from chains.planning.mirrors import tapped
from chains.planning.orders import marked_ends
from chains.planning.placement import Solution, place
from chains.planning.routing import peers
from chains.planning.types import (
    Allocation,
    Capability,
    Chain,
    Endpoint,
    Fabric,
    LinkUse,
    OfferUse,
    Placement,
    Plan,
    Proof,
    Reason,
    Refused,
    Step,
)
from chains.planning.uses import link_uses, offer_uses, refuse_full, tail_uses
from chains.planning.verify import ground, is_safe, prove
from drivers.forward import Network
from drivers.order import Phase
from drivers.state import DeviceState, Filter, Guard, Redirect


@dataclass(frozen=True, slots=True)
class Draft:
    """Placed and compiled, not proved yet. solution and compiled are None for a removal."""

    fabric: Fabric
    chain: Chain
    base: States
    target: States
    edges: frozenset[Endpoint]
    context: Context | None = None
    solution: Solution | None = None
    allocations: tuple[Allocation, ...] = ()
    compiled: Compiled | None = None
    tail: Tail | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        """Where the chain holds something, now or then: what others hold there matters for the proof."""
        return tuple(sorted(self.base.keys() | self.target.keys()))


@dataclass(frozen=True, slots=True)
class Force:
    """What a chain in force has taken."""

    offers: tuple[OfferUse, ...]
    links: tuple[LinkUse, ...]
    allocations: tuple[Allocation, ...]


NOTHING: Mapping[str, str] = MappingProxyType({})


def draft_plan(fabric: Fabric, chain: Chain, base: States, avoid: Mapping[str, str] = NOTHING) -> Draft:
    """What would make `chain` true, from its own items in force (`base`, by device). Errors: Refused.

    avoid: offers not to take, by name, with the reason (from `clashes` of an earlier draft).
    """
    _refuse_homeless(chain)
    links = peers(fabric)
    context = Context(fabric, chain, links, count_matches(chain), avoid=avoid)
    solution = tapped(context, place(context))
    allocations = allocate(chain, solution)
    tail = branched(context, solution)
    compiled = compile_states(context, solution, allocations, base, tail)
    refuse_full(chain, solution, compiled)
    edges = compiled.edges | edges_in_force(fabric, base)
    if tail is not None:
        hops = (*solution.placement.hops, *tail.placed.placement.hops)
        solution = replace(solution, placement=replace(solution.placement, hops=hops))
    return Draft(fabric, chain, base, compiled.target, edges, context, solution, allocations, compiled, tail)


def clashes(draft: Draft, others: States) -> dict[str, str]:
    """Offers of the draft on whose device another chain's rules mean some of the same packets, with the reason.

    A box asks every rule set that means a packet, and one no is final: two chains cannot share it then.
    """
    groups = (*draft.solution.groups, *(draft.tail.placed.groups if draft.tail else ())) if draft.solution else ()
    spots = [spot for group in groups for spot in (*group.members, *group.backups)]
    busy = {device for device, _, _ in function_collisions(draft.target, others)}
    reason = "another chain has rules for some of the same packets on it"
    return {offer.name: reason for spot in spots for offer in spot.offers if offer.device in busy}


def shared(draft: Draft) -> tuple[str, ...]:
    """Devices of the draft where the items of all chains share objects."""
    found = ((name, draft.fabric.devices.get(name)) for name in draft.devices)
    return tuple(name for name, device in found if device and device.caps and device.caps.shares_objects)


def draft_removal(fabric: Fabric, chain: Chain, base: States) -> Draft:
    """What would take everything of the chain off every device."""
    return Draft(fabric, chain, base, {}, edges_in_force(fabric, base))


def draft_closed(fabric: Fabric, chain: Chain, base: States) -> Draft:
    """What would let no packet of the chain in, and keep all else: at its edges only the closed doors stay.

    Errors: Refused where a door is missing, or nothing is open.
    """
    edges = edges_in_force(fabric, base)
    target, missing = {}, []
    for device, state in base.items():
        doors = {(item.ingress, item.tag, item.match) for item in state.values() if isinstance(item, Guard)}
        kept = {}
        for key, item in state.items():
            if not isinstance(item, Redirect | Filter) or item.tag or Endpoint(device, item.ingress) not in edges:
                kept[key] = item
            elif (item.ingress, item.tag, item.match) not in doors:
                missing.append(f"{device}:{item.ingress}")
        target[device] = DeviceState(kept)
    if missing:
        told = f"there is no closed door behind {', '.join(sorted(set(missing)))}: without it packets would pass by"
        raise Refused((Reason("no-door", told),))
    if target == dict(base):
        raise Refused((Reason("closed", "no packet of the chain is let in already"),))
    return Draft(fabric, chain, base, target, edges)


def proven_closed(draft: Draft, others: States, force: Force) -> Plan:
    """The plan of a closed draft. force: what the chain has taken, and keeps. Errors: Refused."""
    network, chain = network_of(draft.fabric), draft.chain
    case = Case(network, chain, draft.base, draft.target, others, (), (), draft.edges, closes=True)
    waves, proof, breaks = _proven(case, None)
    return Plan(
        chain=draft.chain.number,
        revision=(draft.chain.revision + 1) % 4096,
        placement=None,
        paths=(),
        base=draft.base,
        target=draft.target,
        steps=steps(waves),
        allocations=force.allocations,
        offer_uses=force.offers,
        link_uses=force.links,
        proof=proof,
        buckets=chain.buckets,
        breaks=breaks,
    )


def proven(draft: Draft, others: States) -> Plan:
    """The plan, ordered and proved. others: other chains' items on `draft.devices`. Errors: Refused."""
    chain, compiled, solution = draft.chain, draft.compiled, draft.solution
    asked = demands(chain, compiled.pairs, others) if compiled else ()
    taps = frozenset(spot.device for _, spot in solution.taps) if solution else frozenset()
    network = network_of(draft.fabric)
    case = Case(network, chain, draft.base, draft.target, others, asked, (), draft.edges, taps)
    if compiled is None or solution is None or draft.context is None:
        waves, proof, breaks = _proven(case, None)
        taken = ((), (), ())
        return Plan(
            chain.number, chain.revision, None, (), draft.base, {}, steps(waves), *taken, proof, breaks=breaks
        )
    waves, proof, breaks = _proven(case, solution.placement)
    return Plan(
        chain=chain.number,
        revision=compiled.revision,
        placement=solution.placement,
        paths=compiled.paths,
        base=draft.base,
        target=compiled.target,
        steps=steps(waves),
        allocations=draft.allocations,
        offer_uses=(*offer_uses(draft.context, solution), *tail_uses(draft.context, draft.tail)),
        link_uses=link_uses(chain, compiled),
        proof=proof,
        buckets=solution.held,
        breaks=breaks,
    )


def make_plan(fabric: Fabric, chain: Chain, base: States, others: States) -> Plan:
    """Both steps at once, for callers that hold everything. Errors: Refused; nothing is half planned."""
    avoid: dict[str, str] = {}
    while True:
        draft = draft_plan(fabric, chain, base, avoid)
        met = {name: others[name] for name in draft.devices if name in others}
        found = clashes(draft, met)
        if found.keys() <= avoid.keys():
            return proven(draft, met)
        avoid |= found


def make_removal(fabric: Fabric, chain: Chain, base: States, others: States) -> Plan:
    """Both steps at once."""
    draft = draft_removal(fabric, chain, base)
    return proven(draft, {name: others[name] for name in draft.devices if name in others})


def steps(waves: Waves) -> tuple[Step, ...]:
    """Waves as numbered steps; between the last switch and the removal the old flows drain."""
    found: list[Step] = []
    number = 0
    for wave in waves:
        if wave[0].phase is Phase.REMOVE and number:
            found.append(Step(number, Phase.DRAIN, "", ()))
            number += 1
        found.extend(Step(number, batch.phase, batch.device, batch.changes) for batch in wave)
        number += 1
    return tuple(found)


def _proven(case: Case, placement: Placement | None) -> tuple[Waves, Proof, tuple[Reason, ...]]:
    """The first way through that can be proved safe, and what it costs: see `changeover`."""
    first: Proof | None = None
    lost = flows_lost(case.base, case.target)
    known = ground(case)
    changes = changes_of(case.base, case.target)
    # What takes marked packets is met at once, as what is at an edge.
    met = case.edges | marked_ends(case.base).keys() | marked_ends(case.target).keys()
    for waves in orders(changes, met, lambda done: is_safe(case, known, done)):
        proof = prove(replace(case, waves=waves), known=known, is_quick=True)
        if not proof.violations:
            return waves, proof, lost
        first = first or proof
        if known.violations:
            break
    for waves in closed_doors(case.base, case.target, case.edges):
        held = replace(case, waves=waves, may_hold=True)
        proof = prove(held, known=known, is_quick=True)
        if not proof.violations:
            detail = (
                "all packets of the chain are dropped from the first write at its edges to the last, as hops change "
                "places on the same devices; connections that are open live on"
            )
            return waves, proof, (Reason("held", detail), *lost)
    assert first is not None
    reasons = tuple(
        Reason(
            "unproven",
            f"no order of the devices was found in which this never happens: {violation.detail} (for example "
            f"{violation.packet}); pin a hop to another instance, or delete the chain and create it anew",
        )
        for violation in first.violations
    )
    raise Refused(reasons, placement, first)


def network_of(fabric: Fabric) -> Network:
    kinds = {device.name: device.kind for device in fabric.devices.values()}
    ends = {(a.device, a.port): (b.device, b.port) for a, b in peers(fabric).items()}
    return Network(kinds, ends)


def edges_in_force(fabric: Fabric, base: States) -> frozenset[Endpoint]:
    """Where the chain's packets enter now: untagged redirects at ports that lead to no switch or appliance."""
    links = peers(fabric)
    found = set()
    for device, state in base.items():
        for item in state.values():
            if isinstance(item, Redirect | Filter) and item.tag == 0:
                end = Endpoint(device, item.ingress)
                peer = links.get(end)
                kind = fabric.devices[peer.device].kind if peer else ""
                if kind not in ("switch", "appliance"):
                    found.add(end)
    return frozenset(found)


def _refuse_homeless(chain: Chain) -> None:
    reasons = []
    for segment in (chain.source, chain.destination):
        if not segment.attachments:
            detail = f"segment {segment.name} is attached nowhere: give it an attachment"
            reasons.append(Reason("no-attachment", detail))
    if not reasons and count_matches(chain) == 0:
        detail = "no packet can match: the segments and the classifiers share no address family"
        reasons.append(Reason("no-traffic", detail))
    if any(hop.capability is Capability.NAT for hop in chain.hops) and any(
        c.family != 4 for c in chain.classifiers
    ):
        detail = "the NAT hop translates IPv4 only: set the family of every classifier to 4"
        reasons.append(Reason("nat-family", detail))
    if reasons:
        raise Refused(tuple(reasons))
