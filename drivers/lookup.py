# SPDX-License-Identifier: Apache-2.0
"""Which of many items at one place can be about some packets? For walks through large tables. Pure.

Called by `drivers.forward`. Matches are prefixes: those of one length are apart, so a table of each length finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.packets import Packets, packets
from drivers.state import DeviceState, Key, Steering

# Fewer items are looked through one by one.
FEW = 24

Row = tuple[Key, Steering, Packets]


@dataclass(frozen=True, slots=True)
class Table:
    """rows: in the order in which they decide. by_length: number of free address bits -> prefix -> places in rows."""

    rows: tuple[Row, ...]
    is_by_source: bool = True
    by_length: dict[tuple[int, int], dict[int, list[int]]] = field(default_factory=dict)

    def about(self, box: Packets) -> Sequence[Row]:
        """At least all rows that have a packet of the box, in order."""
        if not self.by_length:
            return self.rows
        low, high = box.source if self.is_by_source else box.destination
        found: list[int] = []
        for (family, bits), prefixes in self.by_length.items():
            if family != box.family:
                continue
            first, last = low >> bits, high >> bits
            if last - first >= len(prefixes):
                found.extend(row for prefix, rows in prefixes.items() if first <= prefix <= last for row in rows)
            else:
                for prefix in range(first, last + 1):
                    found.extend(prefixes.get(prefix, ()))
        return [self.rows[place] for place in sorted(found)]


def table_of(state: DeviceState, ingress: str, tag: int) -> Table:
    """Made once for each state and place."""
    return state.remembered((ingress, tag), lambda: _table(state, ingress, tag))


def _table(state: DeviceState, ingress: str, tag: int) -> Table:
    rows = tuple((key, item, packets(item.match)) for key, item in state.steering(ingress, tag))
    if len(rows) <= FEW:
        return Table(rows)
    is_by_source = len({box.source for _, _, box in rows}) >= len({box.destination for _, _, box in rows})
    by_length: dict[tuple[int, int], dict[int, list[int]]] = {}
    for place, (_, _, box) in enumerate(rows):
        low, high = box.source if is_by_source else box.destination
        bits = (high - low).bit_length()
        by_length.setdefault((box.family, bits), {}).setdefault(low >> bits, []).append(place)
    return Table(rows, is_by_source, by_length)
