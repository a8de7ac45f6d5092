# SPDX-License-Identifier: Apache-2.0
"""A rule set as the flat policy of a firewall between zones, in no vendor's words yet.

Called by `panos` and `fortios`, which can be read but not written. Pure. A flat policy has no "for this traffic only":
each rule is narrowed to the item's traffic, and says in its description what it was asked for; a rule that means no
packet of the traffic stands there switched off. What a device holds is an item again only if every line is exactly
what the item makes, so the description alone proves nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from drivers.appliance.generated import generated
from drivers.base import Target, Unsupported
from drivers.narrow import intersection
from drivers.state import DeviceState, Direction, Item, Key, Kind, Match, Rule, RuleSet, Verdict

NAME = re.compile(r"SI-c(\d{1,8})r(\d{1,4})([fr])(\d{1,2})u(\d{1,4})-(\d{1,4})")
SAID = re.compile(r"SI (\S+) (\S+) (any|tcp|udp|sctp|icmp|icmpv6) (\d{1,5})-(\d{1,5}) (\d{1,5})-(\d{1,5})")
DEFAULT = "SI default"
NOTHING = Match("0.0.0.0/32", "0.0.0.0/32")
DAMAGED = "damaged"  # the ports of an item that is none
ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the policy. said: its description. is_off: it stands there without effect."""

    name: str
    inside: str
    outside: str
    verdict: Verdict
    match: Match
    said: str
    is_off: bool = False


def prefix_of(key: Key) -> str:
    """How the names of the item's lines begin: at most 35 characters with their number."""
    return f"SI-c{key.chain}r{key.revision}{key.direction}{key.stage}u{key.index}-"


def parse_name(name: str) -> tuple[Key, int] | None:
    found = NAME.fullmatch(name)
    if found is None:
        return None
    chain, revision, direction, stage, index, number = found.groups()
    try:
        key = Key(int(chain), int(revision), Direction(direction), int(stage), Kind.RULESET, int(index))
    except ValueError:
        return None
    return key, int(number)


def damaged(count: int) -> RuleSet:
    """What is read where lines with an item's names are not that item's. It keeps how many they may be."""
    return RuleSet(NOTHING, (Rule(Verdict.DENY, NOTHING),) * count, Verdict.DENY, DAMAGED, DAMAGED)


def is_damaged(item: Item) -> bool:
    return isinstance(item, RuleSet) and item.inside == DAMAGED


def names_of(state: DeviceState, target: Target, keys: frozenset[Key]) -> list[str]:
    """Of all lines that stand, or may stand, on the device for these items."""
    found = [line.name for line in lines_of(state, target) if (named := parse_name(line.name)) and named[0] in keys]
    for key, item in state.items():
        if key in keys and isinstance(item, RuleSet) and is_damaged(item):
            found += [f"{prefix_of(key)}{number}" for number in range(len(item.rules))]
    return found


def lines_of(state: DeviceState, target: Target) -> tuple[Line, ...]:
    """In key order. Errors: Unsupported."""
    return tuple(line for key, item in state.items() if not is_damaged(item) for line in _lines(key, item, target))


def _lines(key: Key, item: Item, target: Target) -> Iterator[Line]:
    if not isinstance(item, RuleSet):
        raise Unsupported(f"{target.name}: a {target.driver} appliance cannot hold a {key.kind}")
    for port in (item.inside, item.outside):
        if port not in target.ports or ZONE.fullmatch(zone_of(target, port)) is None:
            raise Unsupported(f"{target.name}: port {port!r} is not in the fabric file, or its zone is no name")
    if any(match.dscp >= 0 for match in (item.traffic, *(rule.match for rule in item.rules))):
        raise Unsupported(f"{target.name}: {key} matches a DSCP, which the policy of a {target.driver} does not")
    if len(item.rules) > 9999:
        raise Unsupported(f"{target.name}: {key} has more than 9999 rules")
    begin = prefix_of(key)
    for number, rule in enumerate(item.rules):
        match = intersection(rule.match, item.traffic)
        yield Line(
            f"{begin}{number}", item.inside, item.outside, rule.verdict, match or rule.match, said(rule), match is None
        )
    yield Line(f"{begin}{len(item.rules)}", item.inside, item.outside, item.default, item.traffic, DEFAULT)


