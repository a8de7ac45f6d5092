# SPDX-License-Identifier: Apache-2.0
"""What the documents say exists: links, commands, variables, examples."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.engine import giving, observe
from chains.engine.limits import Limits
from chains.fabric import schema
from chains.services import drift, foreign, looks, parking
from drivers.registry import DRIVERS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "lab" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = ("orchestrator", "chains", "drivers", "frontend", "lab")
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def code() -> str:
    files = [path for name in SOURCES for path in (ROOT / name).rglob("*.py")]
    return "\n".join(path.read_text() for path in [*files, ROOT / "run", ROOT / "manage.py"])


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), target
        assert ROOT in (place, *place.parents), target
        assert not anchor or anchor in anchors(place), target


def test_pictures_are_part_of_the_repository() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("an archive without history")
    for path in DOCUMENTS:
        for name in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", path.read_text()):
            assert str((path.parent / name).resolve().relative_to(ROOT)) in done.stdout.split("\n"), name


@every_document
def test_verbs_are_those_of_run(path: Path) -> None:
    verbs = set(re.findall(r"^([a-z]+)(?: \| [-a-z| ]+)?\)", (ROOT / "run").read_text(), re.MULTILINE))
    named = set(re.findall(r"\./run ([a-z]+)", path.read_text()))
    assert {"demo", "test"} <= verbs
    assert named <= verbs


@every_document
def test_management_commands_exist(path: Path) -> None:
    own = {found.stem for found in (ROOT / "chains" / "management" / "commands").glob("*.py")}
    named = set(re.findall(r"manage\.py ([a-z_]+)", path.read_text()))
    assert named <= own | {"migrate"}


@every_document
def test_variables_exist(path: Path) -> None:
    text = path.read_text()
    known = code()
    for name in set(re.findall(r"\b(?:VIADUCT_[A-Z_]+|DATABASE_URL|REDIS_URL)\b", text)):
        assert re.search(rf"\b{name}\b", known), name


def test_every_variable_is_documented() -> None:
    """Those that the environment is asked for. Django settings of the engine are not variables."""
    settings = {f"VIADUCT_{name.upper()}" for name in Limits.__dataclass_fields__} - {
        "VIADUCT_SWEEP_S", "VIADUCT_OBSERVE_S", "VIADUCT_SOAK_S", "VIADUCT_BREAKER_S", "VIADUCT_DRIFT",
        "VIADUCT_TRAFFIC_S",
    }  # fmt: skip
    asked = set(re.findall(r"\bVIADUCT_[A-Z_]*[A-Z]\b", code())) - settings
    text = (ROOT / "docs" / "operating.md").read_text()
    assert "VIADUCT_STATE" in asked
    assert {name for name in asked if name not in text} == set()


@every_document
def test_paths_in_code_marks_exist(path: Path) -> None:
    for name in re.findall(r"`((?:chains|drivers|lab|tests|orchestrator|frontend|docs)/[\w./-]*)`", path.read_text()):
        assert (ROOT / name).exists(), name


@every_document
def test_examples_can_be_read(path: Path) -> None:
    for text in blocks(path, "yaml"):
        assert isinstance(yaml.safe_load(text), dict)
    for text in blocks(path, "json"):
        json.loads(text)


def keys_of(section: str) -> dict[str, Any]:
    tables = {"devices": schema.DEVICE, "links": schema.LINK, "functions": schema.FUNCTION, "offers": schema.OFFER}
    tables["prices"] = schema.PRICE
    return dict({**tables, "segments": schema.SEGMENT}[section])


@pytest.mark.parametrize("section", ["devices", "links", "functions", "prices", "offers", "segments"])
def test_the_fabric_reference_names_every_key(section: str) -> None:
    text = (ROOT / "docs" / "fabric-file.md").read_text()
    chapter = re.search(rf"^## {section}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert chapter is not None
    missing = [key for key in keys_of(section) if not re.search(rf"\b{key}\b", chapter[1])]
    assert not missing
    for example in re.findall(r"^```yaml\n(.*?)^```", chapter[1], re.MULTILINE | re.DOTALL):
        for entry in yaml.safe_load(example)[section]:
            assert set(entry) <= set(keys_of(section))


def test_the_fabric_reference_names_every_section_and_driver() -> None:
    text = (ROOT / "docs" / "fabric-file.md").read_text()
    assert not [name for name in (*schema.FABRIC, *DRIVERS) if f"`{name}`" not in text]


def test_the_examples_of_the_fabric_reference_are_a_fabric_but_for_what_they_leave_out() -> None:
    """Read together they have no fault of form: every key and value is one that the format takes."""
    whole: dict[str, Any] = {"fabric": "docs"}
    for text in blocks(ROOT / "docs" / "fabric-file.md", "yaml"):
        for section, entries in yaml.safe_load(text).items():
            whole.setdefault(section, []).extend(entries)
    fabric, faults = schema.read(json.dumps(whole))
    assert fabric is not None
    assert not faults


def test_findings_are_those_of_the_engine() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    chapter = text.split("## Findings")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", chapter, re.MULTILINE))
    paths = [path for name in ("engine", "services") for path in (ROOT / "chains" / name).glob("*.py")]
    given = re.findall(r"finding_open\(\s*code=([\w\"-]+)", "\n".join(path.read_text() for path in paths))
    constants = {"DRIFT": drift.DRIFT, "ADOPTED": drift.ADOPTED, "SILENT": observe.SILENT}
    constants |= {"ATTACHED": foreign.ATTACHED, "COMMIT": foreign.COMMIT, "UNSAVED": foreign.UNSAVED}
    constants |= {"PARKED": parking.PARKED, "BROKEN": looks.BROKEN, "FULL": giving.FULL}
    assert documented == {code.strip('"') if code.startswith('"') else constants[code] for code in given}
