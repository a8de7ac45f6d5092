# SPDX-License-Identifier: Apache-2.0
"""How appliances are plugged in, in a lab of its own, programmed by the drivers alone: real packets, real functions.

    a -- leaf1 -- in [ips1: a bump in the wire] out
     b --+   +--- arm [fw1: one arm]
             +--- tap [tap1: takes copies]

From a to b: ips1, then fw1; back: fw1, then ips1. tap1 sees what a sends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.base import PortInfo, Session, Target
from drivers.diff import diff
from drivers.probe import Probe, ProbeKind, Probing
from drivers.registry import driver
from drivers.state import (
    ANY_PORT,
    Guard,
    Item,
    Match,
    NextHop,
    Redirect,
    Rule,
    RuleSet,
    Signatures,
    Verdict,
)
from lab import Lab
from lab.scenarios.plot import TENANT, Plot
from lab.watch import Packet
from lab.wiring import ASKED, ASKED_PORT, ASKS, closed_script
from tests.drivers.samples import state

pytestmark = pytest.mark.lab

THERE = Match("10.1.1.0/24", "10.2.1.0/24")
BACK = THERE.reversed()
A, B = "10.1.1.10", "10.2.1.10"
PROBE = Probe("x", ProbeKind.THROUGH, ASKED, ASKED_PORT, source=ASKS, inside="x", outside="x", interval_ms=100,
              timeout_ms=300, rise=2, fall=3)  # fmt: skip
PATIENCE_S = 15.0


def plot() -> str:
    made = Plot("modes")
    made.switch("leaf1")
    made.box("ips1", "leaf1", bridges="wire0:in:out")
    made.box("fw1", "leaf1", arms=("arm",))
    made.box("tap1", "leaf1", arms=("tap",))
    made.offer("ips1", "ips", mode="transparent")
    made.offer("fw1", "ngfw", inside="arm", outside="arm", mode="one_arm")
    made.segment("a", made.host("a", "leaf1", [f"{A}/24"], 1), ["10.1.1.0/24"])
    made.segment("b", made.host("b", "leaf1", [f"{B}/24"], 2), ["10.2.1.0/24"])
    return made.text()


@pytest.fixture(scope="module")
def lab(ground: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    fabric = tmp_path_factory.mktemp("modes") / "fabric.yaml"
    fabric.write_text(plot())
    with Lab.up(fabric, name=f"t{os.getpid()}m", has_agents=False) as made:
        hold(made, "fw1", rules((80,)))
        hold(made, "ips1", Signatures(THERE, (b"attack".hex(),), "in", "out"))
        hold(made, "leaf1", *steering(made))
        yield made


def rules(ports: tuple[int, ...]) -> RuleSet:
    anywhere = "0.0.0.0/0"
    allowed = [Rule(Verdict.PERMIT, Match(anywhere, anywhere, "tcp", ANY_PORT, (port, port))) for port in ports]
    return RuleSet(THERE, tuple(allowed), Verdict.DENY, "arm", "arm")


def steering(lab: Lab) -> list[Item]:
    arm = lab.device("fw1").ports["arm"].mac
    to_fw, away = NextHop("fw1-arm", 0, arm), NextHop(vrf=TENANT)
    return [
        Redirect("a", 0, THERE, NextHop("ips1-in"), copies=(NextHop("tap1-tap"),)),
        Redirect("ips1-out", 0, THERE, to_fw),
        Redirect("fw1-arm", 0, THERE, away),
        Redirect("b", 0, BACK, to_fw),
        Redirect("fw1-arm", 0, BACK, NextHop("ips1-out")),
        Redirect("ips1-in", 0, BACK, away),
        *(Guard(port, 0, match) for port, match in (("a", THERE), ("b", BACK))),
    ]


@contextmanager
def opened(lab: Lab, name: str) -> Iterator[tuple[Session, Target]]:
    device = lab.device(name)
    ports = {port.name: PortInfo(port.name, port.number) for port in device.ports.values()}
    secret = Path(lab.folder, f"{name}.credential.json")
    target = Target(
        name, device.driver, device.management, device.settings, ports, {TENANT: 101, "internet": 10},
        secret.read_text() if secret.exists() else "",
    )  # fmt: skip
    with driver(device.driver).open(target, 15.0) as session:
        yield session, target


def hold(lab: Lab, name: str, *items: Item) -> None:
    wanted = state(list(items))
    with opened(lab, name) as (session, target):
        session.push(driver(target.driver).render(diff(session.read().state, wanted), target))
        assert session.read().state == wanted


def from_a(packets: tuple[Packet, ...], at: str) -> list[tuple[str, str]]:
    """What of a's came to this place."""
    return sorted((one.flags, one.payload) for one in packets if (one.at, one.source, one.direction) == (at, A, "rx"))


