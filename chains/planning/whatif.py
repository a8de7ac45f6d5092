# SPDX-License-Identifier: Apache-2.0
"""What would become of the chains if a device were drained, a link lost, appliances added, a tenant's traffic grown?

Called by the engine with everything in force. Only chains that the question touches are placed anew, one after another,
most important first, each in what the others leave; the rest stay where they are. Pure: nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from chains.planning.candidates import Context
from chains.planning.classes import count_matches
from chains.planning.placement import Solution, place
from chains.planning.routing import peers
from chains.planning.shortage import crossings, link_name
from chains.planning.types import Chain, Endpoint, Fabric, Link, Offer, OfferUse, Refused
from chains.planning.uses import offer_uses
from chains.planning.why import remedies


@dataclass(frozen=True, slots=True)
class Question:
    """All at once. drained: devices out of service; lost: an end of each link ("device:port"); off: realms nobody may
    use; factors: tenant -> by how much its traffic grows; added: offer -> how many more of its device, cabled alike.
    """

    drained: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    factors: Mapping[str, float] = field(default_factory=dict)
    added: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """A chain in force and what it takes. links: by name, (from a, from b) in Mb/s."""

    chain: Chain
    offers: tuple[OfferUse, ...]
    links: Mapping[str, tuple[int, int]]

    @property
    def blocks(self) -> bool:
        return any(hop.blocks for hop in self.chain.hops)


@dataclass(frozen=True, slots=True)
class Fate:
    """Of one affected chain. before, after: offers by hop; costs None: not to be had. remedy: what would be enough."""

    chain: int
    tenant: str
    name: str
    blocks: bool
    before: tuple[tuple[str, ...], ...]
    after: tuple[tuple[str, ...], ...]
    cost_before: float | None
    cost_after: float | None
    reasons: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def is_placed(self) -> bool:
        return self.cost_after is not None


@dataclass(frozen=True, slots=True)
class Outcome:
    """costs: sums over the affected chains that have a place both before and after. untouched: chains left alone."""

    fates: tuple[Fate, ...]
    cost_before: float
    cost_after: float
    moved: int
    homeless: int
    untouched: int


def what_if(fabric: Fabric, held: Sequence[Held], question: Question) -> Outcome:
    """fabric: with all that is held counted as used."""
    then = changed(fabric, question)
    hit = sorted(affected(fabric, held, question), key=lambda one: (-one.chain.priority, one.chain.number))
    now, room = _Room.of(fabric), _Room.of(then)
    for one in hit:
        room.free(one)
    fates = []
    for one in hit:
        now.free(one)
        cost_before = _cost_where_it_is(now.fabric(), one.chain)
        now.hold(one)
        fates.append(_fate(room, one, _grown(one.chain, question), cost_before))
    both = [fate for fate in fates if fate.cost_before is not None and fate.cost_after is not None]
    return Outcome(
        tuple(fates),
        round(sum(fate.cost_before or 0.0 for fate in both), 6),
        round(sum(fate.cost_after or 0.0 for fate in both), 6),
        sum(fate.is_placed and fate.after != fate.before for fate in fates),
        sum(not fate.is_placed for fate in fates),
        len(held) - len(hit),
    )


def affected(fabric: Fabric, held: Sequence[Held], question: Question) -> Iterator[Held]:
    """Chains that the question touches; with more appliances, all that could use one."""
    realms = {offer.name: offer.realm for offer in fabric.offers}
    lost = {link_name(link) for link in fabric.links if _is_lost(link, question)}
    added = {name.partition("@")[0] for name in question.added}
    for one in held:
        names = {use.offer for use in one.offers}
        if (
            one.chain.tenant in question.factors
            or any(name.partition("@")[2] in question.drained for name in names)
            or any(str(realms.get(name, "")) in question.off for name in names)
            or not lost.isdisjoint(one.links)
            or any(hop.function in added for hop in one.chain.hops)
        ):
            yield one


def changed(fabric: Fabric, question: Question) -> Fabric:
    """The fabric as asked about."""
    devices = {
        name: replace(device, is_enabled=device.is_enabled and name not in question.drained)
        for name, device in fabric.devices.items()
    }
    links = [replace(link, is_up=link.is_up and not _is_lost(link, question)) for link in fabric.links]
    offers = [
        replace(offer, is_enabled=offer.is_enabled and str(offer.realm) not in question.off)
        for offer in fabric.offers
    ]
    for name, count in question.added.items():
        model = next(offer for offer in fabric.offers if offer.name == name)
        for number in range(1, count + 1):
            new = f"{model.device}+{number}"
            devices[new] = replace(fabric.devices[model.device], name=new, is_enabled=True)
            links += [_cabled(link, model.device, new) for link in fabric.links if _touches(link, model.device)]
            fresh = {"used_mbps": 0, "used_entries": 0, "tenants": frozenset(), "taken": frozenset()}
            state = {"is_enabled": True, "is_draining": False, "resting": frozenset()}
            offers.append(replace(model, device=new, **fresh, **state))  # type: ignore[arg-type]
    return replace(fabric, devices=devices, links=tuple(links), offers=tuple(offers))


def _is_lost(link: Link, question: Question) -> bool:
    ends = {f"{end.device}:{end.port}" for end in (link.a, link.b)}
    return not ends.isdisjoint(question.lost) or bool({link.a.device, link.b.device} & question.drained)


def _touches(link: Link, device: str) -> bool:
    return device in (link.a.device, link.b.device)


def _cabled(link: Link, old: str, new: str) -> Link:
    """The same cable for the new box, at ports of their own."""
    a, b = (
        Endpoint(new, end.port) if end.device == old else Endpoint(end.device, f"{end.port}+{new}")
        for end in (link.a, link.b)
    )
    return Link(a, b, link.capacity_mbps, link.latency_us, link.mtu_bytes)


def _grown(chain: Chain, question: Question) -> Chain:
    factor = question.factors.get(chain.tenant, 1.0)
    return replace(chain, bandwidth_mbps=ceil(round(chain.bandwidth_mbps * factor, 6)))


def _context(fabric: Fabric, chain: Chain, avoid: Mapping[str, str]) -> Context:
    return Context(fabric, chain, peers(fabric), count_matches(chain), avoid=avoid)


def _cost_where_it_is(fabric: Fabric, chain: Chain) -> float | None:
    """As it would be told today if it stayed, None if today's fabric has no such place any more."""
    current = {name for names in chain.current.values() for name in names}
    elsewhere = {offer.name: "not where it is" for offer in fabric.offers if offer.name not in current}
    try:
        return place(_context(fabric, chain, elsewhere)).placement.cost
    except Refused:
        return None


