# SPDX-License-Identifier: Apache-2.0
"""Rule sets in the words of an SRX: zone policies, addresses and applications, one statement a line.

Called by `drivers.appliance.srx`. Pure. An SRX has no chains of rules, so each rule becomes a policy of its own,
narrowed to the item's traffic; a last policy is the default, and one against the direction denies whoever opens a flow
there. What the item was before it was narrowed is kept beside it in an `apply-macro` of our group, and is believed only
if it would be written exactly as the policies stand there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from drivers.appliance.generated import generated
from drivers.base import Target, Unsupported
from drivers.narrow import intersection
from drivers.state import ANY_PORT, DeviceState, Direction, Key, Kind, Match, Ports, Rule, RuleSet, Verdict

PROTOCOLS = {"tcp": "tcp", "udp": "udp", "sctp": "sctp", "icmp": "icmp", "icmpv6": "icmp6"}
NAME = re.compile(r"SI-c(\d{1,8})r(\d{1,4})([fr])(\d{1,2})s(\d{1,4})")
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
IFNAME = re.compile(r"(?:(?:ge|xe|et)-\d{1,2}/\d{1,2}/\d{1,3}|reth\d{1,3}|ae\d{1,4})(?:\.\d{1,5})?")
_MATCH = re.compile(
    r"(?P<source>\S+) (?P<destination>\S+) (?P<protocol>[a-z0-9]+) (?P<from>\d+-\d+) (?P<to>\d+-\d+) (?P<dscp>-?\d+)"
)
VERDICTS = {Verdict.PERMIT: "permit", Verdict.DENY: "deny"}


def name_of(key: Key) -> str:
    """At most 26 of [A-Za-z0-9-]."""
    return f"SI-c{key.chain}r{key.revision}{key.direction}{key.stage}s{key.index}"


def key_of(name: str) -> Key | None:
    """Of an item's name, or of one of its policies."""
    found = NAME.match(name)
    try:
        chain, revision, direction, stage, index = found.groups() if found else ()
        return Key(int(chain), int(revision), Direction(direction), int(stage), Kind.RULESET, int(index))
    except ValueError:
        return None


def zone_of(target: Target, port: str) -> str:
    """Setting `zone_PORT`. Errors: Unsupported, with what to set."""
    zone = target.settings.get(f"zone_{port}", "")
    if port not in target.ports:
        raise Unsupported(f"{target.name}: there is no port {port!r} in the fabric file")
    if not ZONE.fullmatch(zone):
        raise Unsupported(f"{target.name}: set `zone_{port}` to the name of the security zone of port {port}")
    return zone


def interface_of(target: Target, port: str) -> str:
    """With its unit, 0 if the fabric file does not say. Errors: Unsupported."""
    name = target.ports[port].interface or port
    if not IFNAME.fullmatch(name):
        raise Unsupported(f"{target.name}: port {port} has interface {name!r}; an SRX has ge-0/0/1, xe-, et-, reth0")
    return name if "." in name else f"{name}.0"


def text_of(state: DeviceState, target: Target) -> tuple[str, ...]:
    """The lines of our group, in a fixed order. Errors: Unsupported."""
    found: dict[str, None] = {}
    for part in (_manifest, _objects, _policies):
        for key, item in state.items():
            if not isinstance(item, RuleSet):
                raise Unsupported(f"{target.name}: an SRX cannot hold a {key.kind}")
            found |= dict.fromkeys(part(key, item, target))
    return tuple(found)


def lines_for(key: Key, item: RuleSet, target: Target) -> tuple[str, ...]:
    """All that one item needs, shared objects too. Errors: Unsupported."""
    return text_of(DeviceState({key: item}), target)


# --- what the item was ------------------------------------------------------------------------


def _manifest(key: Key, item: RuleSet, target: Target) -> Iterator[str]:
    root = f"apply-macro {name_of(key)}"
    yield f"{root} inside {item.inside}"
    yield f"{root} outside {item.outside}"
    yield f'{root} traffic "{_said(item.traffic)}"'
    for number, rule in enumerate(item.rules):
        yield f'{root} rule-{number} "{VERDICTS[rule.verdict]} {_said(rule.match)}"'
    yield f"{root} default {VERDICTS[item.default]}"


