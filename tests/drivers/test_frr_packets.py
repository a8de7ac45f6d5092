# SPDX-License-Identifier: Apache-2.0
"""Real packets through a real FRR router: port a has a client, b a function, c a server.

Whatever FRR, the kernel or the operator does, a packet that should meet the function meets it or is dropped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.base import SHADOWS, Observation, Rejected
from drivers.diff import diff
from drivers.state import (
    ANY_PORT,
    EMPTY,
    DeviceState,
    Filter,
    Guard,
    Item,
    Kind,
    Match,
    NextHop,
    Redirect,
    Rule,
    Verdict,
)
from drivers.switch.flows import torn
from drivers.switch.tables import crossing_addresses
from tests.drivers.contract import Rig
from tests.drivers.frr_rig import Lab
from tests.drivers.linux_rig import Box, until
from tests.drivers.samples import state

VLAN = Path(__file__).resolve().parents[2] / "lab" / "devices" / "vlan.py"
CLIENTS = {4: "10.8.1.0/24", 6: "2001:db8:8:1::/64"}
SERVERS = {4: "10.8.3.0/24", 6: "2001:db8:8:3::/64"}
SERVER = {4: "10.8.3.2", 6: "2001:db8:8:3::2"}
CROSSING = NextHop("b", 3001, "02:00:00:00:09:02", "blue")
HOP = NextHop("b", 0, "02:00:00:00:09:02", "blue")

SERVE = """
import selectors, socket
waiting = selectors.DefaultSelector()
for port in (80, 443):
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        one = socket.socket(family)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, port))
        one.listen()
        waiting.register(one, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].close()
"""
CONNECT = """
import socket, sys
one = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
one.settimeout(float(sys.argv[3]))
try:
    one.connect((sys.argv[1], int(sys.argv[2])))
    print("yes")
except OSError:
    print("no")
"""
# Until it is told to stop: one connection after the other. How many, and how many lost their first packet (a second
# one comes after a second).
REPEAT = """
import select, socket, sys, time
made = lost = 0
while not (made and select.select([sys.stdin], [], [], 0)[0]):
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.9).close()
    except OSError:
        lost += 1
    made += 1
    if made == 1:
        print("first", flush=True)
    time.sleep(0.005)
print(made, lost)
"""
FUNCTION = """
add table inet seen
delete table inet seen
table inet seen {
  counter p80 { }
  counter p443 { }
  chain every {
    type filter hook forward priority 0;
    tcp dport 80 counter name p80
    tcp dport 443 counter name p443
  }
}
"""


class Traffic:
    """A client's connections, and what the function and the server saw of them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def connects(self, port: int, family: int = 4, *, within_s: float = 5.0) -> bool:
        client = self.lab.hosts["a"]
        said = client.run(sys.executable, "-S", "-c", CONNECT, SERVER[family], str(port), str(within_s))
        return said.strip() == "yes"

    def is_shut(self, port: int, family: int = 4) -> bool:
        return not self.connects(port, family, within_s=0.7)

    def by_function(self, port: int) -> int:
        """Packets to this port that the function has forwarded."""
        said = json.loads(self.lab.hosts["b"].run("nft", "-j", "list", "counter", "inet", "seen", f"p{port}"))
        return int(said["nftables"][-1]["counter"]["packets"])


@pytest.fixture(scope="module")
def served(frr_lab: Lab) -> Iterator[Lab]:
    server, function = frr_lab.hosts["c"], frr_lab.hosts["b"]
    child = server.serve(sys.executable, "-S", "-c", SERVE)
    until(lambda: server.run("ss", "-Hltn").count(":443") >= 2, "the server listens")
    function.run(
        "sh", text="echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
    )
    yield frr_lab
    child.kill()
    child.wait()


@pytest.fixture
def traffic(served: Lab, frr: Lab) -> Traffic:
    served.set_up(2, "b")
    served.hosts["b"].run("nft", "-f", "-", text=FUNCTION)
    return Traffic(served)


@pytest.fixture
def rig(traffic: Traffic, open_frr: Rig) -> Rig:
    return open_frr


def web(family: int, port: int = 443) -> Match:
    return Match(CLIENTS[family], SERVERS[family], "tcp", ANY_PORT, (port, port))


