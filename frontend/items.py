# SPDX-License-Identifier: Apache-2.0
"""A device's desired state against the observed one, item by item, and items in words.

Works on the stored JSON ({key text: item object}); nothing is interpreted that the drivers would know better.
Used by the device page. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
ANY_PORT = [0, 65535]
ORDER = {"missing": 0, "altered": 1, "orphaned": 2, "unknown": 3, "in_sync": 4}


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item. state: in_sync, missing, altered, orphaned, or unknown while the device was never read.

    packets, octets, dropped: None if the device reported no counter.
    """

    key: str
    chain: int
    revision: str
    kind: str
    state: str
    words: str
    observed_words: str
    packets: int | None
    octets: int | None
    dropped: int | None


def compare(desired: Json, observed: Json | None, counters: Json) -> tuple[ItemRow, ...]:
    """What is wrong comes first, then by key. observed None: never read, so everything is unknown."""
    keys = sorted(set(desired) | set(observed or {}))
    rows = (_row(key, desired, observed, counters.get(key) or {}) for key in keys)
    return tuple(sorted(rows, key=lambda row: (ORDER[row.state], _natural(row.key))))


def _row(key: str, desired: Json, observed: Json | None, counter: Json) -> ItemRow:
    chain, revision, _direction, _stage, kind, *_ = [*key.split("."), "", "", "", "", ""]
    wanted, seen = desired.get(key), (observed or {}).get(key)
    state = _state(wanted, seen, observed is not None)
    return ItemRow(
        key=key,
        chain=int(chain[1:]) if chain[1:].isdigit() else 0,
        revision=revision[1:],
        kind=kind,
        state=state,
        words=words(wanted if wanted is not None else seen),
        observed_words=words(seen) if state == "altered" else "",
        packets=counter.get("packets"),
        octets=counter.get("octets"),
        dropped=counter.get("dropped"),
    )


def _state(wanted: Any, seen: Any, was_read: bool) -> str:
    if not was_read:
        return "unknown"
    if wanted is None:
        return "orphaned"
    if seen is None:
        return "missing"
    return "in_sync" if wanted == seen else "altered"


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
