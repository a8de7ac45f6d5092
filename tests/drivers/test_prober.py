# SPDX-License-Identifier: Apache-2.0
"""The prober beside a real Open vSwitch, with functions that hang while their links stay up, and real packets.

    a -- [ leaf1 ] -- b1 [fn1: a kernel bridge] b2 --+
                  |-- c1 [fn2: another] c2 ----------+-- [ leaf1 ] -- d

Packets from a are sent through fn1, whose standby is fn2.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.base import Rejected, Session
from drivers.diff import diff
from drivers.probe import Probe, ProbeKind, ProbeResult
from drivers.state import EMPTY, NextHop, Redirect
from drivers.switch.openvswitch import DRIVER, BridgeSession
from tests.drivers.contract import TIMEOUT_S
from tests.drivers.linux_rig import Box, needs_root, until
from tests.drivers.samples import state
from tests.drivers.test_wired_switch import ADDRESSES, PACKET, RATE, WEB
from tests.drivers.wired_switch import WiredSwitch, listening

pytestmark = [pytest.mark.lab, needs_root]

PORTS = ("a", "b1", "b2", "c1", "c2", "d")
FAST = Probe(
    "fn1", ProbeKind.THROUGH, "198.18.1.1", 3503, source="198.18.0.1", inside="b1", outside="b2",
    interval_ms=100, timeout_ms=100, rise=3, fall=3, fails_over=True,
)  # fmt: skip
BACKUP = replace(FAST, name="fn2", inside="c1", outside="c2")
# 0.35 s as a rule; a machine under load takes longer, and a prober that does not work never ends.
MAX_S = 10.0


class Plant:
    """The switch with its functions and its prober."""

    def __init__(self, switch: WiredSwitch) -> None:
        self.switch = switch
        # The frames of these tests have no checksums, which a bridge that asks iptables would mind.
        switch.box.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
        for function, legs in (("fn1", ("b1", "b2")), ("fn2", ("c1", "c2"))):
            lines = [f"link add {function} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
            lines += [f"link set dev {leg} master {function}" for leg in legs]
            lines += [f"link set dev {leg} type bridge_slave learning off" for leg in legs]
            lines += [f"link set dev {function} addrgenmode none", f"link set dev {function} up"]
            switch.box.run("ip", "-batch", "-", text="\n".join(lines))
        self.held = EMPTY
        self.start()

    def start(self) -> None:
        folder = str(self.switch.box.folder)
        self.switch.box.serve(sys.executable, "-m", "drivers.switch.prober", "--rundir", folder)

    def asker(self) -> int:
        """The process that asks, which the other one keeps; 0 if there is none just now."""
        keeper = self.switch.box.servers[2].pid
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        return int(children[0]) if children else 0

    def hang(self, function: str, *, is_hung: bool) -> None:
        """It forwards nothing, and its links are up: as a process that is stuck."""
        self.switch.box.run("ip", "link", "set", "dev", function, "down" if is_hung else "up")

    def hold(self, *items: Redirect) -> None:
        wanted = state(list(items))
        with self.open() as session:
            session.push(DRIVER.render(diff(self.held, wanted), self.switch.target()))
            assert session.read().state == wanted
        self.held = wanted

    def open(self) -> AbstractContextManager[Session]:
        return DRIVER.open(self.switch.target(), TIMEOUT_S)

    def ask(self, *probes: Probe) -> None:
        with self.open() as session:
            assert isinstance(session, BridgeSession)
            session.set_probes(probes)

    def results(self) -> dict[str, ProbeResult]:
        with self.open() as session:
            assert isinstance(session, BridgeSession)
            return {result.name: result for result in session.probe_results()}

    def until_known(self, **wanted: bool) -> dict[str, ProbeResult]:
        until(lambda: {name: one.is_up for name, one in self.results().items()} == wanted, f"{wanted}")
        return self.results()


@pytest.fixture
def plant(box: Box) -> Iterator[Plant]:
    switch = WiredSwitch(box, PORTS)
    switch.start()
    yield Plant(switch)


def test_a_function_that_hangs_with_its_links_up_is_failed_over_on_the_switch(plant: Plant) -> None:
    plant.hold(
        Redirect("a", 0, WEB, NextHop("b1"), standby=NextHop("c1")),
        Redirect("b2", 0, WEB, NextHop("d")),
        Redirect("c2", 0, WEB, NextHop("d")),
    )
    plant.ask(FAST, BACKUP)
    plant.until_known(fn1=True, fn2=True)
    wire, is_over = plant.switch.wire("a"), threading.Event()
    sent: list[int] = []

    def send() -> None:
        start = time.monotonic()
        while not is_over.is_set():
            while time.monotonic() < start + len(sent) / RATE:
                time.sleep(0.0002)
            wire.send(PACKET + len(sent).to_bytes(4, "big"))
            sent.append(len(sent))

    with listening(plant.switch, ADDRESSES, "b1", "c1", "d") as at:
        sender = threading.Thread(target=send)
        sender.start()
        until(lambda: len(at["d"].seen) > 300, "packets flow")
        assert not at["c1"].seen.keys() & at["d"].seen.keys()
        plant.hang("fn1", is_hung=True)
        until(lambda: len(at["c1"].seen) > 0, "packets take the standby")
        down = plant.until_known(fn1=False, fn2=True)
        plant.hang("fn1", is_hung=False)
        plant.until_known(fn1=True, fn2=True)
        back = len(sent)
        until(lambda: max(list(at["b1"].seen)) >= back, "packets take the first function again")
        is_over.set()
        sender.join()
        until(lambda: sent[-1] in at["d"].seen, "the last packet arrives")
    arrived = sorted((times[0], number) for number, times in at["d"].seen.items() if number in set(sent))
    gap_s = max(later[0] - earlier[0] for earlier, later in zip(arrived, arrived[1:], strict=False))
    lost = len(sent) - len(arrived)
    print(f"hung function: {lost} packets lost of {len(sent)} at {RATE}/s, {gap_s * 1000:.0f} ms without any")
    assert gap_s < MAX_S and lost < MAX_S * RATE, (gap_s, lost)
    assert all(len(times) == 1 for times in at["d"].seen.values())
    # Back again: the last packets go through the first function.
    assert sent[-1] in at["b1"].seen and sent[-1] not in at["c1"].seen
    assert "b1" in down["fn1"].evidence and "b2" in down["fn1"].evidence and down["fn1"].lost >= FAST.fall
    with plant.open() as session:
        seen = session.read()
    assert (seen.state, seen.attached) == (plant.held, ())


def test_what_is_wrong_in_one_direction_only_is_told_by_the_evidence(plant: Plant) -> None:
    plant.ask(replace(FAST, fails_over=False))
    plant.until_known(fn1=True)
    rules = "add table netdev t\nadd chain netdev t c { type filter hook ingress device b2 priority 0; }\n"
    plant.switch.box.run("nft", "-f", "-", text=f"{rules}add rule netdev t c udp sport 3503 drop\n")
    down = plant.until_known(fn1=False)
    assert "did not come back" in down["fn1"].evidence
    assert "type=indirect" not in plant.switch.flows("dump-groups")


def test_it_needs_no_orchestrator_and_survives_restarts_of_itself_and_of_the_switch(plant: Plant) -> None:
    """Probes are kept beside the switch. A mark outlives who set it, and is taken away when it is wrong."""
    with plant.open() as session:
        assert isinstance(session, BridgeSession)
        configured = session.configuration()
    plant.ask(FAST)
    plant.hang("fn1", is_hung=True)
    plant.until_known(fn1=False)
    with plant.open() as session:
        assert isinstance(session, BridgeSession)
        assert session.configuration() == configured
    assert plant.switch.flows("dump-groups").count("type=indirect") == 2
    # The switch forgets everything: flows that catch, and marks, are there again.
    plant.switch.box.servers[1].kill()
    plant.switch.box.servers[1].wait(10)
    plant.switch.start_daemon()
    until(lambda: plant.switch.box.listens(6653), "the bridge listens")
    until(lambda: plant.switch.flows("dump-groups").count("type=indirect") == 2, "the marks are back")
    # The process that asks dies: another takes over what it left, with nothing in between.
    died = plant.asker()
    os.kill(died, signal.SIGKILL)
    until(lambda: plant.asker() not in (0, died), "it was started again")
    plant.until_known(fn1=False)
    assert plant.switch.flows("dump-groups").count("type=indirect") == 2
    plant.hang("fn1", is_hung=False)
    plant.until_known(fn1=True)
    until(lambda: "type=indirect" not in plant.switch.flows("dump-groups"), "the marks are gone")
    # Somebody clears the whole table: that is no function's fault.
    before = plant.results()["fn1"]
    plant.switch.flows("del-flows", "cookie=0xd600000000000000/0xff00000000000000")
    until(lambda: plant.results()["fn1"].sent > before.sent + 20, "it asks on")
    until(lambda: plant.results()["fn1"].streak > FAST.rise, "it is answered again")
    plant.ask()
    until(lambda: "cookie=0xd6" not in plant.switch.flows("dump-flows"), "its flows are gone")
    assert plant.results() == {}


def test_nothing_is_left_on_the_switch_by_a_prober_that_died_for_good(plant: Plant) -> None:
    plant.ask(FAST)
    plant.hang("fn1", is_hung=True)
    plant.until_known(fn1=False)
    until(lambda: plant.switch.flows("dump-groups").count("type=indirect") == 2, "the ports are marked")
    plant.switch.box.servers[2].kill()
    until(lambda: "type=indirect" not in plant.switch.flows("dump-groups"), "the marks are gone")
    until(lambda: "cookie=0xd6" not in plant.switch.flows("dump-flows"), "its flows are gone")


def test_a_one_armed_function_and_ipv6(plant: Plant) -> None:
    """A one-armed one sends back by the port; here a cable that ends in a bridge which reflects what it gets."""
    six = replace(FAST, destination="2001:db8::2", source="2001:db8::1", fails_over=False)
    plant.switch.box.run("ip", "link", "set", "dev", "d", "addrgenmode", "none")
    mirror = "add table netdev m\nadd chain netdev m c { type filter hook ingress device d priority 0; }\n"
    plant.switch.box.run("nft", "-f", "-", text=f"{mirror}add rule netdev m c meta l4proto udp fwd to d\n")
    armed = replace(FAST, name="arm", inside="d", outside="d", fails_over=False)
    plant.ask(six, armed)
    plant.until_known(arm=True, fn1=True)


def test_a_switch_asks_through_functions_only_and_by_ports_that_it_has(plant: Plant) -> None:
    with plant.open() as session:
        assert isinstance(session, BridgeSession)
        for probe in (Probe("x", ProbeKind.ICMP, "192.0.2.1"), replace(FAST, inside="nosuch")):
            with pytest.raises(Rejected):
                session.set_probes((probe,))
        assert session.probe_results() == ()
        plant.switch.vsctl("set", "bridge", "leaf1", 'external_ids:viaduct-probes="no note"')
        with pytest.raises(Rejected, match="note"):
            session.probe_results()
    plant.ask(FAST)
    plant.until_known(fn1=True)
