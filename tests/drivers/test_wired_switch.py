# SPDX-License-Identifier: Apache-2.0
"""Fail-over on the switch alone: a cable is pulled while 1,000 packets a second flow, and what is lost is counted.

How long a command or the carrier's loss takes is the machine's: each part goes on when its effect is seen, and what
is asserted are packets that were sent after that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
MANY = 300


def hold(switch: WiredSwitch, *items: Item) -> None:
    target, wanted = switch.target(), state(list(items))
    with DRIVER.open(target, TIMEOUT_S) as session:
        session.push(DRIVER.render(diff(EMPTY, wanted), target))
        assert session.read().state == wanted


@dataclass
class Stream:
    """Numbered packets at RATE into a. sent: how many so far, so also the number of the next one."""

    switch: WiredSwitch
    sent: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        wire = self.switch.wire("a")
        start = time.monotonic()
        while not self.is_over.is_set():
            while time.monotonic() < start + self.sent / RATE:
                time.sleep(0.0002)
            wire.send(PACKET + self.sent.to_bytes(4, "big"))
            self.sent += 1
        wire.close()

    def on(self) -> int:
        """Waits until MANY more are sent. How many there are then."""
        before = self.sent
        until(lambda: self.sent >= before + MANY, "the stream goes on")
        return self.sent


@contextmanager
def streaming(switch: WiredSwitch) -> Iterator[Stream]:
    stream = Stream(switch)
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    try:
        yield stream
    finally:
        stream.is_over.set()
        thread.join(5)


def reaches(at: Listener, first: int) -> int:
    """Waits until a packet that was sent as `first` or later is seen. Its number."""
    until(lambda: max(list(at.seen), default=-1) >= first, f"packets from {first} on are seen")
    return min(number for number in list(at.seen) if number >= first)


def test_a_pulled_cable_costs_a_few_packets_and_so_does_its_return(wired: WiredSwitch) -> None:
    hold(wired, Redirect("a", 0, WEB, NextHop("b"), standby=NextHop("c")), Guard("a", 0, WEB))
    with listening(wired, ADDRESSES, "b", "c") as at:
        with streaming(wired) as stream:
            pulled = stream.on()
            wired.link("b", is_up=False)
            around = reaches(at["c"], pulled)
            put_back = stream.on()
            wired.link("b", is_up=True)
            home = reaches(at["b"], put_back)
            stream.on()
        reaches(at["b"], stream.sent - 1)
        seen = {number for one in at.values() for number in list(one.seen)}
    before = max(number for number in at["b"].seen if number < around)
    gap_s = at["c"].seen[around][0] - at["b"].seen[before][0]
    lost = set(range(stream.sent)) - seen
    print(f"failover: {len(lost)} packets lost of {stream.sent} at {RATE}/s, {gap_s * 1000:.1f} ms without any")
    # Only between the pull and the first that went round, and while it went home.
    last = max(at["c"].seen)
    assert all(before < number < around or last < number < home for number in lost), sorted(lost)
    assert all(number not in at["c"].seen for number in range(home, stream.sent))
    assert all(len(times) == 1 for one in at.values() for times in one.seen.values())
    assert not at["b"].seen.keys() & at["c"].seen.keys()


def test_without_a_link_anywhere_nothing_gets_past(wired: WiredSwitch) -> None:
    """Not by base forwarding either, which here leads out of c's neighbour d."""
    wired.flows("add-flow", "table=1,actions=output:3")
    hold(wired, Redirect("a", 0, WEB, NextHop("b"), standby=NextHop("b", 3001)), Guard("a", 0, WEB))
    with listening(wired, ADDRESSES, "b", "c") as at, streaming(wired) as stream:
        reaches(at["b"], 0)
        wired.link("b", is_up=False)
        until(lambda: wired.carrier("b") == "down", "the switch sees no carrier")
        put_back = stream.on()
        wired.link("b", is_up=True)
        # The switch keeps their order: when this one is through, so are those that had no link.
        reaches(at["b"], put_back)
    assert not at["c"].seen


def test_a_copy_to_a_cable_that_is_pulled_harms_nobody(wired: WiredSwitch) -> None:
    hold(wired, Redirect("a", 0, WEB, NextHop("b"), copies=(NextHop("c"),)))
    with listening(wired, ADDRESSES, "b", "c") as at:
        with streaming(wired) as stream:
            early = stream.on()
            reaches(at["c"], early)
            wired.link("c", is_up=False)
            until(lambda: wired.carrier("c") == "down", "the switch sees no carrier")
            pulled = stream.sent
            missing = stream.on()
            # Later ones have passed the switch: none of these waits in it to be copied when the cable is back.
            reaches(at["b"], stream.on() - 1)
            put_back = stream.sent
            wired.link("c", is_up=True)
            reaches(at["c"], put_back)
            stream.on()
        reaches(at["b"], stream.sent - 1)
    assert at["b"].seen.keys() == set(range(stream.sent))
    assert all(len(times) == 1 for one in at.values() for times in one.seen.values())
    assert set(range(early)) <= at["c"].seen.keys()
    assert not at["c"].seen.keys() & set(range(pulled, missing))
