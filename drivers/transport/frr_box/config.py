# SPDX-License-Identifier: Apache-2.0
"""FRR's running configuration as stanzas, and what of all that a router shows is ours. Pure, standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .grammar import ALIAS, MARK, MARK_MASK, PRIORITY, TABLE

MARKS = {"meta": {"key": "mark"}}
# By name, or by number where iproute2 has no name for it.
PBR_PROTOCOLS = ("pbr", "195")
SEQUENCE = re.compile(r"pbr-map (\S+) seq \d+\n match src-ip (\S+)\n match mark (\d+)\n")
Sequence = tuple[str, int, int]  # map, family, mark


def stanzas_of(config: str) -> list[tuple[str, tuple[str, ...]]]:
    """Of a running configuration: (head, lines), in order. A line outside a stanza is one without lines."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for line in config.splitlines():
        if line.startswith(" ") and found:
            found[-1] = (found[-1][0], (*found[-1][1], line))
        elif line.strip() not in ("", "!", "end", "exit", "exit-vrf"):
            found.append((line.rstrip(), ()))
    return found


def is_policy(line: str, prefix: str = "") -> bool:
    """Does it attach a map whose name begins so?"""
    return line.startswith(f" pbr-policy {prefix}")


def is_marked(rule: dict[str, Any]) -> bool:
    """Is it a kernel rule for packets that we marked?"""
    return int(str(rule.get("fwmark", "0")), 0) & MARK_MASK == MARK


def is_pbrs(route: dict[str, Any]) -> bool:
    """Did pbrd make it?"""
    return route.get("protocol") in PBR_PROTOCOLS


def is_ours_link(link: dict[str, Any], parent: str, tag: int) -> bool:
    info = link.get("linkinfo", {})
    is_vlan = info.get("info_kind") == "vlan" and info.get("info_data", {}).get("id") == tag
    return bool(is_vlan and link.get("link") == parent and link.get("ifalias") == ALIAS)


def ours(config: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for head, lines in stanzas_of(config):
        if head.startswith("pbr-map SI-t-"):
            yield head, lines
        elif any(is_policy(line, "SI-t-") for line in lines):
            yield head, tuple(line for line in lines if is_policy(line))


def ours_of(ruleset: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of all that nft lists, what is in our table."""
    family, name = TABLE.split()
    values = ((entry, next(iter(entry.values()))) for entry in ruleset)
    return [entry for entry, value in values if (value.get("family"), value.get("table")) == (family, name)]


def other_tables(ruleset: list[dict[str, Any]]) -> list[str]:
    tables = [entry["table"] for entry in ruleset if "table" in entry]
    return [name for one in tables if (name := f"{one['family']} {one['name']}") != TABLE]


def marking(ruleset: list[dict[str, Any]]) -> list[str]:
    """Tables of others that could change a packet's mark between our marking and the kernel's routing."""
    late, marks = set(), set()
    for entry in ruleset:
        kind, value = next(iter(entry.items()))
        name = f"{value.get('family')} {value.get('table')}"
        if kind == "chain" and value.get("hook") == "prerouting" and value.get("prio", 0) >= PRIORITY:
            late.add(name)
        if kind == "rule" and any(part.get("mangle", {}).get("key") == MARKS for part in value["expr"]):
            marks.add(name)
    return sorted((late & marks) - {TABLE})


def sequences(stanzas: list[str]) -> set[Sequence]:
    found = [match for text in stanzas if (match := SEQUENCE.match(text))]
    return {(match[1], 6 if ":" in match[2] else 4, int(match[3])) for match in found}


def attached(config: str) -> dict[str, str]:
    """Interface -> the map of its pbr-policy line."""
    return {
        head.split()[1]: line.split()[1] for head, lines in stanzas_of(config) for line in lines if is_policy(line)
    }


def joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
