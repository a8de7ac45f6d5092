# SPDX-License-Identifier: Apache-2.0
"""Cisco IOS-XE: policy-based routing by route maps. Called through the registry.

Settings of a device: `global_vrf`, `crossings`, `crossings6` (drivers.switch.tables), `slas` (30000: the IP SLA
operation of port N is 30000 + N), `tracks` (500: its track; tracks end at 1000), `pace`
(0.1: how long to wait for its command line, more for a slow one), `unverified` (drivers.transport.vendor).

No confirmed commit (tier B), although IOS has one (`configure terminal revert timer`): its timer ends at 120 minutes
and the engine may ask for a day, and a shorter one than was asked for would take back what is about to be confirmed;
`configure confirm` is for the user who began alone, so another worker with another log-in could not; nothing on the
device holds a label; and what it takes back is the whole running configuration, other people's work of that time too.
Instead: a new generation beside the old one, one command moves the attach line, and our own objects as they were are
put back when anything is not as it was sent.

IPv4 next hops behind ports are watched by an IP SLA operation; IPv6 ones and those over crossings by neighbour
discovery alone (no release is known to us to promise `set ipv6 next-hop verify-availability`). Whatever is watched:
the last line of every redirect is `set interface Null0`, so a hop that is gone drops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from drivers.base import LINES, LONGEST, Capabilities, Driver, Fails, Limit, PortInfo, Session, Target
from drivers.box import BoxSession, Reading, Syntax
from drivers.diff import Change
from drivers.state import DeviceState, Kind
from drivers.switch import policies, typed
from drivers.switch.aces import IOS
from drivers.switch.claims import brought, claims, key_of
from drivers.switch.counted import counted, size_maps
from drivers.switch.routemaps import MARK, WORD, Ways, Words, short_mac
from drivers.switch.stanzas import Stanza, split
from drivers.switch.stepwise import StepwiseBox
from drivers.switch.tables import Crossing, crossing_addresses, interface, vrf_there
from drivers.transport import ios as transport

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
    buckets=frozenset({"prefix", "mask"}),
    when_dead=Fails.DROP,
    limits=(
        Limit(LINES, None, "the platform and its TCAM template: `show platform hardware` of its family"),
        Limit(LONGEST, 6553, "entries of one route map: sequence numbers end at 65535, ours go in tens"),
    ),
)
WHY_NOT = "IOS takes back within two hours at most, for one user and with everybody's work; it is programmed without"
PREREQUISITES = (
    ("ip scp server enable", "files cannot be sent to it"),
    ("file prompt quiet", "NAPALM would write it into the configuration, and save it there"),
)


def _redirect(ways: Ways, family: int, is_open: bool) -> tuple[str, ...]:
    """The device takes the first that it can reach."""
    end = () if is_open else ("set interface Null0",)
    if all(track for _, track in ways):
        tracked = (
            f"set ip next-hop verify-availability {address} {10 * at} track {track}"
            for at, (address, track) in enumerate(ways, 1)
        )
        return (*tracked, *end)
    return (f"set {WORD[family]} next-hop {' '.join(address for address, _ in ways)}", *end)


def _crossing(target: Target, crossing: Crossing) -> tuple[Stanza, ...]:
    place = (crossing.port, crossing.tag)
    name, vrf = interface(target, place), vrf_there(target, crossing.vrf)
    (near4, far4), (near6, far6) = (crossing_addresses(target, place, family) for family in (4, 6))
    lines = [f"description {MARK} {crossing.port} {crossing.tag}", f"encapsulation dot1Q {crossing.tag}"]
    lines += [f"vrf forwarding {vrf}"] if vrf else []
    lines += [f"ip address {near4} 255.255.255.254", f"ipv6 address {near6}/127"]
    made = [Stanza(f"interface {name}", tuple(lines))]
    if crossing.mac:
        mac = short_mac(crossing.mac)
        made.append(Stanza(f"arp {f'vrf {vrf} ' if vrf else ''}{far4} {mac} ARPA"))
        made.append(Stanza(f"ipv6 neighbor {far6} {name} {mac}"))
    return tuple(made)


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
        Stanza(f"track {track} ip sla {sla} reachability", ("delay down 10 up 5",)),
    )


WORDS = Words(
    style=IOS,
    lists={4: "ip access-list extended ", 6: "ipv6 access-list "},
    vrf="vrf forwarding ",
    null="set interface Null0",
    redirect=_redirect,
    hop=re.compile(
        r"set ip(?:v6)? next-hop (?:verify-availability )?(?P<address>[0-9A-Fa-f.:]+)"
        r"(?: (?P<other>[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]*))?(?: \d+ track \d+)?"
    ),
    sets=re.compile(r"set (?:interface Null0|ip(?:v6)? next-hop .+)"),
    crossing=_crossing,
    probe=_probe,
    known=re.compile(
        r"interface \S+|description SI crossing \S+ \d+|encapsulation dot1Q \d+|vrf forwarding \S+|ip address \S+ \S+"
        r"|ipv6 address \S+|(?:arp|ipv6 neighbor) .+|ip sla (?:schedule )?\d+.*|track \d+ .+|icmp-echo \S+|vrf \S+"
        r"|tag SI-\S+|shutdown|frequency \d+|delay down \d+ up \d+",
        re.IGNORECASE,
    ),
    order=("description", "encapsulation", "vrf forwarding", "ip address", "ipv6 address", "icmp-echo", "vrf", "tag",
           "frequency"),
    sla=30000,
    track=500,
    most_track=1000,
    has_ghosts=True,
    last="end",
    neighbour=re.compile(
        r"arp (?:vrf \S+ )?(?P<address>[0-9.]+) \S+ ARPA|ipv6 neighbor (?P<address6>[0-9A-Fa-f:]+) \S+ \S+"
    ),
)  # fmt: skip


def render(changes: tuple[Change, ...], target: Target) -> str:
    return policies.render(changes, target, WORDS)


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`. Errors: Unsupported."""
    return counted(state, target, size_maps, has_standby=CAPS.has_standby)


