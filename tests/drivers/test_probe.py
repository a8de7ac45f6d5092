# SPDX-License-Identifier: Apache-2.0
"""When answers count, and what a probe may be: without a device."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.probe import (
    Probe,
    ProbeKind,
    ProbeResult,
    judged,
    probes_from_json,
    probes_to_json,
    results_from_json,
    results_to_json,
)

THROUGH = Probe(
    "fw1.through", ProbeKind.THROUGH, "192.0.2.2", 7, source="192.0.2.1", inside="a", outside="b", fails_over=True
)
PROBES = (
    THROUGH,
    Probe("fw1.icmp", ProbeKind.ICMP, "2001:db8::1"),
    Probe("fw1.http", ProbeKind.HTTP, "192.0.2.9", 80, "/health?of=fw1", interval_ms=100),
)


def after(probe: Probe, answers: str, period_s: float = 0.1) -> ProbeResult:
    """answers: + and -, one each `period_s`."""
    found = ProbeResult(probe.name)
    for number, each in enumerate(answers):
        found = judged(found, probe, is_good=each == "+", now_s=number * period_s, evidence=each)
    return found


@pytest.mark.parametrize(
    ("answers", "is_up"),
    [
        ("", None), ("+", None), ("--", None), ("++", True), ("---", False), ("+-+-+-", None), ("+-++", True),
        ("++--", True), ("++--+--", True), ("++---", False), ("---+", False), ("---+-+", False), ("---++", True),
    ],
)  # fmt: skip
def test_only_so_many_in_a_row_count(answers: str, is_up: bool | None) -> None:
    found = after(replace(THROUGH, rise=2, fall=3), answers)
    assert found.is_up is is_up
    assert (found.sent, found.lost) == (len(answers), answers.count("-"))


def test_it_stays_down_for_the_hold_down_time() -> None:
    held = replace(THROUGH, rise=1, fall=1, hold_down_ms=1000)
    assert after(held, "-" + "+" * 9).is_up is False
    up = after(held, "-" + "+" * 11)
    assert (up.is_up, up.since_s) == (True, pytest.approx(1.0))


@given(st.text("+-", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_a_change_is_always_earned(answers: str, rise: int, fall: int) -> None:
    """Against the plainest way to say it: look back at the answers."""
    probe, is_up = replace(THROUGH, rise=rise, fall=fall), None
    for end in range(1, len(answers) + 1):
        if answers[:end].endswith("+" * rise):
            is_up = True
        if answers[:end].endswith("-" * fall):
            is_up = False
    assert after(probe, answers).is_up is is_up


def test_probes_and_results_survive_the_wire() -> None:
    assert probes_from_json(probes_to_json(PROBES)) == PROBES
    results = (after(THROUGH, "++-"), ProbeResult("new"))
    assert results_from_json(results_to_json(results)) == results
    assert probes_from_json([{"name": "x", "kind": "icmp", "destination": "192.0.2.1"}])[0].interval_ms == 1000


GOOD: dict[str, Any] = asdict(THROUGH)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "-"}, {"name": ""}, {"name": "a b"}, {"kind": "ping"}, {"destination": "fw1"}, {"port": 0},
        {"port": 65536}, {"port": "7"}, {"port": True}, {"interval_ms": 99}, {"timeout_ms": 0}, {"rise": 0},
        {"fall": 101}, {"hold_down_ms": -1}, {"source": ""}, {"source": "2001:db8::1"}, {"inside": ""},
        {"outside": ""}, {"inside_mac": "02:00:00:00:00:0A"}, {"path": "/ HTTP/1.1"}, {"path": "/\r\nHost: x"},
        {"fails_over": 1}, {"unknown": 1}, {"kind": "tcp"}, {"destination": None},
    ],
)  # fmt: skip
def test_what_is_no_probe_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        probes_from_json([{**GOOD, **changed}])
    assert probes_from_json([GOOD])


@pytest.mark.parametrize("data", [{}, None, [None], [GOOD, GOOD], [{"name": "x"}]])
def test_what_is_no_list_of_probes_is_refused(data: object) -> None:
    with pytest.raises(ValueError):
        probes_from_json(data)
