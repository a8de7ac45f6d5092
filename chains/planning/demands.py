# SPDX-License-Identifier: Apache-2.0
"""What must become of a chain's packets, from the intent alone. Called by plan and adoption, for verify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chains.planning.classes import Pair
from chains.planning.types import Chain, Endpoint
from drivers.packets import Packets, packets, without
from drivers.state import DeviceState, Direction, Match


@dataclass(frozen=True, slots=True)
class Demand:
    """What must become of some packets. hosts: where they start and end, "" if unknown."""

    direction: Direction
    start: Endpoint
    start_host: str
    box: Packets
    end_device: str = ""
    end_vrf: str = ""
    end_host: str = ""

    @property
    def is_reply(self) -> bool:
        return self.direction is Direction.REVERSE


def demands(chain: Chain, pairs: Sequence[Pair], others: Mapping[str, DeviceState]) -> tuple[Demand, ...]:
    """From the intent: both directions of every pair, less what a wide destination does not mean.

    Less also what chains of a higher precedence take at the same port: it is theirs.
    """
    found: list[Demand] = []
    for pair in pairs:
        source, destination = pair.source, pair.destination
        for match in pair.stages[0]:
            holes = (*_holes(chain, match), *_preceding(chain, others, source.switch))
            for box in without(packets(match), holes):
                found.append(
                    Demand(
                        Direction.FORWARD, source.switch, source.host, box,
                        destination.switch.device, chain.destination.vrf, destination.host,
                    )
                )  # fmt: skip
        for match in pair.stages[-1]:
            own = tuple(hole.reversed() for hole in _holes(chain, match)) if len(pair.stages) == 1 else ()
            holes = (*own, *_preceding(chain, others, destination.switch))
            for box in without(packets(match).reversed(), holes):
                found.append(
                    Demand(
                        Direction.REVERSE, destination.switch, destination.host, box,
                        source.switch.device, chain.source.vrf, source.host,
                    )
                )  # fmt: skip
    return tuple(dict.fromkeys(found))


def _holes(chain: Chain, match: Match) -> tuple[Packets, ...]:
    wide = packets(match)
    found = []
    for prefix in chain.excluded:
        if (":" in prefix) == (match.family == 6) and prefix != match.destination:
            hole = packets(replace(match, destination=prefix))
            if wide.intersect(hole) == hole:
                found.append(hole)
    return tuple(found)


def _preceding(chain: Chain, others: Mapping[str, DeviceState], end: Endpoint) -> Iterator[Packets]:
    held = others.get(end.device, DeviceState()).steering(end.port, 0)
    return (packets(item.match) for _, item in held if item.precedence > chain.precedence)
