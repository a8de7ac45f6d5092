# SPDX-License-Identifier: Apache-2.0
"""A path as an SVG drawing, left to right: the forward line solid, the reverse line dashed.

Called by the views of chains and plans. Pure: no Django, no I/O. Positions come from frontend.layout,
colours from the page's style sheet (classes), icons from the page's sprite (#i-...). Text is escaped
by the XML serializer. Counter texts carry `data-counter` so that a script can renew them in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from frontend.layout import (
    ARCH,
    CAP_WIDTH,
    GAP,
    MARGIN,
    STATION_HEIGHT,
    STATION_TOP,
    STATION_WIDTH,
    Column,
    Edge,
    Station,
    Strip,
    strips,
)

BOX_HEIGHT = 84.0
LINE = 24.0  # from the lane's top to the forward line
APART = 9.0  # between the forward and the reverse line
LEG = 34.0  # from a station's middle to its outer leg
MAX_PATHS = 4

REALM_ICONS = {"switch": "switch", "appliance": "server-2", "host": "device-desktop"}
KIND_ICONS = {**REALM_ICONS, "endpoint": "device-desktop"}


@dataclass(frozen=True, slots=True)
class HopLook:
    """What a station says about its hop. counters: packets by name: forward, reverse, dropped, and both
    where the directions are not told apart; None if unknown.
    """

    position: int
    function: str
    realm: str
    blocks: bool = True
    is_down: bool = False
    counters: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything around the path: hops by position, kinds and page addresses by device name, end labels."""

    hops: Mapping[int, HopLook]
    kinds: Mapping[str, str]
    links: Mapping[str, str]
    source: str
    destination: str


def draw(paths: Sequence[Mapping[str, Any]], scene: Scene) -> tuple[str, ...]:
    """One <svg> for each strip, at most MAX_PATHS paths. Errors: KeyError on malformed path JSON."""
    found = [strip for path in paths[:MAX_PATHS] for strip in strips(path, scene.kinds)]
    return tuple(_svg(strip, scene, number) for number, strip in enumerate(found))


def compact(value: int | None) -> str:
    """12345 -> "12.3k"; "?" for unknown."""
    if value is None:
        return "?"
    if value < 10_000:
        return str(value)
    for limit, unit in ((1_000_000, "k"), (1_000_000_000, "M"), (1_000_000_000_000, "G")):
        if value < limit:
            return f"{value / (limit / 1000):.1f}{unit}"
    return f"{value / 1e12:.1f}T"


def _svg(strip: Strip, scene: Scene, number: int) -> str:
    title = f"Path from {scene.source} to {scene.destination}"
    if not (strip.has_forward and strip.has_reverse):
        title += ", forward only" if strip.has_forward else ", reverse only"
    height = strip.lane_top + BOX_HEIGHT + 10
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "path-drawing",
            "viewBox": f"0 0 {strip.width:g} {height:g}",
            "width": f"{strip.width:g}",
            "height": f"{height:g}",
            "role": "group",
            "aria-labelledby": f"path-title-{number}",
        },
    )
    SubElement(root, "title", {"id": f"path-title-{number}"}).text = title
    right = strip.width - MARGIN - CAP_WIDTH
    _cap(root, MARGIN, strip, scene, "user")
    _cap(root, right, strip, scene, "map-pin")
    for column in strip.columns:
        _box(root, column, strip.lane_top, scene)
        for station in column.stations:
            _station(root, station, scene, strip)
    _lines(root, strip, right)
    _edges(root, strip)
    return tostring(root, encoding="unicode")


def _cap(root: Element, x: float, strip: Strip, scene: Scene, icon: str) -> None:
    """One end: the segment's name, and the host there if it is not drawn as a column."""
    is_source, top = x == MARGIN, strip.lane_top
    name, host = (
        (scene.source, strip.source) if is_source else (scene.destination, strip.destination)
    )
    label = _short(host, 14) if host else "from" if is_source else "to"
    group = _linked(root, host, scene, "cap")
    _rect(group, x, top + 4, CAP_WIDTH, BOX_HEIGHT - 8, 38)
    _icon(group, icon, x + CAP_WIDTH / 2 - 8, top + 12, 16)
    _text(group, x + CAP_WIDTH / 2, top + 47, _short(name, 14), "name middle", full=name)
    _text(group, x + CAP_WIDTH / 2, top + 63, label, "note middle")


def _box(root: Element, column: Column, top: float, scene: Scene) -> None:
    group = _linked(root, column.device, scene, "device")
    kind = scene.kinds.get(column.device, "")
    _rect(group, column.x, top, column.width, BOX_HEIGHT, 8)
    _icon(group, KIND_ICONS.get(kind, "circle-dashed"), column.x + 12, top + 50, 22)
    room = int((column.width - 52) / 7.2)
    _text(group, column.x + 42, top + 60, _short(column.device, room), "name", full=column.device)
    _text(group, column.x + 42, top + 74, kind or "device", "note")


