# SPDX-License-Identifier: Apache-2.0
"""`Tables` in the words of an FRR/Linux router. Called by `drivers.switch.frr`. Pure.

nftables classifies, in order, with ports, protocol and DSCP: what FRR's pbrd cannot match, or matches only in its own
words (it says "installed" and the kernel rule has no port). It marks a packet with the hop where it must go; a pbr-map
takes the packet there by that mark alone. A second chain looks at every marked packet when it leaves: if the kernel
chose another interface or another next hop, because pbrd withdrew a rule or somebody put one before it, it is dropped.

The text has four sections. links, frr and nft are those programs' own commands; keep names all of ours that stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from drivers.base import Target, Unsupported
from drivers.nftables import line_text
from drivers.nftables_objects import INTERFACE, traffic_line
from drivers.state import ANYWHERE
from drivers.switch.counted import matched
from drivers.switch.tables import (
    CLOSED,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    address_of,
    crossing_addresses,
    interface,
    table_name,
)
from drivers.transport.frr_box.grammar import (
    ALIAS,
    BASE,
    FRR,
    KEEP,
    LAST_GUARD,
    LINKS,
    MARK,
    NEIGHBOURS,
    NFT,
    TABLE,
)

MAX_INTERFACE_NAME = 15
MAX_PORT_NUMBER = 4095
# pbr-map takes 1 to 700: an odd number for IPv4 and the next one for IPv6 of a hop.
SLOTS = 350

Hop = tuple[Place, int]  # where to, and the family


def linux_name(target: Target, place: Place) -> str:
    """Of the interface. Errors: Unsupported if Linux cannot call it so."""
    name = interface(target, place)
    if len(name) > MAX_INTERFACE_NAME:
        raise Unsupported(f"{target.name}: interface {name} has more than {MAX_INTERFACE_NAME} characters")
    if INTERFACE.fullmatch(name) is None:
        raise Unsupported(f"{target.name}: {name!r} cannot be the name of a Linux interface")
    return name


def mark_of(target: Target, place: Place) -> int:
    """Names the hop. Errors: Unsupported."""
    number = target.ports[place[0]].number
    if not 1 <= number <= MAX_PORT_NUMBER:
        raise Unsupported(f"{target.name}: port {place[0]} needs a number from 1 to {MAX_PORT_NUMBER}")
    return MARK | number << 12 | place[1]


def place_of_mark(target: Target, mark: int) -> Place | None:
    """Inverse of `mark_of`."""
    number, tag = (mark ^ MARK) >> 12, mark & 0xFFF
    return next(((name, tag) for name, port in target.ports.items() if port.number == number), None)


def hops_of(entries: tuple[Entry, ...]) -> tuple[Hop, ...]:
    """Where a table's entries lead, each once."""
    led = (entry for entry in entries if entry.action is Action.REDIRECT)
    return tuple(sorted({((entry.hop.port, entry.hop.tag), entry.family) for entry in led}))


def size_of(place: Place, entries: tuple[Entry, ...], target: Target) -> tuple[int, int]:
    """See `drivers.switch.counted`: rules of its chain with the one that leads there, and next hops of its pbr-map."""
    return matched(entries) + 2, len({hop for hop, _ in hops_of(entries)})


def numbered(hops: tuple[Hop, ...], target: Target) -> dict[Hop, int]:
    """A sequence number for each hop. It depends on the hop alone, unless two meet on one: then the later one moves.

    Errors: Unsupported.
    """
    taken: dict[int, Place] = {}
    found: dict[Hop, int] = {}
    if len({place for place, _ in hops}) > SLOTS:
        raise Unsupported(f"{target.name}: a pbr-map leads to at most {SLOTS} next hops")
    for place, family in hops:
        slot = (target.ports[place[0]].number * 37 + place[1]) % SLOTS
        while taken.setdefault(slot, place) != place:
            slot = (slot + 1) % SLOTS
        found[place, family] = 2 * slot + (1 if family == 4 else 2)
    return found


def text_of(before: Tables, after: Tables, target: Target, *, is_whole: bool) -> str:
    """What makes the router hold `after`. is_whole: what it holds is not quite `before`, so nothing is left out.

    nft is always whole: it is one transaction, and entries that stay keep their counters. Errors: Unsupported.
    """
    had = {} if is_whole else before.crossings
    links = [
        line
        for place, one in after.crossings.items()
        if had.get(place) != one
        for line in _link(target, place, one)
    ]
    known = frozenset() if is_whole else frozenset(_stanzas(before, target))
    stanzas = [stanza for stanza in _stanzas(after, target) if stanza not in known]
    sections = {LINKS: links, FRR: stanzas, NFT: [*_nft(after, target)], KEEP: [*_kept(after, target)]}
    return "".join(f"{line}\n" for name, lines in sections.items() for line in (name, *lines))


