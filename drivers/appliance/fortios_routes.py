# SPDX-License-Identifier: Apache-2.0
"""FortiOS policy routes (`config router policy`, `policy6`): a firewall's redirect rules, both directions.

Called by `fortios`. Pure. Source: FortiOS CLI Reference 7.0, "config router policy" and "config router policy6". A
policy route has no name, so ours is its comment, and its number is of 30001 to 60000: the first that is free from one
that is made of the name, in the order of names. So a number can depend on what else is there, and who has to make room
is written anew. A route whose output device is down is passed over; the policy denies what then goes elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Iterator

from drivers.appliance.policy import interface_of, is_damaged
from drivers.appliance.steering import Steer, key_of, names_for, steers_of
from drivers.appliance.verify import Object, Reach
from drivers.base import Target, Unsupported
from drivers.state import ANY_PORT, DeviceState, Key

FIRST, COUNT = 30001, 30000
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
INTERFACE = re.compile(r"[A-Za-z0-9][\w.-]{0,14}")
VALUE = (
    r'(?:input|output)-device "[\w.-]+"|(?:src|dst) "[0-9a-f.:]+/[0-9.]+"|protocol \d{1,3}|'
    r'(?:start|end)-(?:source-)?port \d{1,5}|gateway [0-9a-f.:]+|comments "SI-[a-z0-9-]+"'
)


def tables(
    held: DeviceState, after: DeviceState, keys: frozenset[Key], target: Target
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Lines that delete, and lines that bring, by table. Errors: Unsupported."""
    before, then = _numbered(held, target), _numbered(after, target)
    stale = {number for number, one in before.items() if then.get(number) != one or key_of(one.name) in keys}
    stale |= {_first(name) for key, item in held.items() if key in keys and is_damaged(item) for name in names_for(key)}
    gone: dict[str, list[str]] = {"steer": [], "steer6": []}
    brought: dict[str, list[str]] = {"steer": [], "steer6": []}
    for number in sorted(stale):
        for table in {_table(before[number])} if number in before else sorted(gone):
            gone[table].append(f"    delete {number}")
    for number, one in sorted(then.items(), key=lambda pair: pair[1].name):
        if before.get(number) != one or key_of(one.name) in keys:
            said = (f"        set {line}" for line in attributes(one, target))
            brought[_table(one)] += [f"    edit {number}", *said, "    next"]
    return gone, brought


def _table(one: Steer) -> str:
    return "steer" if one.match.family == 4 else "steer6"


def _first(name: str) -> int:
    return FIRST + zlib.crc32(name.encode()) % COUNT


def _numbered(state: DeviceState, target: Target) -> dict[int, Steer]:
    found: dict[int, Steer] = {}
    for one in sorted(steers_of(state, target), key=lambda steer: steer.name):
        number = _first(one.name)
        while number in found:
            number = FIRST + (number - FIRST + 1) % COUNT
        found[number] = one
    return found


def attributes(one: Steer, target: Target) -> Iterator[str]:
    """Errors: Unsupported."""
    ends = [interface_of(target, port) for port in (one.ingress, one.egress)]
    if not all(INTERFACE.fullmatch(end) for end in ends):
        raise Unsupported(f"{target.name}: {ends!r} cannot be interfaces of FortiOS")
    yield f'input-device "{ends[0]}"'
    yield f'src "{_subnet(one.match.source)}"'
    yield f'dst "{_subnet(one.match.destination)}"'
    if one.match.protocol:
        yield f"protocol {PROTOCOLS[one.match.protocol]}"
    for which, (low, high) in (("", one.match.destination_ports), ("source-", one.match.source_ports)):
        if (low, high) != ANY_PORT:
            yield f"start-{which}port {low}"
            yield f"end-{which}port {high}"
    yield f"gateway {one.hop}"
    yield f'output-device "{ends[1]}"'
    yield f'comments "{one.name}"'


def _subnet(prefix: str) -> str:
    """As the device prints it."""
    network = ipaddress.ip_network(prefix)
    return network.with_netmask if network.version == 4 else str(network)


def place(kind: str, number: str) -> Object:
    """A number of a table is an object too, which somebody may have."""
    return "number", f"{'router policy' if kind == 'steer' else 'router policy6'} {number}"


def made(kind: str, number: str, said: set[str]) -> dict[Object, frozenset[str]]:
    """A policy route is known by its comment, and holds its number."""
    name = next((one.removeprefix("comments ") for one in said if one.startswith("comments ")), "")
    where = place(kind, number)
    rest = {one for one in said if not one.startswith("comments ")}
    return {("steer", name): frozenset({*rest, f"seq-num {where[1]}"}), where: frozenset({name})}


def reach(said: frozenset[str]) -> Reach:
    values = [one.split() for one in said]
    ends, sources, destinations = (
        frozenset(word for words in values if words[0] in named for word in words[1:])
        for named in (("input-device",), ("src", "srcaddr"), ("dst", "dstaddr"))
    )
    return Reach(ends, sources, destinations)
