# SPDX-License-Identifier: Apache-2.0
"""Port blocks on demand through the Linux appliance, on real packets: nobody has a port before it was given to him."""

from __future__ import annotations

import socket

import pytest

from drivers.appliance.linux import DRIVER
from drivers.base import Demand, Rejected
from drivers.nat import Block
from drivers.nftables import render_given
from drivers.nftables_grammar import refused_line
from drivers.nftables_objects import Realm
from drivers.state import Key, Match, NatPool
from tests.drivers.linux_rig import needs_root
from tests.drivers.wire import CLIENT, SERVER, SILENCE_S, Wire, arrives, udp

pytestmark = [pytest.mark.lab, needs_root]

POOL = NatPool(Match("10.10.1.0/24", "0.0.0.0/0"), "198.51.100.0/28", 16, "in", "out", blocks=2)
FIRST = Block(CLIENT, "198.51.100.3", 2000, 2015)
BOTH = Block(CLIENT, "198.51.100.3", 2000, 2031)


def demand(wire: Wire) -> Demand:
    with DRIVER.open(wire.target, 10.0) as session:
        (found,) = session.demands().values()  # type: ignore[attr-defined]
        return found


def give(wire: Wire, taken: tuple[Block, ...], given: tuple[Block, ...]) -> None:
    with DRIVER.open(wire.target, 10.0) as session:
        session.give(next(iter(wire.held)), taken, given)  # type: ignore[attr-defined]


def places(server: socket.socket) -> set[tuple[str, int]]:
    found = set()
    server.settimeout(SILENCE_S)
    try:
        while True:
            found.add(server.recvfrom(64)[1])
    except TimeoutError:
        return found


def send(wire: Wire, first: int, count: int) -> None:
    for number in range(count):
        with udp(wire.client, CLIENT, first + number) as client:
            client.sendto(b"hello", (SERVER, 53))


def test_nobody_has_a_port_before_it_was_given_and_who_asks_is_known(wire: Wire) -> None:
    wire.hold(POOL)
    client, server = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
    assert demand(wire) == Demand(POOL, (), {}, frozenset())
    assert not arrives(client, (SERVER, 53), server)
    assert (demand(wire).wanted, wire.counter().dropped) == ({CLIENT: 0}, 1)
    give(wire, (), (FIRST,))
    client.sendto(b"hello", (SERVER, 53))
    ((address, port),) = places(server)
    assert address == FIRST.public and FIRST.first_port <= port <= FIRST.last_port
    assert demand(wire).given == (FIRST,) and CLIENT in demand(wire).seen


def test_who_uses_up_his_ports_asks_for_more_and_keeps_those_he_has(wire: Wire) -> None:
    wire.hold(POOL)
    give(wire, (), (FIRST,))
    server = udp(wire.server, SERVER, 53)
    send(wire, 20000, 16)
    assert places(server) == {(FIRST.public, port) for port in range(2000, 2016)}
    assert demand(wire).wanted == {}
    send(wire, 20016, 1)
    assert (places(server), demand(wire).wanted) == (set(), {CLIENT: 1})
    give(wire, (FIRST,), (BOTH,))
    send(wire, 20000, 40)
    assert places(server) == {(FIRST.public, port) for port in range(2000, 2032)}
    assert demand(wire).wanted == {CLIENT: 2}  # the limit: nobody gives him a third


def test_a_block_taken_away_ends_what_went_by_it(wire: Wire) -> None:
    wire.hold(POOL)
    give(wire, (), (FIRST,))
    client, server = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
    assert arrives(client, (SERVER, 53), server)
    give(wire, (FIRST,), ())
    assert not arrives(client, (SERVER, 53), server)
    assert demand(wire).given == ()


def test_a_repair_of_the_rules_takes_no_block_away(wire: Wire) -> None:
    wire.hold(POOL)
    give(wire, (), (FIRST,))
    (key,) = wire.held
    name = str(key).replace(".", "_")
    wire.fw.run("nft", "insert", "rule", "inet", "viaduct", name, "accept")
    assert wire.read().state != wire.held
    held = wire.held
    wire.held = wire.read().state
    wire.hold(POOL)
    assert wire.held == held and demand(wire).given == (FIRST,)


def test_what_was_put_among_ours_is_damage(wire: Wire) -> None:
    wire.hold(POOL)
    (key,) = wire.held
    name = str(key).replace(".", "_")
    wire.fw.run("nft", "delete", "rule", "inet", "viaduct", name, "handle", _handle_of_wish(wire, name))
    assert wire.read().state != wire.held
    with DRIVER.open(wire.target, 10.0) as session:
        assert session.demands() == {}  # type: ignore[attr-defined]


def _handle_of_wish(wire: Wire, name: str) -> str:
    lines = wire.fw.run("nft", "-a", "list", "chain", "inet", "viaduct", name).splitlines()
    return next(line.rsplit(" ", 1)[1] for line in lines if "_want1" in line)


def test_with_the_last_item_nothing_of_ours_is_left(wire: Wire) -> None:
    before = wire.fw.run("nft", "list", "ruleset")
    wire.hold(POOL)
    give(wire, (), (FIRST,))
    send(wire, 20000, 20)
    wire.hold()
    assert wire.fw.run("nft", "list", "ruleset") == before


def test_only_a_pools_own_elements_can_be_given(wire: Wire) -> None:
    key = Key.parse("c7.r1.f.1.natpool.0")
    script = render_given(key, Realm.APPLIANCE, (FIRST,), (BOTH,))
    assert refused_line(script, Realm.APPLIANCE) == 0 and refused_line(script, Realm.HOST) != 0
    wire.hold(POOL)
    with DRIVER.open(wire.target, 10.0) as session, pytest.raises(Rejected):
        session.push("# nft\n" + script.replace("add element inet viaduct", "add element inet theirs"))
