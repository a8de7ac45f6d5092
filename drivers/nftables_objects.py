# SPDX-License-Identifier: Apache-2.0
"""What an item is on a Linux box: nftables chains and maps of our own table, as values.

`nftables` prints them, `nftables_parse` reads them back: both use `objects_of`, so what is read is an
item only if the device holds exactly the objects that the item stands for. No text and no I/O here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from drivers.base import Unsupported
from drivers.nat import NAT_PROTOCOLS, Block, blocks
from drivers.state import ANY_PORT, ANYWHERE, Item, Key, Kind, Match, NatPool, Ports, Rule, RuleSet, Verdict

# A packet that an item let pass carries this bit from its item to the closing chain, on this box only.
CLAIM_BIT = 0x40000000
BOTH_FAMILIES = 46
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
CHAIN_KEY = re.compile(r"(c\d{1,8}_r\d{1,4}_[fr]_\d{1,2}_[a-z]+_\d{1,4})(?:_([a-z]+\d?))?")
# Blocks on demand: at most so many for a subscriber; how long a wish is heard, and how long a flow may be silent
# (RFC 5382, REQ-5: two hours and four minutes at least).
MAX_BLOCKS = 8
WISH_S, SILENCE_S = 60, 7500


class Realm(StrEnum):
    """Where the table lives: an appliance drops what nothing claims, a host leaves it alone."""

    APPLIANCE = "appliance"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Line:
    """One rule: every field that is not empty must hold; then the counter, then the verdict.

    family: 4, 6, BOTH_FAMILIES or 0 (says nothing). protocols: one of these. verdict: accept, drop,
    return, "goto CHAIN", "snat MAP", "" (go on), or mark, unmark for CLAIM_BIT. absent_from: a map that does not have
    the source. counted: a set, and more flows of the source than so many. update: the set that the source is put into.
    """

    verdict: str
    iif: str = ""
    oif: str = ""
    family: int = 0
    source: str = ""
    destination: str = ""
    dscp: int = -1
    protocols: tuple[str, ...] = ()
    source_ports: Ports = ANY_PORT
    destination_ports: Ports = ANY_PORT
    state: str = ""
    direction: str = ""
    reply_to: str = ""
    is_claimed: bool = False
    absent_from: str = ""
    counted: tuple[str, int] | None = None
    update: str = ""
    has_counter: bool = False
    packets: int = field(default=0, compare=False)
    octets: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """hook: "" for a chain that is only jumped to."""

    name: str
    lines: tuple[Line, ...]
    hook: str = ""
    type: str = "filter"
    priority: int = 0
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class Blocks:
    """A map: subscriber address -> public address and port range. is_given: filled on demand, not by the item."""

    name: str
    elements: tuple[Block, ...]
    is_given: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    """A set of source addresses that rules fill. timeout_s: how long one stays, 0: as long as it has flows."""

    name: str
    timeout_s: int = 0
    elements: frozenset[str] = field(default=frozenset(), compare=False)


Object = Chain | Blocks | Sources


def base(realm: Realm) -> tuple[Object, ...]:
    """What the table holds whatever the items are.

    Appliance: forwarded packets lose the claim bit at first and are dropped in the end unless an item
    set it; ICMP errors about a flow that was let pass are let pass. Host: one reference to connection
    tracking, so that it runs before the first rule set comes and live flows are known by then.
    """
    if realm is Realm.HOST:
        return (Chain("tracking", (Line("accept", state="established"),)),)
    errors = Line("accept", state="related", protocols=("icmp", "icmpv6"))
    return (
        Chain("opening", (Line("unmark"),), hook="forward", priority=-10),
        Chain("claim", (Line("mark accept"),)),
        Chain(
            "closing",
            (Line("unmark accept", is_claimed=True), errors, Line("drop", has_counter=True)),
            hook="forward",
            priority=10,
            policy="drop",
        ),
    )


def name_of(key: Key) -> str:
    """The chain name of an item; its other objects have a suffix."""
    return str(key).replace(".", "_")


def key_of(name: str) -> tuple[Key, str] | None:
    """The key and suffix of an object's name, or None if it is not one of an item."""
    found = CHAIN_KEY.fullmatch(name)
    if found is None:
        return None
    try:
        return Key.parse(found[1].replace("_", ".")), found[2] or ""
    except ValueError:
        return None