def _said(match: Match) -> str:
    (a, b), (c, d) = match.source_ports, match.destination_ports
    return f"{match.source} {match.destination} {match.protocol or 'any'} {a}-{b} {c}-{d} {match.dscp}"


def _heard(text: str) -> Match:
    """Errors: ValueError."""
    found = _MATCH.fullmatch(text)
    if found is None:
        raise ValueError(text)
    protocol = "" if found["protocol"] == "any" else found["protocol"]
    return Match(
        found["source"], found["destination"], protocol, _ports(found["from"]), _ports(found["to"]), int(found["dscp"])
    )


def _ports(text: str) -> Ports:
    low, _, high = text.partition("-")
    return int(low), int(high)


def item_of(said: dict[str, str]) -> RuleSet | None:
    """From the parameters of its macro; None if they do not make one."""
    try:
        count = sum(name.startswith("rule-") for name in said)
        rules = [said[f"rule-{number}"].strip('"').split(" ", 1) for number in range(count)]
        return RuleSet(
            _heard(said["traffic"].strip('"')),
            tuple(Rule(Verdict(verdict), _heard(match)) for verdict, match in rules),
            Verdict(said["default"]),
            said["inside"],
            said["outside"],
        )
    except (ValueError, KeyError):
        return None


# --- what realises it -------------------------------------------------------------------------


def parts_of(key: Key, item: RuleSet) -> Iterator[tuple[str, Match, Verdict]]:
    """The policies in the item's direction, in order: name, traffic, verdict."""
    for number, rule in enumerate(item.rules):
        match = intersection(rule.match, item.traffic)
        if match is not None:
            yield f"{name_of(key)}-{number}", match, rule.verdict
    yield f"{name_of(key)}-end", item.traffic, item.default


def _all(key: Key, item: RuleSet, target: Target) -> Iterator[tuple[str, str, Match, Verdict]]:
    inside, outside = zone_of(target, item.inside), zone_of(target, item.outside)
    if inside == outside:
        raise Unsupported(f"{target.name}: ports {item.inside} and {item.outside} must be in two zones")
    for name, match, verdict in parts_of(key, item):
        yield f"from-zone {inside} to-zone {outside}", name, match, verdict
    yield f"from-zone {outside} to-zone {inside}", f"{name_of(key)}-back", item.traffic.reversed(), Verdict.DENY


def rendered(key: Key, item: RuleSet, target: Target) -> None:
    """Errors: Unsupported unless aerleon writes just these policies for an SRX."""
    generated(tuple((verdict, match) for _, _, match, verdict in _all(key, item, target)), "srx", target.name)


def _policies(key: Key, item: RuleSet, target: Target) -> Iterator[str]:
    for pair, name, match, verdict in _all(key, item, target):
        if match.dscp >= 0:
            raise Unsupported(f"{target.name}: an SRX's policies do not see the DSCP that {key} matches")
        root = f"security policies {pair} policy {name}"
        yield f"{root} match source-address {_address(match.source)}"
        yield f"{root} match destination-address {_address(match.destination)}"
        yield f"{root} match application {_application(match)}"
        yield f"{root} then {VERDICTS[verdict]}"


def _objects(key: Key, item: RuleSet, target: Target) -> Iterator[str]:
    for _, _, match, _ in _all(key, item, target):
        for prefix in (match.source, match.destination):
            if not _address(prefix).startswith("any-"):
                yield f"security address-book global address {_address(prefix)} {prefix}"
        if match.protocol:
            root = f"applications application {_application(match)}"
            yield f"{root} protocol {PROTOCOLS[match.protocol]}"
            for keyword, (low, high) in (
                ("source-port", match.source_ports), ("destination-port", match.destination_ports),
            ):  # fmt: skip
                if (low, high) != ANY_PORT:
                    yield f"{root} {keyword} {low if low == high else f'{low}-{high}'}"


def _address(prefix: str) -> str:
    network = ipaddress.ip_network(prefix)
    if not network.prefixlen:
        return f"any-ipv{network.version}"
    return f"SI-{network.version}-{str(network.network_address).replace(':', '-')}_{network.prefixlen}"


def _application(match: Match) -> str:
    if not match.protocol:
        return "any"
    (a, b), (c, d) = match.source_ports, match.destination_ports
    return f"SI-{match.protocol}-{a}-{b}-{c}-{d}"
