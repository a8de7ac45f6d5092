# SPDX-License-Identifier: Apache-2.0
"""From a placement to device states: what one chain contributes to every device, both directions.

Pure and per chain: a device's desired state is the union of such contributions. Items that are
already in force keep their keys, so that an unchanged item is neither rewritten nor loses its counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chains.planning.addresses import (
    allocated,
    block_size,
    no_room,
    refuse_two_sharings,
    subscribers,
    translations_before,
)
from chains.planning.behind import behind
from chains.planning.candidates import AT_SOURCE, Spot
from chains.planning.classes import Pair, pairs, within
from chains.planning.paths import EDGE, LINK, Stop, backwards, describe, stops
from chains.planning.placement import Solution
from chains.planning.tags import Crossing, Tags, assign
from chains.planning.types import (
    Allocation,
    Capability,
    Chain,
    Endpoint,
    Fabric,
    Hop,
    IpsPolicy,
    NatPolicy,
    Path,
    Realm,
    Reason,
    Refused,
    RulePolicy,
)
from drivers.narrow import normal
from drivers.packets import overlaps
from drivers.state import (
    KIND_OF_ITEM,
    DeviceState,
    Direction,
    Filter,
    Guard,
    Item,
    Key,
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


@dataclass(frozen=True, slots=True)
class Compiled:
    """target: the chain's items by device. edges: the ports where its traffic enters the fabric."""

    target: Mapping[str, DeviceState]
    revision: int
    paths: tuple[Path, ...]
    pairs: tuple[Pair, ...]
    ways: tuple[tuple[Stop, ...], ...]
    tags: Tags
    edges: frozenset[Endpoint]


def _steered(
    fabric: Fabric,
    chain: Chain,
    routes: Sequence[tuple[Pair, tuple[Stop, ...]]],
    peers: Mapping[Endpoint, Endpoint],
    base: Mapping[str, DeviceState],
) -> _Draft:
    """The steering items. A crossing keeps its tag only if all that arrives by it stays as it is in force."""
    directed = [way for _, forward in routes for way in (forward, backwards(forward))]
    changed: frozenset[Crossing] = frozenset()
    while True:
        draft = _Draft(fabric, chain, assign(fabric, chain, directed, peers, base, changed))
        for pair, forward in routes:
            draft.steer(pair, forward, Direction.FORWARD)
            draft.steer(pair, backwards(forward), Direction.REVERSE)
        found = draft.moved(base) - changed
        if not found:
            return draft
        changed |= found


def allocate(chain: Chain, solution: Solution) -> tuple[Allocation, ...]:
    """Public prefixes for every NAT hop; the next one translates what the one before it made. Errors: Refused."""
    found: list[Allocation] = []
    inside = subscribers(chain)
    sizes = []
    for hop, spot in zip(solution.layers, solution.spots, strict=True):
        if hop.capability is Capability.NAT:
            offer = spot.offers[0]
            on_demand = isinstance(hop.policy, NatPolicy) and hop.policy.blocks > 0
            sizes.append((hop, 1 if on_demand else block_size(hop, offer)))
            given = allocated(chain, hop, offer, inside)
            if not given:
                detail = f"hop {hop.position + 1} ({hop.function}): {offer.name}: {no_room(offer)}"
                raise Refused((Reason("no-pool", detail, hop.position),), solution.placement)
            found.extend(given)
            inside = tuple(allocation.public for allocation in given)
    refuse_two_sharings(sizes)
    return tuple(found)


