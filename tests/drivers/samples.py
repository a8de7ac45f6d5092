# SPDX-License-Identifier: Apache-2.0
"""Device states for driver tests: a fixed one that shows every kind of item, and random ones.

Filters are in the form that a switch gives back (`drivers.switch.flows.normal`), rules of one family.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from drivers.narrow import normal
from drivers.state import (
    ANY_PORT,
    ANYWHERE,
    KIND_OF_ITEM,
    DeviceState,
    Direction,
    Filter,
    Guard,
    Item,
    Key,
    Kind,
    Match,
    NatPool,
    NextHop,
    Pass,
    Redirect,
    Rule,
    RuleSet,
    Signatures,
    Verdict,
)

FUNCTION_KINDS = frozenset({Kind.RULESET, Kind.SIGNATURES, Kind.NATPOOL})


@dataclass(frozen=True)
class Site:
    """The names that items on one device may use.

    A switch has at least two ports and a VRF; inside and outside are "" on a host. peers: of a switch that routes,
    the MAC behind each of its ports: there a next hop is a neighbour that is known, and is found in a VRF.
    protocols, has_dscp: what its access lists can tell apart. has_standby, has_copies: as its capabilities say.
    """

    kinds: frozenset[Kind]
    ports: tuple[str, ...] = ()
    vrfs: tuple[str, ...] = ()
    inside: str = ""
    outside: str = ""
    peers: Mapping[str, str] = field(default_factory=dict)
    protocols: tuple[str, ...] = ("", "tcp", "udp", "sctp", "icmp", "icmpv6")
    has_dscp: bool = True
    has_standby: bool = False
    has_copies: bool = False

    def hop(self, port: str, tag: int, mac: str) -> NextHop:
        """On a switch that routes everything behind a port or a tag has one MAC."""
        if not self.peers:
            return NextHop(port, tag, mac)
        if not tag:
            return NextHop(port, 0, self.peers[port], self.vrfs[0])
        far = f"02:00:00:{self.ports.index(port):02x}:{tag >> 8:02x}:{tag & 255:02x}" if tag % 2 else ""
        return NextHop(port, tag, far, self.vrfs[0])


def clients(family: int, index: int = 1) -> str:
    """A source prefix; different indexes never overlap."""
    return f"10.{index}.1.0/24" if family == 4 else f"2001:db8:{index}:1::/64"


def key(item: Item, *, chain: int = 7, revision: int = 1, stage: int = 1, index: int = 0) -> Key:
    return Key(chain, revision, Direction.FORWARD, stage, KIND_OF_ITEM[type(item)], index)


def state(items: list[Item], *, chain: int = 7, revision: int = 1) -> DeviceState:
    return DeviceState(
        {key(item, chain=chain, revision=revision, index=i): item for i, item in enumerate(items)}
    )


def sample(site: Site, *, revision: int = 1) -> DeviceState:
    """Every kind that the site takes, both families. Another revision: the same slots, other contents."""
    items = [*_steering(site, revision), *_functions(site, revision)]
    return state([item for item in items if KIND_OF_ITEM[type(item)] in site.kinds], revision=revision)


def _steering(site: Site, revision: int) -> Iterator[Item]:
    if not site.vrfs:
        return
    first, second = site.ports[:2]
    to = second if revision % 2 else first
    for family in (4, 6):
        everywhere = ANYWHERE[family]
        web = Match(clients(family), everywhere, "tcp", ANY_PORT, (80, 83))
        answers = web.reversed()
        permit = Rule(Verdict.PERMIT, Match(clients(family), everywhere, "tcp", ANY_PORT, (82, 82)))
        yield Guard(first, 0, web, 3)
        yield Redirect(first, 0, web, site.hop(to, 3000 + revision, "02:00:00:00:00:01"), 3)
        yield Pass(first, 0, Match(clients(family), clients(family, 9), "udp", dscp=46 if site.has_dscp else -1), 3)
        yield Redirect(second, 3001, answers, NextHop(vrf=site.vrfs[0]))
        rules = (permit,) if revision % 2 else (permit, Rule(Verdict.PERMIT, web))
        yield Filter(second, 0, web, site.hop(to, 0, "02:00:00:00:00:02"), rules, Verdict.DENY, 1)
        if site.has_standby:
            yield from _with_standby(site, revision, web)
        if site.has_copies:
            copies = (NextHop(first, 0, "02:00:00:00:00:0c"), NextHop(second, 3900 + revision))
            yield Redirect(first, 3200, web, site.hop(to, 0, "02:00:00:00:00:01"), 3, copies=copies)
            yield Filter(first, 3201, web, site.hop(to, 0, ""), rules, Verdict.DENY, 3, copies=copies[:revision])


def _with_standby(site: Site, revision: int, web: Match) -> Iterator[Item]:
    first, second = site.ports[:2]
    next_hop, far = site.hop(first, 0, "02:00:00:00:00:01"), site.hop(second, 3600 + revision, "02:00:00:00:00:02")
    deny = (Rule(Verdict.DENY, replace(web, destination_ports=(81, 81))),)
    yield Redirect(first, 3100, web, next_hop, 3, standby=far)
    yield Redirect(first, 3101, web, far, 3, standby=NextHop(vrf=site.vrfs[0]))
    yield Filter(first, 3102, web, next_hop, deny, Verdict.PERMIT, 3, standby=far)


def _functions(site: Site, revision: int) -> Iterator[Item]:
    for family in (4, 6):
        everywhere = ANYWHERE[family]
        traffic = Match(clients(family), everywhere, "tcp")
        rules = [
            Rule(Verdict.PERMIT, Match(everywhere, everywhere, "tcp", ANY_PORT, (80, 80 + revision))),
            Rule(Verdict.DENY, Match(everywhere, clients(family, 9))),
        ]
        yield RuleSet(traffic, tuple(rules), Verdict.DENY, site.inside, site.outside)
        yield Signatures(traffic, ("deadbeef", f"c0ffee{revision:02x}"), site.inside, site.outside)
    subscribers = Match(clients(4, 2), ANYWHERE[4])
    yield NatPool(subscribers, "198.51.100.0/28", 256 * revision, site.inside, site.outside)


@st.composite
def prefixes(draw: st.DrawFn, family: int) -> str:
    bits = 32 if family == 4 else 128
    length = draw(st.integers(0, bits))
    address = draw(st.integers(0, (1 << bits) - 1)) >> (bits - length) << (bits - length)
    network = ipaddress.IPv4Network if family == 4 else ipaddress.IPv6Network
    return str(network((address, length)))


@st.composite
def port_ranges(draw: st.DrawFn) -> tuple[int, int]:
    low = draw(st.integers(0, 65535))
    return draw(st.sampled_from([ANY_PORT, (low, low), (low, draw(st.integers(low, 65535)))]))


@st.composite
def matches(draw: st.DrawFn, family: int, *, source: str = "", site: Site | None = None) -> Match:
    site = site or Site(frozenset())
    other = "icmpv6" if family == 4 else "icmp"
    protocol = draw(st.sampled_from([name for name in site.protocols if name != other]))
    has_ports = protocol in ("tcp", "udp", "sctp")
    return Match(
        source=source or draw(prefixes(family)),
        destination=draw(prefixes(family)),
        protocol=protocol,
        source_ports=draw(port_ranges()) if has_ports else ANY_PORT,
        # Two wide ranges at once are hundreds of flows; the text is the same.
        destination_ports=ANY_PORT,
        dscp=draw(st.integers(-1, 63)) if site.has_dscp else -1,
    )


@st.composite
def rule_lists(draw: st.DrawFn, family: int, most: int = 4, site: Site | None = None) -> tuple[Rule, ...]:
    one = st.builds(Rule, st.sampled_from(list(Verdict)), matches(family, site=site))
    return tuple(draw(st.lists(one, max_size=most)))


@st.composite
def next_hops(draw: st.DrawFn, site: Site) -> NextHop:
    if draw(st.booleans()):
        return NextHop(vrf=draw(st.sampled_from(site.vrfs)))
    mac = f"02:00:00:{draw(st.integers(0, 255)):02x}:00:01"
    port = draw(st.sampled_from(site.ports))
    if site.peers:
        return site.hop(port, draw(st.sampled_from([0, 3000, 3001, 4094])), "")
    return site.hop(port, draw(st.integers(0, 4094)), draw(st.sampled_from(["", mac])))


@st.composite
def steering_items(draw: st.DrawFn, site: Site, precedence: int) -> Item:
    """Different precedences, so that no two items of a state take the same flow."""
    family = draw(st.sampled_from([4, 6]))
    tags = [0, 3000, 4094] if site.peers else [0, 1, 3000, 4094]
    ingress, tag = draw(st.sampled_from(site.ports)), draw(st.sampled_from(tags))
    match = draw(matches(family, site=site))
    kind = draw(st.sampled_from(sorted(site.kinds - FUNCTION_KINDS)))
    if kind is Kind.GUARD:
        return Guard(ingress, tag, match, precedence)
    if kind is Kind.PASS:
        # Where a switch routes, what is exempt at a stage tag would be in no VRF: refused, see test_tables.
        return Pass(ingress, 0 if site.peers else tag, match, precedence)
    hop = draw(next_hops(site))
    standby, copies = draw(_standbys(site, hop)), draw(_copies(site))
    if kind is Kind.REDIRECT:
        return Redirect(ingress, tag, match, hop, precedence, standby, copies)
    default = draw(st.sampled_from(list(Verdict)))
    rules = draw(rule_lists(family, site=site))
    inside = tuple(Rule(rule.verdict, match) for rule in rules[:1])
    return normal(Filter(ingress, tag, match, hop, inside + rules, default, precedence, standby, copies))


def _standbys(site: Site, hop: NextHop) -> st.SearchStrategy[NextHop | None]:
    """Only a port can be without a link."""
    another = next_hops(site).filter(lambda other: other != hop)
    return st.none() | another if site.has_standby and hop.port else st.none()


def _copies(site: Site) -> st.SearchStrategy[tuple[NextHop, ...]]:
    to_port = next_hops(site).filter(lambda hop: bool(hop.port))
    return st.lists(to_port, max_size=3).map(tuple) if site.has_copies else st.just(())


@st.composite
def function_items(draw: st.DrawFn, site: Site, number: int) -> Item:
    """Different subscribers, so that no two items of a state claim the same packet."""
    kind = draw(st.sampled_from(sorted(site.kinds & FUNCTION_KINDS)))
    family = 4 if kind is Kind.NATPOOL else draw(st.sampled_from([4, 6]))
    source = clients(family, number + 1)
    if kind is Kind.NATPOOL:
        public = f"198.51.{100 + number}.0/28"
        block_size = draw(st.sampled_from([64, 256, 1024]))
        return NatPool(Match(source, ANYWHERE[4]), public, block_size, site.inside, site.outside)
    traffic = draw(matches(family, source=source, site=site))
    if kind is Kind.SIGNATURES:
        patterns = draw(st.lists(st.binary(min_size=4, max_size=64), min_size=1, max_size=3, unique=True))
        return Signatures(traffic, tuple(each.hex() for each in patterns), site.inside, site.outside)
    default = draw(st.sampled_from(list(Verdict)))
    return RuleSet(traffic, draw(rule_lists(family, site=site)), default, site.inside, site.outside)


@st.composite
def states(draw: st.DrawFn, site: Site, most: int = 5) -> DeviceState:
    items: dict[Key, Item] = {}
    for number in range(draw(st.integers(0, most))):
        make = function_items if site.kinds & FUNCTION_KINDS else steering_items
        item = draw(make(site, number))
        chain, revision = draw(st.integers(1, (1 << 24) - 1)), draw(st.integers(0, 4095))
        items[key(item, chain=chain, revision=revision, stage=draw(st.integers(0, 63)), index=number)] = item
    return DeviceState(items)
