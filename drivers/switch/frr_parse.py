# SPDX-License-Identifier: Apache-2.0
"""What an FRR/Linux router shows, back into `Tables`. Called by `drivers.switch.frr`. Pure.

Nothing counts because FRR says so. An entry that leads somewhere is whole if nftables marks its packets, the pbr-map
takes the mark to its next hop, THE KERNEL has that rule and in its table that route, and the guard lets the packets
out there and nowhere else. Else the item is torn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drivers.base import SHADOWS, Rejected, Target, Unsupported
from drivers.nftables_lines import line_from_json
from drivers.nftables_objects import Line, match_of
from drivers.state import ANYWHERE, Key, NextHop
from drivers.switch import frr_text as words
from drivers.switch.frr_rules import guard, is_neighbours, is_whole_exception, jump
from drivers.switch.tables import (
    ANY_MAC,
    CLOSED,
    FIRST_TAG,
    LAST_TAG,
    Action,
    Crossing,
    Entry,
    Place,
    Tables,
    crossing_addresses,
    parse_name,
    parse_table_name,
    table_name,
    vrf_here,
)
from drivers.transport.frr_box.config import is_marked, is_ours_link, is_pbrs, is_policy, stanzas_of
from drivers.transport.frr_box.grammar import PRIORITY, TABLE

Json = Mapping[str, Any]
HOOKS = {"classify": "prerouting", "guard": "forward"}
_SEQUENCE = re.compile(r"pbr-map (SI-t-\S+) seq (\d+)")
_LINE = re.compile(
    r" match src-ip (?P<any>\S+)| match mark (?P<mark>\d+)| set nexthop (?P<address>\S+) (?P<out>\S+)"
)
_IMPLIED: Mapping[tuple[str, ...], int] = {("icmp",): 4, ("icmpv6",): 6}
_FIELDS = (
    "frr",
    "nft",
    "tables",
    "marking",
    "rules",
    "routes",
    "links",
    "neighbours",
    "sysctls",
    "boot",
    "startup",
)
# What every Linux has: local, main and default.
_KERNEL_RULES = {0, 32766, 32767}


@dataclass(frozen=True, slots=True)
class Sequence:
    """One of a pbr-map of ours; "" and 0 for what it does not say."""

    table: str
    number: int
    any: str = ""
    mark: int = 0
    address: str = ""
    out: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the router shows. policies: interface -> the map attached there. strange: sequences of others."""

    document: Json
    sequences: tuple[Sequence, ...]
    policies: Mapping[str, str]
    strange: int


def shown_from(running: str, device: str) -> Shown:
    """Errors: Rejected, naming a line inside our pbr-maps that nobody here writes."""
    try:
        document = json.loads(running)
        missing = [name for name in _FIELDS if name not in document]
    except (ValueError, TypeError) as error:
        raise Rejected(
            f"{device}: it did not answer as viaduct_frr does; install the same version there"
        ) from error
    if missing:
        raise Rejected(f"{device}: it does not say {', '.join(missing)}; install the same viaduct_frr there")
    sequences, policies, strange = [], {}, 0
    for head, lines in stanzas_of(document["frr"]):
        if head.startswith("interface "):
            policies.update({head.split()[1]: line.split()[1] for line in lines if is_policy(line)})
        elif head.startswith("pbr-map SI-t-"):
            sequences.append(_sequence(head, lines, device))
        else:
            strange += head.startswith("pbr-map ")
    return Shown(document, tuple(sequences), policies, strange)


def _sequence(head: str, lines: tuple[str, ...], device: str) -> Sequence:
    name = _SEQUENCE.fullmatch(head)
    fields: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            raise Rejected(f"{device}: {head}: {line.strip()!r} is nothing that Viaduct writes; remove it")
        fields |= {key: value for key, value in found.groupdict().items() if value is not None}
    if name is None:
        raise Rejected(
            f"{device}: {head!r} has a name of ours, but is nothing that Viaduct writes; remove it"
        )
    mark = int(fields.pop("mark", "0"))
    return Sequence(name[1], int(name[2]), mark=mark, **fields)


def tables_from(shown: Shown, target: Target) -> Tables:
    """Errors: Rejected, naming the rule inside our nftables table that nobody here writes."""
    crossings = _crossings(shown.document, target)
    chains = _chains(shown.document, target)
    entries: dict[Place, tuple[Entry, ...]] = {}
    for name, rules in chains.items():
        place = parse_table_name(f"SI-{name}")
        if place is not None:
            entries[place] = _entries(rules, crossings, target)
        elif name not in HOOKS:
            raise Rejected(f"{target.name}: chain {name} in table {TABLE} is not ours; remove it")
    read = Tables(entries, crossings)
    return replace(read, torn=tuple(sorted(set(_torn(shown, chains, read, target)))))


# --- nftables ---------------------------------------------------------------------------------


