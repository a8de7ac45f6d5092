# SPDX-License-Identifier: Apache-2.0
"""Cisco NX-OS: policy-based routing by route maps with tracks, over NX-API. Called through the registry.

Settings of a device: `global_vrf`, `crossings`, `crossings6` (drivers.switch.tables), `slas` and `tracks` (300: IP SLA
operation and track of port N are 300 + N; tracks end at 500), `tcam_region` (ing-pbr: the region that the running
configuration must give room to; `default` if the platform's own carving has it), `unverified`.

No confirmed commit (tier B): NX-API's driver has none, and a checkpoint takes back everybody's work. Instead a new
generation stands beside the old one, one command moves the attach line, and our own objects as they were are put back
when anything is not as it was sent. A redirect drops when its next hop is gone (`drop-on-fail`); IPv4 next hops behind
ports are watched by an IP SLA operation. Lists permit only: an exception is a `deny` entry of the route map. ePBR owns
the policies of its interfaces: there we refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from drivers.base import LINES, LONGEST, Capabilities, Driver, Fails, Limit, PortInfo, Session, Target
from drivers.box import BoxSession, Reading, Syntax, nothing
from drivers.diff import Change
from drivers.state import DeviceState, Kind
from drivers.switch import policies, typed
from drivers.switch.aces import NXOS
from drivers.switch.claims import brought, claims, key_of
from drivers.switch.counted import counted, size_maps
from drivers.switch.routemaps import MARK, WORD, Ways, Words, short_mac
from drivers.switch.stanzas import Stanza, split
from drivers.switch.stepwise import StepwiseBox
from drivers.switch.tables import Crossing, crossing_addresses, interface, vrf_there
from drivers.transport import nxos as transport

CAPS = Capabilities(
    kinds=frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS}),
    is_atomic=False,
    has_confirmed_commit=False,
    tags=frozenset({"vlan"}),
    is_routed=True,
    shares_objects=True,
    tracks=True,
    takes_deny=False,
    has_standby=True,
    buckets=frozenset({"prefix"}),
    when_dead=Fails.DROP,
    limits=(
        Limit(LINES, None, "the model and its TCAM region: `show hardware access-list resource utilization`"),
        Limit(LONGEST, 6553, "entries of one route map: sequence numbers end at 65535, ours go in tens"),
    ),
)
WHY_NOT = "NX-OS has no confirmed commit through NAPALM; it is programmed without"


def _redirect(ways: Ways, family: int, is_open: bool) -> tuple[str, ...]:
    """force-order: the first that can be reached, in this order, and back to the first when it returns."""
    end = (" force-order" if len(ways) > 1 else "") + ("" if is_open else " drop-on-fail")
    if all(track for _, track in ways):
        return tuple(f"set ip next-hop verify-availability {address} track {track}{end}" for address, track in ways)
    return (f"set {WORD[family]} next-hop {' '.join(address for address, _ in ways)}{end}",)


def _crossing(target: Target, crossing: Crossing) -> tuple[Stanza, ...]:
    place = (crossing.port, crossing.tag)
    vrf = vrf_there(target, crossing.vrf)
    (near4, far4), (near6, far6) = (crossing_addresses(target, place, family) for family in (4, 6))
    lines = [f"description {MARK} {crossing.port} {crossing.tag}", f"encapsulation dot1q {crossing.tag}"]
    lines += [f"vrf member {vrf}"] if vrf else []
    lines += [f"ip address {near4}/31", f"ipv6 address {near6}/127"]
    if crossing.mac:
        mac = short_mac(crossing.mac)
        lines += [f"ip arp {far4} {mac}", f"ipv6 neighbor {far6} {mac}"]
    return (Stanza(f"interface {interface(target, place)}", (*lines, "no shutdown")),)


def _probe(port: PortInfo, address: str, vrf: str, sla: int, track: int) -> tuple[Stanza, ...]:
    inside = (
        f"icmp-echo {address}",
        *((f" vrf {vrf}",) if vrf else ()),
        f" tag SI-{port.name}",
        " frequency 5",
    )
    return (
        Stanza(f"ip sla {sla}", inside),
        Stanza(f"ip sla schedule {sla} life forever start-time now"),
        Stanza(f"track {track} ip sla {sla} reachability"),
    )


WORDS = Words(
    style=NXOS,
    lists={4: "ip access-list ", 6: "ipv6 access-list "},
    vrf="vrf member ",
    null="set interface null0",
    redirect=_redirect,
    hop=re.compile(
        r"set ip(?:v6)? next-hop (?:verify-availability )?(?P<address>[0-9A-Fa-f.:]+)"
        r"(?: (?P<other>[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]*))?(?: track \d+)?(?: force-order)?(?: drop-on-fail)?"
    ),
    sets=re.compile(r"set (?:interface null0|ip(?:v6)? next-hop .+)"),
    crossing=_crossing,
    probe=_probe,
    known=re.compile(
        r"interface \S+|description SI crossing \S+ \d+|encapsulation dot1q \d+|vrf member \S+|ip address \S+"
        r"|ipv6 address \S+|ip arp \S+ \S+|ipv6 neighbor \S+ \S+|(?:no )?shutdown|ip sla (?:schedule )?\d+.*"
        r"|route-map \S+ pbr-statistics|track \d+ .+|icmp-echo \S+|vrf \S+|tag SI-\S+|frequency \d+",
        re.IGNORECASE,
    ),
    order=("description", "encapsulation", "vrf member", "ip address", "ipv6 address", "ip arp", "ipv6 neighbor",
           "no shutdown", "icmp-echo", "vrf", "tag", "frequency"),
    sla=300,
    track=300,
    most_track=500,
    counts=True,
)  # fmt: skip


def render(changes: tuple[Change, ...], target: Target) -> str:
    return policies.render(changes, target, WORDS)


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`. Errors: Unsupported."""
    return counted(state, target, size_maps, has_standby=CAPS.has_standby)