def chain(hop: NextHop = HOP) -> DeviceState:
    """TCP/443 to the function, or nowhere."""
    items: list[Item] = []
    for family in (4, 6):
        items += [Redirect("a", 0, web(family), hop, 2), Guard("a", 0, web(family), 2)]
    return state(items)


def apply(rig: Rig, wanted: DeviceState) -> Observation:
    rig.push(rig.render(EMPTY, wanted))
    seen = rig.read()
    assert seen.state == wanted
    return seen


def rules(lab: Lab) -> str:
    return lab.router.run("ip", "rule") + lab.router.run("ip", "-6", "rule")


@pytest.mark.parametrize("family", [4, 6])
def test_ports_matter_in_the_kernel(rig: Rig, traffic: Traffic, family: int) -> None:
    wanted = chain()
    apply(rig, wanted)
    assert traffic.connects(443, family) and traffic.by_function(443) >= 2
    assert traffic.connects(80, family) and traffic.by_function(80) == 0
    counters = rig.read().counters
    counted = [counters[key] for key, item in wanted.items() if isinstance(item, Redirect)]
    assert sorted(one.packets > 0 for one in counted) == [False, True]
    assert rig.move(wanted, EMPTY) == EMPTY
    before = traffic.by_function(443)
    assert traffic.connects(443, family) and traffic.by_function(443) == before


def test_what_pbrd_alone_would_have_done(traffic: Traffic) -> None:
    """Why nftables classifies: pbrd says that it matches the port, and the kernel's rule has none."""
    lines = (
        "pbr-map OWN seq 1",
        "match dst-port 443",
        "match src-ip 10.8.1.0/24",
        "set nexthop 10.8.2.2 b",
        "exit",
    )
    router = traffic.lab.router
    router.vtysh("configure terminal", *lines, "interface eth-a", "pbr-policy OWN", "exit")
    until(lambda: "iif eth-a" in rules(traffic.lab), "the rule is there")
    assert "Installed: yes" in router.vtysh("show pbr map OWN").replace("1(1)", "yes")
    assert "dport" not in rules(traffic.lab)
    assert traffic.connects(80) and traffic.by_function(80) > 0


@pytest.mark.parametrize("family", [4, 6])
def test_a_withdrawn_next_hop_does_not_open_a_way_past(rig: Rig, traffic: Traffic, family: int) -> None:
    wanted = chain()
    apply(rig, wanted)
    traffic.lab.hosts["b"].run("ip", "link", "set", "dev", "up", "down")
    until(lambda: "0x56" not in rules(traffic.lab), "pbrd has withdrawn its rules")
    assert traffic.is_shut(443, family) and traffic.connects(80, family)
    seen = rig.read()
    assert seen.links_up == {"a": True, "b": False, "c": True}
    assert {item == torn(key.kind) for key, item in seen.state.items() if isinstance(item, Redirect)} == {
        True
    }
    traffic.lab.set_up(2, "b")
    until(lambda: rules(traffic.lab).count("0x56") == 2, "pbrd has its rules back")
    until(lambda: rig.read().state == wanted, "it is whole again")
    until(lambda: traffic.connects(443, family), "the function forwards again")


def test_a_neighbour_that_is_gone_does_not_open_a_way_past(rig: Rig, traffic: Traffic) -> None:
    apply(rig, chain())
    traffic.lab.hosts["b"].run("ip", "address", "flush", "dev", "up")
    traffic.lab.router.run("ip", "neighbour", "flush", "all")
    assert traffic.is_shut(443) and traffic.is_shut(443, 6) and traffic.connects(80)


def test_a_dead_pbrd_does_not_open_a_way_past_and_is_repaired(rig: Rig, traffic: Traffic) -> None:
    wanted = chain()
    apply(rig, wanted)
    traffic.lab.router.restart("pbrd")
    until(lambda: "0x56" not in rules(traffic.lab), "its rules are gone")
    assert traffic.is_shut(443) and traffic.connects(80)
    held = rig.read().state
    assert held != wanted and held.keys() == wanted.keys()
    assert rig.move(held, wanted) == wanted
    assert traffic.connects(443) and traffic.by_function(443) >= 2


