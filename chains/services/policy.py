# SPDX-License-Identifier: Apache-2.0
"""Checks the policy of a hop and brings it into the form that is stored and shown. Called by `services.chain_data`.

What is stored here is what `selectors.policy` turns into planning's types. Tenant text ends here:
a pattern given as text goes on as hexadecimal, everything else is a number, a prefix or a fixed word.
"""

from __future__ import annotations

from typing import Any

from chains.errors import FieldError
from chains.models import Function
from chains.selectors.policy import families
from chains.services.reading import Fields, is_line, shown
from drivers.nat import PORTS_PER_ADDRESS

MAX_RULES = 200
MAX_PATTERNS = 64
PATTERN_OCTETS = (4, 64)
MAX_BLOCKS, MAX_ADDRESSES = 8, 65536
BLOCK_SIZES = (16, PORTS_PER_ADDRESS)
PROTOCOLS = ("", "tcp", "udp", "sctp", "icmp", "icmpv6")
RULE_FIELDS = ("verdict", "protocol", "source", "destination", "source_ports", "destination_ports")

Capability = Function.Capability


def policy_clean(capability: str, data: Any, path: str, errors: list[FieldError]) -> dict[str, Any]:
    """The policy in normal form; {} if it has errors, which are appended."""
    if capability == Capability.IPS:
        return _ips(data, path, errors)
    if capability == Capability.NAT:
        return _nat(data, path, errors)
    if capability == Capability.TAP:
        Fields(data, path, errors, ())
        return {}
    return _filter(data, path, errors)


def _filter(data: Any, path: str, errors: list[FieldError]) -> dict[str, Any]:
    fields = Fields(data, path, errors, ("default", "rules"))
    default = fields.choice("default", ("deny", "permit"), default="deny")
    rules = [_rule(entry, where, errors) for where, entry in fields.entries("rules", 0, MAX_RULES)]
    return {"default": default, "rules": rules}


def _rule(data: Any, path: str, errors: list[FieldError]) -> dict[str, str]:
    fields = Fields(data, path, errors, RULE_FIELDS)
    protocol = fields.choice("protocol", PROTOCOLS, default="")
    rule = {
        "verdict": fields.choice("verdict", ("permit", "deny")),
        "protocol": protocol,
        "source": fields.prefix("source"),
        "destination": fields.prefix("destination"),
        "source_ports": fields.ports("source_ports", protocol),
        "destination_ports": fields.ports("destination_ports", protocol),
    }
    if not families(rule["source"], rule["destination"], protocol):
        fields.fail(
            "",
            "invalid",
            "source, destination and protocol are of different families: it would match nothing",
        )
    return rule


def _ips(data: Any, path: str, errors: list[FieldError]) -> dict[str, Any]:
    fields = Fields(data, path, errors, ("patterns",))
    patterns: list[dict[str, str]] = []
    for where, entry in fields.entries("patterns", 1, MAX_PATTERNS):
        pattern = _pattern(entry, where, errors)
        if pattern in patterns:
            errors.append(FieldError(where, "duplicate", "is there twice"))
        patterns.append(pattern)
    return {"patterns": patterns}


def _pattern(data: Any, path: str, errors: list[FieldError]) -> dict[str, str]:
    fields = Fields(data, path, errors, ("text", "hex"))
    if fields.has("text") == fields.has("hex"):
        fields.fail("", "invalid", 'give either {"text": "..."} or {"hex": "..."}')
        return {}
    kind = "text" if fields.has("text") else "hex"
    value = fields.raw(kind)
    if not isinstance(value, str) or len(value) > 4 * PATTERN_OCTETS[1]:
        fields.fail(kind, "invalid", f"must be text of {PATTERN_OCTETS[0]} to {PATTERN_OCTETS[1]} octets")
        return {}
    if kind == "text" and not is_line(value):
        fields.fail(kind, "invalid", f"has an invisible character: {shown(value)}; write it as hex")
        return {}
    try:
        octets = value.encode() if kind == "text" else bytes.fromhex(value)
    except ValueError:
        fields.fail(kind, "invalid", f"must be pairs of hexadecimal digits, not {shown(value)}")
        return {}
    if not PATTERN_OCTETS[0] <= len(octets) <= PATTERN_OCTETS[1]:
        fields.fail(
            kind, "out-of-range", f"is {len(octets)} octets long; {PATTERN_OCTETS[0]} to {PATTERN_OCTETS[1]}"
        )
        return {}
    return {"text": value} if kind == "text" else {"hex": octets.hex()}


def _nat(data: Any, path: str, errors: list[FieldError]) -> dict[str, Any]:
    fields = Fields(data, path, errors, ("block_size", "blocks", "addresses"))
    given = {"blocks": MAX_BLOCKS, "addresses": MAX_ADDRESSES}
    on_demand = {name: fields.integer(name, 0, most, default=0) for name, most in given.items()}
    if on_demand["addresses"] and not on_demand["blocks"]:
        fields.fail("addresses", "invalid", "counts for blocks on demand only: set blocks, how many one may have")
    size = fields.integer("block_size", 0, BLOCK_SIZES[1], default=0)
    if 0 < size < BLOCK_SIZES[0]:
        fields.fail(
            "block_size", "out-of-range", f"must be 0 (the offer's) or {BLOCK_SIZES[0]} to {BLOCK_SIZES[1]}"
        )
    return {"block_size": size, **{name: value for name, value in on_demand.items() if value}}
