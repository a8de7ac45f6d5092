# SPDX-License-Identifier: Apache-2.0
"""Public prefixes for every NAT hop of a placed chain. Called by plan; pure.

A member of a NAT group has its part of the subscribers and a pool of its own. Who is led another way behind the NAT hop
has another public prefix as well, as only that tells its packets apart there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chains.planning.addresses import allocated, block_size, no_room, refuse_two_sharings, subscribers
from chains.planning.classes import within
from chains.planning.placement import Solution
from chains.planning.shares import Share, merged
from chains.planning.types import Allocation, Capability, Chain, Hop, NatPolicy, Offer, Reason, Refused


def allocate(chain: Chain, solution: Solution) -> tuple[Allocation, ...]:
    """The next NAT hop translates what the one before it made. Errors: Refused if a pool has no room."""
    found: list[Allocation] = []
    sizes: list[tuple[Hop, int]] = []
    sources: dict[int, list[str]] = {}  # what a share's packets come from, by its place, once they were translated
    for layer, hop in enumerate(solution.layers):
        if hop.capability is not Capability.NAT:
            continue
        taken: dict[str, frozenset[str]] = {}
        for shares in _alike(solution, layer):
            offer = solution.shares[shares[0]].spots[layer].offers[0]
            offer = replace(offer, taken=offer.taken | taken.get(offer.name, frozenset()))
            inside = [prefix for share in shares for prefix in sources.get(share, ())]
            given = _given(chain, hop, offer, solution, shares, list(dict.fromkeys(inside)))
            if not given:
                detail = f"hop {hop.position + 1} ({hop.function}): {offer.name}: {no_room(offer)}"
                raise Refused((Reason("no-pool", detail, hop.position),), solution.placement)
            found.extend(given)
            taken[offer.name] = offer.taken | {allocation.public for allocation in given}
            for share in shares:
                sources[share] = [allocation.public for allocation in given]
            on_demand = isinstance(hop.policy, NatPolicy) and hop.policy.blocks > 0
            sizes.append((hop, 1 if on_demand else block_size(hop, offer)))
    refuse_two_sharings({hop.position: (hop, size) for hop, size in sizes}.values())
    return tuple(found)


def _alike(solution: Solution, layer: int) -> list[list[int]]:
    """Places of the shares that meet the same instances from this layer on."""
    found: dict[tuple[str, ...], list[int]] = {}
    for place, share in enumerate(solution.shares):
        found.setdefault(tuple(spot.offers[0].name for spot in share.spots[layer:]), []).append(place)
    return list(found.values())


def _given(
    chain: Chain, hop: Hop, offer: Offer, solution: Solution, shares: Sequence[int], inside: Sequence[str]
) -> tuple[Allocation, ...]:
    """() if there is no room. inside: what an earlier NAT hop made, () if this is the first."""
    if inside:
        return allocated(chain, hop, offer, inside)
    for prefixes in _cuts(chain, offer, [solution.shares[place] for place in shares]):
        given = allocated(chain, hop, offer, prefixes)
        if given:
            return given
    return ()


def _cuts(chain: Chain, offer: Offer, shares: Sequence[Share]) -> Iterator[tuple[str, ...]]:
    """Ways to cut the shares' subscribers into prefixes, best first.

    Bucket by bucket none changes its address when others come or go; that may take more addresses than there are.
    """
    if shares[0].count == 1:
        yield subscribers(chain)
        return
    places = dict.fromkeys(
        prefix for place in chain.source.attachments for prefix in place.prefixes if ":" not in prefix
    )
    buckets = [part for share in shares for prefix in places for part in share.each_prefix(prefix)]
    yield tuple(buckets)
    held = [
        kept.subscribers
        for kept in chain.pools
        if kept.offer == offer.name and _is_made_of(kept.subscribers, buckets)
    ]
    rest = [part for part in buckets if not any(within(part, kept) for kept in held)]
    yield (*held, *merged(rest))
    yield merged(buckets)


def _is_made_of(prefix: str, parts: Sequence[str]) -> bool:
    network = ipaddress.IPv4Network(prefix)
    inside = [ipaddress.IPv4Network(part) for part in parts if within(part, prefix)]
    return sum(part.num_addresses for part in inside) == network.num_addresses