def check(native: str, target: Target) -> None:
    typed.check(native, target, WORDS)


def read(running: str, target: Target) -> Reading:
    return policies.reading(running, target, WORDS, tuple(_missing(running.splitlines(), target)))


def _missing(lines: list[str], target: Target) -> Iterator[str]:
    for line, why in (
        ("feature pbr", "there are no policies"),
        ("feature sla sender", "no next hop is watched"),
    ):
        if line not in lines:
            yield f"add `{line}`: without it {why}"
    region = target.settings.get("tcam_region", "ing-pbr")
    sizes = (
        re.fullmatch(rf"hardware access-list tcam region {re.escape(region)} (\d+)(?: .*)?", line)
        for line in lines
    )
    if region != "default" and not any(found and int(found[1]) for found in sizes):
        yield (
            f"add `hardware access-list tcam region {region} 512`, save and reload: without it there is no room for "
            "policies (or set `tcam_region: default` if the platform's own carving has it)"
        )


def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
    return claims(split(running), typed.parse(native, target, WORDS), target, WORDS)


def adds(running: str, native: str, target: Target) -> bool:
    return bool(brought(typed.parse(native, target, WORDS), target, WORDS).blocks)


def differs(running: str, native: str, said: str, target: Target) -> str:
    return typed.differs(running, native, said, target, WORDS)


def others(text: str, target: Target) -> Iterator[str]:
    return typed.others(text, target, WORDS)


SAVE = "copy running-config startup-config"
SYNTAX = Syntax(check, read, differs, claim, key_of, adds, nothing, others, SAVE)


@contextmanager
def open_(target: Target, timeout_s: float) -> Iterator[Session]:
    with transport.opened(target, timeout_s) as wire:
        yield BoxSession(target, StepwiseBox(target, wire, WORDS, WHY_NOT), SYNTAX)


DRIVER = Driver("nxos", CAPS, render, open_, entries)