def _fate(room: _Room, one: Held, chain: Chain, cost_before: float | None) -> Fate:
    before = tuple(tuple(sorted(one.chain.current.get(hop.position, ()))) for hop in chain.hops)
    about = (chain.number, chain.tenant, chain.name, one.blocks, before)
    context = _context(room.fabric(), chain, {})
    try:
        solution = place(context)
    except Refused as refused:
        told = tuple(reason.detail for reason in refused.reasons)
        return Fate(*about, (), cost_before, None, told, next(iter(remedies(context)), ""))
    room.book(context, solution)
    chosen = {hop.position: hop.chosen for hop in solution.placement.hops}
    found = [(hop, chosen.get(hop.position)) for hop in chain.hops]
    after = tuple(
        # A tap is no part of the way: it stays where it is.
        tuple(sorted(candidate.offers)) if candidate else before[index] if hop.capability == "tap" else ()
        for index, (hop, candidate) in enumerate(found)
    )
    return Fate(*about, after, cost_before, solution.placement.cost)


@dataclass(slots=True)
class _Room:
    """What is used of each offer and link, while chains leave and come."""

    base: Fabric
    offers: dict[str, Offer]
    links: dict[str, Link]

    @classmethod
    def of(cls, fabric: Fabric) -> _Room:
        links = {link_name(link): link for link in fabric.links}
        return cls(fabric, {offer.name: offer for offer in fabric.offers}, links)

    def fabric(self) -> Fabric:
        return replace(self.base, offers=tuple(self.offers.values()), links=tuple(self.links.values()))

    def free(self, one: Held) -> None:
        self._take(one, -1)

    def hold(self, one: Held) -> None:
        self._take(one, 1)

    def book(self, context: Context, solution: Solution) -> None:
        mbps = context.chain.bandwidth_mbps
        links = {name: (count * mbps, count * mbps) for name, count in crossings(solution, context).items()}
        self._take(Held(context.chain, offer_uses(context, solution), links), 1)

    def _take(self, one: Held, sign: int) -> None:
        for use in one.offers:
            offer = self.offers.get(use.offer)
            if offer is not None:
                self.offers[use.offer] = replace(
                    offer,
                    used_mbps=offer.used_mbps + sign * use.bandwidth_mbps,
                    used_entries=offer.used_entries + sign * use.entries,
                    tenants=offer.tenants | {one.chain.tenant} if sign > 0 else offer.tenants,
                )
        for given in one.chain.pools:
            offer = self.offers.get(given.offer)
            if offer is not None:
                public = {given.public}
                taken = offer.taken | public if sign > 0 else offer.taken - public
                self.offers[given.offer] = replace(offer, taken=frozenset(taken))
        for name, (from_a, from_b) in one.links.items():
            link = self.links.get(name)
            if link is not None:
                self.links[name] = replace(
                    link,
                    used_from_a_mbps=link.used_from_a_mbps + sign * from_a,
                    used_from_b_mbps=link.used_from_b_mbps + sign * from_b,
                )

