# SPDX-License-Identifier: Apache-2.0
"""Arista EOS by eAPI: steering items as policies of type pbr, or as traffic policies.

The registry and the planner call `DRIVER`. One push is one configuration session: all or nothing. Settings:
`steering` (pbr, or traffic-policy where the TCAM profile has it), `global_vrf` (the fabric's VRF that is the device's
default one), `crossings`, `crossings6` (prefixes of our sub-interfaces), `unverified` (yes: the device need not prove
who it is). The credential is JSON: user, password, authority_file (PEM of who signs the device's certificate), port.

Not proved here: whether a platform takes PBR on sub-interfaces and how many entries its TCAM holds. EOS has no syntax
that we could verify for counters of PBR, so items count nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from drivers.base import LINES, Capabilities, Driver, Fails, Limit, Target, Unsupported
from drivers.box import BoxSession, Reading, Syntax
from drivers.diff import Change, patch
from drivers.state import DeviceState, Kind
from drivers.switch.counted import counted, size_pbr
from drivers.switch.eos_claim import adds, check, claim, differs, needs, others
from drivers.switch.eos_clear import clearing, left_of
from drivers.switch.eos_parse import key_of
from drivers.switch.eos_parse import read as items_read
from drivers.switch.eos_text import commands, objects_of, promises, style
from drivers.switch.eos_traffic import size_of
from drivers.switch.flows import torn
from drivers.switch.tables import Tables, tables_of
from drivers.transport import eos as transport

CAPS = Capabilities(
    kinds=frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS}),
    is_atomic=True,
    has_confirmed_commit=True,
    tags=frozenset({"vlan"}),
    has_ipv6=True,
    is_routed=True,
    shares_objects=True,
    has_lock=False,
    tracks=False,
    has_vrf=True,
    takes_deny=False,
    buckets=frozenset({"prefix"}),
    counts=False,
    when_dead=Fails.DROP,
    limits=(Limit(LINES, None, "the ASIC and its TCAM profile: `show hardware capacity`"),),
)

_VRF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_INTERFACE = re.compile(r"[A-Za-z][A-Za-z-]{0,20}[0-9][0-9/]{0,20}")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


def render(changes: tuple[Change, ...], target: Target) -> str:
    """The lines of one configuration session. Errors: Unsupported."""
    for change in changes:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a switch cannot hold {change.key}")
    if not changes:
        return ""
    before = tables_of(target.held, target)
    after = tables_of(patch(target.held, changes), target)
    _check_names(before, target)
    _check_names(after, target)
    changed = [place for place, entries in after.entries.items() if before.entries.get(place) != entries]
    said = commands(objects_of(before, target), objects_of(after, target), list(promises(after, changed, target)))
    cleared = {change.key for change in changes if change.before == torn(change.key.kind)}
    return clearing(cleared, said, target) + said


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`. Errors: Unsupported."""
    return counted(state, target, size_pbr if style(target) == "pbr" else size_of)


def _check_names(tables: Tables, target: Target) -> None:
    """Names come from people. Only plain ones ever become a part of a line."""
    hops = [entry.hop for entries in tables.entries.values() for entry in entries]
    ports = {hop.port for hop in hops} | {place[0] for place in (*tables.entries, *tables.crossings)}
    for name in sorted(ports - {""}):
        known = target.ports[name].interface or name
        if not _INTERFACE.fullmatch(known):
            raise Unsupported(
                f"{target.name}: {known!r} is no interface of EOS (port {name!r}, its `interface`)"
            )
    vrfs = {hop.vrf for hop in hops} | {crossing.vrf for crossing in tables.crossings.values()}
    for name in sorted(vrfs - {""}):
        if not _VRF.fullmatch(name):
            raise Unsupported(f"{target.name}: EOS has no VRF with the name {name!r}")
    macs = {hop.mac for hop in hops} | {crossing.mac for crossing in tables.crossings.values()}
    for mac in sorted(macs - {""}):
        if not _MAC.fullmatch(mac):
            raise Unsupported(f"{target.name}: {mac!r} is no MAC address in lower case with colons")


def read(running: str, target: Target) -> Reading:
    """Errors: Rejected."""
    found = items_read(running, target)
    is_damaged = any(item == torn(key.kind) for key, item in found.state.items())
    return replace(found, residue=left_of(running, target)) if is_damaged else found


SYNTAX = Syntax(check, read, differs, claim, key_of, adds, needs, others, "copy running-config startup-config")


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[BoxSession]:
    """Errors: Transient, Rejected."""
    with transport.opened(target, timeout_s) as box:
        yield BoxSession(replace(target, secret=""), box, SYNTAX)


DRIVER = Driver(name="eos", caps=CAPS, render=render, open=open_session, entries=entries)
