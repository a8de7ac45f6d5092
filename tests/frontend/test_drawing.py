# SPDX-License-Identifier: Apache-2.0
"""The path's drawing: what is on it, in which order, and that text stays text."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from frontend.drawing import HopLook, Scene, compact, draw
from frontend.layout import strips

SVG = "{http://www.w3.org/2000/svg}"


def visit(device: str, ingress: str = "", egress: str = "", hop: int = -1, tag: int = 0) -> dict[str, Any]:
    return {"device": device, "ingress": ingress, "egress": egress, "hop": hop, "tag": tag}


FORWARD = [
    visit("a1"),
    visit("leaf1", "a1", "fw1-in"),
    visit("fw1", "in", "out", hop=0),
    visit("leaf1", "fw1-out", "spine1"),
    visit("spine1", "leaf1", "leaf2", tag=3000),
    visit("leaf2", "spine1", "a2", hop=1, tag=3000),
    visit("a2"),
]
KINDS = {
    "leaf1": "switch", "leaf2": "switch", "spine1": "switch", "fw1": "appliance", "a1": "endpoint", "a2": "endpoint"
}  # fmt: skip
HOPS = {0: HopLook(0, "ngfw", "appliance"), 1: HopLook(1, "filter", "switch", blocks=False)}


def reverse_of(forward: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "ingress": each["egress"], "egress": each["ingress"], "tag": 0} for each in forward[::-1]]


def path(forward: list[dict[str, Any]], reverse: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "source": {"device": "leaf1", "port": "a1"},
        "destination": {"device": "leaf2", "port": "a2"},
        "forward": forward,
        "reverse": reverse_of(forward) if reverse is None else reverse,
    }


def scene(**values: Any) -> Scene:
    given = {"hops": HOPS, "kinds": KINDS, "links": {}, "source": "clients", "destination": "servers"}
    return Scene(**(given | values))


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def test_a_path_that_comes_back_the_same_way_is_one_drawing_with_both_lines() -> None:
    (drawing,) = draw([path(FORWARD)], scene())
    root = parsed(drawing)
    lines = [element.get("class") for element in root.iter(f"{SVG}path") if "line" in (element.get("class") or "")]
    assert sorted(lines) == ["line forward", "line reverse"]
    names = [text for text in texts(root) if text in ("leaf1", "spine1", "leaf2")]
    assert names.count("spine1") >= 1
    assert {"clients", "servers", "ngfw", "filter", "appliance · fw1", "switch · leaf2", "fw1-in", "out"} <= set(
        texts(root)
    )
    assert "→ VLAN 3000" in texts(root)


def test_devices_stand_from_left_to_right_in_the_order_of_the_packets() -> None:
    (strip,) = strips(path(FORWARD), KINDS)
    assert [column.device for column in strip.columns] == ["leaf1", "spine1", "leaf2"]
    edges = [column.x for column in strip.columns] + [strip.width]
    assert edges == sorted(edges)
    for column, after in zip(strip.columns, strip.columns[1:], strict=False):
        assert column.x + column.width < after.x
    assert (strip.source, strip.destination) == ("a1", "a2")


def test_a_function_between_two_visits_of_a_switch_stands_above_it_with_both_cables() -> None:
    (strip,) = strips(path(FORWARD), KINDS)
    (station,) = strip.columns[0].stations
    assert (station.device, station.hop, station.is_in_place) == ("fw1", 0, False)
    assert station.entry is not None and (station.entry.near, station.entry.far) == ("fw1-in", "in")
    assert station.exit is not None and (station.exit.near, station.exit.far) == ("out", "fw1-out")
    (in_place,) = strip.columns[2].stations
    assert in_place.is_in_place and in_place.hop == 1


def test_two_functions_at_one_switch_do_not_overlap() -> None:
    forward = [
        visit("leaf1", "a1", "fw1-in"),
        visit("fw1", "in", "out", hop=0),
        visit("leaf1", "fw1-out", "ips1-in"),
        visit("ips1", "in", "out", hop=1),
        visit("leaf1", "ips1-out", "a2"),
    ]
    (strip,) = strips(path(forward), KINDS | {"ips1": "appliance"})
    (column,) = strip.columns
    first, second = column.stations
    assert column.x < first.x and first.x + 172 < second.x and second.x + 172 < column.x + column.width


def test_another_way_back_is_a_drawing_of_its_own() -> None:
    reverse = [visit("leaf2", "a2", "spine2"), visit("spine2", "leaf2", "leaf1"), visit("leaf1", "spine2", "a1")]
    drawings = draw([path(FORWARD, reverse)], scene())
    assert len(drawings) == 2
    titles = [next(parsed(text).iter(f"{SVG}title")).text for text in drawings]
    assert titles == ["Path from clients to servers, forward only", "Path from clients to servers, reverse only"]
    assert "spine2" in texts(parsed(drawings[1]))
    devices = [column.device for column in strips(path(FORWARD, reverse), KINDS)[1].columns]
    assert devices == ["leaf1", "spine2", "leaf2"]  # the source stays at the left


def test_hosts_that_serve_a_hop_are_drawn_and_base_routing_is_named() -> None:
    (drawing,) = draw([path([visit("a1", hop=0), visit("a2")])], scene(kinds={"a1": "host"}))
    shown = texts(parsed(drawing))
    assert "a1" in shown and "base routing" in shown and "in place" in shown


def test_text_is_never_markup() -> None:
    hostile = '"><script>alert(1)</script>&'
    forward = [{**each, "device": each["device"].replace("leaf1", hostile)} for each in FORWARD]
    looks = {0: HopLook(0, hostile, "appliance"), 1: HopLook(1, hostile, "switch")}
    (drawing,) = draw([path(forward)], scene(hops=looks, source=hostile, destination=hostile))
    assert "<script" not in drawing
    assert any(hostile in (element.text or "") for element in parsed(drawing).iter())


def test_long_names_are_cut_and_kept_as_a_tooltip() -> None:
    (drawing,) = draw([path(FORWARD)], scene(source="a" * 63))
    root = parsed(drawing)
    assert "a" * 63 in [element.text for element in root.iter(f"{SVG}title")]
    assert "a" * 13 + "…" in [element.text for element in root.iter(f"{SVG}text")]


def test_counters_can_be_renewed_in_place() -> None:
    looks = {0: HopLook(0, "ngfw", "appliance", counters={"forward": 12345, "reverse": 0, "dropped": None})}
    (drawing,) = draw([path(FORWARD)], scene(hops=looks))
    found = {
        element.get("data-counter"): element.text
        for element in parsed(drawing).iter(f"{SVG}tspan")
        if element.get("data-counter")
    }
    assert found["hop-0-forward"] == "12.3k"
    assert found["hop-0-reverse"] == "0"
    assert found["hop-0-dropped"] == "?"


def test_the_same_path_gives_the_same_drawing_whatever_the_counters() -> None:
    def geometry(count: int) -> str:
        looks = {0: HopLook(0, "ngfw", "appliance", counters={"forward": count, "reverse": count})}
        return re.sub(r">[^<>]*</tspan>", "></tspan>", draw([path(FORWARD)], scene(hops=looks))[0])

    assert geometry(1) == geometry(999_999_999)


def test_a_bypass_hop_and_a_dead_one_look_different_from_the_others() -> None:
    looks = {0: HopLook(0, "ngfw", "appliance", is_down=True), 1: HOPS[1]}
    classes = [element.get("class") for element in parsed(draw([path(FORWARD)], scene(hops=looks))[0]).iter()]
    assert "station down" in classes and "station bypass" in classes


def test_devices_link_to_their_pages_only_where_asked() -> None:
    (with_links,) = draw([path(FORWARD)], scene(links={"leaf1": "/devices/leaf1/"}))
    (without,) = draw([path(FORWARD)], scene())
    assert [element.get("href") for element in parsed(with_links).iter(f"{SVG}a")] == ["/devices/leaf1/"]
    assert not list(parsed(without).iter(f"{SVG}a"))


def test_no_path_is_no_drawing_and_many_are_cut() -> None:
    assert draw([], scene()) == ()
    assert draw([path([], [])], scene()) == ()
    assert len(draw([path(FORWARD)] * 9, scene())) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "?"), (0, "0"), (9999, "9999"), (10_000, "10.0k"), (1_500_000, "1.5M"), (2_000_000_000, "2.0G")],
)
def test_counts_are_short(value: int | None, text: str) -> None:
    assert compact(value) == text
