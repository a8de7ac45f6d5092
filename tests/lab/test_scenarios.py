# SPDX-License-Identifier: Apache-2.0
"""The scenarios' judge bites, and their fast part holds on real packets, as from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.ground import support
from lab.scenarios.__main__ import catalogue, main
from lab.scenarios.judge import RECEIVER, SENDER, Era, Sighting, Verdict, journeys, judge, recovery_ms
from lab.scenarios.script import text_of
from orchestrator.services.places import CHECKOUT

LIMIT_S = 900
FIREWALL, OTHER, IPS = frozenset({"fw1"}), frozenset({"fw2"}), frozenset({"ips1"})


def trip(number: int, visits: str, *, start_ns: int = 0, back: str | None = None, arrivals: int = 1) -> list[Sighting]:
    """One datagram and its answer. visits: boxes in order; back: those of the answer, None if it never came."""
    times = iter(range(start_ns, start_ns + 1000))

    def at(place: str, *, is_outgoing: bool, is_answer: bool) -> Sighting:
        return Sighting(next(times), 1, number, place, False, is_outgoing, is_answer)

    found = [at(SENDER, is_outgoing=True, is_answer=False)]
    found += [at(f"{box}:out", is_outgoing=True, is_answer=False) for box in visits.split()]
    found += [at(RECEIVER, is_outgoing=False, is_answer=False) for _ in range(arrivals)]
    if back is not None:
        found.append(at(RECEIVER, is_outgoing=True, is_answer=True))
        found += [at(f"{box}:in", is_outgoing=True, is_answer=True) for box in back.split()]
        found.append(at(SENDER, is_outgoing=False, is_answer=True))
    return found


def seen(verdict: Verdict) -> dict[str, int]:
    """What is not 0."""
    names = ("lost", "duplicated", "reordered", "bypassed", "misordered")
    return {name: getattr(verdict, name) for name in names if getattr(verdict, name)}


WAY = [Era((FIREWALL, IPS), 0)]


@pytest.mark.parametrize(
    ("sightings", "expected"),
    [
        (trip(1, "fw1 ips1", back="ips1 fw1"), {}),
        (trip(1, "fw1", arrivals=0), {"lost": 1}),
        (trip(1, "fw1 ips1"), {"lost": 1}),
        (trip(1, "fw1 ips1", back="ips1 fw1", arrivals=2), {"duplicated": 1}),
        (trip(1, "fw1", back="ips1 fw1"), {"bypassed": 1}),
        (trip(1, "", back=""), {"bypassed": 2}),
        (trip(1, "fw2 ips1", back="ips1 fw1"), {"bypassed": 1}),
        (trip(1, "fw1 ips1", back="fw1 ips1"), {"misordered": 1}),
        (trip(1, "fw1 ips1 fw1", back="ips1 fw1"), {"misordered": 1}),
    ],
)
def test_the_judge_sees(sightings: list[Sighting], expected: dict[str, int]) -> None:
    assert seen(judge(sightings, WAY)) == expected


def test_during_an_edit_both_ways_are_right_and_before_and_after_only_one() -> None:
    eras = [Era((FIREWALL, IPS), 0, 5000), Era((OTHER, IPS), 4000)]
    early = trip(1, "fw2 ips1", back="ips1 fw2")
    between = trip(2, "fw2 ips1", back="ips1 fw1", start_ns=4500)
    late = trip(3, "fw1 ips1", back="ips1 fw1", start_ns=6000)
    assert seen(judge(between, eras)) == {}
    assert seen(judge(early, eras)) == {"bypassed": 2}
    assert seen(judge(late, eras)) == {"bypassed": 2}


def test_recovery_is_the_first_arrival_of_what_was_sent_later_through_the_survivor() -> None:
    sightings = [
        *trip(1, "fw1", start_ns=1_000_000, arrivals=0),
        *trip(2, "fw1", start_ns=2_000_000),
        *trip(3, "fw2", start_ns=5_000_000),
    ]
    assert recovery_ms(journeys(sightings), 900_000, OTHER) == pytest.approx(4.1, abs=0.01)
    assert recovery_ms(journeys(sightings), 6_000_000, OTHER) is None


def test_every_scenario_says_what_it_does_and_draws_where() -> None:
    found = catalogue()
    assert len({scenario.name for scenario in found}) == len(found) > 0
    for scenario in found:
        assert scenario.expects and scenario.title
        for number, step in enumerate(scenario.steps, start=1):
            assert text_of(step).startswith(f"{number}. "), step
        module = sys.modules[scenario.steps[0].__module__]
        assert "--" in (module.__doc__ or ""), f"{module.__name__} draws no topology"


def scenarios(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.scenarios", *arguments], cwd=CHECKOUT,
        env={**os.environ, "VIADUCT_STATE": str(state)}, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip


def test_unknown_names_are_said(tmp_path: Path) -> None:
    done = scenarios(tmp_path, "--only", "nothing")
    assert done.returncode == 2 and "no scenario nothing" in done.stderr


def test_without_root_there_are_no_real_packets_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["--json"]) == 3
    told = capsys.readouterr()
    assert not told.out and "not root" in told.err and len(told.err.splitlines()) == 1
    assert main(["--list", "--only", "edits"]) == 0


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.skipif(not support().ok, reason="real packets need root and the lab's packages")
def test_the_fast_part_holds_on_real_packets(process_state: Path) -> None:
    chosen = [scenario.name for scenario in catalogue() if scenario.is_fast]
    done = scenarios(process_state, "--fast", "--json", *(word for name in chosen for word in ("--only", name)))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] and [entry["name"] for entry in told["scenarios"]] == chosen
    assert all(entry["ok"] and entry["bypassed"] == 0 for entry in told["scenarios"])
    assert not list(process_state.glob("scenarios-*"))