def test_the_kernel_is_believed_and_not_the_daemon(rig: Rig, traffic: Traffic) -> None:
    wanted = chain()
    apply(rig, wanted)
    router = traffic.lab.router
    mark = next(word for word in rules(traffic.lab).split() if word.startswith("0x56"))
    router.run("ip", "rule", "del", "fwmark", mark, "iif", "eth-a")
    assert "Installed: no" not in router.vtysh("show pbr map")
    broken = [key for key, item in rig.read().state.items() if item == torn(key.kind)]
    assert broken == [
        key for key, item in wanted.items() if isinstance(item, Redirect) and item.match.family == 4
    ]
    assert traffic.is_shut(443) and traffic.connects(443, 6)


def test_a_rule_of_the_operator_before_ours_is_told_and_does_not_open_a_way_past(
    rig: Rig, traffic: Traffic
) -> None:
    wanted = chain()
    apply(rig, wanted)
    traffic.lab.router.run("ip", "rule", "add", "pref", "100", "iif", "eth-a", "lookup", "main")
    try:
        assert traffic.is_shut(443) and traffic.connects(80)
        seen = rig.read()
        assert [line.startswith(SHADOWS) and "main" in line for line in seen.attached] == [True]
    finally:
        traffic.lab.router.run("ip", "rule", "del", "pref", "100")


def test_a_table_of_the_operator_that_changes_marks_is_told(rig: Rig, traffic: Traffic) -> None:
    apply(rig, chain())
    late = "table inet theirs { chain late { type filter hook prerouting priority 0; meta mark set 7; }; }"
    traffic.lab.router.run("nft", "-f", "-", text=late)
    assert any(line.startswith(SHADOWS) and "inet theirs" in line for line in rig.read().attached)
    # The mark is another one: nobody takes it to the function, and the guard knows nothing of it. Hence the finding.
    other = NextHop("c", 0, "02:00:00:00:09:03", "blue")
    more = chain().merged(state([Redirect("a", 0, web(4, 80), other, 1)], chain=8))
    with pytest.raises(Rejected, match="table inet theirs changes marks in prerouting after us.*below -149"):
        rig.push(rig.render(chain(), more))
    assert rig.read().state == chain()
    rig.push(rig.render(chain(), EMPTY))  # the way back is open: no packet is marked that was not before
    assert rig.read().state == EMPTY


def test_a_filter_decides_in_order(rig: Rig, traffic: Traffic) -> None:
    every = Match(CLIENTS[4], SERVERS[4], "tcp")
    rule = Rule(Verdict.PERMIT, web(4))
    wanted = state([Filter("a", 0, every, NextHop(vrf="blue"), (rule,), Verdict.DENY)])
    apply(rig, wanted)
    assert traffic.connects(443) and traffic.is_shut(80) and traffic.by_function(443) == 0
    ((_, counter),) = rig.read().counters.items()
    assert 0 < counter.dropped < counter.packets


def test_counters_of_what_stays_stay(rig: Rig, traffic: Traffic) -> None:
    first = chain()
    apply(rig, first)
    assert traffic.connects(443)
    key = next(key for key, item in first.items() if isinstance(item, Redirect) and item.match.family == 4)
    before = rig.read().counters[key]
    second = first.merged(state([Redirect("a", 0, web(4, 80), HOP, 1)], chain=8))
    assert rig.move(first, second) == second
    assert rig.read().counters[key].packets == before.packets > 0
    assert traffic.connects(80) and traffic.by_function(80) >= 2


@pytest.fixture
def far(rig: Rig, traffic: Traffic) -> Iterator[Box]:
    """b is another switch: what it gets with tag 3001 it sends back with tag 3001."""
    made = traffic.lab.hosts["b"]
    ours, theirs = crossing_addresses(rig.target, ("b", 3001), 4)
    lines = "link add link up name up.3001 type vlan id 3001\nlink set dev up.3001 addrgenmode none up\n"
    python = (sys.executable, "-S", "-E", str(VLAN), "-batch", "-")
    made.run(*python, text=lines)
    made.run("ip", "address", "add", f"{theirs}/31", "dev", "up.3001")
    made.run("ip", "neighbour", "add", ours, "lladdr", "02:00:00:00:08:02", "dev", "up.3001")
    made.run("ip", "route", "add", SERVERS[4], "via", ours, "dev", "up.3001")
    yield made
    made.run(*python, text="link del dev up.3001\n")


