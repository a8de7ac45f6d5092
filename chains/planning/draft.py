# SPDX-License-Identifier: Apache-2.0
"""The items of one compilation: what every stop of every way wants of its device, merged, one item for each slot.

Called by compile alone. Items that differ in the source's prefix only are made one where the prefixes allow, so a group
costs entries where its members part, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chains.planning.candidates import AT_SOURCE, Spot
from chains.planning.classes import Pair, within
from chains.planning.paths import EDGE, FUNCTION, LINK, Stop, backwards
from chains.planning.routes import Route
from chains.planning.shares import merged
from chains.planning.tags import Crossing, Tags
from chains.planning.types import (
    Allocation,
    Chain,
    Endpoint,
    Fabric,
    Hop,
    IpsPolicy,
    Realm,
    Reason,
    Refused,
    RulePolicy,
)
from drivers.narrow import normal
from drivers.packets import overlaps
from drivers.state import (
    DeviceState,
    Direction,
    Filter,
    Guard,
    Item,
    Match,
    NatPool,
    NextHop,
    Pass,
    Redirect,
    Rule,
    RuleSet,
    Signatures,
    slot,
)

# Device, port and tag by which packets come.
Place = tuple[str, str, int]
# The places of a key: of stops in the order of the way, then of the ways round a lost hop, then of copies.
MAX_STOPS, TAIL_STAGE, DETOUR_STAGE, COPY_STAGE, COPY_STAGES = 40, 24, 40, 52, 12


@dataclass(frozen=True, slots=True)
class Placed:
    """An item that has no key yet."""

    device: str
    direction: Direction
    stage: int
    item: Item


@dataclass(frozen=True, slots=True)
class Wish:
    """Items that differ in their match alone. hop: position of a filter realised here, -1 for none. rank: how much
    before the chain's other items.
    """

    device: str
    direction: Direction
    stage: int
    kind: type[Item]
    ingress: str
    tag: int
    hop: int = -1
    next: NextHop | None = None
    standby: NextHop | None = None
    copies: tuple[NextHop, ...] = ()
    rank: int = 0


@dataclass(slots=True)
class Draft:
    """is_shared: does a group share the traffic? bumps: appliances on the way that have no address.

    mark: of the chain's branch, -1 for none.
    """

    fabric: Fabric
    chain: Chain
    tags: Tags
    is_shared: bool = False
    bumps: frozenset[str] = frozenset()
    mark: int = -1
    wishes: dict[Wish, dict[Match, None]] = field(default_factory=dict)
    works: dict[tuple[str, int, str, str], dict[Match, None]] = field(default_factory=dict)
    placed: dict[tuple[str, tuple[str, ...]], Placed] = field(default_factory=dict)
    arrivals: dict[Endpoint, int] = field(default_factory=dict)
    edges: set[Endpoint] = field(default_factory=set)

    def steer(self, route: Route) -> None:
        """Both directions, the ways round lost hops, and the copies."""
        for direction, way in ((Direction.FORWARD, route.forward), (Direction.REVERSE, backwards(route.forward))):
            for index, stop in enumerate(way):
                if stop.arrives == EDGE:
                    self.edges.add(Endpoint(stop.device, stop.ingress))
                tag = self.arrival(stop)
                if tag:
                    self.arrivals[Endpoint(stop.device, f"{stop.ingress}/{stop.leg}")] = tag
                copies = tuple(self.hand(mirror.way[0], direction) for mirror in route.mirrors_at(direction, index))
                self._stop(route, stop, index, direction, copies)
        self._steer_aside(route)

    def _steer_aside(self, route: Route) -> None:
        for detour in route.detours:
            for way in detour.ways:
                for stop in way[1:] if way is detour.ways[0] else way:
                    self._stop(route, stop, DETOUR_STAGE + detour.layer, detour.direction)
        for tail in route.tails:
            for number, stop in enumerate(tail):
                self._mark(route, stop, min(TAIL_STAGE + number, MAX_STOPS - 1), is_first=number == 0)
        for number, mirror in enumerate(route.mirrors):
            for stop in mirror.way[1:]:
                for direction in Direction:
                    self._stop(route, stop, COPY_STAGE + number % COPY_STAGES, direction)

    def _stop(
        self, route: Route, stop: Stop, stage: int, direction: Direction, copies: tuple[NextHop, ...] = ()
    ) -> None:
        hop = next((hop for hop in self.chain.hops if hop.position == stop.hop), None)
        is_filter = hop is not None and isinstance(hop.policy, RulePolicy)
        tag, hand = self.arrival(stop), self.hand(stop, direction)
        standby = self._standby(route, stop, direction)
        place = (stop.device, direction, stop.hop + 1 if is_filter else stage)
        what: tuple[type[Item], int] = (Filter, stop.hop) if is_filter else (Redirect, -1)
        kinds = [Wish(*place, what[0], stop.ingress, tag, what[1], hand, standby, copies)]
        if any(hop.blocks for hop in self.chain.hops) and stop.arrives != LINK:
            kinds.append(Wish(stop.device, direction, stage, Guard, stop.ingress, tag))
        passing = Wish(stop.device, direction, stage, Pass, stop.ingress, tag)
        for match in route.pair.stages[stop.stage]:
            seen = match if direction is Direction.FORWARD else match.reversed()
            for wish in kinds:
                self.wishes.setdefault(wish, {})[seen] = None
            if stop.arrives == EDGE and stop.stage == 0:
                for exception in self._exceptions(seen, direction):
                    self.wishes.setdefault(passing, {})[exception] = None

    def _mark(self, route: Route, stop: Stop, stage: int, *, is_first: bool) -> None:
        """A stop of the branch. The first takes packets with the mark before the rest of the chain does."""
        place = (stop.device, Direction.FORWARD, stop.hop + 1 if stop.hop >= 0 else stage)
        what: tuple[type[Item], int] = (Filter, stop.hop) if stop.hop >= 0 else (Redirect, -1)
        hand, rank = self.hand(stop, Direction.FORWARD), int(is_first)
        kinds = [Wish(*place, what[0], stop.ingress, self.arrival(stop), what[1], hand, rank=rank)]
        if any(hop.blocks for hop in self.chain.hops) and stop.arrives != LINK:
            kinds.append(Wish(*place[:2], stage, Guard, stop.ingress, 0))
        for match in route.pair.stages[stop.stage]:
            for wish in kinds:
                mark = self.mark if is_first else -1
                self.wishes.setdefault(wish, {})[replace(match, dscp=mark)] = None

    def _standby(self, route: Route, stop: Stop, direction: Direction) -> NextHop | None:
        """Where the switch sends packets by itself while the function behind the stop has no link."""
        if stop.leaves != FUNCTION:
            return None
        detour = route.detour(Endpoint(stop.device, stop.egress), direction)
        return None if detour is None else self.hand(detour.ways[0][0], direction)

    def arrival(self, stop: Stop) -> int:
        """The stage tag with which packets come."""
        return self.tags.of(Endpoint(stop.device, stop.ingress), stop.leg) if stop.arrives == LINK else 0

    def settle(self) -> None:
        """Wishes become items. Errors: Refused where two of them cannot be told apart."""
        for wish, matches in self.wishes.items():
            for match in self._merged(matches, wish.direction):
                self._add(wish.device, wish.direction, wish.stage, self._item(wish, match))

    def _item(self, wish: Wish, match: Match) -> Item:
        precedence = self.chain.precedence + wish.rank
        if wish.kind is Guard or wish.kind is Pass or wish.next is None:
            kind: type[Guard | Pass] = Guard if wish.kind is Guard else Pass
            return kind(wish.ingress, wish.tag, match, precedence)
        if wish.hop < 0:
            return Redirect(wish.ingress, wish.tag, match, wish.next, precedence, wish.standby, wish.copies)
        policy = next(hop.policy for hop in self.chain.hops if hop.position == wish.hop)
        assert isinstance(policy, RulePolicy), "a filter has rules"
        rules = narrowed(policy, match, wish.direction)
        found = Filter(
            wish.ingress, wish.tag, match, wish.next, rules, policy.default, precedence, wish.standby, wish.copies
        )
        return normal(found)

    def _merged(self, matches: Iterable[Match], direction: Direction) -> Iterator[Match]:
        """Parts of one source prefix that fare alike are one match again."""
        if not self.is_shared:
            yield from matches
            return
        name = "source" if direction is Direction.FORWARD else "destination"
        alike: dict[Match, list[str]] = {}
        for match in matches:
            prefix = getattr(match, name)
            blank: dict[str, str] = {name: "::/0" if ":" in prefix else "0.0.0.0/0"}
            alike.setdefault(replace(match, **blank), []).append(prefix)  # type: ignore[arg-type]
        for match, prefixes in alike.items():
            for prefix in merged(prefixes):
                part: dict[str, str] = {name: prefix}
                yield replace(match, **part)  # type: ignore[arg-type]

    def moved(self, base: Mapping[str, DeviceState]) -> frozenset[Crossing]:
        """Crossings whose tag is in force at an end where what arrives with it now would go on otherwise."""
        then: dict[Place, list[Redirect | Filter]] = {}
        for placed in self.placed.values():
            if isinstance(placed.item, Redirect | Filter):
                then.setdefault((placed.device, placed.item.ingress, placed.item.tag), []).append(placed.item)
        now: dict[Place, list[Redirect | Filter]] = {}
        for device, state in base.items():
            for item in state.values():
                if isinstance(item, Redirect | Filter):
                    now.setdefault((device, item.ingress, item.tag), []).append(item)
        found = set()
        for (ends, leg), tag in self.tags.crossings.items():
            for end in ends:
                place = (end.device, end.port, tag)
                if place in now and _differ(now[place], then.get(place, [])):
                    found.add((ends, leg))
        return frozenset(found)

    def _exceptions(self, match: Match, direction: Direction) -> Iterator[Match]:
        """A wide destination does not mean the tenant's own segments."""
        for prefix in self.chain.excluded:
            far = match.destination if direction is Direction.FORWARD else match.source
            if far != prefix and within(prefix, far):
                if direction is Direction.FORWARD:
                    yield replace(match, destination=prefix)
                else:
                    yield replace(match, source=prefix)

    def _add(self, device: str, direction: Direction, stage: int, item: Item) -> None:
        place = (device, slot(item))
        before = self.placed.setdefault(place, Placed(device, direction, stage, item))
        if before.item != item:
            detail = (
                f"on {device} two stages of the chain cannot be told apart: {_words(before.item)} and {_words(item)}; "
                "give each attachment of a segment its own prefixes, or pin a hop elsewhere"
            )
            raise Refused((Reason("ambiguous", detail),))

    def hand(self, stop: Stop, direction: Direction) -> NextHop:
        """To whom the stop gives packets. Errors: Refused if that routes and its address is not known."""
        if stop.leaves == EDGE:
            return NextHop(vrf=self._vrf(stop) if direction is Direction.FORWARD else self.chain.source.vrf)
        end = Endpoint(stop.device, stop.egress)
        peer = self.tags.peers[end]
        port = self.fabric.devices[peer.device].ports.get(peer.port)
        mac = port.mac if port else ""
        vrf = self._vrf(stop) if _is_routed(self.fabric, stop.device) else ""
        if stop.leaves != LINK:
            return NextHop(port=stop.egress, mac="" if stop.function in self.bumps else mac, vrf=vrf)
        tag = self.tags.of(end, stop.next_leg)
        if not _is_routed(self.fabric, peer.device):
            return NextHop(port=stop.egress, tag=tag, vrf=vrf)
        if not mac:
            detail = f"{peer.device} routes: packets reach it at its own address only; give port {peer.port} its mac"
            raise Refused((Reason("no-mac", detail),))
        return NextHop(port=stop.egress, tag=tag, mac=mac, vrf=vrf)

    def _vrf(self, stop: Stop) -> str:
        return self.chain.destination.vrf if stop.stage else self.chain.source.vrf

    def realise(
        self,
        hop: Hop,
        spots: Sequence[Spot],
        pairs: Sequence[Pair],
        translations: int,
        *,
        is_marked: bool = False,
    ) -> None:
        """What boxes or hosts have to do for the hop; a switch realises it on the way. translations: before it.

        is_marked: it is in the branch, whatever the mark that packets have there.
        """
        for spot in spots:
            realm = spot.offers[0].realm
            if realm == Realm.SWITCH:
                continue
            for pair in pairs:
                host = pair.source.host if spot.entry.device == AT_SOURCE else pair.destination.host
                for offer in spot.offers:
                    if realm == Realm.HOST and offer.device != host:
                        continue
                    work = (offer.device, hop.position, offer.inside, offer.outside)
                    for match in pair.stages[min(translations, len(pair.stages) - 1)]:
                        seen = replace(match, dscp=-1) if is_marked else match
                        self.works.setdefault(work, {})[seen] = None

    def finish(self, hops: Sequence[Hop], allocations: Sequence[Allocation]) -> None:
        """What was asked of boxes and hosts becomes items. Errors: as `settle`."""
        by_position = {hop.position: hop for hop in hops}
        for (device, position, inside, outside), matches in self.works.items():
            for match in self._merged(matches, Direction.FORWARD):
                for item in function_items(by_position[position], match, inside, outside, allocations, device):
                    self._add(device, Direction.FORWARD, position + 1, item)


