# SPDX-License-Identifier: Apache-2.0
"""What may be sent to an EOS device, and what stands in its way there. Pure.

Called by `drivers.switch.eos`. `check` takes the lines that `render` writes and no others; `claim` compares them with
the running configuration before anything is touched; `expanded` puts in the lines that depend on what is there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator

from drivers.base import Rejected, Target
from drivers.state import Key
from drivers.switch.eos_blocks import Block, blocks_of, paths
from drivers.switch.eos_parse import Device, device_of, key_of, policy_at, vrf_of
from drivers.switch.eos_text import ATTACH, CLEAR, DEFAULT_VRF, MARK, VRF, is_our_name, style
from drivers.switch.eos_traffic import SECTION, groups_of, part_of
from drivers.switch.tables import CLOSED, CROSSINGS, FIRST_TAG, LAST_TAG, crossing_addresses, parse_table_name

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
        rf"\d+ class {_NAME}|drop|set nexthop {_ADDRESS}"
    ),
    re.compile(rf"nexthop-group {_NAME} type ip"): re.compile(rf"size 1|entry 0 nexthop {_ADDRESS}"),
    re.compile(rf"traffic-policy {_TABLE}"): re.compile(
        rf"match (?P<name>SI-[A-Za-z0-9-]+|ipv[46]-all-default) ipv[46]|(?:source|destination) prefix {_ADDRESS}/\d+"
        r"|protocol (?:tcp|udp|icmp|icmpv6)[a-z0-9 -]*|dscp \d+|actions|count|drop"
        r"|redirect next-hop group (?P<group>SI-[A-Za-z0-9-]+)"
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
    if one.line.startswith(CLEAR):
        return "" if not one.inside and _is_key(one.line.removeprefix(CLEAR)) else one.line
    if one.line == SECTION:
        wrong = [inner for inner in one.inside if not _is_object(inner, target)]
        return wrong[0].line if wrong else ""
    if one.line.startswith("interface ") and one.inside:
        return _alien_in_interface(one, target)
    return "" if _is_object(one, target) else next(_aliens(one), one.line)


def _is_key(text: str) -> bool:
    try:
        return str(Key.parse(text)) == text
    except ValueError:
        return False


def _is_object(one: Block, target: Target) -> bool:
    """An object of ours, whole, or its removal."""
    is_no = one.line.startswith("no ")
    line = one.line.removeprefix("no ")
    if _NEIGHBOUR.fullmatch(line):
        return not one.inside and _is_our_neighbour(line, target)
    if is_no and line.startswith("interface "):
        return not one.inside and _is_crossing(line, target)
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
    is_ours = _is_crossing(one.line, target)
    if not is_ours and not _is_port(one.line, target):
        return one.line
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


def _is_crossing(line: str, target: Target) -> bool:
    """A sub-interface that can only be ours: of a known port, with a stage tag."""
    found = _INTERFACE.fullmatch(line)
    if found is None or not found["tag"] or not FIRST_TAG <= int(found["tag"]) <= LAST_TAG:
        return False
    return _is_port(f"interface {found['parent']}", target)


def _is_our_neighbour(line: str, target: Target) -> bool:
    found = _NEIGHBOUR.fullmatch(line)
    if found is None:
        return False
    family, setting = (4, "crossings") if found["four"] else (6, "crossings6")
    try:
        address = ipaddress.ip_address(found["four"] or found["six"])
    except ValueError:
        return False
    return address in ipaddress.ip_network(target.settings.get(setting) or CROSSINGS[family])


# --- the device's difference ------------------------------------------------------------------


def is_ours(line: str, target: Target) -> bool:
    """line: a changed line with the lines around it, outermost first, joined by SEPARATOR."""
    path = line.strip().split(SEPARATOR)
    if path[0] == SECTION:
        return len(path) == 1 or _fits(re.compile(rf"traffic-policy {_TABLE}"), path[1])
    if path[0].startswith("interface "):
        return _is_crossing(path[0], target) or (
            len(path) == 2 and _is_port(path[0], target) and _fits(_ATTACH, path[1])
        )
    if _NEIGHBOUR.fullmatch(path[0]):
        return len(path) == 1 and _is_our_neighbour(path[0], target)
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
    found += _missing(device, wanted, target)
    return tuple(dict.fromkeys(found))


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


# --- clearing what is damaged -----------------------------------------------------------------


def expanded(native: str, running: Callable[[], str], target: Target) -> str:
    """The native text with a line CLEAR turned into what removes all of that key on this device, as it now is."""
    keys = {Key.parse(line.removeprefix(CLEAR)) for line in native.splitlines() if line.startswith(CLEAR)}
    if not keys:
        return native
    device = device_of(running(), target)
    rest = "".join(f"{line}\n" for line in native.splitlines() if not line.startswith(CLEAR))
    lines = list(_clearing(device, keys, native, target))
    return "".join(f"{line}\n" for one in lines for line in one.text()) + rest


def _clearing(device: Device, keys: set[Key], native: str, target: Target) -> Iterator[Block]:
    kept: set[str] = set()
    gone: set[str] = set()
    for name, one in device.policies.items():
        if parse_table_name(name) is None:
            continue
        ours = {inner.line: key for inner in one.inside if (key := _entry_key(inner)) is not None}
        doomed = [line for line, key in ours.items() if key in keys]
        if len(doomed) == len(ours):
            gone.add(name)
            continue
        kept.add(name)
        if doomed:
            yield _policy(one, *(f"no {line}" for line in doomed), target=target)
    yield from _detached(device, gone, kept, target)
    for one in device.blocks:
        words = one.line.split()
        is_object = words[0] in ("class-map", "ip", "ipv6", "nexthop-group")
        if is_object and any(key_of(word) in keys for word in words):
            yield Block(f"no {one.line}")
    held = [device.policies[name] for name in kept]
    used = {path[-1].rpartition(" ")[2] for path in paths(held)}
    for one in device.blocks:
        words = one.line.split()
        if words[-1].startswith(CLOSED) and words[-1] not in used and words[0] in ("class-map", "ip", "ipv6"):
            yield Block(f"no {one.line}")
    yield from _idle_crossings(device, kept, native, target)


def _detached(device: Device, gone: set[str], kept: set[str], target: Target) -> Iterator[Block]:
    """Policies of which nothing would be left, or nothing is."""
    for name in device.interfaces:
        held = policy_at(device, name)
        if parse_table_name(held) is not None and held not in kept:
            yield Block(f"interface {name}", (Block(f"no {ATTACH[style(target)]} {held}"),))
    for name in sorted(gone):
        line = Block(f"no {device.policies[name].line}")
        yield line if style(target) == "pbr" else Block(SECTION, (line,))


def _policy(one: Block, *lines: str, target: Target) -> Block:
    inside = Block(one.line, tuple(Block(line) for line in lines))
    return inside if style(target) == "pbr" else Block(SECTION, (inside,))


def _entry_key(inner: Block) -> Key | None:
    words = inner.line.split()
    return key_of(words[-1] if "class" in words else words[1]) if len(words) > 1 else None


def _idle_crossings(device: Device, kept: Iterable[str], native: str, target: Target) -> Iterator[Block]:
    """Sub-interfaces of ours that nothing needs once the keys are gone, and that the text does not speak of; and
    neighbours that nothing sends to: those that the text needs, it makes."""
    policies = [device.policies[name] for name in kept]
    groups = groups_of(device.blocks)
    used = {path[-1].rpartition(" ")[2] for path in paths(policies)}
    used |= {groups[name] for name in used & groups.keys()}
    for name, one in device.interfaces.items():
        if f"description {MARK}" not in one.lines() or not _is_crossing(one.line, target):
            continue
        is_spoken_of = f"interface {name}\n" in native
        if (
            not is_spoken_of
            and policy_at(device, name) not in kept
            and not _far_addresses(name, target) & used
        ):
            yield Block(f"no interface {name}")
    for one in device.blocks:
        if _is_our_neighbour(one.line, target) and not used & set(one.line.split()):
            yield Block(f"no {one.line}")


def _far_addresses(name: str, target: Target) -> set[str]:
    parent, _, tag = name.rpartition(".")
    port = next(port.name for port in target.ports.values() if parent == (port.interface or port.name))
    return {crossing_addresses(target, (port, int(tag)), family)[1] for family in (4, 6)}
