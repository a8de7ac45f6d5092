# SPDX-License-Identifier: Apache-2.0
"""What a device should hold, or holds: a frozen mapping key -> item.

Desired and observed state have this one type, so one diff serves every device family.
Compile builds it, drivers render and parse it, forward walks packets through it. No I/O here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Hashable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T")
Ports = tuple[int, int]
ANY_PORT: Ports = (0, 65535)
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
MAX_PRECEDENCE = 31
# A chain's priority takes two precedences: see chains.planning.types.Chain.precedence.
MAX_PRIORITY = MAX_PRECEDENCE // 2


class Direction(StrEnum):
    """Forward is from the classifier's source to its destination."""

    FORWARD = "f"
    REVERSE = "r"


class Kind(StrEnum):
    """The kinds of items. The order is the wire code in an OpenFlow cookie: append only."""

    REDIRECT = "redirect"
    FILTER = "filter"
    GUARD = "guard"
    PASS = "pass"
    RULESET = "ruleset"
    SIGNATURES = "signatures"
    NATPOOL = "natpool"


class Verdict(StrEnum):
    PERMIT = "permit"
    DENY = "deny"


KEY_PATTERN = re.compile(
    r"c(?P<chain>\d{1,8})\.r(?P<revision>\d{1,4})\.(?P<direction>[fr])\.(?P<stage>\d{1,2})"
    r"\.(?P<kind>[a-z]+)\.(?P<index>\d{1,4})"
)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Who an item belongs to. It carries the path revision: two revisions of a path can coexist.

    Ranges: chain 1..2**24-1, revision 0..4095 (wraps), stage 0..63, index 0..1023; so a key fits
    into a 64-bit OpenFlow cookie and into every device's object name.
    """

    chain: int
    revision: int
    direction: Direction
    stage: int
    kind: Kind
    index: int

    def __post_init__(self) -> None:
        limits = (
            (self.chain, 1, 1 << 24),
            (self.revision, 0, 4096),
            (self.stage, 0, 64),
            (self.index, 0, 1024),
        )
        for value, low, high in limits:
            if not low <= value < high:
                raise ValueError(f"{value} is outside {low}..{high - 1} in key {self}")

    def __str__(self) -> str:
        return f"c{self.chain}.r{self.revision}.{self.direction}.{self.stage}.{self.kind}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Inverse of `str`. Errors: ValueError."""
        found = KEY_PATTERN.fullmatch(text)
        if found is None:
            raise ValueError(f"not a key: {text!r}")
        return cls(
            chain=int(found["chain"]),
            revision=int(found["revision"]),
            direction=Direction(found["direction"]),
            stage=int(found["stage"]),
            kind=Kind(found["kind"]),
            index=int(found["index"]),
        )


