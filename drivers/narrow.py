# SPDX-License-Identifier: Apache-2.0
"""Filters in normal form: as a switch can give them back, so that a difference can become empty.

Called by compile and by drivers of switches. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from drivers.packets import interval
from drivers.state import Filter, Match, NextHop, Ports, Rule, Verdict


def intersection(one: Match, other: Match) -> Match | None:
    """The packets that both match, or None."""
    if one.family != other.family:
        return None
    source = _narrower(one.source, other.source)
    destination = _narrower(one.destination, other.destination)
    source_ports = _overlap(one.source_ports, other.source_ports)
    destination_ports = _overlap(one.destination_ports, other.destination_ports)
    if source is None or destination is None or source_ports is None or destination_ports is None:
        return None
    if one.protocol and other.protocol and one.protocol != other.protocol:
        return None
    if one.dscp >= 0 and other.dscp >= 0 and one.dscp != other.dscp:
        return None
    return Match(
        source,
        destination,
        one.protocol or other.protocol,
        source_ports,
        destination_ports,
        max(one.dscp, other.dscp),
    )


def normal(item: Filter) -> Filter:
    """The same filter as a switch can give it back: each rule narrowed to the filter's own match, rules
    that match nothing, or what an earlier one matches word for word (access lists hold no line twice), left
    out, and no next hop if nothing is permitted."""
    first: dict[Match, Verdict] = {}
    for rule in item.rules:
        match = intersection(rule.match, item.match)
        if match is not None:
            first.setdefault(match, rule.verdict)
    rules = tuple(Rule(verdict, match) for match, verdict in first.items())
    permits = item.default is Verdict.PERMIT or any(rule.verdict is Verdict.PERMIT for rule in rules)
    if permits:
        return replace(item, rules=rules)
    return replace(item, rules=rules, next=NextHop(), standby=None, copies=())


def _narrower(one: str, other: str) -> str | None:
    """Of two prefixes of one family, the one inside the other; None if they are disjoint."""
    (one_low, one_high), (low, high) = interval(one), interval(other)
    if low <= one_low and one_high <= high:
        return one
    return other if one_low <= low and high <= one_high else None


def _overlap(one: Ports, other: Ports) -> Ports | None:
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else None
