# SPDX-License-Identifier: Apache-2.0
"""The `junos` driver: filter-based forwarding on Juniper routers and switches, over NETCONF with NAPALM.

Settings: `global_vrf` (the fabric's name of the device's own table), `crossings` and `crossings6` (see `tables`),
`unverified: yes`. Credential: see `drivers.transport.vendor`. A port's interface is unit 0 of its `interface`; a
crossing is the unit of its tag, so a port that carries stage tags needs `flexible-vlan-tagging`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from drivers import junos_lines
from drivers.base import LINES, SHADOWS, Capabilities, Driver, Fails, Limit, Rejected, Session, Target
from drivers.box import BoxSession, Reading, Syntax
from drivers.diff import Change, patch
from drivers.junos_lines import APPLY, GROUP, MARKER, body_of, lines_of, ours, theirs, written
from drivers.state import EMPTY, DeviceState, Key, Kind
from drivers.switch.counted import of_tables
from drivers.switch.flows import torn
from drivers.switch.junos_parse import read as read_lines
from drivers.switch.junos_text import size_of, text_of, with_doors
from drivers.switch.tables import Place, parse_name, tables_of
from drivers.transport import junos as transport

CAPS = Capabilities(
    kinds=frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS}),
    is_atomic=True,
    has_confirmed_commit=True,
    tags=frozenset({"vlan"}),
    is_routed=True,
    shares_objects=True,
    has_lock=True,
    buckets=frozenset({"prefix"}),
    when_dead=Fails.DROP,
    limits=(Limit(LINES, None, "terms; the line card's filter memory decides: `show pfe filter hw summary`"),),
)
_FILTERED = re.compile(r"interfaces (\S+) unit (\d+) family inet(6?) filter (?:input|input-list) (\S+)")
_OUR_UNIT = re.compile(r"interfaces (\S+) unit (\d+) ")
_ATTACH = re.compile(r"interfaces (\S+) unit 0 family inet(6?) filter input-list (SI-t-\S+)-[46]")
_OBJECT = re.compile(r"(?:firewall family \S+ filter|policy-options policy-statement|routing-instances) (\S+)")


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Errors: Unsupported."""
    if not changes:
        return ""
    # What a change starts from is held, whoever read it.
    started = {one.key: one.before for one in changes if one.before is not None and one.key not in target.held}
    return written(text_of(tables_of(patch({**target.held, **started}, changes), target), target))


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`. Errors: Unsupported."""
    whole = DeviceState({key: item for key, item in state.items() if item != torn(key.kind)})
    return of_tables(with_doors(tables_of(whole, target)), target, size_of)


def check(native: str, target: Target) -> None:
    """Errors: Rejected, unless `render` writes exactly this for some items."""
    body = body_of(native, target.name)
    found = read_lines(body, target)
    if any(item == torn(key.kind) for key, item in found.items()) or text_of(tables_of(found, target), target) != body:
        raise Rejected(f"{target.name}: the native text is not what this driver writes for any items")


def read(running: str, target: Target) -> Reading:
    """Errors: Rejected, for unknown text in our group."""
    lines = lines_of(running)
    mine, others = ours(lines), theirs(lines)
    foreign = len({found[0] for line in others if (found := _OBJECT.match(line))})
    if mine and MARKER not in mine:
        return Reading(EMPTY, (f"{SHADOWS}groups {GROUP} without {MARKER!r}: it is not ours",), foreign)
    body = tuple(line for line in mine if line != MARKER)
    state = read_lines(body, target, lambda place: _vrf_of(others, place, target))
    if APPLY not in lines:
        state = DeviceState({key: torn(key.kind) for key in state})
    return Reading(state, tuple(f"{SHADOWS}{line}" for line in _in_the_way(others, body, target)), foreign)


def _vrf_of(others: tuple[str, ...], place: Place, target: Target) -> str:
    """In which instance the operator has put the untagged interface, "" for the device's own table."""
    port = target.ports.get(place[0])
    suffix = f" interface {port.interface or port.name}.0" if port else " "
    found = (line for line in others if line.startswith("routing-instances ") and line.endswith(suffix))
    return next((line.split(" ")[1] for line in found), "")


def _in_the_way(others: tuple[str, ...], body: tuple[str, ...], target: Target) -> Iterator[str]:
    """The operator's lines that take precedence over our group's."""
    attached = {found.groups()[:2] for line in body if (found := _ATTACH.fullmatch(line))}
    units = {found.groups() for line in body if (found := _OUR_UNIT.match(line)) and found[2] != "0"}
    for line in others:
        filtered = _FILTERED.fullmatch(line)
        is_unit = (found := _OUR_UNIT.match(line)) is not None and found.groups() in units
        is_filter = filtered is not None and filtered[2] == "0" and (filtered[1], filtered[3]) in attached
        is_named = re.search(r" SI-[tch]\S*", line) is not None
        is_off = GROUP in line and ("apply-groups-except " in line or "inactive: " in line)
        if is_filter or is_unit or is_named or is_off:
            yield line


def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
    """What is in the way, one line each."""
    lines = lines_of(running)
    mine, others = ours(lines), theirs(lines)
    body = body_of(native, target.name)
    found = []
    if mine and MARKER not in mine:
        found.append(f"the configuration group {GROUP} is not ours (it lacks {MARKER!r}); rename it")
    for line in _in_the_way(others, body, target):
        found.append(f"{line!r} is the operator's and would win over ours; remove it")
    return tuple(dict.fromkeys(found))


def needs(running: str, native: str, target: Target) -> tuple[str, ...]:
    """Each with the exact line to add."""
    return tuple(dict.fromkeys(_missing(theirs(lines_of(running)), body_of(native, target.name), target)))


def _missing(others: tuple[str, ...], body: tuple[str, ...], target: Target) -> Iterator[str]:
    present = set(others)
    instances = {line.split(" ")[1] for line in others if line.startswith("routing-instances ")}
    for line in body:
        if found := _OUR_UNIT.match(line):
            name, unit = found.groups()
            tagged = {f"interfaces {name} {word}" for word in ("vlan-tagging", "flexible-vlan-tagging")}
            if unit != "0" and not tagged & present:
                yield f"{name} carries no tags: set interfaces {name} flexible-vlan-tagging"
        if found := _ATTACH.fullmatch(line):
            root = f"interfaces {found[1]} unit 0 family inet{found[2]}"
            if not any(one == root or one.startswith(f"{root} ") for one in others):
                yield f"{found[1]} does not route this family: set {root}"
        if (found := re.fullmatch(r"routing-instances (\S+) interface \S+", line)) and found[1] not in instances:
            yield f"there is no VRF {found[1]}: set routing-instances {found[1]} instance-type virtual-router"
    yield from _wrong_vrfs(others, body, target)


def _wrong_vrfs(others: tuple[str, ...], body: tuple[str, ...], target: Target) -> Iterator[str]:
    """An untagged port must be in the VRF that its chains mean: where they enter, and where a next hop is."""
    names = {name: (name, 0) for name in target.ports}
    for line in body:
        meant = re.fullmatch(r"firewall .* filter SI-t-(\S+)-0-[46] apply-macro viaduct vrf (\S+)", line)
        hop = re.fullmatch(r"policy-options policy-statement SI-h-(\S+)-0 term connected from instance (\S+)", line)
        found = meant or hop
        if found and (place := names.get(found[1])):
            actual = _vrf_of(others, place, target) or "master"
            if actual != found[2]:
                yield f"port {found[1]} is in VRF {actual}, but the chain is in {found[2]}"


def key_of(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None



def differs(running: str, native: str, said: str, target: Target) -> str:
    return junos_lines.differs(running, native, said, target.name)


def adds(running: str, native: str, target: Target) -> bool:
    return junos_lines.adds(running, native, target.name)


def others(text: str, target: Target) -> tuple[str, ...]:
    return theirs(lines_of(text))


SYNTAX = Syntax(check, read, differs, claim, key_of, adds, needs, others, "")


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[Session]:
    """Errors: Transient, Rejected."""
    with transport.connect(target, timeout_s) as box:
        yield BoxSession(target, box, SYNTAX)


DRIVER = Driver(name="junos", caps=CAPS, render=render, open=open_session, entries=entries)
