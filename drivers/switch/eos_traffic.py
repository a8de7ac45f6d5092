# SPDX-License-Identifier: Apache-2.0
"""EOS traffic policies: tables as text and back. Pure.

Called by `eos_text` and `eos_parse` where the setting `steering` is `traffic-policy`. Sources: openconfig/public,
"ocpf-match-action" (EOS examples); aristanetworks/avd, expected configurations of traffic policies. A next-hop group
is resolved in the default VRF, so only chains of that VRF can be steered this way.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping

from drivers.base import Target, Unsupported
from drivers.state import ANY_PORT, ANYWHERE, Match, Ports
from drivers.switch.eos_blocks import Block, block, check_match
from drivers.switch.tables import CLOSED, Action, Entry, Place, address_of, table_name, vrf_there

SECTION = "traffic-policies"
# What every policy ends with; the device adds it by itself, without actions.
LAST = {"ipv4-all-default": 4, "ipv6-all-default": 6}
_PROTOCOL = re.compile(
    r"protocol (?P<name>\w+)(?: source port (?P<source>[\d-]+))?(?: destination port (?P<destination>[\d-]+))?"
)
_PART = re.compile(r"(?P<name>.*?)(?:-m(?P<part>\d+))?")


def traffic_objects(
    place: Place, entries: Iterable[Entry], target: Target
) -> Iterator[tuple[tuple[str, ...], Block]]:
    matches: list[Block] = []
    closed = {4: False, 6: False}
    for entry in entries:
        if entry.name.startswith(CLOSED):
            closed[entry.family] = True
            continue
        if entry.hop.vrf and vrf_there(target, entry.hop.vrf):
            raise Unsupported(
                f"{target.name}: a traffic policy finds its next hops in the default VRF only, and {entry.name} is in "
                f"VRF {entry.hop.vrf}; set `steering: pbr`"
            )
        if entry.action is Action.REDIRECT:
            address = address_of(target, entry.hop, entry.family)
            yield (), block(f"nexthop-group {entry.name} type ip", "size 1", f"entry 0 nexthop {address}")
        for part, match in enumerate(entry.matches):
            name = f"{entry.name}-m{part}" if part else entry.name
            check_match(match, target.name)
            what = block("actions", "count", *_action(entry))
            matches.append(block(f"match {name} ipv{match.family}", *_criteria(match), what))
    for name, family in LAST.items():
        actions = (block("actions", "drop"),) if closed[family] else ()
        matches.append(block(f"match {name} ipv{family}", *actions))
    yield (SECTION,), block(f"traffic-policy {table_name(place)}", *matches)


def size_of(place: Place, entries: tuple[Entry, ...], target: Target) -> tuple[int, int]:
    """Matches of its policy, the two that every policy ends with too: see `drivers.switch.counted`."""
    lines = sum(len(entry.matches) for entry in entries if not entry.name.startswith(CLOSED)) + len(LAST)
    return lines, lines


def _action(entry: Entry) -> tuple[str, ...]:
    if entry.action is Action.REDIRECT:
        return (f"redirect next-hop group {entry.name}",)
    return ("drop",) if entry.action is Action.DROP else ()


def _criteria(match: Match) -> Iterator[str]:
    yield f"source prefix {match.source}"
    yield f"destination prefix {match.destination}"
    if match.protocol:
        ports = "".join(
            f" {side} port {_range(found)}"
            for side, found in (("source", match.source_ports), ("destination", match.destination_ports))
            if found != ANY_PORT
        )
        yield f"protocol {match.protocol}{ports}"
    if match.dscp >= 0:
        yield f"dscp {match.dscp}"


def _range(ports: Ports) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


# --- text -> raw entries ----------------------------------------------------------------------


def part_of(name: str) -> tuple[str, int]:
    """An entry's name and which of its matches a match of this name is."""
    found = _PART.fullmatch(name)
    assert found is not None, "anything matches"
    return found["name"], int(found["part"] or 0)


def read_match(one: Block, family: int) -> tuple[Match, tuple[str, ...]]:
    """What it matches and its actions. Errors: ValueError with the line that we do not write."""
    fields: dict[str, str] = {"source": ANYWHERE[family], "destination": ANYWHERE[family]}
    protocol, source_ports, destination_ports, dscp = "", ANY_PORT, ANY_PORT, -1
    actions: tuple[str, ...] = ()
    for inner in one.inside:
        words = inner.line.split()
        protocols = _PROTOCOL.fullmatch(inner.line)
        if words[1:2] == ["prefix"] and len(words) == 3 and words[0] in fields:
            fields[words[0]] = str(ipaddress.ip_network(words[2]))
        elif protocols is not None:
            protocol = protocols["name"]
            source_ports = _ports(protocols["source"])
            destination_ports = _ports(protocols["destination"])
        elif words[0] == "dscp" and len(words) == 2:
            dscp = int(words[1])
        elif inner.line == "actions":
            actions = inner.lines()
        else:
            raise ValueError(inner.line)
    found = Match(fields["source"], fields["destination"], protocol, source_ports, destination_ports, dscp)
    if found.family != family:
        raise ValueError(one.line)
    return found, actions


def _ports(text: str | None) -> Ports:
    if text is None:
        return ANY_PORT
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def groups_of(blocks: Iterable[Block]) -> Mapping[str, str]:
    """Next-hop groups of one entry, as we write them: name -> address, "" if it is another kind of group."""
    found = {}
    for one in blocks:
        words = one.line.split()
        if words[:1] == ["nexthop-group"] and len(words) == 4:
            lines = [line for line in one.lines() if line != "size 1"]
            is_ours = (
                words[2:] == ["type", "ip"] and len(lines) == 1 and lines[0].startswith("entry 0 nexthop ")
            )
            found[words[1]] = lines[0].rpartition(" ")[2] if is_ours else ""
    return found