def objects_of(key: Key, item: Item, realm: Realm, interfaces: Mapping[str, str]) -> tuple[Object, ...]:
    """The item's objects, those that are referred to first. Errors: Unsupported.

    interfaces: port name -> Linux interface name, where they differ.
    """
    if isinstance(item, RuleSet):
        return _rule_set(key, item, realm, interfaces)
    if isinstance(item, NatPool) and realm is Realm.APPLIANCE:
        return _nat_pool(key, item, interfaces)
    raise Unsupported(f"{key}: {realm} devices on nftables cannot hold a {key.kind}")


def names_of(key: Key, realm: Realm, blocks: int = 0) -> tuple[tuple[str, str], ...]:
    """(chain, map or set, name) of every object that an item of this key has, those that refer first."""
    name = name_of(key)
    if key.kind is Kind.NATPOOL:
        sets = tuple(("set", value.name) for value in sources(name, blocks)) if blocks else ()
        chains = (("chain", name), ("chain", f"{name}_after"), ("chain", f"{name}_nat"))
        return (*chains, ("map", f"{name}_blocks"), *sets)
    hooks = (("chain", f"{name}_{hook}") for hook in HOST_HOOKS) if realm is Realm.HOST else ()
    return (*hooks, ("chain", name), ("chain", f"{name}_rules"))


HOST_HOOKS = ("input", "output", "forward")


def traffic_line(verdict: str, match: Match) -> Line:
    """A line for exactly this traffic, its family included."""
    return replace(rule_line(verdict, match, match.family), family=match.family)


def rule_line(verdict: str, match: Match, family: int) -> Line:
    """A line of a policy inside an item for traffic of `family`: a wide match says nothing."""
    source = "" if match.source in ANYWHERE.values() else match.source
    destination = "" if match.destination in ANYWHERE.values() else match.destination
    named = 0 if match.family == family else BOTH_FAMILIES
    return Line(
        verdict,
        family=match.family if source or destination or match.dscp >= 0 else named,
        source=source,
        destination=destination,
        dscp=match.dscp,
        protocols=(match.protocol,) if match.protocol else (),
        source_ports=match.source_ports,
        destination_ports=match.destination_ports,
    )


def interface_of(key: Key, port: str, interfaces: Mapping[str, str]) -> str:
    """The Linux interface of a port. Errors: Unsupported if it cannot be one."""
    name = interfaces.get(port, port)
    if INTERFACE.fullmatch(name) is None:
        raise Unsupported(f"{key}: {name!r} cannot be the name of a Linux interface")
    return name


def arms_of(iif: str, oif: str, interfaces: Mapping[str, str]) -> tuple[str, str]:
    """The ports (inside, outside) of a line from one interface to another: the inverse of `interface_of`.

    Two ports may share an interface, if it is the bridge that joins them: then the first of them is inside.
    """
    ins = [port for port, name in interfaces.items() if name == iif] or [iif]
    outs = [port for port, name in interfaces.items() if name == oif] or [oif]
    return ins[0], outs[-1]


def _rule_set(key: Key, item: RuleSet, realm: Realm, interfaces: Mapping[str, str]) -> tuple[Object, ...]:
    """Originals in the direction of the traffic are judged on every packet, replies to it pass."""
    name, family = name_of(key), item.traffic.family
    is_host = realm is Realm.HOST
    if is_host != (item.inside == item.outside == ""):
        raise Unsupported(f"{key}: inside {item.inside!r}, outside {item.outside!r} do not suit a {realm}")
    inside, outside = ("", "") if is_host else (
        interface_of(key, item.inside, interfaces),
        interface_of(key, item.outside, interfaces),
    )
    permit = "accept" if is_host else "goto claim"
    verdicts = {Verdict.PERMIT: permit, Verdict.DENY: "drop"}
    rules = [_counted(rule_line(verdicts[rule.verdict], rule.match, family)) for rule in item.rules]
    rules.append(Line(verdicts[item.default], has_counter=True))
    onward, back = item.traffic, item.traffic.reversed()
    lines = (
        Line("return", family=family, state="related", protocols=("icmp" if family == 4 else "icmpv6",)),
        replace(traffic_line(f"goto {name}_rules", onward), iif=inside, oif=outside, direction="original"),
        _counted(replace(traffic_line(permit, back), iif=outside, oif=inside, direction="reply")),
        _counted(replace(traffic_line("drop", back), iif=outside, oif=inside)),
        _counted(replace(traffic_line("drop", onward), iif=inside, oif=outside)),
    )
    parts = (Chain(f"{name}_rules", tuple(rules)), Chain(name, lines, hook="" if is_host else "forward"))
    if not is_host:
        return parts
    return (*parts, *(Chain(f"{name}_{hook}", (Line(f"goto {name}"),), hook=hook) for hook in HOST_HOOKS))