def _lines(root: Element, strip: Strip, right: float) -> None:
    """Both lines with their excursions up to the stations."""
    left, lane = MARGIN + CAP_WIDTH, strip.lane_top + LINE
    if strip.has_reverse:
        _line(root, strip, left, right, "reverse", APART)
    if strip.has_forward:
        _line(root, strip, left, right, "forward", 0.0)
    for x, width, _edge in _gaps(strip):
        middle = x + width / 2
        if strip.has_forward:
            _arrow(root, middle + 7, lane, "forward", "right")
        if strip.has_reverse:
            _arrow(root, middle - 7, lane + APART, "reverse", "left")


def _line(root: Element, strip: Strip, left: float, right: float, name: str, offset: float) -> None:
    """offset 0 is the outer line, APART the inner one; nested so that they never cross."""
    lane, top = strip.lane_top + LINE + offset, STATION_TOP + STATION_HEIGHT - ARCH + offset
    points = [(left, lane)]
    for column in strip.columns:
        for station in column.stations:
            if not station.is_in_place:
                middle = station.x + STATION_WIDTH / 2
                near, far = middle - LEG + offset, middle + LEG - offset
                points += [(near, lane), (near, top), (far, top), (far, lane)]
    points.append((right, lane))
    SubElement(root, "path", {"class": f"line {name}", "d": _rounded(points, 7.0)})


def _rounded(points: Sequence[tuple[float, float]], radius: float) -> str:
    """A polyline of horizontal and vertical pieces with round corners."""
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before, radius), _towards(corner, after, radius)
        parts.append(f"L{start[0]:g} {start[1]:g}Q{corner[0]:g} {corner[1]:g} {end[0]:g} {end[1]:g}")
    parts.append(f"L{points[-1][0]:g} {points[-1][1]:g}")
    return "".join(parts)


def _towards(start: tuple[float, float], goal: tuple[float, float], distance: float) -> tuple[float, float]:
    length = abs(goal[0] - start[0]) + abs(goal[1] - start[1])
    share = min(1.0, distance / length) if length else 0.0
    return (start[0] + (goal[0] - start[0]) * share, start[1] + (goal[1] - start[1]) * share)


def _gaps(strip: Strip) -> list[tuple[float, float, Edge]]:
    """Left end and width of every gap on the lane, with the cable in it."""
    rights = [column.x + column.width for column in strip.columns]
    lefts = [column.x for column in strip.columns] + [strip.width - MARGIN - CAP_WIDTH]
    edges = [strip.first, *(column.out or Edge("", "") for column in strip.columns)]
    starts = [float(MARGIN + CAP_WIDTH), *rights]
    return [
        (start, end - start, edge)
        for start, end, edge in zip(starts, lefts, edges, strict=True)
    ]


def _edges(root: Element, strip: Strip) -> None:
    """Interface names: above the lines at the near end, below them at the far end."""
    lane = strip.lane_top + LINE
    for x, width, edge in _gaps(strip):
        if edge.near:
            _text(root, x + 5, lane - 9, _short(edge.near, 12), "port", full=edge.near)
        if edge.far:
            _text(root, x + width - 5, lane + APART + 17, _short(edge.far, 12), "port end", full=edge.far)
        if not edge.near and not edge.far and width >= GAP:
            _text(root, x + width / 2, lane - 9, "base routing", "note middle")
        if edge.forward_tag:
            _text(root, x + width / 2, lane - 24, f"\N{RIGHTWARDS ARROW} VLAN {edge.forward_tag}", "tag middle")
        if edge.reverse_tag:
            text = f"\N{LEFTWARDS ARROW} VLAN {edge.reverse_tag}"
            _text(root, x + width / 2, lane + APART + 33, text, "tag middle")


def _station(root: Element, station: Station, scene: Scene, strip: Strip) -> None:
    look = scene.hops.get(station.hop) or HopLook(station.hop, "?", "")
    group = _linked(root, station.device, scene, "station" if look.blocks else "station bypass")
    if look.is_down:
        group.set("class", group.get("class", "") + " down")
    height = STATION_HEIGHT - (0 if station.entry else ARCH)
    _rect(group, station.x, STATION_TOP, STATION_WIDTH, height, 8)
    x, right = station.x + 12, station.x + STATION_WIDTH - 12
    SubElement(group, "circle", {"class": "badge-dot", "cx": f"{x + 9:g}", "cy": "28", "r": "10"})
    _text(group, x + 9, 32, str(look.position + 1), "badge-number middle")
    _text(group, x + 26, 32, _short(look.function, 12), "function", full=look.function)
    if look.is_down:
        _text(group, right, 32, "down", "alarm end")
    else:
        _text(group, right, 32, "block" if look.blocks else "bypass", "note end")
    _icon(group, REALM_ICONS.get(look.realm, "circle-dashed"), x, 43, 18)
    where = f"{look.realm or 'unplaced'} \N{MIDDLE DOT} {station.device}"
    _text(group, x + 26, 57, _short(where, 20), "where", full=where)
    _counters(group, look, x, right)
    if station.entry and station.exit:
        _legs(root, station, station.entry, station.exit, strip.lane_top)
    else:
        _tie(root, station, strip.lane_top)


