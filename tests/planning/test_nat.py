# SPDX-License-Identifier: Apache-2.0
"""NAT hops wherever they stand in a chain: which packets every stage means, and what policies behind them say."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from chains.planning.addresses import allocated
from chains.planning.plan import make_plan, network_of
from chains.planning.types import Classifier, Fabric, NatPolicy, Plan, Refused, RulePolicy
from drivers.forward import Outcome, Trace, walk
from drivers.nat import PORTS_PER_ADDRESS, addresses_needed, blocks, holder
from drivers.packets import Packets, interval
from drivers.state import ANY_PORT, Match, NatPool, Rule, RuleSet, Verdict
from tests.planning.fabrics import chain, demo, hop

ONE_TO_ONE = NatPolicy(PORTS_PER_ADDRESS)
SUBSCRIBER, REMOTE = "10.10.1.77", "203.0.113.10"
TWO_NATS = {"cgn then one to one": (NatPolicy(256), ONE_TO_ONE), "one to one then cgn": (ONE_TO_ONE, NatPolicy(256))}


def fabric_with_static() -> Fabric:
    """A second NAT function with a wide pool, to translate address by address."""
    builder = demo()
    builder.appliance("nat1", "static", "leaf1", pool="192.0.2.0/24", block_size=PORTS_PER_ADDRESS)
    return builder.fabric()


def packet(source: str, destination: str, source_ports: tuple[int, int], port: int) -> Packets:
    ends = interval(f"{source}/32"), interval(f"{destination}/32")
    return Packets(4, *ends, (6, 6), source_ports, (port, port), (0, 0))


def walked(fabric: Fabric, plan: Plan, box: Packets, start: tuple[str, str], *, is_reply: bool) -> Trace:
    network = replace(network_of(fabric), states=plan.target)
    (trace,) = walk(network, start, box, is_reply=is_reply)
    return trace


@pytest.mark.parametrize(
    "functions",
    ["cgn", "cgn ngfw", "ngfw cgn", "ngfw cgn ips", "cgn ips ngfw", "ips ngfw cgn"],
)
def test_a_nat_hop_may_stand_anywhere(functions: str) -> None:
    """From the subscriber out of the fabric and back, past every function in order and in reverse order."""
    fabric, wanted = demo().fabric(), chain(*functions.split())
    plan = make_plan(fabric, wanted, {}, {})
    assert plan.placement is not None
    boxes = [placed.chosen.offers[0].partition("@")[2] for placed in plan.placement.hops if placed.chosen]
    there = walked(fabric, plan, packet(SUBSCRIBER, REMOTE, (40000, 40000), 80), ("leaf1", "a1"), is_reply=False)
    assert (there.outcome, there.vrf) == (Outcome.ROUTED, "internet")
    assert [device for device, _ in there.functions] == boxes
    assert there.packets.source == interval(plan.allocations[0].public)
    public = str(ipaddress.ip_network(plan.allocations[0].public)[0])
    answer = packet(public, REMOTE, (2000, 2000), 80).reversed()
    back = walked(fabric, plan, answer, ("leaf2", "inet"), is_reply=True)
    assert (back.outcome, back.vrf) == (Outcome.ROUTED, "a")
    assert [device for device, _ in back.functions] == boxes[::-1]
    assert back.packets.destination == interval("10.10.1.0/24")


@pytest.mark.parametrize("names", TWO_NATS)
def test_two_nat_hops_if_one_at_most_shares_addresses(names: str) -> None:
    fabric, policies = fabric_with_static(), TWO_NATS[names]
    functions = ("cgn", "static") if policies[1] is ONE_TO_ONE else ("static", "cgn")
    hops = [hop(0, functions[0], policy=policies[0]), hop(1, "ngfw"), hop(2, functions[1], policy=policies[1])]
    plan = make_plan(fabric, chain(*hops), {}, {})
    first, second = plan.allocations
    assert (first.hop, first.vrf, second.hop, second.vrf) == (0, "a", 2, "internet")
    assert second.subscribers == first.public
    there = walked(fabric, plan, packet(SUBSCRIBER, REMOTE, (40000, 40000), 80), ("leaf1", "a1"), is_reply=False)
    assert there.outcome is Outcome.ROUTED and there.packets.source == interval(second.public)
    public = str(ipaddress.ip_network(second.public)[0])
    answer = packet(public, REMOTE, (2000, 2000), 80).reversed()
    back = walked(fabric, plan, answer, ("leaf2", "inet"), is_reply=True)
    assert (back.outcome, back.packets.destination) == (Outcome.ROUTED, interval("10.10.1.0/24"))
    assert [key.stage for _, key in back.functions] == [3, 2, 1]


def test_two_hops_that_share_addresses_are_refused() -> None:
    hops = [hop(0, "cgn"), hop(1, "static", policy=NatPolicy(1024))]
    with pytest.raises(Refused, match="nobody could tell any more who had a port"):
        make_plan(fabric_with_static(), chain(*hops), {}, {})


def test_addresses_that_rest_go_to_the_very_same_subscribers_only() -> None:
    fabric, wanted = demo().fabric(), chain("cgn")
    first = make_plan(fabric, wanted, {}, {}).allocations[0]
    name = f"a/a/{first.subscribers}/{first.public}/256"
    offers = tuple(replace(o, resting=frozenset({(first.public, name)})) for o in fabric.offers)
    rested = replace(fabric, offers=offers)
    assert make_plan(rested, replace(wanted, number=8), {}, {}).allocations[0].public == first.public
    coarse = chain(hop(0, "cgn", policy=NatPolicy(512)))
    assert make_plan(rested, coarse, {}, {}).allocations[0].public == "198.51.100.4/30"
    assert make_plan(rested, replace(wanted, tenant="b"), {}, {}).allocations[0].public != first.public


def test_another_block_size_never_takes_the_addresses_in_force() -> None:
    """Who has which port would change at once, and a port let go rests first."""
    fabric = demo().fabric()
    first = make_plan(fabric, chain("cgn"), {}, {})
    coarse = hop(0, "cgn", policy=NatPolicy(512))
    (cgn,) = (offer for offer in fabric.offers if offer.function == "cgn")
    (moved,) = allocated(chain(coarse, pools=first.allocations), coarse, cgn, ["10.10.1.0/24"])
    assert not ipaddress.ip_network(moved.public).overlaps(ipaddress.ip_network(first.allocations[0].public))


def test_the_pool_stays_when_the_hop_moves_along_the_chain() -> None:
    fabric = demo().fabric()
    first = make_plan(fabric, chain("cgn"), {}, {})
    offers = tuple(replace(o, cost_fixed=0.0) for o in fabric.offers)
    later = chain("ngfw", "cgn", revision=first.revision, pools=first.allocations)
    moved = make_plan(replace(fabric, offers=offers), later, first.target, {})
    assert moved.allocations == (replace(first.allocations[0], hop=1),)


RULES = {
    "one subscriber": ("10.10.1.77/32", 256),
    "some who share": ("10.10.1.64/26", 256),
    "across addresses": ("10.10.1.0/24", 1000),
    "a half, whole addresses among it": ("10.10.1.0/25", 4096),
    "nobody": ("10.10.9.0/24", 256),
    "an address each": ("10.10.1.128/26", PORTS_PER_ADDRESS),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_about_subscribers_means_the_same_ones_behind_the_nat_hop(name: str) -> None:
    """Every subscriber's every block edge is judged as the tenant's own rule judges the subscriber."""
    source, size = RULES[name]
    deny = Rule(Verdict.DENY, Match(source, "0.0.0.0/0", "tcp"))
    policy = RulePolicy((deny,), Verdict.PERMIT)
    function = "static" if size == PORTS_PER_ADDRESS else "cgn"
    fabric = fabric_with_static()
    fabric = replace(fabric, offers=tuple(
        replace(o, pool="198.18.0.0/20") if o.function == "cgn" else o for o in fabric.offers
    ))  # fmt: skip
    hops = (hop(0, function, policy=NatPolicy(size)), hop(1, "ngfw", policy=policy))
    plan = make_plan(fabric, chain(*hops, classifiers=(Classifier(4, "tcp"),)), {}, {})
    items = [item for state in plan.target.values() for item in state.values()]
    (rules,) = (item.rules for item in items if isinstance(item, RuleSet))
    (pool,) = (item for item in items if isinstance(item, NatPool))
    denied = set()
    for block in blocks(pool):
        address = int(ipaddress.ip_address(block.public))
        verdicts = {_is_denied(rules, address, port) for port in (block.first_port, block.last_port)}
        assert len(verdicts) == 1
        denied |= {block.subscriber} if verdicts.pop() else set()
    named = ipaddress.ip_network(source)
    assert denied == {str(a) for a in ipaddress.ip_network("10.10.1.0/24") if a in named}


def _is_denied(rules: tuple[Rule, ...], address: int, port: int) -> bool:
    return any(
        interval(rule.match.source)[0] <= address <= interval(rule.match.source)[1]
        and rule.match.source_ports[0] <= port <= rule.match.source_ports[1]
        for rule in rules
    )


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (Match("10.10.1.7/32", "0.0.0.0/0", "icmp"), "cannot be told apart in icmp"),
        (Match("10.10.1.7/32", "0.0.0.0/0"), "cannot be told apart in icmp"),
        (Match("0.0.0.0/0", "0.0.0.0/0", "udp", source_ports=(53, 53)), "changes source ports"),
    ],
    ids=["icmp", "all protocols", "source ports"],
)
def test_what_no_rule_can_say_behind_a_nat_hop_is_refused(match: Match, why: str) -> None:
    policy = RulePolicy((Rule(Verdict.DENY, match),), Verdict.PERMIT)
    wanted = chain("cgn", hop(1, "ngfw", policy=policy), classifiers=(Classifier(4),))
    with pytest.raises(Refused, match=why):
        make_plan(demo().fabric(), wanted, {}, {})
    before = chain(hop(0, "ngfw", policy=policy), "cgn", classifiers=(Classifier(4),))
    assert make_plan(demo().fabric(), before, {}, {}).steps


@pytest.mark.parametrize("size", [16, 100, 256, 1000, 4096, 40000, PORTS_PER_ADDRESS])
def test_holder_finds_who_blocks_gives_to(size: int) -> None:
    length = 33 - addresses_needed("10.10.1.0/26", size).bit_length()
    public = f"198.51.0.0/{length}"
    pool = NatPool(Match("10.10.1.0/26", "0.0.0.0/0"), public, size, "in", "out")
    given = list(blocks(pool))
    for block in given:
        for port in (block.first_port, block.last_port):
            assert holder("10.10.1.0/26", public, size, block.public, port) == block
    owned = {(block.public, port) for block in given for port in range(block.first_port, block.last_port + 1)}
    for address in {block.public for block in given}:
        for port in (0, 1023, *range(1024, 65536, 997), 65535):
            found = holder("10.10.1.0/26", public, size, address, port)
            assert (found is not None) == ((address, port) in owned)
    assert holder("10.10.1.0/26", public, size, "192.0.2.1", 2000) is None
    assert ANY_PORT[1] == 65535
