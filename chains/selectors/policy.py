# SPDX-License-Identifier: Apache-2.0
"""Stored policies -> planning's frozen policies. Read by `selectors.intent` and by the checks of `services.policy`.

Trusts what `services.policy` stored; raises ValueError on anything else, so that damage is never half understood.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from chains.planning import types
from drivers.state import ANY_PORT, ANYWHERE, Match, Ports, Rule, Verdict

ONE_FAMILY = {"icmp": 4, "icmpv6": 6}


def policy_value(capability: str, stored: Mapping[str, Any]) -> types.Policy:
    """The policy of one hop. Errors: ValueError."""
    if capability == types.Capability.IPS:
        return types.IpsPolicy(tuple(pattern_hex(pattern) for pattern in stored.get("patterns", ())))
    if capability == types.Capability.NAT:
        return types.NatPolicy(*(int(stored.get(name, 0)) for name in ("block_size", "blocks", "addresses")))
    if capability == types.Capability.TAP:
        return types.TapPolicy()
    rules = tuple(rule for line in stored.get("rules", ()) for rule in rule_values(line))
    return types.RulePolicy(rules, Verdict(stored.get("default", Verdict.DENY)))


def rule_values(line: Mapping[str, Any]) -> Iterator[Rule]:
    """One line of a policy: one rule for each family that it can mean."""
    source, destination = line.get("source", ""), line.get("destination", "")
    protocol = line.get("protocol", "")
    for family in families(source, destination, protocol):
        yield Rule(
            Verdict(line["verdict"]),
            Match(
                source or ANYWHERE[family],
                destination or ANYWHERE[family],
                protocol,
                ports_value(line.get("source_ports", "")),
                ports_value(line.get("destination_ports", "")),
            ),
        )


def families(source: str, destination: str, protocol: str) -> tuple[int, ...]:
    """4, 6, both or neither: what prefixes ("" for any) and a protocol leave."""
    left = {4, 6}
    for prefix in (source, destination):
        if prefix:
            left &= {ipaddress.ip_network(prefix).version}
    if protocol in ONE_FAMILY:
        left &= {ONE_FAMILY[protocol]}
    return tuple(sorted(left))


def ports_value(text: str) -> Ports:
    """ "80" or "8000-8100" or "" for any."""
    if not text:
        return ANY_PORT
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def ports_text(first: int, last: int) -> str:
    """Inverse of `ports_value`."""
    if (first, last) == ANY_PORT:
        return ""
    return str(first) if first == last else f"{first}-{last}"


def pattern_hex(pattern: Mapping[str, str]) -> str:
    """{"text": ...} (UTF-8) or {"hex": ...} -> lower-case hexadecimal."""
    return pattern["text"].encode().hex() if "text" in pattern else pattern["hex"]