def check(native: str, target: Target) -> None:
    typed.check(native, target, WORDS)


def read(running: str, target: Target) -> Reading:
    return policies.reading(running, target, WORDS, _cannot_send(running))


def _cannot_send(running: str) -> tuple[str, ...]:
    lines = set(running.splitlines())
    return tuple(f"add `{line}`: without it {why}" for line, why in PREREQUISITES if line not in lines)


def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
    """Without these nothing can be sent, not even a removal."""
    found = claims(split(running), typed.parse(native, target, WORDS), target, WORDS)
    return _cannot_send(running) + found


def needs(running: str, native: str, target: Target) -> tuple[str, ...]:
    new = brought(typed.parse(native, target, WORDS), target, WORDS)
    has_ipv6 = any(one.startswith(WORDS.lists[6]) for one in new.blocks)
    if has_ipv6 and "ipv6 unicast-routing" not in running.splitlines():
        return ("add `ipv6 unicast-routing`: without it no IPv6 packet is routed",)
    return ()


def adds(running: str, native: str, target: Target) -> bool:
    return bool(brought(typed.parse(native, target, WORDS), target, WORDS).blocks)


def differs(running: str, native: str, said: str, target: Target) -> str:
    return typed.differs(running, native, said, target, WORDS)


def others(text: str, target: Target) -> Iterator[str]:
    return typed.others(text, target, WORDS)


SAVE = "copy running-config startup-config"
SYNTAX = Syntax(check, read, differs, claim, key_of, adds, needs, others, SAVE)


@contextmanager
def open_(target: Target, timeout_s: float) -> Iterator[Session]:
    with transport.opened(target, timeout_s) as wire:
        yield BoxSession(target, StepwiseBox(target, wire, WORDS, WHY_NOT), SYNTAX)


DRIVER = Driver("ios", CAPS, render, open_, entries)
