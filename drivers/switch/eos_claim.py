# SPDX-License-Identifier: Apache-2.0
"""What may be sent to an EOS device, and what stands in its way there. Pure.

Called by `drivers.switch.eos`. `check` takes the lines that `render` writes and no others; `claim` compares them with
the running configuration before anything is touched; `differs` says what the device would change beside them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress

from drivers.base import Rejected, Target, Unsupported
from drivers.difference import differs as differ
from drivers.switch.crossings import crossing_prefix
from drivers.switch.eos_blocks import Block, blocks_of, match_of, paths, permit
from drivers.switch.eos_parse import Device, device_of, policy_at, vrf_of
from drivers.switch.eos_text import ATTACH, DEFAULT_VRF, MARK, VRF, is_our_name, style
from drivers.switch.eos_traffic import SECTION, part_of
from drivers.switch.nested import changes, plain, respelled
from drivers.switch.tables import FIRST_TAG, LAST_TAG, parse_table_name

SEPARATOR = " / "
_NAME, _TABLE, _ADDRESS = r"(?P<name>SI-[A-Za-z0-9-]+)", r"(?P<table>SI-t-[a-z0-9-]+)", r"[0-9a-f:.]+"
_HEADS = {
    re.compile(rf"(?:ip|ipv6) access-list {_NAME}"): re.compile(
        rf"\d+ (?:remark {MARK}|permit (?:ip|ipv6|tcp|udp|icmp|icmpv6) [a-z0-9:./ ]+)"
    ),
    re.compile(rf"class-map type pbr match-any {_NAME}"): re.compile(
        rf"\d+ match (?:ip|ipv6) access-group {_NAME}"
    ),
    re.compile(rf"policy-map type pbr {_TABLE}"): re.compile(
        rf"(?:no )?\d+ class {_NAME}|drop|set nexthop {_ADDRESS}"
    ),
    re.compile(rf"nexthop-group {_NAME} type ip"): re.compile(rf"size 1|entry 0 nexthop {_ADDRESS}"),
    re.compile(rf"traffic-policy {_TABLE}"): re.compile(
        r"(?:no )?match (?P<name>SI-[A-Za-z0-9-]+|ipv[46]-all-default) ipv[46]"
        rf"|(?:source|destination) prefix {_ADDRESS}/\d+|protocol (?:tcp|udp|icmp|icmpv6)[a-z0-9 -]*|dscp \d+"
        r"|actions|count|drop|redirect next-hop group (?P<group>SI-[A-Za-z0-9-]+)"
    ),
}
_SUBINTERFACE = re.compile(
    rf"description {MARK}|encapsulation dot1q vlan \d+|vrf [A-Za-z0-9_.-]+|ip address [0-9.]+/31"
    r"|ipv6 address [0-9a-f:]+/127"
)
_INTERFACE = re.compile(r"interface (?P<name>(?P<parent>[A-Za-z-]+[0-9][0-9/]*)(?:\.(?P<tag>\d+))?)")
_ATTACH = re.compile(rf"(?:no )?(?:{'|'.join(ATTACH.values())}) {_TABLE}")
_NEIGHBOUR = re.compile(
    r"(?:arp(?: vrf [A-Za-z0-9_.-]+)? (?P<four>[0-9.]+) [0-9a-f:.]+ arpa"
    r"|ipv6 neighbor(?: vrf [A-Za-z0-9_.-]+)? (?P<six>[0-9a-f:]+) (?P<interface>\S+) [0-9a-f:.]+)"
)


# --- check ------------------------------------------------------------------------------------


def check(native: str, target: Target) -> None:
    """Errors: Rejected, with the line that `render` does not write."""
    for line in native.splitlines():
        if not re.fullmatch(r" *[!-~]+(?: [!-~]+)*", line):
            raise Rejected(f"{target.name}: not a line of ours: {line!r}")
    for one in blocks_of(native, is_native=True):
        found = _first_alien(one, target)
        if found:
            raise Rejected(f"{target.name}: not a line of ours: {found!r}")


def _first_alien(one: Block, target: Target) -> str:
    if one.line == SECTION:
        wrong = [inner for inner in one.inside if not _is_object(inner, target)]
        return wrong[0].line if wrong else ""
    if one.line.startswith("interface ") and one.inside:
        return _alien_in_interface(one, target)
    return "" if _is_object(one, target) else next(_aliens(one), one.line)


def _is_object(one: Block, target: Target) -> bool:
    """An object of ours, whole, or its removal."""
    is_no = one.line.startswith("no ")
    line = one.line.removeprefix("no ")
    if _NEIGHBOUR.fullmatch(line):
        return not one.inside and is_our_neighbour(line, target)
    if is_no and line.startswith("interface "):
        return not one.inside and is_crossing(line, target)
    if is_no:
        return not one.inside and any(_fits(head, line) for head in _HEADS)
    return any(_fits(head, line) and not list(_aliens(one)) for head in _HEADS)


def _aliens(one: Block) -> Iterator[str]:
    inner = next((inner for head, inner in _HEADS.items() if _fits(head, one.line)), None)
    for path in paths(one.inside):
        if inner is None or not _fits(inner, path[-1]):
            yield path[-1]


def _fits(pattern: re.Pattern[str], line: str) -> bool:
    """The pattern and, in it, names of ours."""
    found = pattern.fullmatch(line)
    if found is None:
        return False
    groups = found.groupdict()
    table, names = groups.get("table"), [groups.get("name"), groups.get("group")]
    is_named = all(
        name is None or name.endswith("-all-default") or is_our_name(part_of(name)[0]) for name in names
    )
    return is_named and (table is None or parse_table_name(table) is not None)


def _alien_in_interface(one: Block, target: Target) -> str:
    is_ours = is_crossing(one.line, target)
    if not is_ours and not _is_port(one.line, target):
        # A policy of ours where it has no business is taken away.
        kept = (line for line in one.lines() if not (line.startswith("no ") and _fits(_ATTACH, line)))
        return next(kept, "") if _INTERFACE.fullmatch(one.line) else one.line
    for inner in one.inside:
        is_promise = inner.line.startswith(VRF) and bool(
            re.fullmatch(r"[A-Za-z0-9_.-]+", inner.line[len(VRF) :])
        )
        is_attach = _fits(_ATTACH, inner.line)
        is_line = is_attach or (bool(_SUBINTERFACE.fullmatch(inner.line)) if is_ours else is_promise)
        if inner.inside or not is_line:
            return inner.line
    return ""


def _is_port(line: str, target: Target) -> bool:
    found = _INTERFACE.fullmatch(line)
    return found is not None and found["name"] in {
        port.interface or port.name for port in target.ports.values()
    }


def is_crossing(line: str, target: Target) -> bool:
    """A sub-interface that can only be ours: of a known port, with a stage tag."""
    found = _INTERFACE.fullmatch(line)
    if found is None or not found["tag"] or not FIRST_TAG <= int(found["tag"]) <= LAST_TAG:
        return False
    return _is_port(f"interface {found['parent']}", target)


def is_our_neighbour(line: str, target: Target) -> bool:
    found = _NEIGHBOUR.fullmatch(line)
    if found is None:
        return False
    family = 4 if found["four"] else 6
    try:
        address = ipaddress.ip_address(found["four"] or found["six"])
    except ValueError:
        return False
    return address in crossing_prefix(target, family)


# --- the device's difference ------------------------------------------------------------------


def differs(running: str, native: str, said: str, target: Target) -> str:
    """See `drivers.box.Syntax`. said: signed lines with the lines around them, outermost first, SEPARATOR between."""
    told = (respelled(line, _spelled, SEPARATOR) for line in said.splitlines())
    return differ(_planned(running, native), told, (f"+{SECTION}", f"-{SECTION}"))


def _planned(running: str, native: str) -> list[str]:
    wanted = blocks_of(native, is_native=True)
    return list(changes(blocks_of(running), wanted, _spelled, SEPARATOR, ("vrf ", "encapsulation ", "description ")))


def adds(running: str, native: str, target: Target) -> bool:
    """An entry that stays and only gets another number is nothing new."""
    bare = [re.sub(r"\d+ class ", "class ", line) for line in _planned(running, native)]
    gone = {line[1:] for line in bare if line.startswith("-")}
    return any(line.startswith("+") and line[1:] not in gone for line in bare)


def others(text: str, target: Target) -> Iterator[str]:
    """What is not ours, each line after those around it."""
    for path in paths(blocks_of(text)):
        line = SEPARATOR.join(path)
        if not is_ours(line, target):
            yield line


def _spelled(line: str, around: tuple[str, ...]) -> str:
    number, _, rule = line.partition(" ")
    if around and " access-list " in around[-1] and rule.startswith("permit "):
        with suppress(ValueError, Unsupported):
            family = 6 if around[-1].startswith("ipv6") else 4
            return f"{number} {permit(match_of(rule, family), '')}"
    return plain(line)


def is_ours(line: str, target: Target) -> bool:
    """line: a changed line with the lines around it, outermost first, joined by SEPARATOR."""
    path = line.strip().split(SEPARATOR)
    if path[0] == SECTION:
        return len(path) == 1 or _fits(re.compile(rf"traffic-policy {_TABLE}"), path[1])
    if path[0].startswith("interface "):
        return is_crossing(path[0], target) or (
            len(path) == 2 and _is_port(path[0], target) and _fits(_ATTACH, path[1])
        )
    if _NEIGHBOUR.fullmatch(path[0]):
        return len(path) == 1 and is_our_neighbour(path[0], target)
    return any(_fits(head, path[0]) for head in _HEADS)


# --- claim ------------------------------------------------------------------------------------


def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
    """What must be put right by people first."""
    device = device_of(running, target)
    wanted = blocks_of(native, is_native=True)
    found: list[str] = []
    for one in wanted:
        found += _names_taken(device, one)
        if one.line.startswith("interface ") and one.inside:
            found += _interface(device, one, target)
    return tuple(dict.fromkeys(found))


def needs(running: str, native: str, target: Target) -> tuple[str, ...]:
    """What must be there before our lines mean anything."""
    wanted = blocks_of(native, is_native=True)
    return tuple(dict.fromkeys(_missing(device_of(running, target), wanted, target)))


def _names_taken(device: Device, one: Block) -> Iterator[str]:
    """An object of somebody else with a name of ours."""
    line = one.line.removeprefix("no ")
    words = line.split()
    if words[1:2] == ["access-list"]:
        held = device.acls.get((words[2], 6 if words[0] == "ipv6" else 4))
        if held is not None and f"10 remark {MARK}" not in held.lines():
            yield f"{line} is there without our mark: remove it, or add `10 remark {MARK}` to it if it is ours"
    if words[:1] == ["policy-map"] and words[-1] in device.policies:
        names = [inner.line.split()[-1] for inner in device.policies[words[-1]].inside]
        if names and not any(is_our_name(name) for name in names):
            yield f"{line} is there and holds no class of ours: remove it or give it another name"
    if words[:1] == ["interface"] and "." in words[1]:
        held = device.interfaces.get(words[1])
        if held is not None and f"description {MARK}" not in held.lines():
            yield f"{line} is there without our mark: choose other stage tags, or remove it"


def _interface(device: Device, one: Block, target: Target) -> Iterator[str]:
    name = one.line.removeprefix("interface ")
    for line in one.lines():
        if line.startswith(VRF):
            vrf, there = line.removeprefix(VRF), vrf_of(device, name) or DEFAULT_VRF
            if name not in device.interfaces:
                yield f"there is no {one.line}: correct the port's `interface` in the fabric file"
            elif vrf != there:
                yield f"{one.line} is in VRF {there} and must be in {vrf}: add `vrf {vrf}` to it, with its addresses"
        found = _ATTACH.fullmatch(line)
        if found is not None and not line.startswith("no "):
            held = policy_at(device, name)
            if held and parse_table_name(held) is None:
                yield (
                    f"{one.line} has the policy {held} of somebody else, and can have one only: add "
                    f"`no {ATTACH[style(target)]} {held}` to it"
                )


def _missing(device: Device, wanted: tuple[Block, ...], target: Target) -> Iterator[str]:
    """What must be there before our lines mean anything. We never turn on what the whole box has."""
    lines = {one.line for one in device.blocks}
    added = [one for one in wanted if not one.line.startswith(("no ", "!"))]
    vrfs = {inner.line for one in added for inner in one.inside if inner.line.startswith(("vrf ", VRF))}
    for line in sorted(vrfs):
        name = line.removeprefix("! ").removeprefix("vrf ")
        there = "" if name == DEFAULT_VRF else f" vrf {name}"
        if there and f"vrf instance {name}" not in lines:
            yield f"add `vrf instance {name}`"
        for need in (f"ip routing{there}", f"ipv6 unicast-routing{there}"):
            if need not in lines:
                yield f"add `{need}`"
    is_routed = "switchport default mode routed" in lines
    for one in added:
        found = _INTERFACE.fullmatch(one.line)
        if (
            found is None
            or not one.inside
            or is_routed
            or not found["parent"].startswith(("Ethernet", "Port-Channel"))
        ):
            continue
        held = device.interfaces.get(found["parent"])
        if held is None or "no switchport" not in held.lines():
            yield f"add `no switchport` to interface {found['parent']}: a switched port cannot steer"
    if added:
        yield from _missing_features(device, target)


def _missing_features(device: Device, target: Target) -> Iterator[str]:
    """Of the TCAM profile: disruptive and of the whole box, so only looked at. Built-in profiles are not shown."""
    is_pbr = style(target) == "pbr"
    needs = ("pbr ip", "pbr ipv6") if is_pbr else ("traffic-policy port ipv4", "traffic-policy port ipv6")
    section = next((one for one in device.blocks if one.line == "hardware tcam"), None)
    inside = section.inside if section is not None else ()
    chosen = next(
        (one.line.rpartition(" ")[2] for one in inside if one.line.startswith("system profile ")), "default"
    )
    profile = next((one for one in inside if one.line == f"profile {chosen}"), None)
    if profile is None:
        if not is_pbr and chosen == "default":
            both = " and ".join(f"`feature {need}`" for need in needs)
            yield f"add a profile with {both} under `hardware tcam`, and choose it by `system profile`"
        return
    features = {inner.line for inner in profile.inside}
    for need in needs:
        if not any(line == f"feature {need}" or line.startswith(f"feature {need} ") for line in features):
            yield f"add `feature {need}` to `profile {chosen}` under `hardware tcam`"
