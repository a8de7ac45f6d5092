# SPDX-License-Identifier: Apache-2.0
"""Fortinet FortiOS firewalls (6.4 and later: one policy for both families): read and verified, never written.

NAPALM's community driver (napalm-fortigate 0.2.2) cannot be trusted with a write: its rollback and its replace reboot
the unit, and its comparison is no difference. So the operator pastes the text at the command line; we read by the REST
API, with GET alone, and verify.

aerleon's `fortigate` output numbers policies from 1 (the operator's own), leaves `set action` out for a denial and
names objects after its own tokens. Our policies have numbers of their own, far up, made from their names.

Credential: JSON with user, password (a REST API token, read-only), authority_file, port. Settings: `vdom` (root),
`zone_PORT` (zone or interface that the policies name; the port's name), `steers` (yes: policy routes too; no),
`unverified`.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from drivers.appliance import fortios_routes
from drivers.appliance.policy import Line, lines_of, names_of, parse_name, port_of, rendered, zone_of
from drivers.appliance.steering import key_of
from drivers.appliance.verify import Holding, Language, Object, VerifySession, Wanted
from drivers.base import Capabilities, Driver, Rejected, Target, Unsupported
from drivers.diff import Change, patch
from drivers.state import ANY_PORT, EMPTY, DeviceState, Key, Kind, Match, Verdict
from drivers.transport import fortios

CAPS = Capabilities(
    kinds=frozenset({Kind.RULESET}),
    is_atomic=False,
    has_confirmed_commit=False,
    shares_objects=True,
    is_writable=False,
    counts=False,
)
FIRST_ID, IDS = 1_000_000_000, 1_000_000_000
SERVICE = re.compile(r"SI-(tcp|udp|sctp)-s(\d{1,5})-(\d{1,5})-d(\d{1,5})-(\d{1,5})|SI-(icmp|icmpv6)")
ADDRESS = re.compile(r"SI-([0-9a-f.:]+)_(\d{1,3})")
TABLES = {
    "config firewall policy": "rule",
    "config firewall address": "address",
    "config firewall address6": "address6",
    "config firewall service custom": "service",
    "config router policy": "steer",
    "config router policy6": "steer6",
}
VALUE = {
    "steer": fortios_routes.VALUE,
    "steer6": fortios_routes.VALUE,
    "rule": r'name "SI-[a-z0-9-]+"|(?:src|dst)intf "[\w.-]+"|(?:src|dst)addr6? "SI-[0-9a-f.:_]+"|'
    r'action (?:accept|deny)|schedule "always"|service "(?:ALL|SI-[a-z0-9-]+)"|comments "SI [0-9a-z:./ -]+"|'
    r"status disable",
    "address": r"subnet [0-9.]+ [0-9.]+",
    "address6": r"ip6 [0-9a-f:]+/\d{1,3}",
    "service": r"protocol (?:TCP/UDP/SCTP|ICMP6?)|(?:tcp|udp|sctp)-portrange \d{1,5}-\d{1,5}(?::\d{1,5}-\d{1,5})?",
}
IDENTITY = {"rule": re.compile(r"\d{10}"), "address": ADDRESS, "address6": ADDRESS, "service": SERVICE} | dict.fromkeys(
    ("steer", "steer6"), re.compile(r"[1-9]\d{0,4}")
)


def render(changes: tuple[Change, ...], target: Target) -> str:
    """What the command line takes: policies that go, objects, then policies in order. Errors: Unsupported."""
    if not changes:
        return ""
    for change in changes:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a FortiOS appliance cannot hold a {change.key.kind}")
    keys = frozenset(change.key for change in changes)
    after = patch(target.held, changes)
    return _text(target.held, after, keys, rendered(lines_of(after, target), keys, "fortigate", target), target)


def makes(state: DeviceState, target: Target) -> Wanted:
    """Errors: Unsupported."""
    native = _text(EMPTY, state, frozenset(state), lines_of(state, target), target)
    return parse(native, target)


def _text(
    held: DeviceState, after: DeviceState, keys: frozenset[Key], new: Iterable[Line], target: Target
) -> str:
    """new: the lines of these keys that are there afterwards. Errors: Unsupported."""
    lines = lines_of(after, target)
    if len({policy_id(line.name) for line in lines}) < len(lines):
        raise Unsupported(f"{target.name}: two policies would have one number; give one chain another name")
    old = sorted(map(policy_id, names_of(held, target, keys)))
    gone, brought = fortios_routes.tables(held, after, keys, target)
    text = "".join(_table(kind, rows) for kind, rows in gone.items())
    text += _table("rule", [f"    delete {number}" for number in old])
    before, then = _objects(lines_of(held, target)), _objects(lines)
    for kind in ("address", "address6", "service"):
        rows = [f'    delete "{name}"' for name in sorted(name for table, name in before - then if table == kind)]
        for name in sorted(name for table, name in then - before if table == kind):
            rows += [f'    edit "{name}"', *(f"        set {one}" for one in _object_lines(name)), "    next"]
        text += _table(kind, rows)
    rows = []
    for line in new:
        said = (f"        set {one}" for one in attributes(line, target))
        rows += [f"    edit {policy_id(line.name)}", *said, "    next"]
    text += _table("rule", rows)
    return text + "".join(_table(kind, rows) for kind, rows in brought.items())


def _table(kind: str, lines: list[str]) -> str:
    opens = next(line for line, one in TABLES.items() if one == kind)
    return "\n".join([opens, *lines, "end", ""]) if lines else ""


def policy_id(name: str) -> int:
    """Far from the operator's, the same on every device."""
    return FIRST_ID + zlib.crc32(name.encode()) % IDS


