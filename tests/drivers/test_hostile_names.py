# SPDX-License-Identifier: Apache-2.0
"""Names that would be commands, on the families that NAPALM does not drive: Open vSwitch, Linux and the host agent.

A text goes wherever a person may put one. Either it is refused while planning, or the native text is that of a harmless
name, word for word, and inside the family's own grammar. How many: `tests.drivers.hostile`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from drivers.appliance import linux
from drivers.base import Driver, PortInfo, Rejected, Target, Unsupported
from drivers.diff import diff
from drivers.host import agent
from drivers.nftables_grammar import refused_line
from drivers.nftables_objects import INTERFACE, Realm
from drivers.state import (
    ANYWHERE,
    EMPTY,
    DeviceState,
    Match,
    NatPool,
    NextHop,
    Redirect,
    Rule,
    RuleSet,
    Signatures,
    Verdict,
)
from drivers.switch import openvswitch
from tests.drivers.hostile import COUNT, hostile
from tests.drivers.samples import state

WEB = Match("10.1.1.0/24", ANYWHERE[4], "tcp", destination_ports=(443, 443))
SUBSCRIBERS = Match("10.1.1.0/31", ANYWHERE[4])
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
PUBLIC = re.compile(r"[0-9.]+/\d+")
Named = Callable[[str, int], tuple[Target, DeviceState]]


def switch(text: str, place: int) -> tuple[Target, DeviceState]:
    """Port of entry, port of exit, VRF, MAC, name of the interface, base table, route table."""
    given = [text if place == number else "" for number in range(7)]
    first, second, vrf = given[0] or "client", given[1] or "server", given[2] or "blue"
    settings = {name: value for name, value in zip(("base_table", "route_table"), given[5:], strict=True) if value}
    ports = {first: PortInfo(first, 1), second: PortInfo(second, 2, interface=given[4])}
    item = Redirect(first, 0, WEB, NextHop(second, 3001, given[3] or "02:00:00:00:00:01"))
    base = Redirect(second, 3001, WEB, NextHop(vrf=vrf))
    return Target("sw1", "openvswitch", "192.0.2.1", settings, ports, {vrf: 101}), state([item, base])


def appliance(text: str, place: int) -> tuple[Target, DeviceState]:
    """Inside, outside, the interface of a port, the bridge of two, a signature, two public prefixes."""
    given = [text if place == number else "" for number in range(7)]
    inside, outside = given[0] or "in", given[1] or "out"
    settings = {"interface_out": given[2]} if given[2] else {}
    settings |= {"bridges": f"{given[3]}:left:right"} if given[3] else {}
    ports = {name: PortInfo(name, number) for number, name in enumerate((inside, outside, "left", "right"), start=1)}
    items = [
        RuleSet(WEB, (Rule(Verdict.DENY, WEB),), Verdict.PERMIT, inside, outside),
        Signatures(WEB, (given[4] or "6576696c",), inside, outside),
        NatPool(SUBSCRIBERS, given[5] or "198.51.100.0/32", 16384, inside, outside),
        NatPool(Match("10.1.2.0/31", ANYWHERE[4]), given[6] or "203.0.113.0/32", 16384, inside, outside, blocks=2),
    ]
    if given[3]:
        items.append(RuleSet(WEB, (), Verdict.PERMIT, "left", "right"))
    return Target("fw1", "linux", "192.0.2.1", settings, ports), state(items)


def host(text: str, place: int) -> tuple[Target, DeviceState]:
    """The host's own name, a port, the interface of a port, inside, outside."""
    given = [text if place == number else "" for number in range(5)]
    port = given[1] or "eth0"
    settings = {f"interface_{port}": given[2] or "eth0"}
    target = Target(given[0] or "h1", "host", "192.0.2.1", settings, {port: PortInfo(port)})
    return target, state([RuleSet(WEB, (Rule(Verdict.DENY, WEB),), Verdict.PERMIT, given[3], given[4])])


def texts(driver: Driver, named: Named, places: int) -> list[tuple[str, int, Target, str]]:
    """(text, place, target, native) of those that are not refused; the others said so while planning."""
    found = []
    for number, text in enumerate(hostile(COUNT)):
        target, wanted = named(text, number % places)
        try:
            native = driver.render(diff(EMPTY, wanted), target)
        except Unsupported:
            continue
        found.append((text, number % places, target, native))
    return found


def test_no_name_is_in_a_flow() -> None:
    """Ports are numbers there and VRFs are tags: the same text whatever they are called."""
    plain = openvswitch.DRIVER.render(diff(EMPTY, switch("", 0)[1]), switch("", 0)[0])
    taken = 0
    for text, place, target, native in texts(openvswitch.DRIVER, switch, 7):
        allowed = {"02:00:00:00:00:01", text} if MAC.fullmatch(text) else {"02:00:00:00:00:01"}
        if text and place >= 5:
            assert re.fullmatch(r"[1-9][0-9]{0,2}", text), text
        elif not (place == 3 and MAC.fullmatch(text)):
            assert native == plain, text
        assert {one for one in re.findall(r"set_field:(.*?)->eth_dst", native)} <= allowed
        openvswitch.parse(native, target)
        taken += 1
    assert 0 < taken < COUNT


def test_a_name_is_an_interface_or_refused() -> None:
    plain = linux.DRIVER.render(diff(EMPTY, appliance("", 0)[1]), appliance("", 0)[0])
    refused = COUNT
    for text, place, _, native in texts(linux.DRIVER, appliance, 7):
        refused -= 1
        linux.sections(native)
        if place < 3 and text:
            assert INTERFACE.fullmatch(text), text
            was = ("in", "out", "out")[place]
            # As a word of its own: the name of the interface and nothing else differs.
            swapped = plain.replace(f'"{was}"', f'"{text}"')
            assert native == re.sub(f"(?<=-[io] ){was}(?= )", text, swapped), text
        elif place == 3 and text:
            assert INTERFACE.fullmatch(text.strip()), text
        elif place >= 5 and text:
            assert PUBLIC.fullmatch(text), text
        else:
            assert native == plain or re.fullmatch(r"(?:[0-9a-f]{2}){1,64}", text), text
    assert refused > COUNT // 2


def test_no_name_is_in_a_hosts_rules() -> None:
    plain = agent.DRIVER.render(diff(EMPTY, host("", 0)[1]), host("", 0)[0])
    taken = 0
    for text, place, _, native in texts(agent.DRIVER, host, 5):
        assert native == plain and (place < 3 or not text), text
        assert refused_line(native, Realm.HOST) == 0
        taken += 1
    assert 0 < taken < COUNT


@pytest.mark.parametrize("line", ["flush ruleset", 'add rule inet viaduct closing oifname "x" accept; flush ruleset'])
def test_the_grammar_refuses_what_no_renderer_writes(line: str) -> None:
    """The second door: what came past a renderer is not sent."""
    target, wanted = appliance("", 0)
    native = linux.DRIVER.render(diff(EMPTY, wanted), target)
    linux.sections(native)
    with pytest.raises(Rejected):
        linux.sections(f"{native}{line}\n")
    target, wanted = host("", 0)
    assert refused_line(agent.DRIVER.render(diff(EMPTY, wanted), target) + f"{line}\n", Realm.HOST)
    target, wanted = switch("", 0)
    with pytest.raises(Rejected):
        openvswitch.parse(openvswitch.DRIVER.render(diff(EMPTY, wanted), target) + f"{line}\n", target)
