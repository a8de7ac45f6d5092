# SPDX-License-Identifier: Apache-2.0
"""Cisco IOS-XR 7.1 and later: ACL-based forwarding (ABF), over NETCONF with CLI text, with confirmed commit.

The registry and the planner call `DRIVER`. Credential: see `drivers.transport.vendor.login_of`, SSH, port 830 unless
it says another. Settings: `global_vrf` (which of our VRFs is the device's global table), `crossings`, `crossings6`
(prefixes of our sub-interfaces), `unverified`.

An ABF list is the interface's security list: where the operator has one, nothing is written. Redirects fail closed by
VRF-select (see `iosxr_text`). Not shown on a real box: that VRF-select never falls back to the packet's own VRF
when the lookup finds Null0 (`fallback-vrf` is a separate statement), and confirmed commits of RFC 6241 with `persist`.
Counters of access lists are not read. On a box without static routes an empty `router static` may stay behind.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from drivers.base import (
    LINES,
    LONGEST,
    Capabilities,
    Driver,
    Fails,
    Limit,
    Rejected,
    Target,
    Unsupported,
)
from drivers.box import BoxSession, Syntax, nothing
from drivers.diff import Change, patch
from drivers.difference import differs as differ
from drivers.state import DeviceState, Key, Kind, Steering
from drivers.switch.counted import counted
from drivers.switch.crossings import crossing_prefix
from drivers.switch.iosxr_claim import claim, ports_of
from drivers.switch.iosxr_parse import TORN, read
from drivers.switch.iosxr_text import ATTACH, HOP, MARK, MOST_LINES, Objects, list_name, objects_of, size_of
from drivers.switch.iosxr_words import Strange, ace_of, blocks
from drivers.switch.nested import changes, paths, plain, respelled
from drivers.switch.tables import (
    FIRST_TAG,
    LAST_TAG,
    Place,
    interface,
    parse_name,
    parse_table_name,
    tables_of,
)
from drivers.transport.iosxr import connected

CAPS = Capabilities(
    kinds=frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS}),
    is_atomic=True,
    has_confirmed_commit=True,
    tags=frozenset({"vlan"}),
    has_ipv6=True,
    is_routed=True,
    shares_objects=True,
    has_lock=True,
    takes_deny=True,
    buckets=frozenset({"prefix"}),
    counts=False,
    when_dead=Fails.DROP,
    limits=(
        Limit(LINES, None, "the line card's TCAM: `show controllers npu resources`"),
        Limit(LONGEST, MOST_LINES, "lines of one access list, remarks too: ours are numbered in tens below 65000"),
    ),
)
BETWEEN = " > "
PENDING = "ipv4 access-list si-pending"
PREFIX = r"any|host [0-9a-f:.]+|[0-9a-f:.]+/\d{1,3}"
PORTS = r"(?: eq \d{1,5}| range \d{1,5} \d{1,5})?"
ACE = (
    rf"\d+ (?:remark SI-[A-Za-z0-9-]+(?: vrf [A-Za-z0-9_.:-]+)?|(?:permit|deny) [a-z0-9]+ (?:{PREFIX}){PORTS} "
    rf"(?:{PREFIX}){PORTS}(?: dscp \d{{1,2}})?(?: nexthop1 vrf SI-[a-z0-9-]+)?)"
)
LIST = r"(?:no )?ipv[46] access-list (SI-t-[a-z0-9-]+)"
NEIGHBOUR = r"(?:no )?(?:arp vrf \S{1,32} [0-9.]+ [0-9a-f.]{14} ARPA|ipv6 neighbor [0-9a-f:]+ \S+ [0-9a-f.]{14})"
FAMILY = r"address-family ipv[46] unicast"
CROSSING = (
    r"description SI [a-z0-9-]+ \d{4}|vrf [A-Za-z0-9_.:-]{1,32}|ipv4 address [0-9.]+ 255\.255\.255\.254|"
    r"ipv6 address [0-9a-f:]+/127|encapsulation dot1q \d{4}"
)
# What `render` writes: (line, the lines that may stand inside it).
INSIDE = {
    "vrf": re.compile(rf" (?:{MARK}|{FAMILY})"),
    "list": re.compile(rf" {ACE}"),
    "interface": re.compile(rf" (?:no )?(?:{ATTACH.pattern}|{CROSSING})"),
    "static": re.compile(
        rf" (?:no )?vrf SI-[a-z0-9-]+|  {FAMILY}|   (?:0\.0\.0\.0/0|::/0) (?:vrf \S+ \S+ \S+|Null0 254)"
    ),
}


# --- writing ----------------------------------------------------------------------------------


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Objects that change are written anew, the others not at all. Errors: Unsupported."""
    if not changes:
        return ""
    for change in changes:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a switch cannot hold {change.key}")
    after = objects_of(tables_of(_whole(patch(target.held, changes)), target), target)
    try:
        before = objects_of(tables_of(_whole(target.held), target), target)
    except Unsupported:
        before = Objects()
    before, taken = _without_broken(before, target)
    lines = [*_blocks(before.vrfs, after.vrfs), *_blocks(before.lists, after.lists)]
    lines += [f"no {line}" for line in before.neighbours if line not in after.neighbours]
    lines += [line for line in after.neighbours if line not in before.neighbours]
    lines += _blocks(before.interfaces, after.interfaces)
    for own, attach in sorted({*before.attached, *after.attached, *taken}):
        if (own, attach) not in after.attached:
            lines += [f"interface {own}", f" no {attach}"]
        elif (own, attach) not in before.attached:
            lines += [f"interface {own}", f" {attach}"]
    lines += _static(before, after)
    return "".join(f"{line}\n" for line in lines)


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`. Errors: Unsupported."""
    return counted(_whole(state), target, size_of)


def _whole(state: DeviceState) -> DeviceState:
    """Without the items of which only the place is known."""
    return DeviceState({key: item for key, item in state.items() if getattr(item, "precedence", 0) != TORN})


def _without_broken(before: Objects, target: Target) -> tuple[Objects, set[tuple[str, str]]]:
    """What damaged items leave at their places is nothing that may stay: the objects there count as altered.

    Also the attach lines there, which are to be set again or taken away.
    """
    lists, interfaces, taken = dict(before.lists), dict(before.interfaces), set()
    broken: set[Place] = {
        (item.ingress, item.tag)
        for item in target.held.values()
        if isinstance(item, Steering) and item.precedence == TORN
    }
    for place in sorted(broken):
        own = interface(target, place)
        for family in (4, 6):
            name = list_name(place, family)
            lists[f"ipv{family} access-list {name}"] = ("",)
            if not place[1]:
                taken.add((own, f"ipv{family} access-group {name} ingress"))
        if place[1]:
            interfaces[f"interface {own}"] = ("",)
    attached = tuple(one for one in before.attached if one not in taken)
    return replace(before, lists=lists, interfaces=interfaces, attached=attached), taken


def _blocks(before: Mapping[str, tuple[str, ...]], after: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for line in sorted(before.keys() | after.keys()):
        if before.get(line) == after.get(line):
            continue
        # What is new may be there already, left over: the inside would be merged.
        yield f"no {line}"
        if line in after:
            yield line
            yield from (f" {one}" for one in after[line])


def _static(before: Objects, after: Objects) -> list[str]:
    lines: list[str] = []
    for name in sorted(before.routes.keys() | after.routes.keys()):
        if before.routes.get(name) == after.routes.get(name):
            continue
        lines.append(f" no vrf {name}")
        if name in after.routes:
            lines += [f" vrf {name}", *(f"  {one}" for one in after.routes[name])]
    return ["router static", *lines] if lines else []


# --- what may be sent -------------------------------------------------------------------------


def check(native: str, target: Target) -> None:
    """Errors: Rejected for a line that `render` does not write, or writes only about other ports."""
    mode = ""
    for number, line in enumerate(native.removesuffix("\n").split("\n") if native else (), start=1):
        if line.startswith(" "):
            is_ours = mode in INSIDE and INSIDE[mode].fullmatch(line) is not None
        else:
            mode = _mode(line, target)
            is_ours = bool(mode)
        if mode.startswith("attach "):
            is_ours = not line.startswith(" ") or _is_attach(line.strip(), mode.removeprefix("attach "), target)
        if not is_ours:
            raise Rejected(f"{target.name}: line {number} is nothing that this driver writes: {line[:80]!r}")


def _mode(line: str, target: Target) -> str:
    """What may follow inside; "" if the line is not ours."""
    if re.fullmatch(r"(?:no )?vrf \S+", line) and HOP.fullmatch(line.split()[-1]):
        return "vrf"
    named = re.fullmatch(LIST, line)
    if named is not None and _place_of(named[1], target) is not None:
        return "list"
    if re.fullmatch(NEIGHBOUR, line) and _is_far(line, target):
        return "neighbour"
    if line == "router static":
        return "static"
    found = re.fullmatch(r"(?:no )?interface (\S+?)(?:\.(\d{4}))?", line)
    if found is None or found[1] not in ports_of(target):
        return ""
    if found[2]:
        return "interface" if FIRST_TAG <= int(found[2]) <= LAST_TAG else ""
    return "" if line.startswith("no ") else f"attach {found[1]}"


def _place_of(name: str, target: Target) -> Place | None:
    """Of a list of ours, whose port is one of this device."""
    place = parse_table_name(name[:-2]) if name[-2:] in ("-4", "-6") else None
    return place if place is not None and place[0] in target.ports else None


def _is_attach(line: str, own: str, target: Target) -> bool:
    """Is it the one line that we set inside an interface of the operator's?"""
    found = ATTACH.fullmatch(line.removeprefix("no "))
    place = _place_of(found[2], target) if found else None
    return place is not None and not place[1] and interface(target, place) == own


def _is_far(line: str, target: Target) -> bool:
    """Is the neighbour one of a crossing of ours?"""
    words = line.removeprefix("no ").split()
    family, address = (4, words[3]) if words[0] == "arp" else (6, words[2])
    try:
        return ipaddress.ip_address(address) in crossing_prefix(target, family)
    except ValueError:
        return False


def differs(running: str, native: str, said: str, target: Target) -> str:
    """See `drivers.box.Syntax`. said: signed lines after the lines that they stand in, with " > " between.

    The list that holds a commit's label is the box's; an empty `router static` may be made, and may stay.
    """
    told = {respelled(line, _spelled, BETWEEN) for line in said.splitlines()}
    told = {line for line in told if not line[1:].startswith(PENDING)}
    planned = changes(blocks(running), blocks(native), _spelled, BETWEEN)
    return differ(planned, told, ("+router static", "-router static"))


def adds(running: str, native: str, target: Target) -> bool:
    return any(line.startswith("+") for line in changes(blocks(running), blocks(native), _spelled, BETWEEN))


def others(text: str, target: Target) -> Iterator[str]:
    """What is not ours, each line after those around it."""
    for path in paths(blocks(text), _spelled):
        line = BETWEEN.join(path)
        if not is_ours(line, target):
            yield line


def _spelled(line: str, around: tuple[str, ...]) -> str:
    number, _, rule = line.partition(" ")
    if around and re.match(r"ipv[46] access-list ", around[-1]) and number.isdecimal():
        with suppress(Strange):
            return f"{number} {ace_of(rule, int(around[-1][3]))}"
    return plain(line).lower()


def is_ours(line: str, target: Target) -> bool:
    """line: a line of the device's difference after the lines that it stands in, with " > " between."""
    first, *inside = (part.strip() for part in line.split(BETWEEN))
    mode = _mode(first, target)
    if mode.startswith("attach "):
        return len(inside) == 1 and _is_attach(inside[0], mode.removeprefix("attach "), target)
    if mode == "static":
        return not inside or HOP.fullmatch(inside[0].removeprefix("vrf ")) is not None
    return bool(mode)


def key_of(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None


SYNTAX = Syntax(check, read, differs, claim, key_of, adds, nothing, others, "")


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[BoxSession]:
    """Errors: Transient, Rejected."""
    with connected(target, timeout_s) as box:
        yield BoxSession(target, box, SYNTAX)


DRIVER = Driver(name="iosxr", caps=CAPS, render=render, open=open_session, entries=entries)