def attributes(line: Line, target: Target) -> list[str]:
    match = line.match
    six = "6" if match.family == 6 else ""
    return [
        f'name "{line.name}"',
        f'srcintf "{zone_of(target, line.inside)}"',
        f'dstintf "{zone_of(target, line.outside)}"',
        f'srcaddr{six} "{address(match.source)}"',
        f'dstaddr{six} "{address(match.destination)}"',
        f"action {'accept' if line.verdict is Verdict.PERMIT else 'deny'}",
        'schedule "always"',
        f'service "{service(match)}"',
        f'comments "{line.said}"',
        *(["status disable"] if line.is_off else []),
    ]


def address(prefix: str) -> str:
    return "SI-" + prefix.replace("/", "_")


def service(match: Match) -> str:
    if match.protocol not in ("tcp", "udp", "sctp"):
        return f"SI-{match.protocol}" if match.protocol else "ALL"
    (low, high), (to_low, to_high) = match.source_ports, match.destination_ports
    return f"SI-{match.protocol}-s{low}-{high}-d{to_low}-{to_high}"


def _objects(lines: tuple[Line, ...]) -> set[Object]:
    found: set[Object] = set()
    for line in lines:
        kind = "address6" if line.match.family == 6 else "address"
        found |= {(kind, address(line.match.source)), (kind, address(line.match.destination))}
        found.add(("service", service(line.match)))
    return found - {("service", "ALL")}


def _object_lines(name: str) -> Iterator[str]:
    """Of an address or a service, from its name alone."""
    found = ADDRESS.fullmatch(name)
    if found is not None:
        network = ipaddress.ip_network(f"{found[1]}/{found[2]}")
        is_four = isinstance(network, ipaddress.IPv4Network)
        yield f"subnet {network.network_address} {network.netmask}" if is_four else f"ip6 {network}"
        return
    named = SERVICE.fullmatch(name)
    assert named is not None, name
    if named[6]:
        yield f"protocol {'ICMP' if named[6] == 'icmp' else 'ICMP6'}"
        return
    yield "protocol TCP/UDP/SCTP"
    source = f":{named[2]}-{named[3]}" if (int(named[2]), int(named[3])) != ANY_PORT else ""
    yield f"{named[1]}-portrange {named[4]}-{named[5]}{source}"