def compile_states(
    fabric: Fabric,
    chain: Chain,
    solution: Solution,
    allocations: Sequence[Allocation],
    peers: Mapping[Endpoint, Endpoint],
    base: Mapping[str, DeviceState],
) -> Compiled:
    """Errors: Refused where two stages of the chain cannot be told apart, or a rule cannot be kept behind a NAT hop."""
    chain = replace(chain, hops=tuple(behind(chain, hop, allocations) for hop in chain.hops))
    solution = replace(solution, layers=tuple(behind(chain, hop, allocations) for hop in solution.layers))
    found = pairs(chain, allocations)
    ways = tuple(stops(solution, pair) for pair in found)
    draft = _steered(fabric, chain, list(zip(found, ways, strict=True)), peers, base)
    tags = draft.tags
    for hop, spot in zip(solution.layers, solution.spots, strict=True):
        draft.realise(hop, spot, found, allocations)
    target, revision = _keyed(draft, chain, base)
    spots = {hop.position: spot for hop, spot in zip(solution.layers, solution.spots, strict=True)}
    by_arrival = draft.arrivals
    paths = tuple(
        describe(pair, forward, spots, by_arrival) for pair, forward in zip(found, ways, strict=True)
    )
    return Compiled(target, revision, paths, found, ways, tags, frozenset(draft.edges))


@dataclass(frozen=True, slots=True)
class Placed:
    """An item that has no key yet."""

    device: str
    direction: Direction
    stage: int
    item: Item


@dataclass(slots=True)
class _Draft:
    """The items of one compilation, one for each slot."""

    fabric: Fabric
    chain: Chain
    tags: Tags
    placed: dict[tuple[str, tuple[str, ...]], Placed] = field(default_factory=dict)
    arrivals: dict[Endpoint, int] = field(default_factory=dict)
    edges: set[Endpoint] = field(default_factory=set)

    def steer(self, pair: Pair, way: tuple[Stop, ...], direction: Direction) -> None:
        for index, stop in enumerate(way):
            if stop.arrives == EDGE:
                self.edges.add(Endpoint(stop.device, stop.ingress))
            tag = self.tags.of(Endpoint(stop.device, stop.ingress), stop.leg) if stop.arrives == LINK else 0
            if tag:
                self.arrivals[Endpoint(stop.device, f"{stop.ingress}/{stop.leg}")] = tag
            hand = self._next(stop, direction)
            for match in pair.stages[stop.stage]:
                seen = match if direction is Direction.FORWARD else match.reversed()
                self._steer_one(stop, index, direction, tag, seen, hand)

    def moved(self, base: Mapping[str, DeviceState]) -> frozenset[Crossing]:
        """Crossings whose tag is in force at an end where other items arrive with it now."""
        found = set()
        for (ends, leg), tag in self.tags.crossings.items():
            for end in ends:
                held = base.get(end.device, DeviceState())
                now = {slot(i): i for i in held.values() if _arrives(i, end, tag)}
                then = {
                    slot(p.item): p.item
                    for p in self.placed.values()
                    if p.device == end.device and _arrives(p.item, end, tag)
                }
                if now and now != then:
                    found.add((ends, leg))
        return frozenset(found)

    def _steer_one(
        self, stop: Stop, index: int, direction: Direction, tag: int, match: Match, hand: NextHop
    ) -> None:
        precedence = self.chain.precedence
        hop = next((hop for hop in self.chain.hops if hop.position == stop.hop), None)
        if hop is not None and isinstance(hop.policy, RulePolicy):
            rules = narrowed(hop.policy, match, direction)
            item: Item = normal(Filter(stop.ingress, tag, match, hand, rules, hop.policy.default, precedence))
            self._add(stop.device, direction, hop.position + 1, item)
        else:
            self._add(stop.device, direction, index, Redirect(stop.ingress, tag, match, hand, precedence))
        if any(hop.blocks for hop in self.chain.hops) and stop.arrives != LINK:
            self._add(stop.device, direction, index, Guard(stop.ingress, tag, match, precedence))
        if stop.arrives == EDGE and stop.stage == 0:
            for exception in self._exceptions(match, direction):
                self._add(stop.device, direction, index, Pass(stop.ingress, tag, exception, precedence))

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

    def _next(self, stop: Stop, direction: Direction) -> NextHop:
        if stop.leaves == EDGE:
            return NextHop(vrf=self._vrf(stop) if direction is Direction.FORWARD else self.chain.source.vrf)
        end = Endpoint(stop.device, stop.egress)
        peer = self.tags.peers[end]
        port = self.fabric.devices[peer.device].ports.get(peer.port)
        mac = port.mac if port else ""
        vrf = self._vrf(stop) if _is_routed(self.fabric, stop.device) else ""
        if stop.leaves != LINK:
            return NextHop(port=stop.egress, mac=mac, vrf=vrf)
        tag = self.tags.of(end, stop.next_leg)
        if not _is_routed(self.fabric, peer.device):
            return NextHop(port=stop.egress, tag=tag, vrf=vrf)
        if not mac:
            detail = f"{peer.device} routes: packets reach it at its own address only; give port {peer.port} its mac"
            raise Refused((Reason("no-mac", detail),))
        return NextHop(port=stop.egress, tag=tag, mac=mac, vrf=vrf)

    def _vrf(self, stop: Stop) -> str:
        return self.chain.destination.vrf if stop.stage else self.chain.source.vrf

    def realise(self, hop: Hop, spot: Spot, found: Sequence[Pair], allocations: Sequence[Allocation]) -> None:
        """The items of a hop on an appliance or on hosts; a switch realises it in `steer`."""
        realm = spot.offers[0].realm
        if realm == Realm.SWITCH:
            return
        translations = translations_before(self.chain, hop)
        for pair in found:
            for offer in spot.offers:
                if realm == Realm.HOST:
                    host = pair.source.host if spot.entry.device == AT_SOURCE else pair.destination.host
                    if offer.device != host:
                        continue
                for match in pair.stages[min(translations, len(pair.stages) - 1)]:
                    for item in function_items(hop, match, offer.inside, offer.outside, allocations):
                        self._add(offer.device, Direction.FORWARD, hop.position + 1, item)


