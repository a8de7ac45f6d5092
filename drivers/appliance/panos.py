# SPDX-License-Identifier: Apache-2.0
"""Palo Alto PAN-OS firewalls: read and verified, never written.

NAPALM's community driver (napalm-panos 0.7.1) cannot be trusted with a write: it sends `set` lines over SSH without
looking at the answers, commits everybody's candidate, and ignores `revert_in` without a word. So the operator pastes
the text into `configure`, and commits; we read by the XML API, with GET alone, and verify.

aerleon's `paloalto` output is a whole <config>: loaded, it replaces. Our text adds and removes our own objects only;
tests compare it with aerleon's reading of the same policy.

Credential: JSON with user, password (the API key, better of a read-only role), authority_file, port. Settings: `vsys`
(vsys1), `zone_PORT` (the port's name), `steers` (yes: the text has policy-based forwarding too; no), `unverified`.
Sources of those rules: PAN-OS Administrator's Guide, "Create a Policy-Based Forwarding Rule"; `set rulebase pbf rules`
as Cloudflare's and Netskope's guides for PAN-OS print it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from drivers.appliance.policy import (
    Line,
    interface_of,
    is_damaged,
    lines_of,
    names_of,
    parse_name,
    port_of,
    rendered,
    zone_of,
)
from drivers.appliance.steering import THERE, Steer, key_of, names_for, steers_of
from drivers.appliance.verify import Holding, Language, Object, Reach, VerifySession, Wanted
from drivers.base import Capabilities, Driver, Rejected, Target, Unsupported
from drivers.diff import Change, patch
from drivers.state import ANY_PORT, EMPTY, DeviceState, Key, Kind, Match, Verdict
from drivers.transport import panos

CAPS = Capabilities(
    kinds=frozenset({Kind.RULESET}),
    is_atomic=True,
    has_confirmed_commit=False,
    shares_objects=True,
    is_writable=False,
    counts=False,
)
APPLICATIONS = {"icmp": "icmp ping", "icmpv6": "ipv6-icmp ping6"}
PROTOCOLS = {words: protocol for protocol, words in APPLICATIONS.items()}
SERVICE = re.compile(r"SI-(tcp|udp|sctp)-s(\d{1,5})-(\d{1,5})-d(\d{1,5})-(\d{1,5})")
RULE = re.compile(
    r"set rulebase security rules (SI-[a-z0-9-]+) ((?:from|to) [\w.-]+|(?:source|destination) [0-9a-f:./]+|"
    r"application (?:any|\[ [a-z0-9 -]+ \])|service [\w-]+|action (?:allow|drop)|disabled yes|"
    r'description "SI [0-9a-z:./ -]+")'
)
PORTS = re.compile(r"set service (SI-[a-z0-9-]+) protocol (tcp|udp|sctp) (port|source-port) (\d{1,5}-\d{1,5})")
GONE = re.compile(r"delete (rulebase security rules|rulebase pbf rules|service) (SI-[a-z0-9-]+)")
STEER = re.compile(
    r"set rulebase pbf rules (SI-[a-z0-9-]+) (from interface [\w./-]+|(?:source|destination) [0-9a-f:./]+|"
    r"application any|service [\w-]+|action forward (?:egress-interface [\w./-]+|nexthop ip-address [0-9a-f:.]+)|"
    r"enforce-symmetric-return (?:enabled yes|nexthop-address-list [0-9a-f:.]+))"
)
INTERFACE = re.compile(r"(?:ethernet\d{1,2}/\d{1,2}|ae\d{1,2})(?:\.\d{1,4})?")
KINDS = {"rulebase security rules": "rule", "rulebase pbf rules": "steer", "service": "service"}


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Lines of `configure` mode: what goes, then services, then rules in order. Errors: Unsupported."""
    if not changes:
        return ""
    for change in changes:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a PAN-OS appliance cannot hold a {change.key.kind}")
    keys = frozenset(change.key for change in changes)
    after = patch(target.held, changes)
    return _text(target.held, after, keys, rendered(lines_of(after, target), keys, "paloalto", target), target)


def makes(state: DeviceState, target: Target) -> Wanted:
    """Errors: Unsupported."""
    return parse(_text(EMPTY, state, frozenset(state), lines_of(state, target), target), target)


