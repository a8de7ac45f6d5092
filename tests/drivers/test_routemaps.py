# SPDX-License-Identifier: Apache-2.0
"""Route maps of both Cisco families: properties of rendering, merging and reading, and the reviewed texts.

The emulated devices' configuration is a value here, without a wire. `VIADUCT_GOLDEN=write` writes the files anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.base import PortInfo, Target, Unsupported
from drivers.diff import diff
from drivers.state import ANYWHERE, EMPTY, DeviceState, Direction, Item, Key, Kind, Match, NextHop, Redirect
from drivers.switch import ios, nxos
from drivers.switch.aces import DSCP, PORTS, ace, parse_ace
from drivers.switch.entries import raw_entries
from drivers.switch.routemaps import Stock, Words, collect, table_base
from drivers.switch.stanzas import split
from drivers.switch.typed import applied, digest, parse
from lab.devices import ios as emulated_ios
from lab.devices import nxos as emulated_nxos
from tests.drivers import ios_rig, nxos_rig
from tests.drivers.hostile import COUNT
from tests.drivers.samples import Site, clients, matches, sample, state, states

GOLDEN = Path(__file__).parent / "golden"
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@dataclass
class Box:
    """A family, and the configuration of a device of it."""

    name: str
    family: ModuleType
    site: Site
    target: Target
    make: Callable[[], emulated_ios.Ios | emulated_nxos.Nxos]
    words: Words

    def __post_init__(self) -> None:
        self.device = self.make()

    def running(self) -> str:
        return self.device.text(self.device.tree)

    def stock(self) -> Stock:
        return collect(split(self.running()), self.target, self.words)

    def render(self, before: DeviceState, after: DeviceState) -> str:
        residue = self.family.read(self.running(), self.target).residue
        return str(self.family.render(diff(before, after), replace(self.target, held=before, residue=residue)))

    def planned(self, native: str) -> tuple[Stock, tuple[str, ...]]:
        """What the text makes of what is there, and its lines; none if it is there already."""
        text, goal = parse(native, self.target, self.words), self.stock()
        if digest(goal, text) == text.goal:
            return goal, ()
        assert digest(goal, text) == text.start
        for part in text.parts:
            goal = applied(goal, part, self.target, self.words)
        return goal, text.lines

    def type(self, lines: tuple[str, ...]) -> None:
        self.device.operate(list(lines))

    def move(self, before: DeviceState, after: DeviceState) -> tuple[str, ...]:
        native = self.render(before, after)
        if not native:
            return ()
        self.family.check(native, self.target)
        assert self.family.claim(self.running(), native, self.target) == ()
        assert self.family.render(diff(before, after), replace(self.target, held=before)) == native, "planned unseen"
        goal, lines = self.planned(native)
        self.type(lines)
        assert (self.stock().blocks, self.stock().attached) == (goal.blocks, goal.attached)
        assert self.family.read(self.running(), self.target).state == after
        assert self.planned(native)[1] == (), "twice is once"
        return lines


def boxes() -> dict[str, Box]:
    targets = {"ios": ios_rig.PORTS, "nxos": nxos_rig.PORTS}
    made = {
        name: Target("box", name, "127.0.0.1", {}, ports, {"blue": 10}) for name, ports in targets.items()
    }
    return {
        "ios": Box("ios", ios, ios_rig.SITE, made["ios"], lambda: emulated_ios.Ios("box"), ios.WORDS),
        "nxos": Box("nxos", nxos, nxos_rig.SITE, made["nxos"], lambda: emulated_nxos.Nxos("box"), nxos.WORDS),
    }


@pytest.fixture(params=["ios", "nxos"])
def box(request: pytest.FixtureRequest) -> Box:
    return boxes()[request.param]


@PROPERTY
@given(st.data(), st.sampled_from(["ios", "nxos"]))
def test_from_any_state_to_any_other_and_back_the_rest_is_byte_identical(
    data: st.DataObject, name: str
) -> None:
    box = boxes()[name]
    box.type(ios_rig.THEIRS if name == "ios" else nxos_rig.THEIRS)
    untouched = box.running()
    first, second = data.draw(states(box.site)), data.draw(states(box.site))
    for before, after in ((EMPTY, first), (first, second), (second, first), (first, EMPTY)):
        box.move(before, after)
    assert box.running() == untouched


def in_force(box: Box) -> dict[tuple[str, int], object]:
    """By interface and family: the entries that packets meet, without generation letters."""
    stock = box.stock()
    found: dict[tuple[str, int], object] = {}
    for spot, name in stock.attached.items():
        entries = raw_entries(stock, name, box.words) or ()
        found[spot] = [(raw.name, raw.action, raw.sets, raw.aces) for raw in entries]
    return found


@settings(PROPERTY, max_examples=4)
@given(st.data(), st.sampled_from(["ios", "nxos"]))
def test_whatever_prefix_of_the_steps_is_done_packets_meet_the_old_or_the_new(
    data: st.DataObject, name: str
) -> None:
    """And never a part of either, an empty list, or an open crossing."""
    box = boxes()[name]
    first, second = data.draw(states(box.site)), data.draw(states(box.site))
    box.move(EMPTY, first)
    old = in_force(box)
    native = box.render(first, second)
    if not native:
        return
    lines = box.planned(native)[1]
    start = box.device.tree.copy()
    box.type(lines)
    new = in_force(box)
    for count in range(len(lines)):
        box.device = box.make()
        box.device.tree = start.copy()
        box.type(lines[:count])
        for spot, entries in in_force(box).items():
            assert entries in (old.get(spot), new.get(spot)), (count, lines[count - 1])
        for header, inside in box.device.tree.lines.items():
            is_crossing = header.startswith("interface ") and "." in header
            is_open = (
                any(line.startswith("ip address") for line in inside.lines) and "shutdown" not in inside.lines
            )
            place = (header.removeprefix("interface "), 4)
            if is_crossing and is_open and place in new and place not in old:
                assert any(line.startswith("ip policy") for line in inside.lines), lines[:count]


@PROPERTY
@given(st.data(), st.sampled_from(["ios", "nxos"]))
def test_a_line_of_an_access_list_says_its_match(data: st.DataObject, name: str) -> None:
    family = data.draw(st.sampled_from([4, 6]))
    match = data.draw(matches(family, site=ios_rig.SITE))
    style = boxes()[name].words.style
    assert parse_ace(style, ace(style, 10, match), family) == (10, match)


def test_names_of_ports_and_dscp_are_read(box: Box) -> None:
    style = box.words.style
    for protocol, named in PORTS.items():
        for word, number in named.items():
            found = parse_ace(style, f"10 permit {protocol} any any eq {word}", 4)
            assert found is not None and found[1].destination_ports == (number, number)
    for word, number in DSCP.items():
        found = parse_ace(style, f"10 permit ip any any dscp {word}", 4)
        assert found is not None and found[1].dscp == number


@pytest.mark.parametrize("protocol", ["sctp", "icmpv6"])
def test_what_an_access_list_cannot_say_is_unsupported(box: Box, protocol: str) -> None:
    state = sample(box.site)
    key, item = next((key, item) for key, item in state.items() if key.kind is Kind.GUARD)
    match = replace(item.match, protocol=protocol, destination_ports=(0, 65535))  # type: ignore[union-attr]
    with pytest.raises(Unsupported, match=protocol):
        box.render(EMPTY, DeviceState({key: replace(item, match=match)}))  # type: ignore[type-var]


def test_a_track_beyond_the_platform_is_unsupported(box: Box) -> None:
    ports = {name: replace(port, number=port.number + 600) for name, port in box.target.ports.items()}
    box.target = replace(box.target, ports=ports, settings={"crossings": "198.18.0.0/8"})
    with pytest.raises((Unsupported, ValueError)):
        box.render(EMPTY, sample(box.site))


def _hostile() -> Iterator[str]:
    pieces = [
        "\n",
        "\r\n",
        " ",
        ";",
        "!",
        "$(x)",
        "|",
        "\0",
        "é",
        "%",
        "#",
        "\\",
        '"',
        "\nexit",
        "no ",
        "SI ",
        "\t",
    ]
    for number in range(COUNT // 2):
        at, other = pieces[number % len(pieces)], pieces[number // len(pieces) % len(pieces)]
        yield f"p{number}{at}hostname owned{other}"
        yield f"{other}{at}{number}"


def test_no_name_becomes_a_command(box: Box) -> None:
    """As interface and as VRF: refused while planning."""
    state = sample(box.site)
    key = next(key for key, item in state.items() if key.kind is Kind.GUARD)
    changes = diff(EMPTY, DeviceState({key: state[key]}))
    count = 0
    for name in _hostile():
        port = replace(box.target.ports["client"], interface=name)
        for target in (
            replace(box.target, ports={**box.target.ports, "client": port}),
            replace(box.target, vrfs={name: 1}),
        ):
            with pytest.raises(Unsupported):
                box.family.render(changes, target)
        count += 1
    assert count == COUNT


def golden(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("VIADUCT_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert file.read_text() == text


def test_the_reviewed_texts(box: Box) -> None:
    """What is rendered, and the very lines that a device gets, for an addition, a change and a removal."""
    site = replace(box.site, has_standby=False)
    first, second = sample(site, revision=1), sample(site, revision=2)
    cases = {"add": (EMPTY, first), "change": (first, second), "remove": (second, EMPTY)}
    for case, (before, after) in cases.items():
        native = box.render(before, after)
        lines = box.move(before, after)
        golden(f"{box.name}-{case}.txt", f"{native}! --- sent ---\n" + "".join(f"{line}\n" for line in lines))


def test_the_reviewed_standbys(box: Box) -> None:
    """To a neighbour (tracked), over a crossing, and to the device's own forwarding; both families."""
    to = partial(Redirect, "client", 0)
    hop = box.site.hop("firewall", 0, "")
    ways = {  # a next hop and where its packets go without it
        "tracked": (hop, box.site.hop("client", 0, "")),
        "crossing": (hop, box.site.hop("firewall", 3001, "")),
        "onward": (hop, NextHop(vrf="blue")),
        "from a crossing": (box.site.hop("firewall", 3002, ""), NextHop(vrf="blue")),
    }
    wanted: list[Item] = [
        to(Match(clients(family, at), ANYWHERE[family], "tcp"), first, at, second)
        for at, (first, second) in enumerate(ways.values(), 1)
        for family in (4, 6)
    ]
    held = state(wanted)
    native = box.render(EMPTY, held)
    box.move(EMPTY, held)
    assert box.family.read(box.running(), box.target).state == held
    golden(f"{box.name}-standby.txt", native)


