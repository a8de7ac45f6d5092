# SPDX-License-Identifier: Apache-2.0
"""The linux driver on a box with one arm: what enters and leaves by the same port is told apart by its addresses.

    client (10.10.1.10) --+
                          +-- [wire: a bridge] -- arm [fw1]
    server (203.0.113.10) +
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.appliance.linux import DRIVER
from drivers.base import PortInfo, Target
from drivers.diff import diff
from drivers.state import ANY_PORT, EMPTY, Match, NatPool, Rule, RuleSet, Signatures, Verdict
from tests.drivers.linux_rig import Box, needs_root, ssh_secret, start_sshd
from tests.drivers.samples import Site, sample
from tests.drivers.wire import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    SILENCE_S,
    Wire,
    arrives,
    connect,
    listen,
    udp,
)

pytestmark = [pytest.mark.lab, needs_root]

OUTWARD = Match("10.10.1.0/24", "0.0.0.0/0")
DNS = Rule(Verdict.PERMIT, Match("0.0.0.0/0", "0.0.0.0/0", "udp", ANY_PORT, (53, 53)))


@pytest.fixture
def wire(tmp_path: Path, ssh_keys: Path) -> Iterator[Wire]:
    boxes = {}
    for name in ("client", "fw", "server", "bridge"):
        (tmp_path / name).mkdir()
        boxes[name] = Box(tmp_path / name)
    fw, middle = boxes["fw"], boxes["bridge"]
    try:
        start_sshd(fw, ssh_keys)
        for name in ("client", "server", "bridge"):
            boxes[name].start()
        lines = ["link add wire type bridge", "link set dev wire up"]
        for name, far in (("client", "eth0"), ("server", "eth0"), ("fw", "arm")):
            lines.append(f"link add {name} type veth peer name {far} netns {boxes[name].pid}")
            lines += [f"link set dev {name} master wire", f"link set dev {name} up"]
        middle.run("ip", "-batch", "-", text="\n".join(lines))
        arm = _mac(fw, "arm")
        _end(boxes["client"], arm, CLIENT, CLIENT6)
        _end(boxes["server"], arm, SERVER, SERVER6)
        _arm(fw, {CLIENT: "10.10.1.0/24", SERVER: "0.0.0.0/0"}, boxes)
        target = Target("fw1", "linux", "127.0.0.1", {}, {"arm": PortInfo("arm")}, {}, ssh_secret(fw, ssh_keys))
        yield Wire(boxes["client"], fw, boxes["server"], target)
    finally:
        for box in boxes.values():
            box.stop()


def _mac(box: Box, name: str) -> str:
    return str(json.loads(box.run("ip", "-json", "link", "show", name))[0]["address"])


def _end(box: Box, gateway_mac: str, address: str, address6: str) -> None:
    gateway = f"{address.rpartition('.')[0]}.1"
    box.run(
        "ip", "-batch", "-",
        text=f"link set dev eth0 up\naddr add {address}/24 dev eth0\naddr add {address6}/64 dev eth0 nodad\n"
        f"neigh add {gateway} lladdr {gateway_mac} dev eth0 nud permanent\nroute add default via {gateway}\n",
    )  # fmt: skip


def _arm(fw: Box, prefixes: dict[str, str], boxes: dict[str, Box]) -> None:
    settings = ["net.ipv4.ip_forward=1", *(f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", "arm"))]
    fw.run("sysctl", "-qw", *settings, *(f"net.ipv4.conf.{name}.send_redirects=0" for name in ("all", "arm")))
    lines = ["link set dev arm up"]
    for (address, prefix), name in zip(prefixes.items(), ("client", "server"), strict=True):
        lines.append(f"neigh add {address} lladdr {_mac(boxes[name], 'eth0')} dev arm nud permanent")
        lines.append(f"route add {prefix} via {address} dev arm onlink")
    fw.run("ip", "-batch", "-", text="\n".join(lines))


def test_every_kind_of_item_is_read_back_and_taken_away(wire: Wire) -> None:
    site = Site(DRIVER.caps.kinds, inside="arm", outside="arm")
    first, second = sample(site, revision=1), sample(site, revision=2)
    with DRIVER.open(wire.target, 10.0) as session:
        for before, after in ((EMPTY, first), (first, second), (second, EMPTY)):
            session.push(DRIVER.render(diff(before, after), wire.target))
            assert session.read().state == after


def test_a_rule_set_permits_denies_and_answers_by_the_same_arm(wire: Wire) -> None:
    wire.hold(RuleSet(OUTWARD, (DNS,), Verdict.DENY, "arm", "arm"))
    inner, outer, other = udp(wire.client, CLIENT, 7000), udp(wire.server, SERVER, 53), udp(wire.server, SERVER, 54)
    assert not arrives(outer, (CLIENT, 7000), inner)
    assert arrives(inner, (SERVER, 53), outer)
    assert arrives(outer, (CLIENT, 7000), inner)
    assert not arrives(inner, (SERVER, 54), other)
    assert not arrives(other, (CLIENT, 7000), inner)
    assert wire.counter().dropped == 3


def test_what_no_item_claims_is_dropped(wire: Wire) -> None:
    inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
    assert arrives(inner, (SERVER, 53), outer)
    wire.hold(RuleSet(Match("10.99.0.0/16", "0.0.0.0/0"), (), Verdict.PERMIT, "arm", "arm"))
    assert not arrives(inner, (SERVER, 53), outer)


def test_nat_translates_there_and_back_by_the_same_arm(wire: Wire) -> None:
    wire.hold(NatPool(OUTWARD, "198.51.100.0/28", 64, "arm", "arm"))
    inner, outer = udp(wire.client, CLIENT, 7000), udp(wire.server, SERVER, 53)
    inner.sendto(b"who am I", (SERVER, 53))
    payload, seen = outer.recvfrom(100)
    assert payload == b"who am I" and seen[0].startswith("198.51.100.")
    assert arrives(outer, seen, inner)
    assert not arrives(outer, (CLIENT, 7000), inner)


def test_signatures_are_searched_both_ways(wire: Wire) -> None:
    wire.hold(Signatures(OUTWARD, (b"attack".hex(),), "arm", "arm"))
    with listen(wire.server, SERVER, 80) as server:
        client = connect(wire.client, SERVER, 80)
        peer, _ = server.accept()
        client.settimeout(SILENCE_S)
        peer.settimeout(SILENCE_S)
        client.sendall(b"hello")
        assert peer.recv(100) == b"hello"
        peer.sendall(b"an attack")
        with pytest.raises(TimeoutError):
            client.recv(100)
        client.close()
        peer.close()
