# SPDX-License-Identifier: Apache-2.0
"""The ways of a chain's traffic: for each pair of attachments and each share, there and back. Pure.

Called by compile. A route has also the ways round hops that may be lost, and those of copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.planning.branches import Tail, tails
from chains.planning.candidates import Context
from chains.planning.classes import Pair, pairs
from chains.planning.detours import Detour, detours
from chains.planning.mirrors import Mirror, mirrors
from chains.planning.paths import Stop, stops
from chains.planning.placement import Solution
from chains.planning.shares import Share
from chains.planning.types import Allocation, Endpoint
from drivers.state import Direction


@dataclass(frozen=True, slots=True)
class Route:
    """pair: the share's part of the traffic between two attachments. forward: () if nothing is steered.

    tails: the ways of marked packets, forward only.
    """

    pair: Pair
    share: Share
    forward: tuple[Stop, ...]
    detours: tuple[Detour, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    tails: tuple[tuple[Stop, ...], ...] = ()

    def detour(self, end: Endpoint, direction: Direction) -> Detour | None:
        """The one for when the link of this port is lost."""
        return next((d for d in self.detours if (d.end, d.direction) == (end, direction)), None)

    def mirrors_at(self, direction: Direction, index: int) -> tuple[Mirror, ...]:
        """Those that copy at this stop of the way in this direction."""
        place = index if direction is Direction.FORWARD else len(self.forward) - 1 - index
        return tuple(mirror for mirror in self.mirrors if mirror.index == place)


def routes(
    context: Context, solution: Solution, allocations: Sequence[Allocation], tail: Tail | None = None
) -> tuple[Route, ...]:
    """Every one that has traffic."""
    found = []
    for share in solution.shares:
        for pair in pairs(context.chain, allocations, share.prefixes):
            ends = (pair.source.switch, pair.destination.switch)
            forward = stops(solution, *ends, share, is_steered=bool(solution.taps))
            found.append(
                Route(
                    pair,
                    share,
                    forward,
                    detours(context, solution, pair, share) if forward else (),
                    mirrors(context, solution, share, forward),
                    tails(solution, tail, share, pair.destination.switch),
                )
            )
    return tuple(found)