def rendered(lines: Iterable[Line], keys: frozenset[Key], platform: str, target: Target) -> tuple[Line, ...]:
    """Those of these items, as aerleon writes them for this platform; it is not asked for those that are off.

    Errors: Unsupported.
    """
    given = tuple(line for line in lines if (named := parse_name(line.name)) and named[0] in keys)
    asked = tuple((line.verdict, line.match) for line in given if not line.is_off)
    said = iter(generated(asked, platform, target.name))
    return tuple(line if line.is_off else _with(line, *next(said)) for line in given)


def _with(line: Line, verdict: Verdict, match: Match) -> Line:
    return replace(line, verdict=verdict, match=match)


def said(rule: Rule) -> str:
    """The rule as it was asked for."""
    match = rule.match
    ports = (f"{low}-{high}" for low, high in (match.source_ports, match.destination_ports))
    return f"SI {match.source} {match.destination} {match.protocol or 'any'} {' '.join(ports)}"


def items_of(lines: Iterable[Line], target: Target) -> DeviceState:
    """lines: as they stand on the device, ours only. `damaged` for what is not exactly one item's lines in order."""
    groups: dict[Key, list[Line]] = {}
    for line in lines:
        found = parse_name(line.name)
        if found is not None:
            groups.setdefault(found[0], []).append(line)
    return DeviceState({key: _item(key, group, target) for key, group in groups.items()})


def _item(key: Key, group: list[Line], target: Target) -> Item:
    last = group[-1]
    try:
        rules = tuple(Rule(line.verdict, _asked(line)) for line in group[:-1])
        item = RuleSet(last.match, rules, last.verdict, last.inside, last.outside)
        if tuple(_lines(key, item, target)) == tuple(group):
            return item
    except (ValueError, Unsupported):
        pass  # of no item: the same answer
    return damaged(1 + max(named[1] for line in group if (named := parse_name(line.name))))


def _asked(line: Line) -> Match:
    found = SAID.fullmatch(line.said)
    if found is None:
        raise ValueError(line.said)
    source, destination, protocol, *ports = found.groups()
    low, high, to_low, to_high = map(int, ports)
    return Match(source, destination, "" if protocol == "any" else protocol, (low, high), (to_low, to_high))


def zone_of(target: Target, port: str) -> str:
    """Setting `zone_PORT`, else the port's own name."""
    return target.settings.get(f"zone_{port}", port)


def port_of(target: Target, zone: str) -> str:
    """Inverse of `zone_of`; "" if no port is in that zone."""
    return next((port for port in sorted(target.ports) if zone_of(target, port) == zone), "")


def interface_of(target: Target, port: str) -> str:
    return target.ports[port].interface or port


Route = tuple[str, str]  # prefix, interface


def unrouted(lines: Iterable[Line], routes: Iterable[Route], target: Target) -> Iterator[str]:
    """For every item's traffic: is the source reached by the inside, the destination by the outside?"""
    table = list(routes)
    for line in lines:
        if line.said == DEFAULT:
            for prefix, port in ((line.match.source, line.inside), (line.match.destination, line.outside)):
                yield from misled(prefix, interface_of(target, port), table)


def misled(prefix: str, interface: str, routes: Iterable[Route]) -> Iterator[str]:
    """What is wrong unless the best of the routes leads there."""
    wanted = ipaddress.ip_network(prefix)
    table = [(ipaddress.ip_network(one), there) for one, there in routes]
    covering = [one for one in table if one[0].version == wanted.version and wanted.subnet_of(one[0])]  # type: ignore[arg-type]
    best = max((one[0].prefixlen for one in covering), default=-1)
    found = {there for network, there in covering if network.prefixlen == best}
    if interface not in found:
        now = ", ".join(sorted(found)) or "nowhere"
        yield f"{prefix} is routed to {now}, not to {interface}; add a route there"