def crossed() -> DeviceState:
    back = state([Redirect("b", 3001, web(4), NextHop(vrf="blue"))], chain=9)
    return state([*chain(CROSSING).values()], revision=2).merged(back)


def test_a_crossing_carries_its_tag_and_takes_nothing_else(rig: Rig, traffic: Traffic, far: Box) -> None:
    apply(rig, crossed())
    assert traffic.connects(443) and traffic.by_function(443) >= 2
    # Port 80 by the same tag is nothing that we sent: the crossing is shut.
    assert far.run(sys.executable, "-S", "-c", CONNECT, SERVER[4], "80", "0.7").strip() == "no"


def test_a_change_loses_nothing(rig: Rig, traffic: Traffic, far: Box) -> None:
    """The new way is in the kernel before nftables hands packets to it, in one transaction."""
    first = chain()
    apply(rig, first)
    far.run(
        "ip", "route", "del", SERVERS[4]
    )  # what came untagged goes back so, for as long as both are in use
    far.run("ip", "rule", "add", "iif", "up.3001", "lookup", "7")
    far.run(
        "ip",
        "route",
        "add",
        "default",
        "via",
        crossing_addresses(rig.target, ("b", 3001), 4)[0],
        "table",
        "7",
    )
    client = traffic.lab.hosts["a"]
    argv = client.argv(sys.executable, "-S", "-c", REPEAT, SERVER[4], "443")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "first\n"
        assert rig.move(first, crossed()) == crossed()
        said, _ = child.communicate("stop\n", timeout=30)
    far.run("ip", "rule", "del", "iif", "up.3001")
    made, lost = (int(word) for word in said.split())
    assert lost == 0 and made > 20


def test_a_router_comes_back_shut_after_a_reboot(rig: Rig, traffic: Traffic) -> None:
    """What its operator has it run at boot (`viaduct_frr restore`) is there before its interfaces are up."""
    wanted = chain()
    apply(rig, wanted)
    router = traffic.lab.router
    for interface in ("eth-a", "b"):
        router.run("ip", "link", "set", "dev", interface, "down")
    router.run("nft", "flush", "ruleset")
    router.run("sh", str(router.hook))
    router.restart("pbrd")
    for number, (port, interface) in enumerate((("a", "eth-a"), ("b", "b")), start=1):
        router.run("ip", "link", "set", "dev", interface, "up")
        router.run("ip", "address", "replace", f"2001:db8:8:{number}::1/64", "dev", interface, "nodad")
        traffic.lab.set_up(number, port)
    until(lambda: traffic.connects(80) and traffic.connects(80, 6), "the router forwards again")
    assert traffic.is_shut(443) and traffic.is_shut(443, 6) and traffic.by_function(443) == 0
    held = rig.read().state
    assert diff(held, wanted)
    assert rig.move(held, wanted) == wanted
    assert traffic.connects(443) and traffic.connects(443, 6) and traffic.by_function(443) >= 4


def test_a_router_that_cannot_save_comes_back_shut_all_the_same(rig: Rig, traffic: Traffic) -> None:
    """What it starts with is written first of all: FRR's part may fail, and the table is the new one."""
    router = traffic.lab.router
    saved = Path("/etc/frr") / router.name / "frr.conf"
    aside = saved.with_name("aside")
    saved.rename(aside)
    saved.mkdir()
    try:
        with pytest.raises(Rejected, match="in force, but not saved"):
            apply(rig, chain())
    finally:
        saved.rmdir()
        aside.rename(saved)
    assert rig.read().state == chain()
    router.run("nft", "flush", "ruleset")
    router.run("sh", str(router.hook))
    router.restart("pbrd")
    assert traffic.is_shut(443) and traffic.is_shut(443, 6) and traffic.by_function(443) == 0


