# SPDX-License-Identifier: Apache-2.0
"""One OpenFlow flow of ours as a value, and its text for and from `ovs-ofctl`.

Called by `drivers.switch.flows` and `drivers.switch.openvswitch`. Knows the grammar of the lines, not
what an item means. Pure; it must not accept a field that it does not write itself: what cannot be
read exactly is an error, never skipped. Syntax: ovs-ofctl(8), ovs-fields(7), ovs-actions(7).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from drivers.base import Rejected
from drivers.state import ANY_PORT, ANYWHERE, Direction, Key, Kind, Match, Ports

COOKIE_MAGIC = 0xD5
COOKIE_MAGIC_SHIFT = 56
# Of the flows that catch a prober's packets (`drivers.switch.prober`).
PROBER_MAGIC = 0xD6
TABLE = 0
DROP = "drop"
# Flow modifications without an explicit priority; `dump-flows` leaves this value out.
DEFAULT_PRIORITY = 32768
# No 802.1Q header at all: the "present" bit and the VLAN id are zero, whatever the priority bits say.
UNTAGGED = "0x0000/0x1fff"

_KINDS = tuple(Kind)
# (family, protocol) -> how ovs-ofctl names it. An ICMP of the other family is legal, if odd, on a wire.
_PROTOCOL_TEXT: Mapping[tuple[int, str], str] = MappingProxyType(
    {
        (4, ""): "ip",
        (4, "tcp"): "tcp",
        (4, "udp"): "udp",
        (4, "sctp"): "sctp",
        (4, "icmp"): "icmp",
        (4, "icmpv6"): "ip,nw_proto=58",
        (6, ""): "ipv6",
        (6, "tcp"): "tcp6",
        (6, "udp"): "udp6",
        (6, "sctp"): "sctp6",
        (6, "icmp"): "ipv6,nw_proto=1",
        (6, "icmpv6"): "icmp6",
    }
)
_PROTOCOL_OF_TEXT = MappingProxyType({text: pair for pair, text in _PROTOCOL_TEXT.items()})
_STATISTICS = frozenset({"duration", "n_packets", "n_bytes", "idle_age", "hard_age"})
_DELETE = re.compile(r"flow delete cookie=(0x[0-9a-f]{16})/-1,table=0")
_COOKIE = re.compile(r"\bcookie=(0x[0-9a-f]+),")


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of table 0. port: OpenFlow number; tag: VLAN id, 0 for untagged; actions: as text.

    The port ranges of `match` are aligned blocks, each of which is one value and mask.
    """

    cookie: int
    priority: int
    port: int
    tag: int
    match: Match
    actions: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A flow as a device holds it, with what it counted."""

    flow: Flow
    packets: int
    octets: int


def cookie_of(key: Key) -> int:
    """magic 8 | chain 24 | revision 12 | direction 1 | stage 6 | kind 3 | index 10 bits."""
    direction = 0 if key.direction is Direction.FORWARD else 1
    value = COOKIE_MAGIC
    for field, bits in (
        (key.chain, 24),
        (key.revision, 12),
        (direction, 1),
        (key.stage, 6),
        (_KINDS.index(key.kind), 3),
        (key.index, 10),
    ):
        value = value << bits | field
    return value


@lru_cache(maxsize=4096)
def key_of(cookie: int) -> Key:
    """Inverse of `cookie_of`. Errors: ValueError if the cookie carries no key."""
    if not is_ours(cookie):
        raise ValueError(f"cookie {cookie:#x} is not ours")
    kind = cookie >> 10 & 0x7
    if kind >= len(_KINDS):
        raise ValueError(f"cookie {cookie:#x} names no kind of item")
    return Key(
        chain=cookie >> 32 & 0xFFFFFF,
        revision=cookie >> 20 & 0xFFF,
        direction=Direction.REVERSE if cookie >> 19 & 1 else Direction.FORWARD,
        stage=cookie >> 13 & 0x3F,
        kind=_KINDS[kind],
        index=cookie & 0x3FF,
    )


def is_ours(cookie: int) -> bool:
    """Whether a flow with this cookie is Viaduct's. All others belong to somebody else."""
    return cookie >> COOKIE_MAGIC_SHIFT == COOKIE_MAGIC


def blocks_of(ports: Ports) -> Iterator[Ports]:
    """The range as the fewest aligned blocks (one value and mask each), in order."""
    low, high = ports
    while low <= high:
        size = low & -low or 65536
        while low + size - 1 > high:
            size //= 2
        yield (low, low + size - 1)
        low += size


def add_line(flow: Flow) -> str:
    """The bundle line that adds the flow, or replaces the one with the same match and priority."""
    match = flow.match
    family, slash = ("nw", "/32") if match.family == 4 else ("ipv6", "/128")
    fields = [
        f"cookie={flow.cookie:#018x}",
        f"table={TABLE}",
        f"priority={flow.priority}",
        f"in_port={flow.port}",
        f"dl_vlan={flow.tag}" if flow.tag else f"vlan_tci={UNTAGGED}",
        _PROTOCOL_TEXT[match.family, match.protocol],
    ]
    for name, prefix in (("src", match.source), ("dst", match.destination)):
        if prefix != ANYWHERE[match.family]:
            fields.append(f"{family}_{name}={prefix.removesuffix(slash)}")
    if match.dscp >= 0:
        fields.append(f"ip_dscp={match.dscp}")
    for name, ports in (("tp_src", match.source_ports), ("tp_dst", match.destination_ports)):
        if ports != ANY_PORT:
            fields.append(f"{name}={_block_text(ports)}")
    return f"flow add {','.join(fields)},actions={flow.actions}"