@pytest.mark.parametrize("wrong", [NextHop("firewall", 0, ios_rig.PEERS["firewall"], "blue"), NextHop(vrf="red")])
def test_a_standby_is_another_way_out_of_the_same_vrf(box: Box, wrong: NextHop) -> None:
    one = Redirect("client", 0, Match("10.1.1.0/24", "0.0.0.0/0"), box.site.hop("firewall", 0, ""), 3, wrong)
    with pytest.raises(Unsupported, match="standby"):
        box.render(EMPTY, state([one]))


def test_an_entry_of_another_chain_is_carried_over(box: Box) -> None:
    """Its access lists are not written again; what else is at that interface stays, in its order."""
    state = sample(box.site)
    one, rest = (DeviceState(dict(list(state.items())[start::2])) for start in (0, 1))
    box.move(EMPTY, state)
    native = str(box.family.render(diff(one, EMPTY), replace(box.target, held=state)))
    assert not [line for line in native.splitlines() if line.startswith(tuple(box.words.lists.values()))]
    _, lines = box.planned(native)
    box.type(lines)
    assert box.family.read(box.running(), box.target).state == rest


def test_a_banner_is_no_configuration(box: Box) -> None:
    text = (
        f"banner motd ^C\nip access-list extended SI-c7r1f1r1p3-abcdef\n{box.words.lists[4]}SI-c7r1f1r1p3-abcdef\n^C\n"
    )
    assert collect(split(text), box.target, box.words).blocks == {}