def _chains(document: Json, target: Target) -> dict[str, list[Json]]:
    """Chain -> its rules. One with a wrong hook has none. Errors: Rejected."""
    chains: dict[str, list[Json]] = {}
    shut: set[str] = set()
    for entry in document["nft"]:
        kind, value = next(iter(entry.items()))
        if kind == "chain":
            chains[value["name"]] = []
            hook = (value.get("hook"), value.get("prio"), value.get("policy"))
            expected = (
                (HOOKS[value["name"]], PRIORITY, "accept") if value["name"] in HOOKS else (None, None, None)
            )
            if hook != expected:
                shut.add(value["name"])
        elif kind == "rule":
            chains[value["chain"]].append(value)
        elif kind not in ("metainfo", "table", "counter"):
            raise Rejected(
                f"{target.name}: {kind} {value.get('name')} in table {TABLE} is not ours; remove it"
            )
    return {name: [] if name in shut else rules for name, rules in chains.items()}


def _entries(rules: list[Json], crossings: Mapping[Place, Crossing], target: Target) -> tuple[Entry, ...]:
    """Rules of one counter in a row are one entry."""
    found: list[Entry] = []
    for rule in rules:
        if is_neighbours(rule):
            continue
        line, name, mark, verdict = _split(rule, target)
        family = line.family or _IMPLIED.get(line.protocols, 4)
        action = Action.DROP if verdict == "drop" else Action.REDIRECT if mark else Action.ROUTE
        hop = _hop(mark, crossings, target) if mark else NextHop(vrf=vrf_here(target, ""))
        name = name or f"{CLOSED}-{family}"
        entry = Entry(name, action, (match_of(line, family),), hop)
        if found and (found[-1].name, found[-1].action, found[-1].hop) == (name, action, hop):
            found[-1] = replace(found[-1], matches=(*found[-1].matches, *entry.matches))
        else:
            found.append(entry)
    return tuple(found)


def _split(rule: Json, target: Target) -> tuple[Line, str, int, str]:
    """What it matches, its counter's name, the mark it sets and its verdict. Errors: Rejected."""
    matches, name, mark, verdict = [], "", 0, ""
    for expression in rule["expr"]:
        kind, value = next(iter(expression.items()))
        if kind == "counter" and isinstance(value, str):
            name = value
        elif (
            kind == "mangle" and value["key"] == {"meta": {"key": "mark"}} and isinstance(value["value"], int)
        ):
            mark = value["value"]
        elif kind in ("accept", "drop"):
            verdict = kind
        else:
            matches.append(expression)
    line = line_from_json({**rule, "expr": matches})
    is_closed = verdict == "drop" and line == Line("", family=line.family)
    if not verdict or (parse_name(name) is None if name else not is_closed):
        where = f"chain {rule['chain']}, handle {rule['handle']}"
        raise Rejected(f"{target.name}: table {TABLE}, {where}: a rule that Viaduct never writes; remove it")
    return line, name, mark, verdict


def _hop(mark: int, crossings: Mapping[Place, Crossing], target: Target) -> NextHop:
    """NextHop() if the mark leads nowhere that we know."""
    place = words.place_of_mark(target, mark)
    if place is None or (place[1] and place not in crossings):
        return NextHop()
    far = crossings[place].mac if place[1] else target.ports[place[0]].peer_mac
    return NextHop(*place, "" if far == ANY_MAC else far, vrf_here(target, ""))


def marks(shown: Shown) -> frozenset[int]:
    """Those that our table sets already."""
    rules = (entry["rule"] for entry in shown.document["nft"] if "rule" in entry)
    values = (part["mangle"]["value"] for rule in rules for part in rule["expr"] if "mangle" in part)
    return frozenset(value for value in values if isinstance(value, int))


# --- links ------------------------------------------------------------------------------------


def _crossings(document: Json, target: Target) -> dict[Place, Crossing]:
    """Whole ones only: what is missing tears the items that need it."""
    links = {link["ifname"]: link for link in document["links"]}
    addresses = {
        (link["ifname"], one["local"], one["prefixlen"])
        for link in document["links"] for one in link.get("addr_info", ()) if "local" in one
    }  # fmt: skip
    macs = {(one["dev"], one["dst"]): one.get("lladdr", "") for one in document["neighbours"]}
    found: dict[Place, Crossing] = {}
    for port in target.ports.values():
        parent = port.interface or port.name
        for name, link in links.items():
            tag = name.removeprefix(f"{parent}.")
            if not tag.isdecimal() or not FIRST_TAG <= int(tag) <= LAST_TAG:
                continue
            crossing = _crossing(target, (port.name, int(tag)), name, addresses, macs)
            if is_ours_link(link, parent, int(tag)) and "UP" in link["flags"] and crossing is not None:
                found[port.name, int(tag)] = crossing
    return dict(sorted(found.items()))


def _crossing(
    target: Target,
    place: Place,
    name: str,
    addresses: set[tuple[str, str, int]],
    macs: Mapping[tuple[str, str], str],
) -> Crossing | None:
    found = set()
    for family, length in ((4, 31), (6, 127)):
        try:
            ours, theirs = crossing_addresses(target, place, family)
        except Unsupported:
            return None
        if (name, ours, length) not in addresses:
            return None
        found.add(macs.get((name, theirs), ""))
    return Crossing(*place, "", found.pop()) if len(found) == 1 else None