def test_without_its_hook_at_boot_a_router_would_come_back_open_and_is_not_written(
    rig: Rig, traffic: Traffic
) -> None:
    wanted = chain()
    apply(rig, wanted)
    router = traffic.lab.router
    router.run("nft", "flush", "ruleset")
    router.restart("pbrd")
    assert traffic.connects(443) and traffic.by_function(443) == 0, "this is what the hook is for"
    hook = router.hook.read_text()
    try:
        for text in ("", "#!/bin/sh\n"):
            router.hook.write_text(text) if text else router.hook.unlink()
            with rig.driver.open(rig.target, 30) as session:
                said = " ".join(session.login(rig.render(EMPTY, wanted)).missing)  # type: ignore[attr-defined]
                assert "nothing restores its table" in said and "systemctl enable viaduct-frr" in said
                with pytest.raises(Rejected, match="nothing restores its table"):
                    session.push(rig.render(EMPTY, wanted))
    finally:
        router.hook.write_text(hook)
    with rig.driver.open(rig.target, 30) as session:
        assert session.login().missing == ()  # type: ignore[attr-defined]


def test_what_the_kernel_lost_and_what_it_got_are_put_right(rig: Rig, traffic: Traffic) -> None:
    """pbrd believes that its rule and its route are there still, and knows nothing of others' routes."""
    wanted = chain()
    apply(rig, wanted)
    router = traffic.lab.router
    for damage in (
        "ip rule del iif eth-a lookup {table}",
        f"ip route add {SERVERS[4]} via 10.8.3.2 table {{table}}",
    ):
        table = re.findall(r"fwmark 0x56\w+ iif eth-a lookup (\d+)", router.run("ip", "rule"))[0]
        router.run("sh", "-e", text=damage.format(table=table))
        held = rig.read().state
        assert [key.kind for key in wanted if held.get(key) != wanted[key]] == [Kind.REDIRECT], damage
        assert traffic.is_shut(443) and traffic.connects(443, 6), damage
        assert rig.move(held, wanted) == wanted, damage
        before = traffic.by_function(443)
        assert traffic.connects(443) and traffic.by_function(443) > before, damage


def test_only_ours_is_saved(rig: Rig, traffic: Traffic) -> None:
    """What its operator has typed and not saved is gone after a restart, as without us; ours is there."""
    router = traffic.lab.router
    router.vtysh("configure terminal", "ip route 203.0.113.0/25 blackhole")
    router.vtysh("write memory")
    router.vtysh("configure terminal", "ip route 203.0.113.128/25 blackhole")
    try:
        assert rig.move(rig.read().state, chain()) == chain()
        saved = (Path("/etc/frr") / router.name / "frr.conf").read_text()
        assert "203.0.113.0/25" in saved and "203.0.113.128/25" not in saved
        assert "pbr-map SI-t-" in saved and "pbr-policy SI-t-" in saved
        assert rig.move(chain(), EMPTY) == EMPTY
        saved = (Path("/etc/frr") / router.name / "frr.conf").read_text()
        assert "SI-t-" not in saved and "203.0.113.0/25" in saved and "203.0.113.128/25" not in saved
    finally:
        gone = (f"no ip route 203.0.113.{text}/25 blackhole" for text in ("0", "128"))
        router.vtysh("configure terminal", *gone)
        router.vtysh("write memory")


def test_its_operators_file_is_replaced_as_a_whole_and_stays_its_owners(rig: Rig, traffic: Traffic) -> None:
    """Who reads it while it is saved, or after the power went, has the old one or the new one."""
    router = traffic.lab.router
    saved = Path("/etc/frr") / router.name / "frr.conf"
    router.vtysh("write memory")
    before = saved.stat()
    os.chown(saved, 4711, 4712)
    saved.chmod(0o604)
    try:
        with saved.open() as held:
            text = saved.read_text()
            apply(rig, chain())
            assert "SI-t-" in saved.read_text() and held.read() == text
        after = saved.stat()
        assert (after.st_uid, after.st_gid, after.st_mode & 0o777) == (4711, 4712, 0o604)
        assert [one.name for one in saved.parent.iterdir() if one.name.startswith(".")] == []
    finally:
        os.chown(saved, before.st_uid, before.st_gid)
        saved.chmod(before.st_mode & 0o777)
