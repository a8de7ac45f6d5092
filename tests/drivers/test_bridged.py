# SPDX-License-Identifier: Apache-2.0
"""The linux driver on a box that is a bump in the wire: real packets through a kernel bridge.

    client (10.10.1.10) -- in [ fw1: bridge wire0 ] out -- server (203.0.113.10); each knows the other's MAC
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.appliance import bridged
from drivers.appliance.linux import DRIVER, render
from drivers.base import Introspective, PortInfo, Target, Unsupported
from drivers.diff import diff
from drivers.state import ANY_PORT, EMPTY, Kind, Match, NatPool, Rule, RuleSet, Signatures, Verdict
from tests.drivers.frames import frame
from tests.drivers.linux_rig import Box, needs_root, ssh_secret, start_sshd
from tests.drivers.samples import Site, sample, state
from tests.drivers.wire import CLIENT, SERVER, SILENCE_S, Wire, arrives, connect, inside, listen, udp

pytestmark = [pytest.mark.lab, needs_root]

OUTWARD = Match("10.10.1.0/24", "0.0.0.0/0")
DNS = Rule(Verdict.PERMIT, Match("0.0.0.0/0", "0.0.0.0/0", "udp", ANY_PORT, (53, 53)))
ALL = RuleSet(OUTWARD, (), Verdict.PERMIT, "in", "out")
KINDS = frozenset({Kind.RULESET, Kind.SIGNATURES})


@pytest.fixture
def wire(tmp_path: Path, ssh_keys: Path) -> Iterator[Wire]:
    boxes = {}
    for name in ("client", "fw", "server"):
        (tmp_path / name).mkdir()
        boxes[name] = Box(tmp_path / name)
    fw = boxes["fw"]
    try:
        start_sshd(fw, ssh_keys)
        lines = ["link add wire0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
        lines += ["link set dev wire0 addrgenmode none", "link set dev wire0 up"]
        for name, leg in (("client", "in"), ("server", "out")):
            boxes[name].start()
            lines.append(f"link add {leg} type veth peer name eth0 netns {boxes[name].pid}")
            lines += [f"link set dev {leg} {word}" for word in ("addrgenmode none", "master wire0", "up")]
        fw.run("ip", "-batch", "-", text="\n".join(lines))
        for name, other, address in (("client", "server", CLIENT), ("server", "client", SERVER)):
            mac = json.loads(boxes[other].run("ip", "-json", "link", "show", "eth0"))[0]["address"]
            _end(boxes[name], address, str(mac))
        ports = {name: PortInfo(name) for name in ("in", "out")}
        settings = {"bridges": "wire0:in:out"}
        yield Wire(
            boxes["client"], fw, boxes["server"],
            Target("fw1", "linux", "127.0.0.1", settings, ports, {}, ssh_secret(fw, ssh_keys)),
        )  # fmt: skip
    finally:
        for box in boxes.values():
            box.stop()


def _end(box: Box, address: str, mac: str) -> None:
    gateway = f"{address.rpartition('.')[0]}.1"
    box.run(
        "ip", "-batch", "-",
        text=f"link set dev eth0 up\naddr add {address}/24 dev eth0\n"
        f"neigh add {gateway} lladdr {mac} dev eth0 nud permanent\nroute add default via {gateway}\n",
    )  # fmt: skip


def test_rule_sets_and_signatures_are_read_back_and_taken_away(wire: Wire) -> None:
    first, second = (sample(Site(KINDS, inside="in", outside="out"), revision=number) for number in (1, 2))
    with DRIVER.open(wire.target, 10.0) as session:
        for before, after in ((EMPTY, first), (first, second), (second, EMPTY)):
            session.push(DRIVER.render(diff(before, after), wire.target))
            assert session.read().state == after
    assert "viaduct" not in wire.fw.run("nft", "list", "tables")


def test_a_rule_set_permits_denies_and_lets_answers_back(wire: Wire) -> None:
    wire.hold(replace(ALL, rules=(DNS,), default=Verdict.DENY))
    inner, outer, other = udp(wire.client, CLIENT, 7000), udp(wire.server, SERVER, 53), udp(wire.server, SERVER, 54)
    assert not arrives(outer, (CLIENT, 7000), inner)
    assert arrives(inner, (SERVER, 53), outer)
    assert arrives(outer, (CLIENT, 7000), inner)
    assert not arrives(inner, (SERVER, 54), other)
    assert wire.counter().dropped == 2


def test_signatures_stop_an_attack(wire: Wire) -> None:
    wire.hold(Signatures(OUTWARD, (b"attack".hex(),), "in", "out"))
    with listen(wire.server, SERVER, 80) as server:
        client = connect(wire.client, SERVER, 80)
        peer, _ = server.accept()
        peer.settimeout(SILENCE_S)
        client.sendall(b"hello")
        assert peer.recv(100) == b"hello"
        client.sendall(b"an attack")
        with pytest.raises(TimeoutError):
            peer.recv(100)
        client.close()
        peer.close()


def test_what_no_item_claims_and_what_is_no_ip_does_not_pass(wire: Wire) -> None:
    """Also with a VLAN tag in front of it, where the kernel does not ask the rules."""
    inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
    assert arrives(inner, (SERVER, 53), outer)
    wire.hold(replace(ALL, traffic=Match("10.99.0.0/16", "0.0.0.0/0")))
    assert not arrives(inner, (SERVER, 53), outer)
    assert not tagged_arrives(wire)
    wire.hold()
    assert tagged_arrives(wire)


def tagged_arrives(wire: Wire) -> bool:
    """One IP packet with a VLAN tag, as bytes: this kernel has no VLAN devices."""
    packet = frame(CLIENT, SERVER, "udp", (7000, 53), vlan=5)
    with _raw(wire.client) as sender, _raw(wire.server) as receiver:
        receiver.settimeout(SILENCE_S)
        sender.send(packet)
        try:
            while True:
                octets, address = receiver.recvfrom(2048)
                if address[2] != socket.PACKET_OUTGOING and packet[18:] in octets:
                    return True
        except TimeoutError:
            return False


def _raw(box: Box) -> socket.socket:
    with inside(box):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind(("eth0", 3))
    return made


def test_a_kernel_that_does_not_ask_the_rules_lets_nothing_pass_and_is_told(wire: Wire) -> None:
    wire.hold(ALL)
    inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
    assert arrives(inner, (SERVER, 53), outer)
    wire.fw.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0")
    assert not arrives(inner, (SERVER, 53), outer)
    with DRIVER.open(wire.target, 10.0) as session:
        assert isinstance(session, Introspective)
        assert [line for line in session.login().missing if "bridge-nf-call-iptables=1" in line]


@pytest.mark.parametrize("damage", ["delete table bridge viaduct", "add rule bridge viaduct closing accept"])
def test_without_its_closed_table_every_item_is_damaged_and_gets_repaired(wire: Wire, damage: str) -> None:
    wanted = wire.hold(ALL)
    wire.fw.run("nft", damage)
    seen = wire.read().state
    assert seen != wanted and seen.keys() == wanted.keys()
    wire.held = seen
    wire.hold(ALL)


def test_links_are_those_of_the_legs(wire: Wire) -> None:
    assert dict(wire.read().links_up) == {"in": True, "out": True}
    wire.server.run("ip", "link", "set", "dev", "eth0", "down")
    assert dict(wire.read().links_up) == {"in": True, "out": False}


PORTS = {name: PortInfo(name) for name in ("in", "out", "other")}


@pytest.mark.parametrize(
    ("setting", "item"),
    [
        ("br0:in:out", replace(ALL, inside="out", outside="in")),
        ("br0:in:out", replace(ALL, outside="other")),
        ("br0:in:out", NatPool(OUTWARD, "198.51.100.0/28", 64, "in", "out")),
        ("br0:in", ALL),
        ("br0:in:in", ALL),
        ("br0:in:nosuch", ALL),
        ("br0:in:out br0:other:in", ALL),
        ("br0;x:in:out", ALL),
        ("a-name-of-16-chars:in:out", ALL),
    ],
)
def test_what_a_bridge_cannot_be_is_unsupported(setting: str, item: RuleSet | NatPool) -> None:
    target = Target("fw1", "linux", "192.0.2.1", {"bridges": setting}, PORTS)
    with pytest.raises(Unsupported):
        render(diff(EMPTY, state([item])), target)
    good = replace(target, settings={"bridges": "br0:in:out"})
    assert bridged.BASE in render(diff(EMPTY, state([ALL])), good)