def _text(
    held: DeviceState, after: DeviceState, keys: frozenset[Key], new: Iterable[Line], target: Target
) -> str:
    """new: the lines of these keys that are there afterwards. Errors: Unsupported."""
    steers = [one for one in steers_of(after, target) if key_of(one.name) in keys]
    before, then = _services(held, target), _services(after, target)
    lines = [f"delete rulebase pbf rules {name}" for name in _old_steers(held, keys, target)]
    lines += [f"delete rulebase security rules {name}" for name in sorted(names_of(held, target, keys))]
    lines += [f"delete service {name}" for name in sorted(before - then)]
    for name in sorted(then - before):
        lines += _service_lines(name)
    lines += [f"set rulebase security rules {line.name} {said}" for line in new for said in attributes(line, target)]
    # Replies go back by themselves: `enforce-symmetric-return`.
    forward = (one for one in steers if one.name.endswith(THERE))
    lines += [f"set rulebase pbf rules {one.name} {said}" for one in forward for said in steering(one, target)]
    return "".join(f"{line}\n" for line in lines)


def _old_steers(held: DeviceState, keys: frozenset[Key], target: Target) -> list[str]:
    """Those that stand, or may stand, there."""
    may = {names_for(key)[0] for key, item in held.items() if key in keys and is_damaged(item)}
    return sorted(may | {one.name for one in steers_of(held, target) if key_of(one.name) in keys} - _replies(keys))


def _replies(keys: frozenset[Key]) -> set[str]:
    return {names_for(key)[1] for key in keys}


def steering(one: Steer, target: Target) -> Iterator[str]:
    """What a redirect rule says. By interface, as replies are held to the way back only there. Errors: Unsupported."""
    if one.match.protocol in APPLICATIONS:
        raise Unsupported(f"{target.name}: a redirect rule of PAN-OS cannot tell {one.match.protocol} from the rest")
    for port in (one.ingress, one.egress):
        if INTERFACE.fullmatch(interface_of(target, port)) is None:
            raise Unsupported(f"{target.name}: port {port} needs its `interface` in the fabric file, as ethernet1/1")
    yield f"from interface {interface_of(target, one.ingress)}"
    yield f"source {one.match.source}"
    yield f"destination {one.match.destination}"
    yield "application any"
    yield f"service {service(one.match) or 'any'}"
    yield f"action forward egress-interface {interface_of(target, one.egress)}"
    yield f"action forward nexthop ip-address {one.hop}"
    yield "enforce-symmetric-return enabled yes"
    yield f"enforce-symmetric-return nexthop-address-list {one.back}"


def attributes(line: Line, target: Target) -> list[str]:
    """What the rule says, one setting a line. Never `any` for an address: it would be both families."""
    match = line.match
    return [
        f"from {zone_of(target, line.inside)}",
        f"to {zone_of(target, line.outside)}",
        f"source {match.source}",
        f"destination {match.destination}",
        f"application [ {APPLICATIONS[match.protocol]} ]" if match.protocol in APPLICATIONS else "application any",
        f"service {service(match) or 'any'}",
        f"action {'allow' if line.verdict is Verdict.PERMIT else 'drop'}",
        f'description "{line.said}"',
        *(["disabled yes"] if line.is_off else []),
    ]


def service(match: Match) -> str:
    """The name of the service object, "" if none is needed."""
    if match.protocol not in ("tcp", "udp", "sctp"):
        return ""
    (low, high), (to_low, to_high) = match.source_ports, match.destination_ports
    return f"SI-{match.protocol}-s{low}-{high}-d{to_low}-{to_high}"


def _services(state: DeviceState, target: Target) -> set[str]:
    """Those of the rules; a redirect rule's is one of them: the last rule's."""
    return {name for line in lines_of(state, target) if (name := service(line.match))}


def _service_lines(name: str) -> Iterator[str]:
    found = SERVICE.fullmatch(name)
    assert found is not None, name
    protocol, low, high, to_low, to_high = found.groups()
    yield f"set service {name} protocol {protocol} port {to_low}-{to_high}"
    if (int(low), int(high)) != ANY_PORT:
        yield f"set service {name} protocol {protocol} source-port {low}-{high}"


