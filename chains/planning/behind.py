# SPDX-License-Identifier: Apache-2.0
"""What a policy says of subscribers, in the addresses and ports that they have behind the NAT hops before it.

Called by `compile`. A tenant writes its rules about the addresses it knows; a filter behind a NAT hop meets others.
Port blocks are known beforehand, so a rule about some subscribers is a rule about their blocks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chains.planning.addresses import protocols_of
from chains.planning.classes import within
from chains.planning.types import Allocation, Chain, Hop, Reason, Refused, RulePolicy
from drivers.nat import FIRST_PORT, PORTS_PER_ADDRESS, blocks_per_address
from drivers.state import ANY_PORT, ANYWHERE, Ports, Rule

Place = tuple[str, Ports]


@dataclass(frozen=True, slots=True)
class _Stage:
    """One NAT hop that the packets have passed. is_first: the addresses before it are the tenant's own."""

    allocations: tuple[Allocation, ...]
    is_first: bool


def behind(chain: Chain, hop: Hop, allocations: Sequence[Allocation]) -> Hop:
    """The hop with its rules as they must read where it stands. Errors: Refused where no rule can say it."""
    before = sorted({allocation.hop for allocation in allocations if allocation.hop < hop.position})
    if not before or not isinstance(hop.policy, RulePolicy):
        return hop
    rules: list[Rule] = list(hop.policy.rules)
    for number, position in enumerate(before):
        stage = _Stage(tuple(a for a in allocations if a.hop == position), number == 0)
        rules = [seen for rule in rules for seen in _translated(chain, hop, rule, stage)]
    return replace(hop, policy=replace(hop.policy, rules=tuple(rules)))


def _translated(chain: Chain, hop: Hop, rule: Rule, stage: _Stage) -> Iterator[Rule]:
    source, ports = rule.match.source, rule.match.source_ports
    if rule.match.family != 4 or (source == ANYWHERE[4] and ports == ANY_PORT):
        yield rule
        return
    if ports != ANY_PORT and (stage.is_first or any(a.block_size < PORTS_PER_ADDRESS for a in stage.allocations)):
        raise _cannot(hop, rule, "translation changes source ports")
    for allocation in stage.allocations:
        if allocation.blocks and within(source, allocation.subscribers) and source != allocation.subscribers:
            raise _cannot(hop, rule, "who has which port there is decided on demand")
        for public, block in _places(source, allocation):
            yield from _at(chain, hop, rule, public, ports if block == ANY_PORT else block)


def _at(chain: Chain, hop: Hop, rule: Rule, public: str, ports: Ports) -> Iterator[Rule]:
    if ports == ANY_PORT:
        yield replace(rule, match=replace(rule.match, source=public))
        return
    for protocol in (rule.match.protocol,) if rule.match.protocol else protocols_of(chain):
        if protocol not in ("tcp", "udp"):
            raise _cannot(hop, rule, f"subscribers who share an address cannot be told apart in {protocol}")
        yield replace(rule, match=replace(rule.match, source=public, protocol=protocol, source_ports=ports))


def _places(source: str, allocation: Allocation) -> Iterator[Place]:
    """The public prefixes, or addresses with ports, that the subscribers in `source` have by this allocation."""
    if within(allocation.subscribers, source):
        yield allocation.public, ANY_PORT
        return
    if not within(source, allocation.subscribers):
        return
    inside, named = ipaddress.IPv4Network(allocation.subscribers), ipaddress.IPv4Network(source)
    public = ipaddress.IPv4Network(allocation.public)
    per_address = blocks_per_address(allocation.block_size)
    first = int(named.network_address) - int(inside.network_address)
    last = first + named.num_addresses - 1
    whole: list[int] = []
    for address in range(first // per_address, last // per_address + 1):
        low = max(first - address * per_address, 0)
        high = min(last - address * per_address, per_address - 1)
        if (low, high) == (0, per_address - 1):
            whole.append(address)
        else:
            start = FIRST_PORT + low * allocation.block_size
            yield f"{public[address]}/32", (start, FIRST_PORT + (high + 1) * allocation.block_size - 1)
    if whole:
        for network in ipaddress.summarize_address_range(public[whole[0]], public[whole[-1]]):
            yield str(network), ANY_PORT


def _cannot(hop: Hop, rule: Rule, why: str) -> Refused:
    detail = (
        f"hop {hop.position + 1} ({hop.function}) stands behind a NAT hop, and its rule about {rule.match.source} "
        f"cannot be kept there: {why}; move the hop before the NAT hop, or name a protocol and no source ports"
    )
    return Refused((Reason("rule-behind-nat", detail, hop.position),))