def function_items(
    hop: Hop, match: Match, inside: str, outside: str, allocations: Sequence[Allocation], device: str
) -> Iterator[Item]:
    """What a box must hold to realise the hop for one match."""
    if isinstance(hop.policy, RulePolicy):
        rules = narrowed(hop.policy, match, Direction.FORWARD)
        yield RuleSet(match, rules, hop.policy.default, inside, outside)
    elif isinstance(hop.policy, IpsPolicy):
        yield Signatures(match, hop.policy.patterns, inside, outside)
    else:
        for allocation in allocations:
            is_here = (allocation.hop, allocation.offer) == (hop.position, f"{hop.function}@{device}")
            inside_of = within(match.source, allocation.subscribers) or within(allocation.subscribers, match.source)
            if is_here and inside_of:
                traffic = replace(match, source=allocation.subscribers)
                size, blocks = allocation.block_size, allocation.blocks
                yield NatPool(traffic, allocation.public, size, inside, outside, blocks)


def narrowed(policy: RulePolicy, match: Match, direction: Direction) -> tuple[Rule, ...]:
    """The rules that can meet the match, seen in its direction; the others would only take room."""
    seen = [
        rule if direction is Direction.FORWARD else Rule(rule.verdict, rule.match.reversed())
        for rule in policy.rules
    ]
    return tuple(rule for rule in seen if rule.match.family == match.family and overlaps(rule.match, match))


def _differ(now: Sequence[Redirect | Filter], then: Sequence[Redirect | Filter]) -> bool:
    """Is there a packet of which both say something, and not the same? What is only added or left out meets nobody."""
    if not then:
        return True
    same = {slot(item): item for item in then}
    for item in now:
        held = same.get(slot(item))
        if held == item:
            continue
        for other in (held,) if held is not None else then:
            if replace(other, match=item.match) != item and overlaps(other.match, item.match):
                return True
    return False


def _is_routed(fabric: Fabric, device: str) -> bool:
    caps = fabric.devices[device].caps
    return caps is not None and caps.is_routed


def _words(item: Item) -> str:
    if isinstance(item, Redirect | Filter):
        towards = item.next.port or f"VRF {item.next.vrf}"
        return f"{item.match.source} -> {item.match.destination} from port {item.ingress} to {towards}"
    return type(item).__name__