def _nat_pool(key: Key, item: NatPool, interfaces: Mapping[str, str]) -> tuple[Object, ...]:
    """Forward sees private addresses both ways; a flow may pass if its replies come to this pool.

    A new flow's replies would still come to the subscriber: it passes, and `after` drops what then
    leaves untranslated, whatever the cause.
    """
    name, onward = name_of(key), item.traffic
    if onward.family != 4 or onward.protocol not in ("", *NAT_PROTOCOLS):
        raise Unsupported(f"{key}: NAT is for IPv4 with tcp, udp and icmp, not {onward}")
    if item.blocks > MAX_BLOCKS:
        raise Unsupported(f"{key}: {item.blocks} blocks for a subscriber; at most {MAX_BLOCKS}")
    try:
        ipaddress.IPv4Network(item.public)
        elements = () if item.blocks else tuple(blocks(item))
    except ValueError as error:
        raise Unsupported(f"{key}: {error}") from error
    inside, outside = (interface_of(key, port, interfaces) for port in (item.inside, item.outside))
    protocols = (onward.protocol,) if onward.protocol else NAT_PROTOCOLS
    there = replace(traffic_line("drop", onward), iif=inside, oif=outside, has_counter=True)
    back = replace(traffic_line("drop", onward.reversed()), iif=outside, oif=inside, has_counter=True)
    claimed = replace(there, verdict="goto claim", protocols=protocols, direction="original")
    answer = replace(back, verdict="goto claim", direction="reply", reply_to=item.public)
    lines = (
        *(_wishes(name, claimed, item) if item.blocks else ()),
        replace(claimed, reply_to=onward.source),
        replace(claimed, reply_to=item.public),
        answer,
        there,
        back,
        Line("drop", iif=outside, family=4, destination=item.public, has_counter=True),
    )
    translate = replace(there, verdict=f"snat {name}_blocks", iif="", protocols=protocols, has_counter=False)
    return (
        Blocks(f"{name}_blocks", elements, is_given=bool(item.blocks)),
        *(sources(name, item.blocks) if item.blocks else ()),
        Chain(f"{name}_nat", (translate,), hook="postrouting", type="nat", priority=100),
        Chain(f"{name}_after", (replace(there, iif=""),), hook="postrouting", priority=110),
        Chain(name, lines, hook="forward"),
    )


def sources(name: str, blocks: int) -> tuple[Sources, ...]:
    """Who wants a first block, or another one beside 1, 2, ...; who has how many flows; who was seen."""
    wishes = (Sources(f"{name}_want{level}", WISH_S) for level in range(blocks + 1))
    flows = (Sources(f"{name}_use{level}") for level in range(1, blocks + 1))
    return (*wishes, *flows, Sources(f"{name}_seen", SILENCE_S))


def _wishes(name: str, claimed: Line, item: NatPool) -> tuple[Line, ...]:
    """Who has no block says so and is dropped; who has as many flows as ports says so when he opens one more."""
    opening = replace(claimed, verdict="", has_counter=False)
    none = replace(opening, verdict="drop", absent_from=f"{name}_blocks", update=f"{name}_want0", has_counter=True)
    more = (
        replace(
            opening,
            state="new",
            counted=(f"{name}_use{level}", level * item.block_size),
            update=f"{name}_want{level}",
        )
        for level in range(1, item.blocks + 1)
    )
    return (none, *more, replace(opening, update=f"{name}_seen"))


def _counted(line: Line) -> Line:
    return replace(line, has_counter=True)


def match_of(line: Line, family: int) -> Match:
    """The match of a policy line inside an item for traffic of `family`. Errors: ValueError."""
    named = line.family if line.family in (4, 6) else family
    if line.family == BOTH_FAMILIES:
        named = 10 - family
    return Match(
        line.source or ANYWHERE[named],
        line.destination or ANYWHERE[named],
        line.protocols[0] if line.protocols else "",
        line.source_ports,
        line.destination_ports,
        line.dscp,
    )


def rule_of(line: Line, family: int) -> Rule:
    """The rule that a line of a `_rules` chain stands for. Errors: ValueError."""
    verdict = Verdict.DENY if line.verdict == "drop" else Verdict.PERMIT
    return Rule(verdict, match_of(line, family))
