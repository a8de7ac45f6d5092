# SPDX-License-Identifier: Apache-2.0
"""The benchmarks themselves, at small sizes: they run, say what they should, and their strict parts hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import BENCHES, main
from tests.bench.report import ORDER, Figure, line

ROOT = Path(__file__).resolve().parents[2]
# Small sizes on a busy machine are noisy; the goal itself is judged by `./run bench` at full size.
SLACK = 6.0


def run(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """In a process of its own: a benchmark sets Django up with a database of its own."""
    command = [sys.executable, "-m", "tests.bench", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, [json.loads(text) for text in done.stdout.splitlines()], done.stderr


def test_editing_one_chain_costs_what_it_changes_and_touches_nobody_else() -> None:
    _, figures, errors = run("compile", "--small")
    by_name = {figure["name"]: figure for figure in figures}
    assert set(by_name) >= {"compile", "compile.total", "compile.queries", "compile.touched"}, errors
    assert by_name["compile"]["ratio"] <= SLACK
    assert by_name["compile.queries"]["ok"] and by_name["compile.queries"]["ratio"] == 1.0
    touched = by_name["compile.touched"]
    assert touched["ok"] and 0 < touched["value"] <= touched["against"] < 15


def test_placement_costs_what_a_shortest_path_costs() -> None:
    """That the costs are equal is asserted inside; here, that it was measured at all. Times mean little here."""
    code, figures, errors = run("placement", "--small")
    by_name = {figure["name"]: figure for figure in figures}
    assert code == (0 if all(figure["ok"] for figure in figures) else 1)
    assert by_name["placement"]["value"] > 0 and by_name["placement"]["against"] > 0, errors
    for name in ("gap.fat-tree-4", "gap.wide-20"):
        assert by_name[f"placement.{name}"]["ok"], by_name[f"placement.{name}"]
    for name in ("placing-one.exact.fat-tree-4", "failure.strayed.fat-tree-4"):
        assert by_name[name]["ok"] and by_name[name]["value"] == 0, by_name[name]


def test_a_write_is_accepted_whatever_the_broker_does() -> None:
    code, figures, errors = run("post", "--small")
    by_name = {figure["name"]: figure for figure in figures}
    assert set(by_name) == {"post", "post.hung", "post.median", "post.errors", "post.bells"}, errors
    assert by_name["post.errors"]["value"] == 0, by_name["post.errors"]["size"]
    assert by_name["post.bells"]["ok"] and by_name["post.bells"]["value"] > 0
    assert by_name["post"]["ratio"] <= SLACK and by_name["post.hung"]["ratio"] <= SLACK
    assert code == (0 if all(figure["ok"] for figure in figures) else 1)


def test_a_sweep_asks_as_much_whatever_rests() -> None:
    _, figures, errors = run("sweep", "--small")
    by_name = {figure["name"]: figure for figure in figures}
    assert set(by_name) == {"sweep", "sweep.queries", "sweep.reading", "sweep.reading.queries"}, errors
    for name in ("sweep.queries", "sweep.reading.queries"):
        assert by_name[name]["ok"] and by_name[name]["ratio"] == 1.0, by_name[name]
    assert by_name["sweep"]["ratio"] <= SLACK


def test_many_devices_are_written_side_by_side() -> None:
    """One after the other they would take as many times one device."""
    _, figures, errors = run("wall", "--small")
    by_name = {figure["name"]: figure for figure in figures}
    assert set(by_name) >= {"wall", "wall.1", "wall.chain"}, errors
    assert by_name["wall"]["size"].startswith("20 devices")
    assert by_name["wall"]["ratio"] < 20
    assert by_name["wall.queries"]["ok"], by_name["wall.queries"]


def test_vendor_switches_are_programmed_side_by_side() -> None:
    """One after the other they would take 3 times one. That all hold what they should is asserted inside."""
    _, figures, errors = run("vendors", "--small")
    by_name = {figure["name"]: figure for figure in figures}
    assert set(by_name) == {"vendors", "vendors.nornir", "vendors.cpu"}, errors
    assert by_name["vendors"]["size"].startswith("3 emulated EOS")
    assert by_name["vendors"]["ratio"] < 2.5
    assert by_name["vendors.nornir"]["value"] > 0


def test_an_unknown_name_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and "nonsense" in said.err
    assert all(name in said.err for name in BENCHES)


def test_a_missed_goal_is_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {
        True: Figure("met", 1.0, "ms", 2.0, "tiny", "less"),
        False: Figure("missed", 9.0, "ms", 2.0, "tiny", "less", ok=False),
    }
    for is_met, figure in figures.items():
        monkeypatch.setitem(BENCHES, "placement", lambda is_small, figure=figure: iter([figure]))  # type: ignore[arg-type]
        assert main(["placement", "--json"]) == (0 if is_met else 1)
        told = json.loads(capsys.readouterr().out)
        assert tuple(told) == ORDER and told["name"] == figure.name


def test_a_figure_without_a_comparison_has_no_ratio() -> None:
    told = json.loads(line(Figure("alone", 3.0, "ms", None, "tiny")))
    assert told["ratio"] is None and told["against"] is None and told["ok"] is True