def function_items(
    hop: Hop, match: Match, inside: str, outside: str, allocations: Sequence[Allocation]
) -> Iterator[Item]:
    """What a box must hold to realise the hop for one match."""
    if isinstance(hop.policy, RulePolicy):
        rules = narrowed(hop.policy, match, Direction.FORWARD)
        yield RuleSet(match, rules, hop.policy.default, inside, outside)
    elif isinstance(hop.policy, IpsPolicy):
        yield Signatures(match, hop.policy.patterns, inside, outside)
    else:
        for allocation in allocations:
            if allocation.hop == hop.position and within(match.source, allocation.subscribers):
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


def _keyed(
    draft: _Draft, chain: Chain, base: Mapping[str, DeviceState]
) -> tuple[Mapping[str, DeviceState], int]:
    """Keys: the one in force for an item that is in force, else one of the next revision."""
    fresh = (chain.revision + 1) % 4096
    states: dict[str, dict[Key, Item]] = {}
    counts: Counter[tuple[str, Direction, int, str]] = Counter()
    is_changed = False
    for placed in draft.placed.values():
        kind = KIND_OF_ITEM[type(placed.item)]
        kept = _kept(base.get(placed.device, DeviceState()), placed)
        if kept is None:
            is_changed = True
            counter = (placed.device, placed.direction, placed.stage, kind)
            kept = Key(chain.number, fresh, placed.direction, placed.stage, kind, counts[counter])
            counts[counter] += 1
        states.setdefault(placed.device, {})[kept] = placed.item
    target = {device: DeviceState(items) for device, items in sorted(states.items())}
    gone = any(set(state) - set(target.get(device, ())) for device, state in base.items())
    return target, fresh if is_changed or gone else chain.revision


def _kept(state: DeviceState, placed: Placed) -> Key | None:
    for key, item in state.items():
        if item == placed.item and (key.direction, key.stage) == (placed.direction, placed.stage):
            return key
    return None


def _is_routed(fabric: Fabric, device: str) -> bool:
    caps = fabric.devices[device].caps
    return caps is not None and caps.is_routed


def _arrives(item: Item, end: Endpoint, tag: int) -> bool:
    return isinstance(item, Redirect | Filter) and (item.ingress, item.tag) == (end.port, tag)


def _words(item: Item) -> str:
    if isinstance(item, Redirect | Filter):
        towards = item.next.port or f"VRF {item.next.vrf}"
        return f"{item.match.source} -> {item.match.destination} from port {item.ingress} to {towards}"
    return type(item).__name__
