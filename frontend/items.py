# SPDX-License-Identifier: Apache-2.0
"""A device's desired state against the observed one, item by item, and items in words.

The selectors compare; this module names the difference and orders it. Items are plain objects, as stored.
Used by the device page. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
ANY_PORT = [0, 65535]
STATES = {"": "in_sync", "create": "missing", "update": "altered", "delete": "orphaned"}
ORDER = {"missing": 0, "altered": 1, "orphaned": 2, "unknown": 3, "in_sync": 4}


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item in words. state: in_sync, missing, altered, orphaned, or unknown while the device was never read.

    item: the selector's view of it. wanted, held: in words; held only where it differs.
    """

    item: Any
    state: str
    wanted: str
    held: str


def rows_of(items: Iterable[Any], *, is_read: bool) -> tuple[ItemRow, ...]:
    """What is wrong comes first, then by key. items: chains.selectors' item views."""
    found = (_row(item, is_read) for item in items)
    return tuple(sorted(found, key=lambda row: (ORDER[row.state], _natural(row.item.key))))


def _row(item: Any, is_read: bool) -> ItemRow:
    state = STATES[item.action] if is_read else "unknown"
    return ItemRow(
        item=item,
        state=state,
        wanted=words(item.wanted),
        held=words(item.held) if state in ("altered", "orphaned") else "",
    )


def _natural(key: str) -> tuple[list[int], str]:
    """c2 before c10."""
    return [int(number) for number in re.findall(r"[0-9]+", key)], key


def words(item: Any) -> str:
    """One line for a person: which packets, and what happens to them. Unknown shapes give their fields."""
    if not isinstance(item, Mapping):
        return ""
    match = item.get("match") or item.get("traffic")
    parts = [match_words(match)] if isinstance(match, Mapping) else []
    if item.get("ingress"):
        tag = f" VLAN {item['tag']}" if item.get("tag") else ""
        parts.insert(0, f"from {item['ingress']}{tag}:")
    if isinstance(item.get("next"), Mapping):
        parts.append(_next_words(item["next"]))
    if isinstance(item.get("rules"), list):
        count = len(item["rules"])
        parts.append(f"{count} rule{'' if count == 1 else 's'}, else {item.get('default', '?')}")
    if isinstance(item.get("patterns"), list):
        count = len(item["patterns"])
        parts.append(f"{count} pattern{'' if count == 1 else 's'}")
    if item.get("public"):
        parts.append(f"as {item['public']}, {item.get('block_size', '?')} ports each")
    return " ".join(parts) or ", ".join(f"{name}={value}" for name, value in sorted(item.items()))


def match_words(match: Json) -> str:
    """"tcp 10.10.1.0/24 to 0.0.0.0/0 port 80"."""
    parts = [str(match.get("protocol") or "any"), str(match.get("source", "?"))]
    if list(match.get("source_ports", ANY_PORT)) != ANY_PORT:
        parts.append(f"port {ports_words(*match['source_ports'])}")
    parts += ["to", str(match.get("destination", "?"))]
    if list(match.get("destination_ports", ANY_PORT)) != ANY_PORT:
        parts.append(f"port {ports_words(*match['destination_ports'])}")
    if match.get("dscp", -1) >= 0:
        parts.append(f"DSCP {match['dscp']}")
    return " ".join(parts)


def ports_words(first: int, last: int) -> str:
    """"80", "8000-8100", "" for any."""
    if [first, last] == ANY_PORT:
        return ""
    return str(first) if first == last else f"{first}-{last}"


def _next_words(target: Json) -> str:
    if target.get("vrf"):
        return f"then base forwarding in VRF {target['vrf']}"
    tag = f" VLAN {target['tag']}" if target.get("tag") else ""
    return f"out of {target.get('port', '?')}{tag}"
