# SPDX-License-Identifier: Apache-2.0
"""What takes away all of damaged items on an EOS device, as it was read. Pure.

Called by `drivers.switch.eos`: where damage is can only be seen on the device, so a reading that has some gives ours as
it stands (`left_of`), and the repair's text is rendered from that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from drivers.base import Target
from drivers.state import Key
from drivers.switch.eos_blocks import Block, blocks_of, paths
from drivers.switch.eos_claim import SEPARATOR, is_crossing, is_our_neighbour, is_ours
from drivers.switch.eos_parse import ATTACHED, Device, device_of, key_of, policy_at
from drivers.switch.eos_text import ATTACH, MARK, style
from drivers.switch.eos_traffic import SECTION, groups_of
from drivers.switch.tables import CLOSED, crossing_addresses, parse_table_name


def left_of(running: str, target: Target) -> str:
    """Ours, as it stands: whole objects, and of the operator's interfaces what we attached and where they are."""
    found = []
    for one in blocks_of(running):
        if one.line.startswith("interface ") and not is_crossing(one.line, target):
            kept = tuple(i for i in one.inside if (m := ATTACHED.fullmatch(i.line)) and parse_table_name(m["name"]))
            found += [Block(one.line, kept)] if kept else []
        elif one.line == SECTION:
            kept = tuple(i for i in one.inside if is_ours(SEPARATOR.join((one.line, i.line)), target))
            found += [Block(one.line, kept)] if kept else []
        elif is_ours(one.line, target):
            found.append(one)
    return "".join(f"{line}\n" for one in found for line in one.text())


def clearing(keys: Collection[Key], native: str, target: Target) -> str:
    """The lines that go before a native text: from `Target.residue`."""
    if not keys:
        return ""
    lines = _clearing(device_of(target.residue, target), set(keys), native, target)
    return "".join(f"{line}\n" for one in lines for line in one.text())


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
        if f"description {MARK}" not in one.lines() or not is_crossing(one.line, target):
            continue
        is_spoken_of = f"interface {name}\n" in native
        if (
            not is_spoken_of
            and policy_at(device, name) not in kept
            and not _far_addresses(name, target) & used
        ):
            yield Block(f"no interface {name}")
    for one in device.blocks:
        if is_our_neighbour(one.line, target) and not used & set(one.line.split()):
            yield Block(f"no {one.line}")


def _far_addresses(name: str, target: Target) -> set[str]:
    parent, _, tag = name.rpartition(".")
    port = next(port.name for port in target.ports.values() if parent == (port.interface or port.name))
    return {crossing_addresses(target, (port, int(tag)), family)[1] for family in (4, 6)}
