# SPDX-License-Identifier: Apache-2.0
"""Why does each hop run where it does, what stands in the way of a cheaper place, and what would change the choice?

Called by the engine on request, never while a plan is made. Everything said is tried: a limit's worth is what placing
again without it saves, and a flip is told only if placing again past it chooses another place. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from chains.planning.candidates import Context
from chains.planning.placement import Solution, place
from chains.planning.shortage import UNITS, Lifted, Shortage, lifted, shortages, single
from chains.planning.types import Candidate, HopPlacement, Offer, Placement, Reason, Refused

# What is less than this is no difference: costs are rounded to six places.
NEAR = 1e-5
PAST = 1e-3


@dataclass(frozen=True, slots=True)
class Flip:
    """A figure of an offer that changes the choice. from `now` on past `at` the hop runs at `then` (offers).

    unit: cost units for a Gb/s or for an instance, or Mb/s.
    """

    offer: str
    figure: str
    now: float
    at: float
    unit: str
    then: tuple[str, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Binding:
    """A limit that makes the chain dearer. saves: cost units, if as much as is missing were there; each: for a unit."""

    limit: str
    where: str
    left: int
    needed: int
    unit: str
    saves: float
    each: float
    words: str


@dataclass(frozen=True, slots=True)
class HopWhy:
    position: int
    function: str
    chosen: Candidate | None
    rejected: tuple[Candidate, ...]
    reason: str
    flips: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """placement None and reasons: it cannot be placed; remedies then say what would be enough, the cheapest first."""

    placement: Placement | None
    hops: tuple[HopWhy, ...]
    bindings: tuple[Binding, ...]
    remedies: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()


def why(context: Context) -> Why:
    """As things are now; of a chain in force with what a move would cost."""
    try:
        solution = place(context)
    except Refused as refused:
        return Why(None, (), (), remedies(context), refused.reasons)
    placement = solution.placement
    hops = tuple(_hop(context, placed) for placed in placement.hops)
    return Why(placement, hops, bindings(context, solution))


def bindings(context: Context, solution: Solution) -> tuple[Binding, ...]:
    """Limits whose lifting makes the chain cheaper, the most worth first."""
    cost, known = solution.placement.cost, shortages(context)
    best = lifted(context, known) if known else None
    if best is None or best.cost > cost - NEAR:
        return ()
    # The others only help in company; with `best` the company is known.
    worth = [found for found in single(context, known) if found.cost < cost - NEAR]
    if not worth:
        return _binding(best, cost)
    return tuple(binding for found in worth for binding in _binding(found, cost))


def _binding(found: Lifted, cost: float) -> tuple[Binding, ...]:
    saves = round(cost - found.cost, 6)
    together = "" if len(found.shortages) == 1 else "together with the others "
    return tuple(
        Binding(
            str(short.limit.value),
            short.where,
            short.left,
            short.needed,
            UNITS.get(short.limit, ""),
            saves,
            round(saves / short.missing, 6) if short.missing else saves,
            f"{short.words}: {together}{short.remedy} would save {_figure(saves)} cost units"
            + (f", {_figure(saves / short.missing)} each" if short.missing else ""),
        )
        for short in found.shortages
    )


def remedies(context: Context) -> tuple[str, ...]:
    """Of a chain that has no place: what would give it one, alone if anything does, else together."""
    known = shortages(context)
    enough = single(context, known)
    if enough:
        return tuple(f"{found.shortages[0].remedy}: the chain would cost {_figure(found.cost)}" for found in enough)
    best = lifted(context, known) if known else None
    if best is None or not best.shortages:
        return ()
    told = " and ".join(short.remedy for short in best.shortages)
    return (f"{told}, together: the chain would cost {_figure(best.cost)}",)


def with_remedy(context: Context, refused: Refused) -> Refused:
    """The same refusal; where it is for want of a place, its first reason ends with the cheapest remedy."""
    if not refused.reasons or refused.reasons[0].code not in ("no-candidate", "no-route"):
        return refused
    known = remedies(context)
    if not known:
        return refused
    first = refused.reasons[0]
    told = replace(first, detail=f"{first.detail}. Would be enough: {known[0]}")
    return Refused((told, *refused.reasons[1:]), refused.placement, refused.proof)


def missing(context: Context) -> tuple[Shortage, ...]:
    """The limits whose lifting is the cheapest remedy, () if none helps."""
    known = shortages(context)
    enough = single(context, known)
    best = enough[0] if enough else lifted(context, known) if known else None
    return best.shortages if best else ()


def _hop(context: Context, placed: HopPlacement) -> HopWhy:
    flips = tuple(_flips(context, placed)) if placed.chosen else ()
    return HopWhy(placed.position, placed.function, placed.chosen, placed.rejected, placed.reason, flips)


def _flips(context: Context, placed: HopPlacement) -> Iterator[Flip]:
    """The nearest figures of the chosen place and of the next best one at which the hop moves."""
    hop = next(hop for hop in context.chain.hops if hop.position == placed.position)
    rivals = [rival for rival in placed.rejected if not rival.excluded]
    if placed.chosen is None or hop.instances + hop.standby > 1:
        return
    offers = {offer.name: offer for offer in context.fabric.offers}
    chosen = [offers[name] for name in placed.chosen.offers]
    if rivals:
        gap = rivals[0].cost - placed.chosen.cost
        yield from _prices(context, placed, chosen, gap)
        yield from _prices(context, placed, [offers[name] for name in rivals[0].offers], -gap)
    if rivals and len(chosen) == 1 and chosen[0].capacity_mbps:
        yield from _capacity(context, placed, chosen[0])


def _prices(context: Context, placed: HopPlacement, held: list[Offer], gap: float) -> Iterator[Flip]:
    """gap: by how much the place may get dearer (below 0: has to get cheaper)."""
    share = context.chain.bandwidth_mbps / 1000 / len(held)
    for figure, unit, each in (
        ("cost_per_gbps", "cost units for 1 Gb/s", share),
        ("cost_fixed", "cost units", 1.0),
    ):
        total = sum(getattr(offer, figure) for offer in held)
        if not each or total + gap / each < 0:
            continue
        # Of several hosts all change alike.
        now, at = total / len(held), (total + gap / each) / len(held)
        past = at + PAST * max(1.0, abs(at)) * (1 if gap >= 0 else -1)
        if past < 0:
            continue
        changed = tuple(replace(offer, **{figure: past}) for offer in held)
        then = _chosen_in(context, changed, placed.position)
        if not placed.chosen or then == placed.chosen.offers or not then:
            continue
        names, verb = ", ".join(offer.name for offer in held), "rises above" if gap >= 0 else "falls below"
        words = (
            f"if {figure} of {names} {verb} {_figure(at)} {unit} (now {_figure(now)}), "
            f"{', '.join(then)} is chosen"
        )
        yield Flip(names, figure, round(now, 6), round(at, 6), unit, then, words)


def _capacity(context: Context, placed: HopPlacement, offer: Offer) -> Iterator[Flip]:
    """Below what the chain needs besides the others it is no place any more."""
    at = offer.used_mbps + context.chain.bandwidth_mbps
    then = _chosen_in(context, (replace(offer, capacity_mbps=max(1, at - 1)),), placed.position)
    if at > 1 and then and placed.chosen and then != placed.chosen.offers:
        words = (
            f"if capacity_mbps of {offer.name} falls below {at} Mb/s (now {offer.capacity_mbps}), "
            f"{', '.join(then)} is chosen"
        )
        yield Flip(offer.name, "capacity_mbps", offer.capacity_mbps, at, "Mb/s", then, words)


def _chosen_in(context: Context, changed: tuple[Offer, ...], position: int) -> tuple[str, ...]:
    """Where the hop runs with these offers as they would be, () if the chain has no place then."""
    by_name = {offer.name: offer for offer in changed}
    offers = tuple(by_name.get(offer.name, offer) for offer in context.fabric.offers)
    try:
        placement = place(replace(context, fabric=replace(context.fabric, offers=offers))).placement
    except Refused:
        return ()
    chosen = next(hop.chosen for hop in placement.hops if hop.position == position)
    return chosen.offers if chosen else ()




def _figure(value: float) -> str:
    """Short, and never 0 for what is not."""
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".")