def test_names_of_tables() -> None:
    assert table_base("SI-t-client-0-v4-abc") == (("client", 0), 4)
    assert table_base("SI-t-client-v4-3001-v6-bcd") == (("client-v4", 3001), 6)
    assert table_base("SI-t-client-0") is None
    assert PortInfo("x").number == 0 and Key(1, 0, Direction.FORWARD, 0, Kind.GUARD, 0)


def test_damage_elsewhere_leaves_the_text_as_planned(box: Box) -> None:
    """A chain that shares no object with what drifted is not held up by it; one that does gets another text: stale."""
    state = sample(box.site)
    box.move(EMPTY, state)
    ours, theirs = (
        DeviceState({key: item for key, item in state.items() if item.ingress == name and not item.tag})  # type: ignore[union-attr]
        for name in ("firewall", "client")
    )
    planned = str(box.family.render(diff(ours, EMPTY), replace(box.target, held=state)))
    header = next(line for line in box.running().splitlines() if line.startswith(f"{box.words.lists[4]}SI-c7r1f1r1p3-"))
    box.device.operate([f"no {header}"])
    seen = box.family.read(box.running(), box.target)
    assert seen.state != state and seen.residue
    known = replace(box.target, held=seen.state, residue=seen.residue)
    assert box.family.render(diff(ours, EMPTY), known) == planned
    assert box.family.render(diff(theirs, EMPTY), replace(box.target, held=state)) != box.family.render(
        diff({key: seen.state[key] for key in theirs if key in seen.state}, EMPTY), known
    )
    _, lines = box.planned(planned)
    box.type(lines)
    left = box.family.read(box.running(), box.target).state
    assert not ours.keys() & left.keys() and left.keys() | ours.keys() == seen.state.keys()