def parse(native: str, target: Target) -> Wanted:
    """Errors: Rejected for a line that `render` does not write."""
    there: dict[Object, frozenset[str]] = {}
    gone: set[Object] = set()
    kind, name, said = "", "", set[str]()
    for number, line in enumerate(native.removesuffix("\n").split("\n"), start=1):
        word, _, rest = line.strip(" ").partition(" ")
        value = rest.strip('"')
        is_named = bool(kind) and IDENTITY[kind].fullmatch(value) is not None
        if not kind and line in TABLES:
            kind = TABLES[line]
        elif kind and not name and line == "end":
            kind = ""
        elif is_named and not name and line in (f"    {word} {value}", f'    {word} "{value}"') and word == "delete":
            gone.add(("number", value) if kind == "rule" else fortios_routes.place(kind, value))
        elif is_named and not name and word == "edit" and line.startswith("    edit "):
            name, said = value, set()
        elif name and word == "set" and re.fullmatch(VALUE[kind], rest) and line == f"        set {rest}":
            said.add(rest.replace('"', ""))
        elif name and line == "    next":
            there |= _made(kind, name, said)
            name = ""
        else:
            raise Rejected(f"{target.name}: line {number} is nothing that this driver writes: {line[:80]!r}")
    known = {"rule": parse_name, "steer": key_of}
    if kind or any(one in known and known[one](named) is None for one, named in there):
        raise Rejected(f"{target.name}: the text is nothing that this driver writes")
    return Wanted(there, frozenset(gone - there.keys()))


def _made(kind: str, name: str, said: set[str]) -> dict[Object, frozenset[str]]:
    """A rule is known by its name, and holds its number; the number is an object too, which somebody may have."""
    if kind in ("steer", "steer6"):
        return fortios_routes.made(kind, name, said)
    if kind != "rule":
        return {(kind, name): frozenset(said)}
    named = next((one.removeprefix("name ") for one in said if one.startswith("name ")), "")
    rest = {one for one in said if not one.startswith("name ")}
    return {("rule", named): frozenset({*rest, f"policyid {name}"}), ("number", name): frozenset({named})}


def line_of(name: str, said: frozenset[str], target: Target) -> Line:
    """Errors: ValueError for a setting that nobody here writes."""
    values = dict(one.split(" ", 1) for one in said)
    known = {"srcintf", "dstintf", "srcaddr", "dstaddr", "srcaddr6", "dstaddr6", "action", "schedule", "service"}
    unknown = values.keys() - known - {"comments", "status", "policyid"}
    if unknown or values.get("schedule") != "always" or values.get("policyid") != str(policy_id(name)):
        raise ValueError(", ".join(sorted(unknown)) or "the schedule or the number")
    ends = [ADDRESS.fullmatch(values.get(one, values.get(f"{one}6", ""))) for one in ("srcaddr", "dstaddr")]
    source, destination = (f"{one[1]}/{one[2]}" if one else "" for one in ends)
    if values["service"] == "ALL":
        protocol, ports = "", (ANY_PORT, ANY_PORT)
    else:
        named = SERVICE.fullmatch(values["service"])
        if named is None:
            raise ValueError(f"service {values['service']}")
        protocol, ports = named[6] or named[1], (ANY_PORT, ANY_PORT)
        if not named[6]:
            low, high, to_low, to_high = map(int, named.groups()[1:5])
            ports = ((low, high), (to_low, to_high))
    match = Match(source, destination, protocol, *ports)
    verdict = Verdict.PERMIT if values.get("action") == "accept" else Verdict.DENY
    inside, outside = (port_of(target, values.get(end, "")) for end in ("srcintf", "dstintf"))
    is_off = values.get("status") == "disable"
    return Line(name, inside, outside, verdict, match, values.get("comments", ""), is_off)


def zones(said: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """From and to which interfaces or zones."""
    source, destination = (
        frozenset(word for one in said if one.startswith(f"{end} ") for word in one.split()[1:])
        for end in ("srcintf", "dstintf")
    )
    return source, destination


LANGUAGE = Language(
    parse=parse,
    line=line_of,
    zones=zones,
    is_off=lambda said: "status disable" in said,
    makes=makes,
    reach=fortios_routes.reach,
    how="Paste this at the command line",
)


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[VerifySession]:
    """Errors: Transient, Rejected."""
    with fortios.connected(target, timeout_s) as api:

        def look() -> Holding:
            objects, order = api.policy()
            steers, numbered = api.steers()
            return Holding(
                {**objects, **steers}, order, api.zones(), api.routes(), api.links(), steers=tuple(numbered)
            )

        yield VerifySession(target, look, LANGUAGE)


DRIVER = Driver(name="fortios", caps=CAPS, render=render, open=open_session)
