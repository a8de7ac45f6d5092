# SPDX-License-Identifier: Apache-2.0
"""What keeps a chain off a place that would serve it better, or at all: each limit, and the fabric without it. Pure.

Called by `why` (what is a limit worth?) and by whoever refuses a chain (what would be enough?). A limit is lifted by
placing again in a fabric that has more of it, so what is said of it is what the product would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from chains.planning.candidates import Context, entries_needed
from chains.planning.placement import Solution, place
from chains.planning.types import Fabric, Health, Link, Offer, Realm, Refused

# So many limits are lifted one by one; past that only all at once.
MOST = 24


class Limit(StrEnum):
    """The first two are of an offer, the third of a link; the rest are states of an offer that somebody can end."""

    BANDWIDTH = "bandwidth"
    ENTRIES = "entries"
    LINK = "link"
    DRAINED = "drained"
    OFF = "off"
    DOWN = "down"


UNITS = {Limit.BANDWIDTH: "Mb/s", Limit.ENTRIES: "table entries", Limit.LINK: "Mb/s"}


@dataclass(frozen=True, slots=True)
class Shortage:
    """where: an offer, or a link as "a:port - b:port". left, needed: in the limit's unit, 0 of a state."""

    limit: Limit
    where: str
    left: int = 0
    needed: int = 0

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.left)

    @property
    def words(self) -> str:
        if self.limit is Limit.DRAINED:
            return f"{self.where} is being drained"
        if self.limit is Limit.OFF:
            return f"{self.where} is switched off"
        if self.limit is Limit.DOWN:
            return f"{self.where} is down"
        place = f"the link {self.where}" if self.limit is Limit.LINK else self.where
        return f"{place} has {self.left} {UNITS[self.limit]} left, {self.needed} are needed"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.limit is Limit.DRAINED:
            return f"end the drain of {self.where}"
        if self.limit is Limit.OFF:
            return f"switch {self.where} on"
        if self.limit is Limit.DOWN:
            return f"repair {self.where}"
        place = f"on the link {self.where}" if self.limit is Limit.LINK else f"at {self.where}"
        return f"{self.missing} more {UNITS[self.limit]} {place}"


@dataclass(frozen=True, slots=True)
class Lifted:
    """These limits lifted, and no others: what the chain costs then. needed: as much as that placement really takes."""

    shortages: tuple[Shortage, ...]
    solution: Solution

    @property
    def cost(self) -> float:
        return self.solution.placement.cost


