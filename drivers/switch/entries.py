# SPDX-License-Identifier: Apache-2.0
"""The entries of a route map on a device as text: what is carried over as it stands, and what is read from.

Called by `policies` and `generations`. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from drivers.switch.routemaps import FAMILY, MAP, MATCH, Stock, Words

LETTERS = 3


@dataclass(frozen=True, slots=True)
class Raw:
    """An entry as text. list_name: as on the device; aces: of that list, None if it is not there."""

    name: str
    family: int
    action: str
    sets: tuple[str, ...]
    list_name: str
    aces: tuple[str, ...] | None


def raw_entries(stock: Stock, map_name: str, words: Words) -> tuple[Raw, ...] | None:
    """Of a route map, in order; None if an entry does not say whose it is."""
    found: list[tuple[int, Raw]] = []
    for stanza in stock.blocks.values():
        head = MAP.fullmatch(stanza.header)
        if head is None or head["name"] != map_name:
            continue
        names = [
            line.removeprefix("description ") for line in stanza.lines if line.startswith("description ")
        ]
        matches = [match for line in stanza.lines for match in [MATCH.fullmatch(line)] if match]
        if len(names) != 1 or len(matches) != 1:
            return None
        family = FAMILY[matches[0]["family"]]
        block = stock.blocks.get(f"{words.lists[family]}{matches[0]['name']}")
        sets = tuple(line for line in stanza.lines if line.startswith("set "))
        aces = block.lines if block else None
        raw = Raw(names[0], family, head["action"], sets, matches[0]["name"], aces)
        found.append((int(head["number"]), raw))
    return tuple(raw for _, raw in sorted(found, key=lambda pair: pair[0]))


def letters(lines: Iterable[str], attempt: int = 0) -> str:
    """What stands for these lines in a name. attempt: others, while the name is taken by something that was altered."""
    said = "\n".join((str(attempt), *lines))
    number = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8])
    return "".join(chr(ord("a") + number // 26**at % 26) for at in range(LETTERS))
