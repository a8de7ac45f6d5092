# SPDX-License-Identifier: Apache-2.0
"""Parts of a chain's traffic that meet the same instances, told apart by the source's address. Pure.

Called by placement, which chose the members of each group; paths and compile then treat each share by itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from chains.planning.buckets import assigned
from chains.planning.candidates import Spot
from chains.planning.types import Buckets, Chain, Hop, Reason, Refused

# As many items of one kind fit at one place: see drivers.state.Key.index.
MAX_ITEMS = 1024
# So many buckets for each member, where the prefixes allow: parts are right to an eighth.
BUCKETS_PER_MEMBER = 8


@dataclass(frozen=True, slots=True)
class Share:
    """buckets: those of `count` that are its own. spots: by layer; backups: who stands in for each, None for nobody."""

    buckets: tuple[int, ...]
    count: int
    spots: tuple[Spot, ...]
    backups: tuple[Spot | None, ...]

    @property
    def part(self) -> float:
        """Of the chain's bandwidth."""
        return len(self.buckets) / self.count

    def prefixes(self, prefix: str) -> tuple[str, ...]:
        """What the share means of a source prefix."""
        return _cut(prefix, self.buckets, self.count)

    def each_prefix(self, prefix: str) -> tuple[str, ...]:
        """The same, bucket by bucket."""
        return tuple(part for bucket in self.buckets for part in _cut(prefix, (bucket,), self.count))


@dataclass(frozen=True, slots=True)
class Group:
    """Who serves a hop: members share the traffic, backups wait. One member is a group too."""

    hop: Hop
    members: tuple[Spot, ...]
    backups: tuple[Spot, ...] = ()


@dataclass(frozen=True, slots=True)
class Shares:
    """held: the buckets of every real group, by function, for the next time."""

    shares: tuple[Share, ...]
    held: Mapping[str, Buckets]


def divided(chain: Chain, groups: Sequence[Group], matches: int) -> Shares:
    """matches: of the chain in one direction. Errors: Refused if the prefixes are too small for the group."""
    names = _names(groups)
    # Also where one member alone is left for now: its own parts, and their addresses, stay as they are.
    real = {
        name: group
        for name, group in zip(names, groups, strict=True)
        if len(group.members) > 1 or (group.hop.instances > 1 and name in chain.buckets)
    }
    if not real:
        backups = tuple(group.backups[0] if group.backups else None for group in groups)
        return Shares((Share((0,), 1, tuple(group.members[0] for group in groups), backups),), {})
    count = _count(chain, list(real.values()), matches, [chain.buckets.get(name) for name in real])
    held = {}
    for name, group in real.items():
        weights = {spot.offers[0].name: spot.offers[0].weight for spot in group.members}
        held[name] = assigned(weights, count, chain.buckets.get(name))
    found: dict[tuple[int, ...], list[int]] = {}
    places = [
        {spot.offers[0].name: index for index, spot in enumerate(group.members)} for group in groups
    ]
    for bucket in range(count):
        chosen = tuple(
            place[held[name].owners[bucket]] if name in held else 0
            for name, place in zip(names, places, strict=True)
        )
        found.setdefault(chosen, []).append(bucket)
    return Shares(tuple(_share(groups, chosen, own, count) for chosen, own in found.items()), held)


def parts(group: Group, bandwidth_mbps: int) -> dict[str, int]:
    """What each member carries by its weight, rounded up."""
    total = sum(spot.offers[0].weight for spot in group.members)
    return {
        spot.offers[0].name: -(-bandwidth_mbps * spot.offers[0].weight // total) for spot in group.members
    }


def _share(groups: Sequence[Group], chosen: tuple[int, ...], own: list[int], count: int) -> Share:
    spots = tuple(group.members[index] for group, index in zip(groups, chosen, strict=True))
    backups = tuple(
        group.backups[index % len(group.backups)] if group.backups else None
        for group, index in zip(groups, chosen, strict=True)
    )
    return Share(tuple(own), count, spots, backups)


def _names(groups: Sequence[Group]) -> list[str]:
    """By function; a chain may have the same one twice."""
    names: list[str] = []
    for group in groups:
        earlier = sum(name.split(" ")[0] == group.hop.function for name in names)
        names.append(f"{group.hop.function} {earlier + 1}" if earlier else group.hop.function)
    return names


def _count(chain: Chain, groups: Sequence[Group], matches: int, before: Sequence[Buckets | None]) -> int:
    """A power of two: enough for the largest group, never fewer than in force, as far as prefixes and keys allow."""
    largest = max(groups, key=lambda group: len(group.members))
    members = len(largest.members)
    prefixes = [
        ipaddress.ip_network(prefix) for place in chain.source.attachments for prefix in place.prefixes
    ]
    narrow = min(prefixes, key=lambda network: network.max_prefixlen - network.prefixlen)
    bits = min((MAX_ITEMS // max(1, matches)).bit_length() - 1, narrow.max_prefixlen - narrow.prefixlen)
    if bits < 0 or 1 << bits < members:
        why = (
            f"{narrow} has {narrow.num_addresses} addresses"
            if narrow.num_addresses < members
            else f"{matches} matches each leave room for {max(0, MAX_ITEMS // max(1, matches))} parts at one place"
        )
        detail = (
            f"hop {largest.hop.position + 1} ({largest.hop.function}) cannot be shared by {members} instances: {why}; "
            "use fewer instances or classifiers, or a wider source"
        )
        raise Refused((Reason("group-too-large", detail, largest.hop.position),))
    wanted = 1 << (members * BUCKETS_PER_MEMBER - 1).bit_length()
    in_force = max((len(held.owners) for held in before if held is not None), default=1)
    return min(max(wanted, in_force), 1 << bits)


@lru_cache(maxsize=4096)
def _cut(prefix: str, buckets: tuple[int, ...], count: int) -> tuple[str, ...]:
    if count == 1 or len(buckets) == count:
        return (prefix,)
    network = ipaddress.ip_network(prefix)
    length = network.prefixlen + count.bit_length() - 1
    size = 1 << (network.max_prefixlen - length)
    first = int(network.network_address)
    kind = type(network)
    return merged(tuple(str(kind((first + bucket * size, length))) for bucket in buckets))


def merged(prefixes: Sequence[str]) -> tuple[str, ...]:
    """The same addresses in as few prefixes as possible, of one family, in order."""
    networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
    return tuple(str(network) for network in ipaddress.collapse_addresses(networks))  # type: ignore[type-var]