def shortages(context: Context) -> tuple[Shortage, ...]:
    """Every limit that the chain could meet as things are. A link may be crossed by each leg, so it counts as short
    while it has no room for all of them."""
    chain = context.chain
    found: dict[tuple[Limit, str], Shortage] = {}
    for hop in chain.hops:
        needed = -(-chain.bandwidth_mbps // hop.instances)
        for offer in context.fabric.offers:
            if offer.function != hop.function or hop.realm and hop.realm != offer.realm:
                continue
            if hop.device and hop.device != offer.device:
                continue
            entries = entries_needed(context, hop) if offer.realm == Realm.SWITCH else 0
            for shortage in _of_offer(context, offer, needed, entries):
                before = found.get((shortage.limit, shortage.where), shortage)
                found[shortage.limit, shortage.where] = max(before, shortage, key=lambda held: held.needed)
    for link in context.fabric.links:
        free, needed = free_mbps(link), chain.bandwidth_mbps * (len(chain.hops) + 1)
        if link.is_up and free < needed:
            found[Limit.LINK, link_name(link)] = Shortage(Limit.LINK, link_name(link), free, needed)
    return tuple(found.values())


def _of_offer(context: Context, offer: Offer, needed: int, entries: int) -> Iterable[Shortage]:
    if offer.capacity_mbps and offer.used_mbps + needed > offer.capacity_mbps:
        yield Shortage(Limit.BANDWIDTH, offer.name, max(0, offer.capacity_mbps - offer.used_mbps), needed)
    if offer.entries and offer.used_entries + entries > offer.entries:
        yield Shortage(Limit.ENTRIES, offer.name, max(0, offer.entries - offer.used_entries), entries)
    if offer.is_draining:
        yield Shortage(Limit.DRAINED, offer.name)
    if not offer.is_enabled:
        yield Shortage(Limit.OFF, offer.name)
    if offer.health is Health.DOWN:
        yield Shortage(Limit.DOWN, offer.name)


def lifted(context: Context, wanted: Iterable[Shortage]) -> Lifted | None:
    """The chain placed without these limits, None if even so there is no place. shortages: only those it makes use of,
    with as much needed as it takes."""
    held = tuple(wanted)
    try:
        solution = place(replace(context, fabric=_without(context.fabric, held), cables={}))
    except Refused:
        return None
    return Lifted(_used(context, solution, held), solution)


def single(context: Context, known: Iterable[Shortage]) -> tuple[Lifted, ...]:
    """Each limit lifted alone, the cheapest first; those that change nothing or not enough are left out."""
    found = []
    for shortage in tuple(known)[:MOST]:
        answer = lifted(context, (shortage,))
        if answer is not None and answer.shortages:
            found.append(answer)
    return tuple(sorted(found, key=lambda answer: (answer.cost, answer.shortages[0].where)))


def crossings(solution: Solution, context: Context) -> Counter[str]:
    """How many times the chain goes over each link, at most, from any attachment to any other."""
    most: Counter[str] = Counter()
    names = {frozenset((link.a, link.b)): link_name(link) for link in context.fabric.links}
    for source in context.chain.source.attachments:
        for destination in context.chain.destination.attachments:
            here, count = source.switch.device, Counter[str]()
            stations = [(leg, spot) for leg, spot in enumerate(solution.spots) if spot.offers[0].realm != Realm.HOST]
            ends = [(leg, spot.entry.device, spot.exit.device) for leg, spot in stations]
            for leg, entry, leave in (*ends, (len(solution.spots), destination.switch.device, "")):
                count.update(names[frozenset((arc.start, arc.end))] for arc in solution.way(leg, here, entry))
                here = leave
            most |= count
    return most


def link_name(link: Link) -> str:
    return f"{link.a.device}:{link.a.port} - {link.b.device}:{link.b.port}"


def free_mbps(link: Link) -> int:
    """A chain and its replies use both directions."""
    return max(0, link.capacity_mbps - max(link.used_from_a_mbps, link.used_from_b_mbps))


def _used(context: Context, solution: Solution, held: tuple[Shortage, ...]) -> tuple[Shortage, ...]:
    taken = {offer.name for group in solution.groups for spot in group.members for offer in spot.offers}
    times = crossings(solution, context)
    found = []
    for shortage in held:
        if shortage.limit is Limit.LINK:
            needed = times[shortage.where] * context.chain.bandwidth_mbps
            if needed > shortage.left:
                found.append(replace(shortage, needed=needed))
        elif shortage.where in taken:
            found.append(shortage)
    return tuple(found)


def _without(fabric: Fabric, held: tuple[Shortage, ...]) -> Fabric:
    by_offer: dict[str, list[Shortage]] = {}
    for shortage in held:
        by_offer.setdefault(shortage.where, []).append(shortage)
    return replace(
        fabric,
        offers=tuple(_more_of(offer, by_offer.get(offer.name, [])) for offer in fabric.offers),
        links=tuple(
            replace(link, capacity_mbps=link.capacity_mbps + by_offer[name][0].needed) if name in by_offer else link
            for link in fabric.links
            for name in (link_name(link),)
        ),
    )


def _more_of(offer: Offer, held: Iterable[Shortage]) -> Offer:
    for shortage in held:
        if shortage.limit is Limit.BANDWIDTH:
            offer = replace(offer, capacity_mbps=offer.used_mbps + shortage.needed)
        elif shortage.limit is Limit.ENTRIES:
            offer = replace(offer, entries=offer.used_entries + shortage.needed)
        elif shortage.limit is Limit.DRAINED:
            offer = replace(offer, is_draining=False)
        elif shortage.limit is Limit.OFF:
            offer = replace(offer, is_enabled=True)
        elif shortage.limit is Limit.DOWN:
            offer = replace(offer, health=Health.UP)
    return offer
