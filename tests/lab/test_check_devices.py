# SPDX-License-Identifier: Apache-2.0
"""`check-devices`: every family is told of, what is not there is no success, and a case that fails is one."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.registry import DRIVERS
from lab.devices import check
from lab.devices.evidence import CASES, CONFIRMING_CASES, FAMILIES, READ_ONLY_CASES, TRANSCRIBED, Evidence

WANTED = ["eos", "nxos", "ios", "iosxr", "junos", "frr", "openvswitch", "linux", "host", "panos", "fortios", "srx"]
TRANSPORT = Path(__file__).resolve().parents[2] / "drivers" / "transport"
DOC = Path(__file__).resolve().parents[2] / "docs" / "devices.md"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces of a box need root")


def test_every_family_is_in_the_table_and_every_level_says_how() -> None:
    assert [one.family for one in FAMILIES] == WANTED
    for one in FAMILIES:
        assert one.protocol and one.sources, one.family
        assert one.syntax or one.family in ("panos", "fortios"), "one reading of a manual proves no syntax"
        assert not one.real_nos or one.forwarding, one.family
    programmed = {name for name in DRIVERS if not name.startswith("fake")}
    assert programmed <= set(WANTED), "a driver that ships has its evidence here"


@pytest.mark.parametrize("one", FAMILIES, ids=lambda one: one.family)
def test_what_is_said_of_a_driver_and_its_sources_is_so(one: Evidence) -> None:
    """A driver of NAPALM's that we make a class of our own from is not unmodified; one document is no two sources."""
    path = TRANSPORT / f"{one.family}.py"
    has_own = path.exists() and re.search(r"^class \w*Driver\(", path.read_text(), re.MULTILINE)
    assert not has_own or "unmodified" not in one.protocol
    assert one.syntax != TRANSCRIBED or len(one.sources) > 1


def test_the_document_has_the_same_families_and_levels() -> None:
    rows = [line.split("|") for line in DOC.read_text().splitlines() if line.startswith("| `")]
    told = {row[1].strip().strip("`"): row[2:6] for row in rows if len(row) == 8}
    assert list(told) == WANTED
    for one in FAMILIES:
        shown = ["yes" in cell for cell in told[one.family]]
        assert shown == [bool(how) for how in one.levels.values()], one.family


def test_the_document_tells_the_tier_that_the_driver_has() -> None:
    rows = [line.split("|") for line in DOC.read_text().splitlines() if line.startswith("| `")]
    told = {row[1].strip().strip("`"): row[2].strip() for row in rows if len(row) == 7}
    assert list(told) == WANTED
    for name in WANTED:
        if name in DRIVERS:
            caps = DRIVERS[name].caps
            tier = ("A" if caps.has_confirmed_commit else "B") if caps.is_writable else "read only"
            assert told[name] == tier, name


def test_the_cases_are_tests_that_exist() -> None:
    root = DOC.parents[1]
    for test in (*CASES.values(), *CONFIRMING_CASES.values(), *READ_ONLY_CASES.values()):
        name = test.rpartition("::")[2]
        suite = "confirming" if "Confirming" in test else "contract"
        assert f"def {name}(" in (root / "tests" / "drivers" / f"{suite}.py").read_text()


@needs_root
def test_a_family_is_checked_now(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["host", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (host,) = said["families"]
    assert (host["family"], host["ok"], host["reason"]) == ("host", True, "")
    assert [case["name"] for case in host["cases"]] == list(CASES)
    assert all(case["ok"] and case["seconds"] > 0 for case in host["cases"])
    assert host["levels"]["real_nos"]


def test_no_driver_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    (verdict,) = check.check([replace(FAMILIES[0], family="nothing")])
    assert (verdict.ok, verdict.reason, verdict.cases) == (False, "no driver", [])
    assert not any(verdict.levels.values())


def test_a_case_that_fails_or_does_not_run_is_no_success() -> None:
    family = next(one for one in FAMILIES if one.family == "host")
    tests = check.cases_of(DRIVERS["host"])
    names = [test.rpartition("::")[2] for test in tests.values()]
    seen = {name: check.Case(name, True, 1.0) for name in names}
    failed = {**seen, names[1]: check.Case(names[1], False, 1.0, "failure: 1 != 2")}
    for damage in (failed, dict(list(seen.items())[:-1])):
        verdict = check.Verdict("host", False, "", family.levels)
        check._judge(verdict, damage)
        assert not verdict.ok and verdict.reason
    verdict = check.Verdict("host", False, "", family.levels)
    check._judge(verdict, seen)
    assert verdict.ok and not verdict.reason


def test_a_skipped_case_is_not_ok() -> None:
    from xml.etree import ElementTree

    node = ElementTree.fromstring('<testcase name="t" time="0.1"><skipped message="needs root"/></testcase>')
    assert check._case(node) == check.Case("t", False, 0.1, "skipped: needs root")