def _counters(group: Element, look: HopLook, x: float, right: float) -> None:
    """One row: packets forward, packets reverse, dropped."""
    row = (("forward", "\N{RIGHTWARDS ARROW}", x, ""), ("reverse", "\N{LEFTWARDS ARROW}", x + 58, ""))
    if look.counters.get("both") is not None:
        row = (("both", "\N{RIGHTWARDS ARROW OVER LEFTWARDS ARROW}", x, ""),)
    for name, sign, at, style in (*row, ("dropped", "\N{MULTIPLICATION X}", right, " end")):
        known = look.counters.get(name)
        text = _text(group, at, 80, "", f"counter {name}{style}")
        SubElement(text, "tspan", {"class": "sign"}).text = f"{sign} "
        value = SubElement(text, "tspan", {"data-counter": f"hop-{look.position}-{name}"})
        value.text = compact(known)


def _legs(root: Element, station: Station, entry: Edge, exit_: Edge, lane_top: float) -> None:
    """Port names at both ends of the two cables between a switch and a two-armed function."""
    middle = station.x + STATION_WIDTH / 2
    high, low = STATION_TOP + STATION_HEIGHT + 15, lane_top - 7
    near, far = middle - LEG - 6, middle + LEG + 6
    _text(root, near, high, _short(entry.far, 9), "port end", full=entry.far)
    _text(root, near, low, _short(entry.near, 9), "port end", full=entry.near)
    _text(root, far, high, _short(exit_.near, 9), "port", full=exit_.near)
    _text(root, far, low, _short(exit_.far, 9), "port", full=exit_.far)
    for edge, x, style in ((entry, near, "tag end"), (exit_, far, "tag")):
        tags = [str(tag) for tag in (edge.forward_tag, edge.reverse_tag) if tag]
        if tags:
            _text(root, x, (high + low) / 2, "VLAN " + "/".join(tags), style)


def _tie(root: Element, station: Station, lane_top: float) -> None:
    """A function realised in place: a ring on the line, tied to its station."""
    middle = station.x + STATION_WIDTH / 2
    bottom, ring = STATION_TOP + STATION_HEIGHT - ARCH, lane_top + LINE + APART / 2
    SubElement(root, "path", {"class": "tie", "d": f"M{middle:g} {bottom:g}V{ring - 10:g}"})
    SubElement(root, "circle", {"class": "ring", "cx": f"{middle:g}", "cy": f"{ring:g}", "r": "10"})
    _text(root, middle + 10, lane_top - 11, "in place", "note")


def _linked(root: Element, device: str, scene: Scene, style: str) -> Element:
    if device in scene.links:
        return SubElement(root, "a", {"class": style, "href": scene.links[device]})
    return SubElement(root, "g", {"class": style})


def _rect(parent: Element, x: float, y: float, width: float, height: float, radius: float) -> None:
    numbers = {"x": x, "y": y, "width": width, "height": height, "rx": radius}
    SubElement(parent, "rect", {name: f"{value:g}" for name, value in numbers.items()})


def _icon(parent: Element, name: str, x: float, y: float, size: float) -> None:
    place = {"x": x, "y": y, "width": size, "height": size}
    attributes = {"href": f"#i-{name}", "class": "icon", "aria-hidden": "true"}
    SubElement(parent, "use", attributes | {key: f"{value:g}" for key, value in place.items()})


def _text(parent: Element, x: float, y: float, text: str, style: str, full: str = "") -> Element:
    """Text with a tooltip when it was shortened."""
    element = SubElement(parent, "text", {"x": f"{x:g}", "y": f"{y:g}", "class": style})
    element.text = text
    if full and full != text:
        SubElement(element, "title").text = full
    return element


def _arrow(root: Element, x: float, y: float, name: str, side: str) -> None:
    """The tip of an arrow at x."""
    back = -9 if side == "right" else 9
    SubElement(root, "path", {"class": f"arrow {name}", "d": f"M{x:g} {y:g}l{back} -5v10z"})


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(1, room - 1)] + "\N{HORIZONTAL ELLIPSIS}"