def parse(native: str, target: Target) -> Wanted:
    """Errors: Rejected for a line that `render` does not write."""
    there: dict[Object, set[str]] = {}
    gone: set[Object] = set()
    for number, line in enumerate(native.removesuffix("\n").split("\n"), start=1):
        rule, ports, steer = (pattern.fullmatch(line) for pattern in (RULE, PORTS, STEER))
        if rule and parse_name(rule[1]):
            there.setdefault(("rule", rule[1]), set()).add(rule[2].replace('"', ""))
        elif ports and SERVICE.fullmatch(ports[1]):
            there.setdefault(("service", ports[1]), set()).add(f"{ports[2]} {ports[3]} {ports[4]}")
        elif steer and key_of(steer[1]):
            there.setdefault(("steer", steer[1]), set()).add(steer[2])
        elif (found := GONE.fullmatch(line)) and _is_ours(KINDS[found[1]], found[2]):
            gone.add((KINDS[found[1]], found[2]))
        else:
            said = f"line {number} is nothing that this driver writes: {line[:80]!r}"
            raise Rejected(f"{target.name}: {said}")
    return Wanted({one: frozenset(said) for one, said in there.items()}, frozenset(gone - there.keys()))


def _is_ours(kind: str, name: str) -> bool:
    if kind == "service":
        return SERVICE.fullmatch(name) is not None
    return (parse_name(name) if kind == "rule" else key_of(name)) is not None


def line_of(name: str, said: frozenset[str], target: Target) -> Line:
    """Errors: ValueError for a setting that nobody here writes."""
    values = dict(one.split(" ", 1) for one in said)
    unknown = values.keys() - {
        "from", "to", "source", "destination", "application", "service", "action", "description", "disabled",
    }  # fmt: skip
    if unknown or len(values) != len(said):
        raise ValueError(f"{', '.join(sorted(unknown)) or 'a setting with two values'}")
    named = SERVICE.fullmatch(values.get("service", ""))
    protocol, ports = "", (ANY_PORT, ANY_PORT)
    if named:
        low, high, to_low, to_high = map(int, named.groups()[1:])
        protocol, ports = named[1], ((low, high), (to_low, to_high))
    elif values.get("service") != "any":
        raise ValueError(f"service {values.get('service')}")
    application = values.get("application", "").strip("[] ")
    if application != "any":
        protocol = PROTOCOLS.get(application) or _unknown(f"application {application}")
    match = Match(values.get("source", ""), values.get("destination", ""), protocol, *ports)
    verdict = Verdict.PERMIT if values.get("action") == "allow" else Verdict.DENY
    inside, outside = (port_of(target, values.get(end, "")) for end in ("from", "to"))
    return Line(name, inside, outside, verdict, match, values.get("description", ""), values.get("disabled") == "yes")


def _unknown(said: str) -> str:
    raise ValueError(said)


def zones(said: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """From and to which zones."""
    source, destination = (
        frozenset(word for one in said if one.startswith(end) for word in one.split()[1:]) for end in ("from ", "to ")
    )
    return source, destination


def reach(said: frozenset[str]) -> Reach:
    values = [one.split() for one in said]
    ends = frozenset(word for words in values if words[0] == "from" for word in words[2:])
    sources, destinations = (
        frozenset(word for words in values if words[0] == end for word in words[1:] if word != "any")
        for end in ("source", "destination")
    )
    return Reach(ends, sources, destinations)


LANGUAGE = Language(
    parse=parse,
    line=line_of,
    zones=zones,
    is_off=lambda said: "disabled yes" in said,
    makes=makes,
    reach=reach,
    how="Paste this in `configure` mode and give `commit`",
)


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[VerifySession]:
    """Errors: Transient, Rejected."""
    with panos.connected(target, timeout_s) as api:

        def look() -> Holding:
            running, waiting = api.rulebase("show"), api.rulebase("get")
            return Holding(
                objects=running.objects,
                order=running.order,
                zones=api.zones(),
                routes=api.routes(),
                links=api.links(),
                waiting=waiting.objects,
                steers=running.steers,
            )

        yield VerifySession(target, look, LANGUAGE)


DRIVER = Driver(name="panos", caps=CAPS, render=render, open=open_session)
