# SPDX-License-Identifier: Apache-2.0
"""Fail-over on the switch alone: a cable is pulled while 1,000 packets a second flow, and what is lost is counted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from drivers.diff import diff
from drivers.state import EMPTY, Guard, Item, Match, NextHop, Redirect
from drivers.switch.openvswitch import DRIVER
from tests.drivers.contract import TIMEOUT_S
from tests.drivers.frames import frame
from tests.drivers.linux_rig import until
from tests.drivers.samples import clients, state
from tests.drivers.wired_switch import Listener, WiredSwitch, listening

PACKET = frame("10.1.1.5", "192.0.2.80", "udp", (40000, 80))
ADDRESSES = PACKET[26:34]
WEB = Match(clients(4), "0.0.0.0/0", "udp")
RATE = 1000
# The carrier's loss is told by the kernel, not polled: a machine under load takes longer, never a second.
MAX_S = 1.0


def hold(switch: WiredSwitch, *items: Item) -> None:
    target, wanted = switch.target(), state(list(items))
    with DRIVER.open(target, TIMEOUT_S) as session:
        session.push(DRIVER.render(diff(EMPTY, wanted), target))
        assert session.read().state == wanted


def stream(switch: WiredSwitch, count: int, events: dict[int, tuple[str, bool]]) -> dict[int, float]:
    """Numbered packets at RATE into a; beside the n-th, a far end's card is set up or down. When each was sent."""
    wire, sent = switch.wire("a"), {}
    with ThreadPoolExecutor(1) as hand:
        start = time.monotonic()
        for number in range(count):
            if number in events:
                port, is_up = events[number]
                hand.submit(switch.link, port, is_up=is_up)
            while time.monotonic() < start + number / RATE:
                time.sleep(0.0002)
            wire.send(PACKET + number.to_bytes(4, "big"))
            sent[number] = time.monotonic()
    wire.close()
    return sent


def arrived(count: int, *listeners: Listener) -> set[int]:
    """Whatever has come when nothing more comes."""
    seen = -1
    while seen != (now := sum(len(one.seen) for one in listeners)) and now < count:
        seen = now
        time.sleep(0.3)
    return {number for one in listeners for number in one.seen}


def test_a_pulled_cable_costs_a_few_packets_and_so_does_its_return(wired: WiredSwitch) -> None:
    hold(wired, Redirect("a", 0, WEB, NextHop("b"), standby=NextHop("c")), Guard("a", 0, WEB))
    with listening(wired, ADDRESSES, "b", "c") as at:
        sent = stream(wired, 3000, {1000: ("b", False), 2000: ("b", True)})
        lost = sorted(sent.keys() - arrived(3000, *at.values()))
    before = max(number for number in at["b"].seen if number < min(at["c"].seen))
    gap_s = min(times[0] for times in at["c"].seen.values()) - at["b"].seen[before][0]
    print(f"failover: {len(lost)} packets lost of {len(sent)} at {RATE}/s, {gap_s * 1000:.1f} ms without any")
    # It is back where it belongs, and nobody had a packet twice.
    assert 2999 in at["b"].seen and 2999 not in at["c"].seen
    assert all(len(times) == 1 for one in at.values() for times in one.seen.values())
    assert not at["b"].seen.keys() & at["c"].seen.keys()
    assert gap_s < MAX_S and len(lost) < MAX_S * RATE, (gap_s, lost)


def test_without_a_link_anywhere_nothing_gets_past(wired: WiredSwitch) -> None:
    """Not by base forwarding either, which here leads out of c's neighbour d."""
    wired.flows("add-flow", "table=1,actions=output:3")
    hold(wired, Redirect("a", 0, WEB, NextHop("b"), standby=NextHop("b", 3001)), Guard("a", 0, WEB))
    with listening(wired, ADDRESSES, "b", "c") as at:
        stream(wired, 300, {0: ("b", False)})
        assert 299 not in at["b"].seen
        stream(wired, 300, {0: ("b", True)})
        until(lambda: 299 in at["b"].seen, "packets flow again")
    assert not at["c"].seen


def test_a_copy_to_a_cable_that_is_pulled_harms_nobody(wired: WiredSwitch) -> None:
    hold(wired, Redirect("a", 0, WEB, NextHop("b"), copies=(NextHop("c"),)))
    with listening(wired, ADDRESSES, "b", "c") as at:
        sent = stream(wired, 2000, {700: ("c", False), 1400: ("c", True)})
        assert arrived(4000, *at.values()) == sent.keys()
    assert at["b"].seen.keys() == sent.keys()
    assert all(len(times) == 1 for times in at["b"].seen.values())
    assert set(range(700)) <= at["c"].seen.keys() and 1999 in at["c"].seen and len(at["c"].seen) < 1990