def counters(lab: Lab, name: str) -> int:
    with opened(lab, name) as (session, _):
        return sum(each.packets for each in session.read().counters.values())


def test_a_bump_in_the_wire_and_a_one_armed_box_in_one_chain(lab: Lab) -> None:
    before = {name: counters(lab, name) for name in ("ips1", "fw1")}
    with lab.serve("b", tcp=(80, 81)):
        assert lab.probe("a", B, 80).ok
        assert lab.probe("a", B, 81).result == "timeout"
        assert not lab.probe("a", B, 80, payload="an attack").ok
    assert all(counters(lab, name) > was for name, was in before.items())
    with lab.serve("a", tcp=(80,)):
        assert lab.probe("b", A, 80).result == "timeout"


def test_a_tap_sees_each_packet_once_and_its_death_harms_nobody(lab: Lab) -> None:
    with lab.serve("b", tcp=(80,)):
        with lab.capture("tap1", "tap", ("b", "eth0")) as capture:
            assert lab.probe("a", B, 80).ok
            # The last packets of the conversation may still be on their way.
            deadline = time.monotonic() + PATIENCE_S
            while (seen := from_a(capture.packets(), "tap1:tap")) != from_a(capture.packets(), "b:eth0") or not seen:
                assert time.monotonic() < deadline, capture.packets()
                time.sleep(0.05)
        lab.kill_device("tap1")
        assert lab.probe("a", B, 80).ok
        lab.restart_device("tap1")


def test_the_labs_prober_asks_through_real_functions(lab: Lab) -> None:
    """With a firewall's connection tracking between the arms, which drops what has wrong checksums or no question."""
    def probe(name: str, inside: str, outside: str, mac: str) -> Probe:
        fields = {name: getattr(PROBE, name) for name in Probe.__slots__}
        ends = {"inside": inside, "outside": outside, "inside_mac": mac, "outside_mac": mac}
        return Probe(**{**fields, "name": name, **ends})

    probes = (
        probe("fw1", "fw1-arm", "fw1-arm", lab.device("fw1").ports["arm"].mac),
        probe("ips1", "ips1-in", "ips1-out", ""),
    )
    with opened(lab, "leaf1") as (session, _):
        assert isinstance(session, Probing)
        session.set_probes(probes)
        wait(session, {"fw1": True, "ips1": True})
        lab.exec("fw1", ["nft", "insert", "rule", "inet", "boot", "closed", "udp", "dport", "3503", "drop"])
        wait(session, {"fw1": False, "ips1": True})
        # A box that has nothing of ours, and is shut, can be asked as well.
        for name in ("fw1", "ips1"):
            hold(lab, name)
        lab.exec("fw1", ["sh", "-c", closed_script(lab.device("fw1"))])
        wait(session, {"fw1": True, "ips1": True})
        lab.exec("ips1", ["sh", "-c", "nft flush chain inet boot closed"])
        wait(session, {"fw1": True, "ips1": False})
        session.set_probes(())


def wait(session: Probing, wanted: dict[str, bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while {result.name: result.is_up for result in session.probe_results()} != wanted:
        assert time.monotonic() < deadline, session.probe_results()
        time.sleep(0.05)