# --- is it whole? -----------------------------------------------------------------------------


def _torn(shown: Shown, chains: Mapping[str, list[Json]], read: Tables, target: Target) -> Iterator[Key]:
    """Keys of entries whose packets do not go where the entry says."""
    try:
        expected = {words.chain_name(place): len(rules) for place, rules in read.entries.items()}
        guards = words.guards(read, target)
    except (Unsupported, StopIteration):
        expected, guards = {}, ()
    has_guards = guards != () and [guard(rule) for rule in chains.get("guard", ())] == [*guards]
    jumps = {jump(rule) for rule in chains.get("classify", ())}
    for place, entries in read.entries.items():
        name = words.chain_name(place)
        rules = chains[name]
        is_met = (words.linux_name(target, place), name) in jumps if place[0] in target.ports else False
        is_open = bool(rules) and is_whole_exception(rules[0]) and sum(map(is_neighbours, rules)) == 1
        for entry in entries:
            key = parse_name(entry.name)
            if key is None:
                continue
            is_led = entry.action is not Action.REDIRECT or (
                has_guards and _has_neighbour(entry, read) and _leads(shown, place, entry, target)
            )
            if not (is_met and is_open and is_led and name in expected):
                yield key[0]


def _has_neighbour(entry: Entry, read: Tables) -> bool:
    crossing = read.crossings.get((entry.hop.port, entry.hop.tag))
    return not entry.hop.tag or (crossing is not None and bool(crossing.mac))


def _leads(shown: Shown, place: Place, entry: Entry, target: Target) -> bool:
    """FRR has the sequence, and the kernel has its rule and its route."""
    hop = ((entry.hop.port, entry.hop.tag), entry.family)
    if not entry.hop.port:
        return False
    try:
        mark = words.mark_of(target, hop[0])
        address, out = words.next_address(target, hop, (entry,)), words.linux_name(target, hop[0])
    except Unsupported:
        return False
    name, enters = table_name(place), words.linux_name(target, place)
    said = [one for one in shown.sequences if one.table == name and one.mark == mark]
    said = [one for one in said if one.any == ANYWHERE[entry.family]]
    if [(one.address, one.out) for one in said] != [(address, out)] or shown.policies.get(enters) != name:
        return False
    family = str(entry.family)
    rules = [
        rule for rule in shown.document["rules"][family] if rule.get("iif") == enters and is_marked(rule)
    ]
    tables = [rule["table"] for rule in rules if int(rule["fwmark"], 0) == mark and "fwmask" not in rule]
    if len(tables) != 1:
        return False
    routes = [route for route in shown.document["routes"][family] if route["table"] == tables[0]]
    return [(one["dst"], one.get("gateway"), one.get("dev")) for one in routes] == [("default", address, out)]


# --- others -----------------------------------------------------------------------------------


def in_the_way(shown: Shown, read: Tables, target: Target) -> tuple[str, ...]:
    """Of others: what takes packets before us. Of ours: what nothing needs any more."""
    found = []
    redirecting = [key for entries in read.entries.values() for entry in entries
                   if entry.action is Action.REDIRECT and (key := parse_name(entry.name))]  # fmt: skip
    interfaces = {words.linux_name(target, place) for place in read.entries if place[0] in target.ports}
    first = str(redirecting[0][0]) if redirecting else ""
    for family, rules in shown.document["rules"].items():
        last = max((rule["priority"] for rule in rules if is_marked(rule)), default=-1)
        for rule in rules:
            is_theirs = not is_marked(rule) and rule["priority"] not in _KERNEL_RULES
            is_met = rule.get("iif", "") in ("", *interfaces) and "fwmark" not in rule
            if is_theirs and is_met and rule["priority"] < last:
                text = " ".join(f"{name} {value}" for name, value in sorted(rule.items()) if value != "all")
                found.append(f"{SHADOWS}{first}: ip -{family} rule {text}")
    for family, routes in shown.document["routes"].items():
        found += [
            f"ip -{family} route {route['dst']} in table {route['table']} is not ours"
            for route in routes
            if not is_pbrs(route)
        ]
    if redirecting:
        found += [f"{SHADOWS}{first}: table {name} sets marks after us" for name in shown.document["marking"]]
    needed = {table_name(place) for place, entries in read.entries.items() if words.hops_of(entries)}
    found += [
        f"pbr-map {name} is left over" for name in sorted({one.table for one in shown.sequences} - needed)
    ]
    return tuple(found)


def foreign(shown: Shown) -> int:
    """pbr-maps, nftables tables and kernel rules of others."""
    rules = [rule for found in shown.document["rules"].values() for rule in found]
    theirs = [rule for rule in rules if not is_marked(rule) and rule["priority"] not in _KERNEL_RULES]
    return shown.strange + len(shown.document["tables"]) + len(theirs)
