# SPDX-License-Identifier: Apache-2.0
"""Which public addresses every NAT hop of a chain gets, and who will have which of their ports.

Called by `candidates` (is there room?) and by `plan`. Pure: what others have comes with the offers. Of several NAT
hops one at most may share addresses among subscribers, else a public port would not lead back to one of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import replace

from chains.planning.types import Allocation, Capability, Chain, Hop, NatPolicy, Offer, Reason, Refused
from drivers.nat import NAT_PROTOCOLS, PORTS_PER_ADDRESS, addresses_needed


def subscribers(chain: Chain) -> tuple[str, ...]:
    """The IPv4 prefixes that the first NAT hop translates."""
    return tuple(prefix for prefix in chain.source.prefixes if ":" not in prefix)


def block_size(hop: Hop, offer: Offer) -> int:
    """Ports a subscriber gets."""
    return (hop.policy.block_size if isinstance(hop.policy, NatPolicy) else 0) or offer.block_size


def mapping_name(tenant: str, allocation: Allocation) -> str:
    """Names all that decides who has which port: under one name everybody has the same ports at any time."""
    on_demand = (f"{allocation.blocks} on demand",) if allocation.blocks else ()
    parts = (tenant, allocation.vrf, allocation.subscribers, allocation.public, str(allocation.block_size), *on_demand)
    return "/".join(parts)


def allocated(chain: Chain, hop: Hop, offer: Offer, inside: Iterable[str]) -> tuple[Allocation, ...]:
    """A public prefix of the offer's pool for each prefix inside, in their order; () if there is no room.

    Addresses in force stay where they fit, so that they do not change under live flows; what the very same
    subscribers had before comes next.
    """
    size = block_size(hop, offer)
    if not offer.pool or not size:
        return ()
    own = [held for held in chain.pools if held.offer == offer.name]
    taken = [ipaddress.IPv4Network(public) for public in offer.taken]
    policy = hop.policy if isinstance(hop.policy, NatPolicy) else NatPolicy()
    # Who has a block has it for all protocols, and the next one may be asked for by another of them.
    protocols = NAT_PROTOCOLS if policy.blocks else protocols_of(chain)
    found: list[Allocation] = []
    for prefix in inside:
        length = 33 - _addresses(policy, prefix, size).bit_length()
        wanted = Allocation(hop.position, offer.name, prefix, "", size, _vrf(chain, hop), protocols, policy.blocks)
        choice = next(_choices(chain, offer, wanted, length, own, taken), None)
        if choice is None:
            return ()
        taken.append(ipaddress.IPv4Network(choice.public))
        found.append(choice)
    return tuple(found)


def _addresses(policy: NatPolicy, prefix: str, size: int) -> int:
    """How many public ones, a power of two."""
    needed = addresses_needed(prefix, size)
    if not policy.blocks:
        return needed
    return 1 << (policy.addresses - 1).bit_length() if policy.addresses else max(1, needed // 4)


def no_room(offer: Offer) -> str:
    """Why `allocated` found nothing, in words."""
    resting = len(offer.resting)
    late = f" ({resting} of its prefixes were let go less than two minutes ago)" if resting else ""
    return f"its pool {offer.pool or '(none)'} has no room for the segment{late}"


def protocols_of(chain: Chain) -> tuple[str, ...]:
    """Those that the chain's packets can have and that can be translated."""
    asked = {classifier.protocol for classifier in chain.classifiers}
    return tuple(name for name in NAT_PROTOCOLS if "" in asked or name in asked)


def refuse_two_sharings(sizes: Iterable[tuple[Hop, int]]) -> None:
    """Errors: Refused if two NAT hops would share addresses."""
    sharing = [hop for hop, size in sizes if size < PORTS_PER_ADDRESS]
    for hop in sharing[1:]:
        detail = (
            f"hop {hop.position + 1} ({hop.function}) is the second that shares public addresses among subscribers: "
            f"nobody could tell any more who had a port; give all NAT hops but one the block size {PORTS_PER_ADDRESS}"
        )
        raise Refused((Reason("nat-twice", detail, hop.position),))


def translations_before(chain: Chain, hop: Hop) -> int:
    """How many NAT hops the packets have passed when they come to this one."""
    return sum(other.capability is Capability.NAT and other.position < hop.position for other in chain.hops)


def _vrf(chain: Chain, hop: Hop) -> str:
    """Where the hop's subscribers have their addresses."""
    return chain.destination.vrf if translations_before(chain, hop) else chain.source.vrf


def _choices(
    chain: Chain,
    offer: Offer,
    wanted: Allocation,
    length: int,
    own: list[Allocation],
    taken: list[ipaddress.IPv4Network],
) -> Iterator[Allocation]:
    """Where it could go, best first. What rests or is the chain's own goes to the very same mapping only."""
    kept = [held.public for held in own if _maps_alike(held, wanted)]
    rested = [
        public
        for public, name in offer.resting
        if name == mapping_name(chain.tenant, replace(wanted, public=public))
    ]
    for public in (*kept, *sorted(rested)):
        network = ipaddress.IPv4Network(public)
        if network.prefixlen == length and not any(network.overlaps(other) for other in taken):
            yield replace(wanted, public=public)
    pool = ipaddress.IPv4Network(offer.pool)
    closed = [*taken, *(ipaddress.IPv4Network(held.public) for held in own)]
    closed += [ipaddress.IPv4Network(public) for public, _ in offer.resting]
    if length >= pool.prefixlen:
        for network in pool.subnets(new_prefix=length):
            if not any(network.overlaps(other) for other in closed):
                yield replace(wanted, public=str(network))



def _maps_alike(held: Allocation, wanted: Allocation) -> bool:
    """But for the public addresses: the same subscribers in blocks of the same size, wherever the hop stands."""
    return held == replace(wanted, hop=held.hop, public=held.public, protocols=held.protocols)
