# SPDX-License-Identifier: Apache-2.0
"""Which packets a chain means, at every stage: before and behind each translating hop.

Called by compile and verify; both must speak of the same packets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from chains.planning.types import Allocation, Attachment, Chain
from drivers.state import ANY_PORT, Match

ICMP = {4: "icmp", 6: "icmpv6"}


@dataclass(frozen=True, slots=True)
class Pair:
    """One source and one destination attachment, and the chain's matches between them.

    stages[k]: the matches, in the forward direction, behind the k-th translating hop.
    """

    source: Attachment
    destination: Attachment
    stages: tuple[tuple[Match, ...], ...]


Cut = Callable[[str], tuple[str, ...]]


def whole(prefix: str) -> tuple[str, ...]:
    """All of a source prefix."""
    return (prefix,)


def pairs(chain: Chain, allocations: Sequence[Allocation], cut: Cut = whole) -> tuple[Pair, ...]:
    """Every pair that has traffic. cut: what is meant of a source prefix, if not all of it."""
    hops = sorted({allocation.hop for allocation in allocations})
    found = []
    for source in chain.source.attachments:
        for destination in chain.destination.attachments:
            matches = tuple(_matches(chain, source, destination, cut))
            if not matches:
                continue
            stages = [matches]
            for hop in hops:
                mapping = {a.subscribers: a.public for a in allocations if a.hop == hop}
                stages.append(_unique(new for match in stages[-1] for new in translated(match, mapping)))
            found.append(Pair(source, destination, tuple(stages)))
    return tuple(found)


def count_matches(chain: Chain) -> int:
    """How many matches one direction has: table entries are counted by it."""
    return sum(len(pair.stages[0]) for pair in pairs(chain, ()))


def translated(match: Match, mapping: dict[str, str]) -> Iterator[Match]:
    """The matches behind a NAT that maps subscriber prefixes to public prefixes; parts of a prefix may differ."""
    inside = [
        subscribers
        for subscribers in mapping
        if within(match.source, subscribers) or within(subscribers, match.source)
    ]
    for subscribers in inside:
        yield replace(match, source=mapping[subscribers], source_ports=ANY_PORT)
    if not inside:
        yield match


def within(prefix: str, other: str) -> bool:
    """Is all of `prefix` in `other`?"""
    one, two = ipaddress.ip_network(prefix), ipaddress.ip_network(other)
    if isinstance(one, ipaddress.IPv4Network) and isinstance(two, ipaddress.IPv4Network):
        return one.subnet_of(two)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(two, ipaddress.IPv6Network):
        return one.subnet_of(two)
    return False


def _matches(chain: Chain, source: Attachment, destination: Attachment, cut: Cut) -> Iterator[Match]:
    for classifier in chain.classifiers:
        for inside in (part for prefix in source.prefixes for part in cut(prefix)):
            for outside in destination.prefixes:
                family = ipaddress.ip_network(inside).version
                if family != ipaddress.ip_network(outside).version or classifier.family not in (0, family):
                    continue
                if classifier.protocol in ICMP.values() and classifier.protocol != ICMP[family]:
                    continue
                yield Match(
                    inside,
                    outside,
                    classifier.protocol,
                    classifier.source_ports,
                    classifier.destination_ports,
                    classifier.dscp,
                )


def _unique(matches: Iterator[Match]) -> tuple[Match, ...]:
    return tuple(dict.fromkeys(matches))