def delete_line(cookie: int) -> str:
    """The bundle line that deletes the flows with exactly this cookie."""
    return f"flow delete cookie={cookie:#018x}/-1,table={TABLE}"


def parse_bundle(text: str) -> tuple[tuple[int, ...], tuple[Flow, ...]]:
    """The cookies it deletes and the flows it adds. Errors: Rejected unless every line is one of ours.

    Deletes come before adds, so that no delete can take away what the same bundle adds.
    """
    deleted: list[int] = []
    added: list[Flow] = []
    for line in text.splitlines():
        found = _DELETE.fullmatch(line)
        if found is not None and not added:
            deleted.append(int(found[1], 16))
            _require_key(deleted[-1], line)
            continue
        flow = _parse_flow(line.removeprefix("flow add ").replace(",actions=", " actions=", 1), line).flow
        if add_line(flow) != line:
            raise Rejected(f"not a line that this driver writes: {line!r}")
        added.append(flow)
    return tuple(deleted), tuple(added)


def parse_dump(text: str) -> tuple[tuple[Seen, ...], tuple[str, ...]]:
    """Our flows in the output of `dump-flows`, and the lines of others but a prober's. Errors: Rejected."""
    ours: list[Seen] = []
    foreign: list[str] = []
    for line in text.splitlines():
        cookie = _COOKIE.search(line)
        if cookie is None:
            if line.strip() and "reply" not in line:
                raise Rejected(f"not a flow: {line.strip()!r}")
        elif is_ours(int(cookie[1], 16)):
            ours.append(_parse_flow(line.strip(), line.strip()))
        elif int(cookie[1], 16) >> COOKIE_MAGIC_SHIFT != PROBER_MAGIC:
            foreign.append(line.strip())
    return tuple(ours), tuple(foreign)


def _parse_flow(text: str, line: str) -> Seen:
    """`fields actions=...`; line is what an error quotes."""
    head, found, actions = text.partition(" actions=")
    fields: dict[str, str] = {}
    for part in head.split(","):
        name, _, value = part.strip().partition("=")
        if name in fields:
            raise Rejected(f"field {name!r} twice in {line!r}")
        fields[name] = value
    try:
        counted = {name: fields.pop(name) for name in _STATISTICS & fields.keys()}
        cookie = int(fields.pop("cookie"), 16)
        if not found or fields.pop("table") != str(TABLE):
            raise ValueError("not in table 0")
        flow = Flow(
            cookie=cookie,
            priority=int(fields.pop("priority", DEFAULT_PRIORITY)),
            port=int(fields.pop("in_port")),
            tag=_parse_tag(fields),
            match=_parse_match(fields),
            actions=actions,
        )
    except (ValueError, KeyError) as error:
        raise Rejected(f"cannot read one of our flows ({error}): {line!r}") from error
    if fields:
        raise Rejected(f"unknown fields {sorted(fields)} in one of our flows: {line!r}")
    _require_key(cookie, line)
    return Seen(flow, packets=int(counted.get("n_packets", 0)), octets=int(counted.get("n_bytes", 0)))


def _parse_tag(fields: dict[str, str]) -> int:
    if "dl_vlan" in fields:
        return int(fields.pop("dl_vlan"))
    tci = fields.pop("vlan_tci")
    if tci != UNTAGGED:
        raise ValueError(f"unknown vlan_tci {tci}")
    return 0


def _parse_match(fields: dict[str, str]) -> Match:
    name = next((name for name, value in fields.items() if not value and name in _PROTOCOL_OF_TEXT), None)
    if name is None:
        raise ValueError("no protocol")
    del fields[name]
    if "nw_proto" in fields:
        name = f"{name},nw_proto={fields.pop('nw_proto')}"
    family, protocol = _PROTOCOL_OF_TEXT[name]
    prefix = "nw" if family == 4 else "ipv6"
    dscp = int(fields.pop("ip_dscp", -1))
    if "nw_tos" in fields:
        dscp, low = divmod(int(fields.pop("nw_tos")), 4)
        if low:
            raise ValueError("a DSCP with more than six bits")
    return Match(
        source=_prefix(fields.pop(f"{prefix}_src", ANYWHERE[family])),
        destination=_prefix(fields.pop(f"{prefix}_dst", ANYWHERE[family])),
        protocol=protocol,
        source_ports=_parse_block(fields.pop("tp_src", "")),
        destination_ports=_parse_block(fields.pop("tp_dst", "")),
        dscp=dscp,
    )


def _block_text(block: Ports) -> str:
    low, high = block
    return str(low) if low == high else f"{low:#x}/{0xFFFF - (high - low):#x}"


def _parse_block(text: str) -> Ports:
    if not text:
        return ANY_PORT
    value, _, mask_text = text.partition("/")
    low, wildcard = int(value, 0), 0xFFFF - int(mask_text or "0xffff", 0)
    if wildcard & (wildcard + 1) or low & wildcard:
        raise ValueError(f"not an aligned block of ports: {text}")
    return (low, low + wildcard)


@lru_cache(maxsize=4096)
def _prefix(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _require_key(cookie: int, line: str) -> None:
    try:
        key_of(cookie)
    except ValueError as error:
        raise Rejected(f"{error}: {line!r}") from error
