# SPDX-License-Identifier: Apache-2.0
"""The data plane of emulated switches: what a configuration says is what packets do."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from drivers.state import ANY_PORT, Match
from lab import spaces, watch
from lab.command import inside, run
from lab.devices.plane import Clause, Fate, Follower, Interface, Plane

pytestmark = pytest.mark.lab
CLIENT, SERVER, BOX = "10.1.0.10", "10.2.0.10", "192.0.2.9"
WEB = Match("10.1.0.0/16", "10.2.0.0/16", "tcp", ANY_PORT, (443, 443))
BACK = WEB.reversed()
ROUTER = """
cd /proc/sys/net/ipv4; echo 1 >ip_forward
for one in conf/*; do echo 0 >$one/rp_filter; echo 0 >$one/send_redirects; done
"""
COUNT = "table ip seen { chain c { type filter hook forward priority 0; counter; }; }"


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, str]]:
    """client -- switch -- server, and a box with one arm on the switch that forwards what it gets."""
    found = {name: f"plane{os.getpid()}-{name}" for name in ("sw", "client", "server", "box")}
    spaces.create(list(found.values()))
    try:
        for name, address in (("client", CLIENT), ("server", SERVER), ("box", BOX)):
            spaces.batch([f"link add {name} netns {found['sw']} type veth peer name eth0 netns {found[name]}"])
            gateway = f"{address.rpartition('.')[0]}.1"
            lines = ["link set lo up", "link set eth0 up", f"addr add {address}/24 dev eth0"]
            spaces.batch_in(found[name], [*lines, f"route add default via {gateway}"])
        for name in ("sw", "box"):
            run(inside(found[name], ["sh", "-s"]), text=ROUTER)
        run(inside(found["box"], ["nft", "-f", "-"]), text=COUNT)
        yield found
    finally:
        spaces.empty(list(found.values()))
        spaces.batch(f"netns del {name}" for name in found.values())


def plane(*clauses: Clause, back: tuple[Clause, ...] = (), is_box_up: bool = True) -> Plane:
    ports = (
        Interface("Ethernet1", "blue", ("10.1.0.1/24",), policy=clauses),
        Interface("Ethernet2", "blue", ("10.2.0.1/24",), policy=back),
        Interface("Ethernet3", "blue", ("192.0.2.1/24",), is_up=is_box_up),
    )
    return Plane({port.name: port for port in ports})


@pytest.fixture
def follower(names: dict[str, str]) -> Follower:
    return Follower(names["sw"], {"Ethernet1": "client", "Ethernet2": "server", "Ethernet3": "box"})


def reaches(names: dict[str, str], port: int) -> bool:
    with watch.Server(names["server"], (port,), ()):
        return watch.probe(names["client"], [{"to": SERVER, "port": port, "timeout_s": 1.5}])[0].ok


def crossed(names: dict[str, str]) -> int:
    said = run(inside(names["box"], ["nft", "list", "table", "ip", "seen"])).stdout
    return int(said.partition("packets ")[2].split()[0])


STEER = Clause(WEB, Fate.NEXT, BOX)


def test_what_is_redirected_crosses_the_box_and_nothing_else(names: dict[str, str], follower: Follower) -> None:
    follower.follow(plane())
    assert reaches(names, 443) and crossed(names) == 0
    follower.follow(plane(STEER, back=(Clause(BACK, Fate.NEXT, BOX),)))
    assert reaches(names, 443)
    steered = crossed(names)
    assert steered > 4
    assert reaches(names, 80) and crossed(names) == steered
    follower.follow(plane())
    assert reaches(names, 443) and crossed(names) == steered


def test_the_first_clause_decides_and_drops_are_drops(names: dict[str, str], follower: Follower) -> None:
    follower.follow(plane(Clause(WEB, Fate.DROP), STEER))
    assert not reaches(names, 443) and reaches(names, 80)
    follower.follow(plane(Clause(WEB, Fate.ROUTE), Clause(WEB, Fate.DROP)))
    assert reaches(names, 443)


def test_a_next_hop_that_is_down_drops(names: dict[str, str], follower: Follower) -> None:
    follower.follow(plane(STEER))
    follower.follow(plane(STEER, is_box_up=False))
    assert not reaches(names, 443) and reaches(names, 80)
    follower.follow(plane(STEER))
    assert reaches(names, 443)


def test_sub_interfaces_of_like_names_never_meet() -> None:
    """Linux gives a name 15 characters; two cables may begin with the same ten."""
    cables = {f"Ethernet{number}": f"downstream-{number:04}" for number in range(300)}
    follower = Follower("", cables)
    subs = [Interface(f"{name}.{tag}", parent=name, vlan=tag) for name in cables for tag in (3, 3000, 4094)]
    names = {follower._name(one) for one in subs}
    assert len(names) == len(subs) and max(map(len, names)) <= 15
