# SPDX-License-Identifier: Apache-2.0
"""FRR on Linux: a pbr-map for each port, nftables for what pbrd cannot match, and a guard that lets nothing past.

The registry and the planner call `DRIVER`. Ours are the table `inet viaduct_switch`, pbr-maps SI-t-*, the pbr-policy
lines that name them, VLAN interfaces with the alias "viaduct" and marks 0x56000000 to 0x56ffffff. Nothing else is
touched; a port that has a pbr-policy already is refused.

One router keeps one VRF: setting `global_vrf` names it (pbrd's rules do not reach into VRF devices). There is no
confirmed commit: a timer of our own on the router would die with it and leave the change there.
Settings: `global_vrf`, `crossings`, `crossings6`, `unverified`. The router runs `drivers/transport/frr_box`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
from drivers.box import BoxSession, Reading, Syntax, nothing
from drivers.diff import Change, patch
from drivers.state import DeviceState, Key, Kind
from drivers.switch import frr_delta, frr_parse, frr_text
from drivers.switch.counted import counted
from drivers.switch.flows import torn
from drivers.switch.tables import items_of, parse_name, tables_of
from drivers.transport import frr
from drivers.transport.frr_box.config import is_policy, stanzas_of
from drivers.transport.frr_box.grammar import ALIAS, FRR, LINKS, NFT, PRIORITY, Refused, sections

CAPS = Capabilities(
    kinds=frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS}),
    is_atomic=False,
    has_confirmed_commit=False,
    tags=frozenset({"vlan"}),
    has_ipv6=True,
    is_routed=True,
    shares_objects=True,
    has_vrf=False,
    buckets=frozenset({"prefix"}),
    when_dead=Fails.DROP,
    limits=(
        Limit(LINES, None, "rules of nftables: the router's memory"),
        Limit(LONGEST, frr_text.SLOTS, "next hops of one pbr-map: its sequences are 1 to 700 (FRR, PBR), two a hop"),
    ),
)
FORWARDING = {
    "net/ipv4/ip_forward": "net.ipv4.ip_forward",
    "net/ipv6/conf/all/forwarding": "net.ipv6.conf.all.forwarding",
}
STRICT = 1
BOOT_HOOK = (
    "cp /usr/local/lib/viaduct_frr/viaduct-frr.service /etc/systemd/system/ && systemctl enable viaduct-frr"
)
_MARKS = re.compile(r"meta mark set (0x[0-9a-f]+)")
_ADDED = re.compile(r"link add link (\S+) name (\S+) type vlan id (\d+)")


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Four sections, see `frr_text`. Errors: Unsupported, also while the router holds damage that stays damaged."""
    if not changes:
        return ""
    for change in changes:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a switch cannot hold {change.key}")
    after_state = patch(target.held, tuple(sorted(changes, key=lambda change: change.key)))
    before, after = tables_of(target.held, target), tables_of(after_state, target)
    if after.torn:
        said = "its drift must be repaired first, as tables are written whole"
        raise Unsupported(f"{target.name}: {after.torn[0]} is damaged there; {said}")
    only = target.settings.get("global_vrf", "")
    for vrf, name in frr_text.vrfs_of(after).items():
        if vrf != only:
            said = f"this router keeps one VRF, {only or 'which its setting `global_vrf` must name'}"
            raise Unsupported(f"{target.name}: {name} is for VRF {vrf}; {said}")
    is_damaged = any(item == torn(key.kind) for key, item in target.held.items())
    return frr_text.text_of(before, after, target, is_whole=is_damaged)


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`. Errors: Unsupported."""
    return counted(state, target, frr_text.size_of)


def check(native: str, target: Target) -> None:
    try:
        sections(native)
    except Refused as error:
        raise Rejected(f"{target.name}: {error}; nothing was sent") from error


def read(running: str, target: Target) -> Reading:
    shown = frr_parse.shown_from(running, target.name)
    tables = frr_parse.tables_from(shown, target)
    sysctls = shown.document["sysctls"]
    missing = [
        f"it does not forward; set `sysctl -w {name}=1`"
        for path, name in FORWARDING.items()
        if not sysctls[path]
    ]
    boot = shown.document["boot"]
    if not boot["is_there"]:
        said = "after a restart it would forward past every function; add"
        missing.append(f"nothing restores its table when it starts ({boot['hook']}): {said} `{BOOT_HOOK}`")
    general = sysctls["net/ipv4/conf/all/rp_filter"]
    for port in target.ports.values():
        name = port.interface or port.name
        if max(general, sysctls.get(f"net/ipv4/conf/{name}/rp_filter", 0)) == STRICT:
            said = "what comes back from a function has a source that is not routed there"
            missing.append(
                f"{name} filters by reverse path ({said}); set `sysctl -w net/ipv4/conf/{name}/rp_filter=2`"
            )
    attached = frr_parse.in_the_way(shown, tables, target)
    return Reading(items_of(tables, target), attached, frr_parse.foreign(shown), tuple(missing))


def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
    shown = frr_parse.shown_from(running, target.name)
    links = {link["ifname"]: link for link in shown.document["links"]}
    parts = sections(native)
    found = []
    for line in parts[LINKS]:
        added = _ADDED.fullmatch(line)
        if added is None:
            continue
        parent, name = added[1], added[2]
        if name in links and links[name].get("ifalias") != ALIAS:
            found.append(f"{name} is there already and is not ours; rename it, or take another tag")
        found += _port(parent, links)
    for stanza in parts[FRR]:
        ((head, lines),) = stanzas_of(stanza)
        if not head.startswith("interface "):
            continue
        name = head.split()[1]
        held = shown.policies.get(name, "")
        if held and not is_policy(f" pbr-policy {held}", "SI-t-"):
            found.append(
                f"{name} has pbr-policy {held}, and an interface takes one; remove it or take another port"
            )
        if not any(f" name {name} type vlan " in line for line in parts[LINKS]):
            found += _port(name, links)
    new = {int(found, 0) for line in parts[NFT] for found in _MARKS.findall(line)} - frr_parse.marks(shown)
    if new:
        said = "changes marks in prerouting after us, and takes packets past their function"
        found += [f"table {name} {said}; remove that, or give its chain a priority below {PRIORITY}"
                  for name in shown.document["marking"]]  # fmt: skip
    return tuple(dict.fromkeys(found))


def _port(name: str, links: dict[str, dict[str, object]]) -> list[str]:
    if name not in links:
        return [f"there is no interface {name}"]
    info = links[name].get("linkinfo")
    if isinstance(info, dict) and info.get("info_slave_kind") == "vrf":
        return [f"{name} is in the VRF device {links[name].get('master')}, where pbrd's rules do not reach"]
    return []


def differs(running: str, native: str, said: str, target: Target) -> str:
    return frr_delta.differs(frr_parse.shown_from(running, target.name), native, said)


def adds(running: str, native: str, target: Target) -> bool:
    return frr_delta.adds(frr_parse.shown_from(running, target.name), native)


def others(text: str, target: Target) -> Iterator[str]:
    """What is not ours of FRR's own configuration, each line after the one around it."""
    for head, lines in stanzas_of(text):
        if head.startswith("pbr-map SI-t-"):
            continue
        yield head
        yield from (f"{head} / {line.strip()}" for line in lines if not is_policy(line, "SI-t-"))


def key_of(name: str) -> Key | None:
    found = parse_name(name)
    return found[0] if found else None


SYNTAX = Syntax(check, read, differs, claim, key_of, adds, nothing, others, "write memory")


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[BoxSession]:
    """Errors: Transient, Rejected."""
    with frr.connect(target, timeout_s) as box:
        yield BoxSession(target, box, SYNTAX)


DRIVER = Driver(name="frr", caps=CAPS, render=render, open=open_session, entries=entries)
