# SPDX-License-Identifier: Apache-2.0
"""Palo Alto PAN-OS firewalls: read and verified, never written.

NAPALM's community driver (napalm-panos 0.7.1) cannot be trusted with a write: it sends `set` lines over SSH without
looking at the answers, commits everybody's candidate, and ignores `revert_in` without a word. So the operator pastes
the text into `configure`, and commits; we read by the XML API, with GET alone, and verify.

aerleon's `paloalto` output is a whole <config>: loaded, it replaces. Our text adds and removes our own objects only;
tests compare it with aerleon's reading of the same policy.

Credential: JSON with user, password (the API key, better of a read-only role), authority_file, port. Settings: `vsys`
(vsys1), `zone_PORT` (the port's name), `unverified`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.appliance.policy import Line, lines_of, names_of, parse_name, port_of, rendered, zone_of
from drivers.appliance.verify import Holding, Language, Object, VerifySession, Wanted
from drivers.base import Capabilities, Driver, Rejected, Target, Unsupported
from drivers.diff import Change, patch
from drivers.state import ANY_PORT, Kind, Match, Verdict
from drivers.transport import panos

CAPS = Capabilities(
    kinds=frozenset({Kind.RULESET}),
    is_atomic=True,
    has_confirmed_commit=False,
    shares_objects=True,
    is_writable=False,
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
GONE = re.compile(r"delete (?:rulebase security rules|service) (SI-[a-z0-9-]+)")


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Lines of `configure` mode: what goes, then services, then rules in order. Errors: Unsupported."""
    if not changes:
        return ""
    for change in changes:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a PAN-OS appliance cannot hold a {change.key.kind}")
    held = lines_of(target.held, target)
    after = lines_of(patch(target.held, changes), target)
    keys = frozenset(change.key for change in changes)
    old = sorted(names_of(target.held, target, keys))
    new = rendered(after, keys, "paloalto", target)
    before, then = _services(held), _services(after)
    lines = [f"delete rulebase security rules {name}" for name in old]
    lines += [f"delete service {name}" for name in sorted(before - then)]
    for name in sorted(then - before):
        lines += _service_lines(name)
    lines += [f"set rulebase security rules {line.name} {said}" for line in new for said in attributes(line, target)]
    return "".join(f"{line}\n" for line in lines)


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


def _services(lines: tuple[Line, ...]) -> set[str]:
    return {name for line in lines if (name := service(line.match))}


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
        rule, ports, removed = (pattern.fullmatch(line) for pattern in (RULE, PORTS, GONE))
        name = next((found[1] for found in (rule, ports, removed) if found), "")
        if not name or (parse_name(name) is None) is (SERVICE.fullmatch(name) is None):
            said = f"line {number} is nothing that this driver writes: {line[:80]!r}"
            raise Rejected(f"{target.name}: {said}")
        if rule:
            there.setdefault(("rule", name), set()).add(rule[2].replace('"', ""))
        elif ports:
            there.setdefault(("service", name), set()).add(f"{ports[2]} {ports[3]} {ports[4]}")
        else:
            gone.add(("service" if SERVICE.fullmatch(name) else "rule", name))
    return Wanted({one: frozenset(said) for one, said in there.items()}, frozenset(gone - there.keys()))


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


LANGUAGE = Language(
    parse=parse,
    line=line_of,
    zones=zones,
    is_off=lambda said: "disabled yes" in said,
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
            )

        yield VerifySession(target, look, LANGUAGE)


DRIVER = Driver(name="panos", caps=CAPS, render=render, open=open_session)