def _link(target: Target, place: Place, crossing: Crossing) -> Iterator[str]:
    name, parent = linux_name(target, place), linux_name(target, (place[0], 0))
    yield f"link add link {parent} name {name} type vlan id {place[1]}"
    yield f"link set dev {name} alias {ALIAS} addrgenmode none up"
    for family, length, flag in ((4, 31, ""), (6, 127, " nodad")):
        ours, theirs = crossing_addresses(target, place, family)
        yield f"address replace {ours}/{length} dev {name}{flag}"
        if crossing.mac:  # nothing leaves by it otherwise
            yield f"neighbour replace {theirs} lladdr {crossing.mac} dev {name} nud permanent"


def _stanzas(tables: Tables, target: Target) -> Iterator[str]:
    """Maps first: an interface is attached to a map that is there."""
    attached = []
    for place, entries in tables.entries.items():
        hops = hops_of(entries)
        name = table_name(place)
        for hop, number in sorted(numbered(hops, target).items(), key=lambda one: one[1]):
            yield "\n".join((f"pbr-map {name} seq {number}", *sequence(target, hop, entries), "exit"))
        if hops:
            attached.append(f"interface {linux_name(target, place)}\n pbr-policy {name}\nexit")
    yield from attached


def sequence(target: Target, hop: Hop, entries: tuple[Entry, ...]) -> tuple[str, str, str]:
    """Without an address of the family, pbrd makes an IPv4 rule for an IPv6 next hop."""
    place, family = hop
    return (
        f" match src-ip {ANYWHERE[family]}",
        f" match mark {mark_of(target, place)}",
        f" set nexthop {next_address(target, hop, entries)} {linux_name(target, place)}",
    )


def next_address(target: Target, hop: Hop, entries: tuple[Entry, ...]) -> str:
    place, family = hop
    entry = next(one for one in entries if one.family == family and (one.hop.port, one.hop.tag) == place)
    return address_of(target, entry.hop, family)


def counters_of(tables: Tables) -> tuple[str, ...]:
    names = {entry.name for entries in tables.entries.values() for entry in entries}
    return tuple(sorted(name for name in names if not name.startswith(CLOSED)))


def chain_name(place: Place) -> str:
    return f"t-{place[0]}-{place[1]}"


def _nft(tables: Tables, target: Target) -> Iterator[str]:
    yield f"add table {TABLE}"
    if not tables.entries:
        yield f"delete table {TABLE}"
        return
    yield f"flush table {TABLE}"
    yield from (f"add counter {TABLE} {name}" for name in counters_of(tables))
    yield f"add chain {TABLE} guard {BASE % 'forward'}"
    yield from (f"add rule {TABLE} guard {line}" for line in guards(tables, target))
    for place, entries in tables.entries.items():
        chain = f"{TABLE} {chain_name(place)}"
        yield f"add chain {chain}"
        yield f"add rule {chain} {NEIGHBOURS}"
        yield from (f"add rule {chain} {line}" for entry in entries for line in _rules(entry, target))
    yield f"add chain {TABLE} classify {BASE % 'prerouting'}"
    for place in tables.entries:
        yield f'add rule {TABLE} classify iifname "{linux_name(target, place)}" goto {chain_name(place)}'


def guards(tables: Tables, target: Target) -> tuple[str, ...]:
    """A marked packet leaves where its mark says, or not at all."""
    ways: dict[Hop, str] = {}
    for entries in tables.entries.values():
        for hop in hops_of(entries):
            ways[hop] = next_address(target, hop, entries)
    return (*(_guard(target, hop, ways[hop]) for hop in sorted(ways)), LAST_GUARD)


def _guard(target: Target, hop: Hop, address: str) -> str:
    place, family = hop
    way = f'oifname "{linux_name(target, place)}" rt {"ip" if family == 4 else "ip6"} nexthop {address}'
    return f"meta mark {mark_of(target, place):#x} {way} accept"


def _rules(entry: Entry, target: Target) -> Iterator[str]:
    if entry.name.startswith(CLOSED):
        yield f"meta nfproto ipv{entry.family} drop"
        return
    verdict = "drop" if entry.action is Action.DROP else "accept"
    if entry.action is Action.REDIRECT:
        verdict = f"meta mark set {mark_of(target, (entry.hop.port, entry.hop.tag)):#x} accept"
    for match in entry.matches:
        yield line_text(traffic_line(f'counter name "{entry.name}" {verdict}', match))


def _kept(tables: Tables, target: Target) -> Iterator[str]:
    for place, entries in tables.entries.items():
        numbers = sorted(numbered(hops_of(entries), target).values())
        if numbers:
            yield f"map {table_name(place)} {' '.join(str(number) for number in numbers)}"
            yield f"policy {linux_name(target, place)} {table_name(place)}"
    yield from (f"link {linux_name(target, place)}" for place in tables.crossings)
    if tables.entries:
        yield from ("chain classify", "chain guard")
    yield from (f"chain {chain_name(place)}" for place in tables.entries)
    yield from (f"counter {name}" for name in counters_of(tables))


def vrfs_of(tables: Tables) -> Mapping[str, str]:
    """VRF -> the name of an entry that wants it."""
    entries = (entry for found in tables.entries.values() for entry in found)
    return {entry.hop.vrf: entry.name for entry in entries if entry.hop.vrf}
