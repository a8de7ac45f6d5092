# SPDX-License-Identifier: Apache-2.0
"""What the emulated Junos refuses at commit: names that lead nowhere, statements that exclude each other.

Used by `lab.devices.junos` on the configuration in force (groups inherited). Pure. Sources: the error texts in
Juniper's guides named at each rule.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.devices.junos_config import Config

FAMILIES = ("family inet", "family inet6")
PREDEFINED = {"any", "any-ipv4", "any-ipv6"}


def below(config: Config, *path: str) -> Config:
    for head in path:
        config = config.get(head, {})
    return config


def named(config: Config, keyword: str) -> list[str]:
    """The keys, or values, of this keyword, in order."""
    return [head.split(" ", 1)[1] for head in config if head.startswith(f"{keyword} ")]


def errors(config: Config) -> Iterator[str]:
    """Of a configuration in force, in the box's order."""
    yield from _filters(config)
    yield from _interfaces(config)
    yield from _instances(config)
    yield from _security(config)


def _filters(config: Config) -> Iterator[str]:
    """FW: "Example: Configuring Filter-Based Forwarding": the instance must exist when the filter is committed."""
    for family in FAMILIES:
        for filter_, inside in below(config, "firewall", family).items():
            for term, parts in inside.items():
                for instance in named(below(parts, "then"), "routing-instance"):
                    if instance not in below(config, "routing-instances") and instance != "default":
                        yield f"Referenced routing-instance '{instance}' in '{filter_} {term}' must be defined"


def _interfaces(config: Config) -> Iterator[str]:
    """IF: "802.1Q VLANs Overview"; FW: "Filter Lists" (input and input-list exclude each other)."""
    for name, interface in below(config, "interfaces").items():
        is_tagged = "vlan-tagging" in interface or "flexible-vlan-tagging" in interface
        for unit in named(interface, "unit"):
            inside = interface[f"unit {unit}"]
            if named(inside, "vlan-id") and not is_tagged:
                yield f"interfaces {name} unit {unit}: VLAN-ID can only be specified on tagged interfaces"
            if is_tagged and not named(inside, "vlan-id") and "flexible-vlan-tagging" not in interface:
                yield f"interfaces {name} unit {unit}: VLAN-ID must be specified on tagged ethernet interfaces"
            for family in FAMILIES:
                used = below(inside, family, "filter")
                lists, single = named(used, "input-list"), named(used, "input")
                if lists and single:
                    yield f"interfaces {name} unit {unit} {family}: 'input' and 'input-list' are mutually exclusive"
                for filter_ in lists + single:
                    if f"filter {filter_}" not in below(config, "firewall", family):
                        yield f"Referenced filter '{filter_}' is not defined"


def _instances(config: Config) -> Iterator[str]:
    """RI: "an interface belongs to one instance only"; RT: instance-import takes policies that exist."""
    seen: dict[str, str] = {}
    policies = named(below(config, "policy-options"), "policy-statement")
    for name, instance in below(config, "routing-instances").items():
        if not named(instance, "instance-type"):
            yield f"routing-instances {name}: missing mandatory statement: 'instance-type'"
        for unit in named(instance, "interface"):
            interface, _, number = unit.partition(".")
            if unit in seen:
                yield f"Interface {unit} is in {seen[unit]} and {name}"
            seen[unit] = name
            if f"unit {number}" not in below(config, "interfaces", interface):
                yield f"RT Instance: Interface {unit} not configured"
        for policy in named(below(instance, "routing-options"), "instance-import"):
            if policy not in policies:
                yield f"Policy error: Policy {policy} referenced but not defined"
    yield from _imports(config, policies)


def _imports(config: Config, policies: list[str]) -> Iterator[str]:
    """FW: "Routing Policy Match Conditions": an instance that is named must exist."""
    for policy in policies:
        for term in below(config, "policy-options", f"policy-statement {policy}").values():
            for instance in named(below(term, "from"), "instance"):
                if instance not in below(config, "routing-instances") and instance != "master":
                    yield f"Policy error: instance {instance} referenced in {policy} but not defined"


def _security(config: Config) -> Iterator[str]:
    """SEC: "Configuring Security Policies": zones, addresses and applications must exist, all of match is needed."""
    security = below(config, "security")
    addresses = set(named(below(security, "address-book global"), "address")) | PREDEFINED
    applications = set(named(below(config, "applications"), "application")) | {"any"}
    zones = set(named(below(security, "zones"), "security-zone"))
    yield from _zones(below(security, "zones"))
    for pair, policies in below(security, "policies").items():
        if not pair.startswith("from-zone "):
            continue
        for zone in pair.removeprefix("from-zone ").split(" to-zone "):
            if zone not in zones:
                yield f"Security zone {zone} must be defined"
        for policy, parts in policies.items():
            yield from _policy(f"{pair} {policy}", parts, addresses, applications)


def _zones(zones: Config) -> Iterator[str]:
    """SEC: "an interface is in one zone only"."""
    used: dict[str, str] = {}
    for zone in sorted(named(zones, "security-zone")):
        for unit in below(zones, f"security-zone {zone}", "interfaces"):
            if unit in used:
                yield f"Interface {unit} is in zones {used[unit]} and {zone}"
            used[unit] = zone


def _policy(name: str, parts: Config, addresses: set[str], applications: set[str]) -> Iterator[str]:
    match, then = below(parts, "match"), below(parts, "then")
    for keyword, known in (
        ("source-address", addresses), ("destination-address", addresses), ("application", applications),
    ):  # fmt: skip
        if not named(match, keyword):
            yield f"{name}: missing mandatory statement: '{keyword}'"
        yield from (f"{name}: {keyword} '{one}' is not defined" for one in named(match, keyword) if one not in known)
    if ("permit" in then) == ("deny" in then):
        yield f"{name}: one of permit and deny is needed"
