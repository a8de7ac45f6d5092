# SPDX-License-Identifier: Apache-2.0
"""How many table entries a state needs on a switch that routes: counted from its tables, not from text.

Called by the families, each of which says what one table costs there (`Size`). Pure. A line that matches a range of
ports may take several entries of a TCAM: that is the ASIC's affair and not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.base import LINES, LONGEST, Target
from drivers.state import DeviceState
from drivers.switch.flows import torn
from drivers.switch.tables import Entry, Place, Tables, tables_of

# (place, its entries, target) -> (lines, entries of the longest table in it)
Size = Callable[[Place, tuple[Entry, ...], Target], tuple[int, int]]


def counted(
    state: DeviceState, target: Target, size: Size, *, has_standby: bool = False
) -> Mapping[str, int]:
    """What is damaged counts nothing: it is rewritten or removed. Errors: Unsupported."""
    whole = DeviceState({key: item for key, item in state.items() if item != torn(key.kind)})
    return of_tables(tables_of(whole, target, has_standby=has_standby), target, size)


def of_tables(tables: Tables, target: Target, size: Size) -> Mapping[str, int]:
    sizes = [size(place, entries, target) for place, entries in tables.entries.items()]
    return {LINES: sum(lines for lines, _ in sizes), LONGEST: max((most for _, most in sizes), default=0)}


def matched(entries: tuple[Entry, ...]) -> int:
    """One line for each match."""
    return sum(len(entry.matches) for entry in entries)


def by_family(entries: tuple[Entry, ...]) -> dict[int, tuple[Entry, ...]]:
    """Those of a table for IPv4 and for IPv6, where there are any."""
    found = {family: tuple(entry for entry in entries if entry.family == family) for family in (4, 6)}
    return {family: some for family, some in found.items() if some}


def size_pbr(place: Place, entries: tuple[Entry, ...], target: Target) -> tuple[int, int]:
    """Access lists' lines; the longest policy by its entries, one policy for both families."""
    return matched(entries), len(entries)


def size_maps(place: Place, entries: tuple[Entry, ...], target: Target) -> tuple[int, int]:
    """Access lists' lines; the longest policy by its entries, one policy for each family."""
    return matched(entries), max(len(some) for some in by_family(entries).values())
