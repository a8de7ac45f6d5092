# SPDX-License-Identifier: Apache-2.0
"""Where everything of a path's drawing goes: devices on a lane, functions as stations above them.

Called by frontend.drawing with the path JSON of a plan (chains.planning.types.Path as plain dicts).
Pure: no Django, no I/O. It decides positions only; frontend.drawing decides how things look.
Units are SVG user units (CSS pixels at scale 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

CAP_WIDTH = 116
BOX_WIDTH = 112
STATION_WIDTH = 172
STATION_GAP = 44
GAP = 92
END_GAP = 40  # between an end and the host that it lives on
MARGIN = 8
STATION_TOP = 6.0
STATION_HEIGHT = 128.0  # of a station beside the lane; one realised in place needs no ARCH
ARCH = 34.0  # room for the lines inside the lower part of a station
CABLES = 58.0  # between a station and the lane, room for four port names
TIE = 34.0  # between a station in place and the lane

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Edge:
    """A cable that the path takes: port names at both ends; tags as on arrival, 0 for none."""

    near: str
    far: str
    forward_tag: int = 0
    reverse_tag: int = 0


@dataclass(frozen=True, slots=True)
class Station:
    """One hop where it runs. entry and exit are None for a function realised in place."""

    hop: int
    device: str
    x: float = 0.0
    entry: Edge | None = None
    exit: Edge | None = None

    @property
    def is_in_place(self) -> bool:
        return self.entry is None


@dataclass(frozen=True, slots=True)
class Column:
    """One device on the lane. out: the cable to the next column, None for the last."""

    device: str
    stations: tuple[Station, ...] = ()
    out: Edge | None = None
    x: float = 0.0
    width: float = BOX_WIDTH


@dataclass(frozen=True, slots=True)
class Strip:
    """One path, left to right. The drawn directions: both, or one of them when the two differ.

    first: the cable before the first column; the last column's `out` is the one behind it. source,
    destination: the hosts at the ends, "" if they are unknown or drawn as columns, as functions run there.
    """

    columns: tuple[Column, ...]
    first: Edge
    source: str
    destination: str
    has_forward: bool
    has_reverse: bool
    width: float
    lane_top: float


def strips(path: Json, kinds: Mapping[str, str]) -> tuple[Strip, ...]:
    """One strip if the reverse path retraces the forward one cable by cable, else two.

    path: a Path as plain dicts. kinds: device name -> switch, appliance, host or external.
    """
    forward, reverse = list(path.get("forward") or ()), list(path.get("reverse") or ())
    ends = _end(path, "source"), _end(path, "destination")
    if not forward and not reverse:
        return ()
    if _retraces(forward, reverse):
        return (_strip(forward, reverse, kinds, ends, (True, True)),)
    drawn = []
    if forward:
        drawn.append(_strip(forward, (), kinds, ends, (True, False)))
    if reverse:
        turned = [
            {**visit, "ingress": visit["egress"], "egress": visit["ingress"], "tag": 0}
            for visit in reversed(reverse)
        ]
        drawn.append(_strip(turned, reverse, kinds, ends, (False, True)))
    return tuple(drawn)


def _end(path: Json, name: str) -> str:
    end = path.get(name) or {}
    return str(end.get("port", ""))


def _retraces(forward: Sequence[Json], reverse: Sequence[Json]) -> bool:
    if len(forward) != len(reverse):
        return False
    return all(
        (there["device"], there["ingress"], there["egress"], there["hop"])
        == (back["device"], back["egress"], back["ingress"], back["hop"])
        for there, back in zip(forward, reversed(reverse), strict=True)
    )


def _strip(
    visits: Sequence[Json],
    reverse: Sequence[Json],
    kinds: Mapping[str, str],
    ends: tuple[str, str],
    drawn: tuple[bool, bool],
) -> Strip:
    columns = _columns(visits, reverse, kinds)
    first, source = Edge("", "" if _is_end(visits[0]) else ends[0]), ""
    if len(columns) > 1 and _is_end(visits[0]) and not columns[0].stations:
        gone = columns.pop(0)
        first, source = gone.out or first, gone.device
    out, destination = Edge("" if _is_end(visits[-1]) else ends[1], ""), ""
    if len(columns) > 1 and _is_end(visits[-1]) and not columns[-1].stations:
        destination = columns.pop().device
        out = columns[-1].out or out
    columns[-1] = replace(columns[-1], out=out)
    placed: list[Column] = []
    left_gap = END_GAP if _is_end(visits[0]) and not source else GAP
    right_gap = END_GAP if _is_end(visits[-1]) and not destination else GAP
    x: float = MARGIN + CAP_WIDTH + left_gap
    for column in columns:
        count = len(column.stations)
        width = max(BOX_WIDTH, count * STATION_WIDTH + (count - 1) * STATION_GAP + 28)
        left = x + (width - count * STATION_WIDTH - (count - 1) * STATION_GAP) / 2
        stations = tuple(
            replace(station, x=left + number * (STATION_WIDTH + STATION_GAP))
            for number, station in enumerate(column.stations)
        )
        placed.append(replace(column, stations=stations, x=x, width=width))
        x += width + GAP
    stations = [station for column in placed for station in column.stations]
    width = x - GAP + right_gap + CAP_WIDTH + MARGIN
    return Strip(tuple(placed), first, source, destination, *drawn, width, _lane_top(stations))


def _is_end(visit: Json) -> bool:
    """A host or something external at the end of the path: planning knows no ports of it."""
    return not visit["ingress"] and not visit["egress"]


def _lane_top(stations: Sequence[Station]) -> float:
    """As high as the stations above the lane allow."""
    if not stations:
        return 30.0
    if all(station.is_in_place for station in stations):
        return STATION_TOP + STATION_HEIGHT - ARCH + TIE
    return STATION_TOP + STATION_HEIGHT + CABLES


def _columns(visits: Sequence[Json], reverse: Sequence[Json], kinds: Mapping[str, str]) -> list[Column]:
    """Consecutive visits of one device are one column; a function between two visits of it is a station."""
    edges = _edges(visits, reverse)
    columns: list[Column] = []
    for number, visit in enumerate(visits):
        device, hop = str(visit["device"]), int(visit["hop"])
        if columns and hop >= 0 and _is_excursion(visits, number, kinds):
            station = Station(hop, device, entry=edges[number - 1], exit=edges[number])
            columns[-1] = replace(columns[-1], stations=(*columns[-1].stations, station))
            continue
        stations = (Station(hop, device),) if hop >= 0 else ()
        if columns and columns[-1].device == device:
            columns[-1] = replace(columns[-1], stations=columns[-1].stations + stations)
        else:
            columns.append(Column(device, stations))
        columns[-1] = replace(columns[-1], out=edges[number] if number < len(edges) else None)
    return columns


def _is_excursion(visits: Sequence[Json], number: int, kinds: Mapping[str, str]) -> bool:
    """Out to a function and back to the same switch."""
    if not 0 < number < len(visits) - 1 or kinds.get(str(visits[number]["device"])) == "switch":
        return False
    return bool(visits[number - 1]["device"] == visits[number + 1]["device"])


def _edges(visits: Sequence[Json], reverse: Sequence[Json]) -> list[Edge]:
    """The cable after each visit but the last. reverse is empty or retraces the visits."""
    last = len(visits) - 1
    return [
        Edge(
            near=str(visits[number]["egress"]),
            far=str(visits[number + 1]["ingress"]),
            forward_tag=int(visits[number + 1]["tag"]),
            reverse_tag=int(reverse[last - number]["tag"]) if reverse else 0,
        )
        for number in range(last)
    ]