@lru_cache(maxsize=4096)
def _normal(prefix: str) -> str:
    """As `ipaddress` prints it. The same few prefixes are in very many items. Errors: ValueError."""
    return str(ipaddress.ip_network(prefix))


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """Which packets: prefixes of one family, protocol, port ranges (both ends included), DSCP (-1: any).

    Normal form: prefixes as `ipaddress` prints them with host bits zero; ports other than
    ANY_PORT only with tcp, udp or sctp. protocol is "", tcp, udp, sctp, icmp or icmpv6.
    """

    source: str
    destination: str
    protocol: str = ""
    source_ports: Ports = ANY_PORT
    destination_ports: Ports = ANY_PORT
    dscp: int = -1

    def __post_init__(self) -> None:
        source, destination = _normal(str(self.source)), _normal(str(self.destination))
        if (":" in source) != (":" in destination):
            raise ValueError(f"{self.source} and {self.destination} are of different families")
        if (source, destination) != (self.source, self.destination):
            raise ValueError(f"not in normal form: {self.source} -> {self.destination}")
        if self.protocol not in ("", "tcp", "udp", "sctp", "icmp", "icmpv6"):
            raise ValueError(f"unknown protocol {self.protocol!r}")
        for low, high in (self.source_ports, self.destination_ports):
            if not 0 <= low <= high <= 65535:
                raise ValueError(f"not a port range: {low}-{high}")
        has_ports = (self.source_ports, self.destination_ports) != (ANY_PORT, ANY_PORT)
        if has_ports and self.protocol not in ("tcp", "udp", "sctp"):
            raise ValueError("ports need protocol tcp, udp or sctp")
        if not -1 <= self.dscp <= 63:
            raise ValueError(f"not a DSCP: {self.dscp}")

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.source else 4

    def reversed(self) -> Match:
        """The same conversation seen from the other end."""
        return Match(
            self.destination, self.source, self.protocol, self.destination_ports, self.source_ports, self.dscp
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a policy. In a rule, a wide match means "any"."""

    verdict: Verdict
    match: Match


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a redirect hands the packet.

    Either `port` (with the VLAN tag to put on, 0 for none, and the destination MAC to write, "" to
    leave it), or `vrf` alone: the device's own base forwarding, in that VRF. On a device that routes
    (`Capabilities.is_routed`) `vrf` is beside the port too: where the packet comes from and the port is found.
    """

    port: str = ""
    tag: int = 0
    mac: str = ""
    vrf: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Packets that enter by `ingress` with VLAN `tag` (0: untagged) and match go to `next`.

    RFC 7665 calls the device a service function forwarder. standby: where the device sends them by itself while the
    port of `next` has no link, None to drop them. copies: who else gets one; a copy that cannot be sent harms nobody.
    """

    ingress: str
    tag: int
    match: Match
    next: NextHop
    precedence: int = 0
    standby: NextHop | None = None
    copies: tuple[NextHop, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """A stateless filter in place: like Redirect, but only for what the rules permit.

    The first matching rule decides, else `default`. What is denied is dropped, and not copied.
    """

    ingress: str
    tag: int
    match: Match
    next: NextHop
    rules: tuple[Rule, ...]
    default: Verdict
    precedence: int = 0
    standby: NextHop | None = None
    copies: tuple[NextHop, ...] = ()


@dataclass(frozen=True, slots=True)
class Guard:
    """The closed door behind a redirect: matching packets that nothing redirects are dropped."""

    ingress: str
    tag: int
    match: Match
    precedence: int = 0


@dataclass(frozen=True, slots=True)
class Pass:
    """An exception before the redirects of the same precedence: base forwarding as if we were not there."""

    ingress: str
    tag: int
    match: Match
    precedence: int = 0


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A stateful filter for `traffic`, seen in the direction of whoever opens the flow.

    First matching rule decides, else `default`; replies of permitted flows pass; nobody may open a
    flow against the direction. `inside` and `outside` are the ports of an appliance ("" on a host).
    """

    traffic: Match
    rules: tuple[Rule, ...]
    default: Verdict
    inside: str = ""
    outside: str = ""


@dataclass(frozen=True, slots=True)
class Signatures:
    """An inline IPS for `traffic`, both directions: a packet with one of the byte patterns is dropped.

    patterns: lower-case hexadecimal, 4 to 64 bytes each.
    """

    traffic: Match
    patterns: tuple[str, ...]
    inside: str
    outside: str


@dataclass(frozen=True, slots=True)
class NatPool:
    """Carrier-grade NAT with port blocks. traffic: as it enters inside; its source is the subscriber prefix.

    public: the pool prefix. blocks: 0 for one block for everybody from the start (RFC 7422, see `drivers.nat.blocks`);
    else blocks are given on demand, and this is how many a subscriber has at most (drivers.base.Giving).
    """

    traffic: Match
    public: str
    block_size: int
    inside: str
    outside: str
    blocks: int = 0


Steering = Redirect | Filter | Guard | Pass
FunctionItem = RuleSet | Signatures | NatPool
Item = Redirect | Filter | Guard | Pass | RuleSet | Signatures | NatPool

ITEM_OF_KIND: Mapping[Kind, type[Item]] = MappingProxyType(
    {
        Kind.REDIRECT: Redirect,
        Kind.FILTER: Filter,
        Kind.GUARD: Guard,
        Kind.PASS: Pass,
        Kind.RULESET: RuleSet,
        Kind.SIGNATURES: Signatures,
        Kind.NATPOOL: NatPool,
    }
)
KIND_OF_ITEM: Mapping[type[Item], Kind] = MappingProxyType(
    {item: kind for kind, item in ITEM_OF_KIND.items()}
)

Slot = tuple[str, ...]


def slot(item: Item) -> Slot:
    """The place an item takes on its device. Two items of one slot cannot coexist: one replaces the other.

    Redirect and Filter share a slot: both say where the packet goes.
    """
    if isinstance(item, Redirect | Filter | Guard | Pass):
        role = "redirect" if isinstance(item, Redirect | Filter) else KIND_OF_ITEM[type(item)].value
        return (role, item.ingress, str(item.tag), str(item.precedence), _told(item.match))
    return (KIND_OF_ITEM[type(item)].value, item.inside, item.outside, _told(item.traffic))


_told = lru_cache(maxsize=65536)(repr)


class DeviceState(Mapping[Key, Item]):
    """A frozen mapping key -> item, iterated in key order; equal when the contents are equal."""

    __slots__ = ("_functions", "_items", "_places", "_remembered")

    def __init__(self, items: Mapping[Key, Item] | None = None) -> None:
        given = items or {}
        for key, item in given.items():
            if KIND_OF_ITEM[type(item)] is not key.kind:
                raise ValueError(f"{key} holds a {type(item).__name__}")
        self._items: Mapping[Key, Item] = MappingProxyType({key: given[key] for key in sorted(given)})
        self._functions: tuple[tuple[Key, FunctionItem], ...] | None = None
        self._places: dict[tuple[str, int], tuple[tuple[Key, Steering], ...]] | None = None
        self._remembered: dict[Hashable, Any] = {}

    def __getitem__(self, key: Key) -> Item:
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def keys(self) -> KeysView[Key]:
        return self._items.keys()  # straight from the mapping inside: what Mapping has is many times slower

    def values(self) -> ValuesView[Item]:
        return self._items.values()

    def items(self) -> ItemsView[Key, Item]:
        return self._items.items()

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __repr__(self) -> str:
        return f"DeviceState({dict(self._items)!r})"

    def steering(self, ingress: str, tag: int) -> tuple[tuple[Key, Steering], ...]:
        """What decides about packets that enter by `ingress` with `tag`: the first that matches. Indexed once."""
        if self._places is None:
            places: dict[tuple[str, int], list[tuple[Key, Steering]]] = {}
            for key, item in self._items.items():
                if isinstance(item, Redirect | Filter | Guard | Pass):
                    places.setdefault((item.ingress, item.tag), []).append((key, item))
            self._places = {place: tuple(sorted(found, key=decisive)) for place, found in places.items()}
        return self._places.get((ingress, tag), ())

    def remembered(self, what: Hashable, make: Callable[[], T]) -> T:
        """What was worked out about this state once: it never changes."""
        if what not in self._remembered:
            self._remembered[what] = make()
        found: T = self._remembered[what]
        return found

    def functions(self) -> tuple[tuple[Key, FunctionItem], ...]:
        """The function items, in key order. Indexed once."""
        if self._functions is None:
            self._functions = tuple((k, i) for k, i in self._items.items() if isinstance(i, FunctionItem))
        return self._functions

    def of_chain(self, chain: int) -> DeviceState:
        """The part that one chain contributes."""
        return DeviceState({key: item for key, item in self._items.items() if key.chain == chain})

    def merged(self, other: Mapping[Key, Item]) -> DeviceState:
        """The union. Errors: ValueError if both hold a key with different items."""
        if not other:
            return self
        for key, item in other.items():
            if self._items.get(key, item) != item:
                raise ValueError(f"{key} is held twice with different items")
        return DeviceState({**self._items, **other})


def decisive(pair: tuple[Key, Steering]) -> tuple[int, int, Key]:
    """Sorts the item that decides first to the front.

    By precedence; of one precedence exceptions come before redirects, and redirects before the closed door.
    """
    key, item = pair
    rank = 2 if isinstance(item, Pass) else 0 if isinstance(item, Guard) else 1
    return -item.precedence, -rank, key


EMPTY = DeviceState()
