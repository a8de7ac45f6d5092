# SPDX-License-Identifier: Apache-2.0
"""Rounds of probes without a switch: what is sent when, and what an arriving packet may mean."""

from __future__ import annotations

import ipaddress
import itertools
import struct
from dataclasses import replace

import pytest

from drivers.probe import Probe, ProbeKind
from drivers.switch.asked import Rounds
from drivers.switch.probe_packets import checksum, datagram, question

FOUR = Probe(
    "fn", ProbeKind.THROUGH, "198.18.1.1", 3503, source="198.18.0.1", inside="in", outside="out",
    inside_mac="02:00:00:00:00:01", outside_mac="02:00:00:00:00:02", interval_ms=100, timeout_ms=50, rise=1, fall=2,
    fails_over=True,
)  # fmt: skip
SIX = replace(FOUR, name="fn6", destination="2001:db8::2", source="2001:db8::1")
NUMBERS = {"in": 1, "out": 2}
TOKEN = b"8 octets"


def rounds(*probes: Probe) -> Rounds:
    made = Rounds()
    made.set(probes, NUMBERS, lambda: TOKEN, 0.0)
    return made


def changed(frame: bytes, source: str, port: int) -> bytes:
    """As NAT leaves it: another source."""
    address = ipaddress.ip_address(source).packed
    return frame[:26] + address + frame[30:34] + struct.pack(">H", port) + frame[36:]


@pytest.mark.parametrize("probe", [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_checksums_are_right(probe: Probe) -> None:
    """A sum over what it covers, itself included, is zero (RFC 1071)."""
    for number in (1, 2, 0xFFFF, 0xFFFFFFFF):
        packet = question(probe, TOKEN, number)[14:]
        head = 20 if probe is FOUR else 40
        ends = packet[12:20] if probe is FOUR else packet[8:40]
        udp = packet[head:]
        assert checksum(ends + struct.pack(">IHH", len(udp), 0, 17) + udp) == 0
        assert probe is SIX or checksum(packet[:20]) == 0
        seen = datagram(question(probe, TOKEN, number))
        assert seen is not None
        assert (seen.source, seen.destination) == (probe.source, probe.destination)
        assert (seen.token, seen.round) == (TOKEN, number)


@pytest.mark.parametrize("probe", [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_a_round_goes_through_and_comes_back(probe: Probe) -> None:
    asked = rounds(probe)
    ((port, frame),) = asked.due(0.0)
    assert (port, frame[:6]) == (1, bytes.fromhex("020000000001"))
    ((back, reply),) = asked.arrived(2, frame, 0.01)
    assert (back, reply[:6]) == (2, bytes.fromhex("020000000002"))
    assert list(asked.arrived(1, reply, 0.02)) == []
    (result,) = asked.results()
    assert (result.is_up, result.sent, result.lost) == (True, 1, 0)
    assert not asked.dead()


def test_the_answer_goes_to_whom_nat_says() -> None:
    asked = rounds(FOUR)
    ((_, frame),) = asked.due(0.0)
    ((_, reply),) = asked.arrived(2, changed(frame, "203.0.113.7", 1024), 0.01)
    answer = datagram(reply)
    assert answer is not None
    assert (answer.source, answer.destination, answer.destination_port) == (FOUR.destination, "203.0.113.7", 1024)
    # NAT takes it back to the subscriber; only then is the round over.
    assert list(asked.arrived(1, reply, 0.02)) == [] and asked.results()[0].is_up is True


def test_what_is_late_old_or_at_the_wrong_port_is_no_answer() -> None:
    asked = rounds(FOUR)
    ((_, first),) = asked.due(0.0)
    other = question(FOUR, b"whatever", 1)
    for port, frame in ((1, first), (3, first), (2, other), (2, first[:40]), (2, b"")):
        assert list(asked.arrived(port, frame, 0.01)) == []
    assert list(asked.due(0.04)) == []
    assert list(asked.due(0.05)) == []
    assert list(asked.arrived(2, first, 0.06)) == []
    ((_, second),) = asked.due(0.1)
    assert list(asked.arrived(2, first, 0.11)) == []
    assert len(list(asked.arrived(2, second, 0.11))) == 1
    assert list(asked.due(0.16)) == []
    (result,) = asked.results()
    assert (result.is_up, result.sent, result.lost) == (False, 2, 2)
    assert "did not come back" in result.evidence
    assert asked.dead() == {1, 2}


def test_it_is_asked_at_its_interval_however_busy_the_machine_was() -> None:
    asked, times = rounds(FOUR), []
    for now_s in itertools.chain(range(0, 1000, 10), range(5000, 6000, 10)):
        times += [now_s for _ in asked.due(now_s / 1000)]
    assert [round(each, -1) // 100 for each in times] == [*range(10), *range(50, 60)]


def test_what_stays_keeps_its_result_and_what_changes_begins_anew() -> None:
    asked = rounds(FOUR, SIX)
    list(asked.due(0.0))
    list(asked.due(0.05))
    asked.set((FOUR, replace(SIX, rise=3)), NUMBERS, lambda: TOKEN, 1.0)
    assert {result.name: result.sent for result in asked.results()} == {"fn": 1, "fn6": 0}
    assert asked.unknown() == {1, 2}
    asked.set((), {}, lambda: TOKEN, 2.0)
    assert asked.results() == () and len(asked.catches()) == 1


def test_rounds_overlap_where_the_time_out_is_longer_than_the_interval() -> None:
    """So that a long time-out does not make the last of `fall` losses late."""
    asked = rounds(replace(FOUR, timeout_ms=500, fall=3))
    frames = [frame for now_s in (0.0, 0.1, 0.2, 0.3) for _, frame in asked.due(now_s + 0.001)]
    assert len(frames) == 4
    ((_, reply),) = asked.arrived(2, frames[1], 0.35)
    assert list(asked.arrived(1, reply, 0.36)) == []
    assert (asked.results()[0].sent, asked.results()[0].is_up) == (1, True)
    for now_s in range(40, 85, 2):
        list(asked.due(now_s / 100))
    (result,) = asked.results()
    assert (result.sent, result.lost, result.is_up) == (4, 3, False)
