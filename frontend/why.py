# SPDX-License-Identifier: Apache-2.0
"""Why each function runs where it does: the placement of a plan, arranged for reading.

Works on the placement JSON (chains.planning.types.Placement as plain dicts). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One way to realise a hop. excess: how much dearer than the chosen one, None if excluded or unknown."""

    realm: str
    devices: tuple[str, ...]
    cost: float
    terms: tuple[tuple[str, float], ...]
    is_chosen: bool = False
    excluded: str = ""
    excess: float | None = None

    @property
    def is_equal(self) -> bool:
        return self.excess is not None and abs(self.excess) < 0.005


@dataclass(frozen=True, slots=True)
class HopWhy:
    """position from 0. realm "" and no devices: bypassed."""

    position: int
    function: str
    reason: str
    realm: str
    devices: tuple[str, ...]
    candidates: tuple[CandidateRow, ...]


def reasons(placement: Json) -> tuple[HopWhy, ...]:
    """One entry for each hop: the chosen candidate, then the rejected by cost, then the excluded ones."""
    return tuple(_hop(hop) for hop in placement.get("hops") or ())


def _hop(hop: Json) -> HopWhy:
    chosen = hop.get("chosen")
    rows = [_candidate(chosen, None, is_chosen=True)] if chosen else []
    base = float(chosen["cost"]) if chosen else None
    rejected = [_candidate(candidate, base) for candidate in hop.get("rejected") or ()]
    rows += sorted(rejected, key=lambda row: (bool(row.excluded), row.cost, row.devices))
    return HopWhy(
        position=int(hop["position"]),
        function=str(hop["function"]),
        reason=str(hop.get("reason", "")),
        realm=rows[0].realm if chosen else "",
        devices=rows[0].devices if chosen else (),
        candidates=tuple(rows),
    )


def _candidate(candidate: Json, base: float | None, is_chosen: bool = False) -> CandidateRow:
    cost, excluded = float(candidate.get("cost") or 0.0), str(candidate.get("excluded") or "")
    return CandidateRow(
        realm=str(candidate.get("realm", "")),
        devices=devices_of(candidate.get("offers") or ()),
        cost=cost,
        terms=terms_of(candidate.get("cost_terms") or {}),
        is_chosen=is_chosen,
        excluded=excluded,
        excess=None if is_chosen or excluded or base is None else cost - base,
    )


def terms_of(terms: Json) -> tuple[tuple[str, float], ...]:
    """The largest first; those that cost nothing are left out."""
    found = [(name.replace("_", " "), float(value)) for name, value in terms.items() if value]
    return tuple(sorted(found, key=lambda term: (-abs(term[1]), term[0])))


def devices_of(offers: Sequence[str]) -> tuple[str, ...]:
    """"ngfw@fw1" -> "fw1"."""
    return tuple(str(offer).partition("@")[2] or str(offer) for offer in offers)
