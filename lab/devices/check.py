# SPDX-License-Identifier: Apache-2.0
"""`python -m lab.devices.check [FAMILY...] [--json]`: the evidence of each family, and its main contract cases run now.

Called by `./run check-devices` and `manage.py check_devices`. The cases are tests of the contract suite, run in a
process of their own on the rigs of tests/drivers: emulators or the real daemons, one device at a time, on loopback.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from drivers.base import Driver
from drivers.registry import DRIVERS
from lab.devices.evidence import CASES, CONFIRMING_CASES, FAMILIES, READ_ONLY_CASES, UNPROVED, Evidence

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600.0
NO_LEVELS = dict.fromkeys(("protocol", "syntax", "forwarding", "real_nos"), "")


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    ok: bool
    seconds: float = 0.0
    reason: str = ""


@dataclass(slots=True)
class Verdict:
    """levels: how each is shown, "" if it is not reached. ok: there is a driver, and every case holds."""

    family: str
    ok: bool
    reason: str
    levels: Mapping[str, str]
    sources: tuple[str, ...] = ()
    cases: list[Case] = field(default_factory=list)


def rigs() -> Mapping[str, str]:
    """Driver -> fixture. Empty where the tests are not installed."""
    try:
        from tests.drivers.test_contract import RIGS
    except ImportError:
        return {}
    return dict(RIGS)


def cases_of(driver: Driver) -> dict[str, str]:
    """Case -> the test's node id, of this driver."""
    if not driver.caps.is_writable:
        found = dict(READ_ONLY_CASES)
    else:
        found = {**CASES, **(CONFIRMING_CASES if driver.caps.has_confirmed_commit else {})}
    return {name: f"{test}[{driver.name}]" for name, test in found.items()}


def check(wanted: Iterable[Evidence]) -> list[Verdict]:
    known, verdicts, to_run = rigs(), [], []
    for evidence in wanted:
        driver = DRIVERS.get(evidence.family)
        if driver is None or evidence.family not in known:
            reason = "no driver" if driver is None else "no rig: the tests are not installed here"
            verdicts.append(Verdict(evidence.family, False, reason, NO_LEVELS))
            continue
        verdicts.append(Verdict(evidence.family, False, "", evidence.levels, evidence.sources))
        to_run += cases_of(driver).values()
    seen = _run(to_run) if to_run else {}
    for verdict in verdicts:
        if not verdict.reason:
            _judge(verdict, seen)
    return verdicts


def _judge(verdict: Verdict, seen: Mapping[str, Case]) -> None:
    for name, test in cases_of(DRIVERS[verdict.family]).items():
        found = seen.get(test.rpartition("::")[2], Case(name, False, reason="it did not run"))
        verdict.cases.append(Case(name, found.ok, found.seconds, found.reason))
    verdict.ok = all(case.ok for case in verdict.cases)
    verdict.reason = next((f"{case.name}: {case.reason}" for case in verdict.cases if not case.ok), "")


def _run(tests: list[str]) -> dict[str, Case]:
    """By the test's own name. What did not run at all is not in it."""
    with tempfile.TemporaryDirectory(prefix="viaduct-check-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *tests]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return {}
        nodes = ElementTree.parse(report).iter("testcase") if report.exists() else ()
        found = {case.name: case for case in map(_case, nodes)}
        if len(found) < len(tests):  # a test that does not exist ends the whole run
            sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
        return found


def _case(node: ElementTree.Element) -> Case:
    trouble = [child for child in node if child.tag in ("failure", "error", "skipped")]
    said = " ".join(f"{child.tag}: {child.get('message', '')}" for child in trouble)
    return Case(node.get("name", ""), not trouble, round(float(node.get("time", "0")), 2), " ".join(said.split())[:300])


def lines(verdicts: Iterable[Verdict]) -> list[str]:
    """For people."""
    found = []
    for verdict in verdicts:
        marks = "".join(name[0].upper() if how else "-" for name, how in verdict.levels.items())
        found.append(f"{'ok  ' if verdict.ok else 'FAIL'} {verdict.family:<12} {marks}  {verdict.reason}".rstrip())
        for name, how in verdict.levels.items():
            if how:
                found.append(f"       {name:<11}{how}")
        found += [f"       {'source':<11}{source}" for source in verdict.sources]
        for case in verdict.cases:
            found.append(f"       {'ok' if case.ok else 'FAIL':<5}{case.seconds:6.2f} s  {case.name}")
    return [*found, f"No level shows {', '.join(UNPROVED)}: try your own box with ./run live --device NAME"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="check-devices", description="Evidence for each device family, run now.")
    names = [one.family for one in FAMILIES]
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.families if name not in names]
    if unknown:
        parser.error(f"there is no family {unknown[0]!r}; families: {', '.join(names)}")
    verdicts = check(one for one in FAMILIES if not given.families or one.family in given.families)
    is_ok = all(verdict.ok for verdict in verdicts)
    if given.json:
        print(json.dumps({"ok": is_ok, "families": [asdict(one) for one in verdicts], "unproved": UNPROVED}))
    else:
        print(*lines(verdicts), sep="\n")
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
