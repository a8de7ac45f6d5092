# SPDX-License-Identifier: Apache-2.0
"""The shape of the code: who imports whom, how long a module is, what planning may know.

The layer rules are import-linter's contracts in pyproject.toml; the rest is read from the syntax trees here.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("orchestrator", "chains", "drivers", "frontend", "lab")
LINES, TEST_LINES = 400, 500
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
DEVICE_CLIENTS = {"paramiko", "httpx", "napalm", "netmiko", "ncclient", "pyeapi", "ovs", "ssl"}
# What would make the same input give another plan tomorrow or on another machine
IMPURE = {
    "django", "rest_framework", "celery", "redis", "time", "random", "secrets", "uuid", "logging", "os",
    "sys", "socket", "subprocess", "threading", "asyncio", "pathlib", "io", "tempfile",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today"}
TOP_LEVEL = {
    "manage.py", "orchestrator", "drivers", "chains", "frontend", "tests", "requirements.txt", "run", "lab",
    "docs", "README.md", "LICENSE", "pyproject.toml",
}  # fmt: skip


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


OURS = [path for path in sources(*PACKAGES) if "migrations" not in path.parts]
TESTS = sources("tests")
every_source = pytest.mark.parametrize("path", OURS, ids=name_of)
every_python = pytest.mark.parametrize("path", [*OURS, *TESTS, ROOT / "manage.py"], ids=name_of)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports(tree: ast.Module) -> Iterator[str]:
    """Absolute dotted names, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        return [name_of(path) for path in (*OURS, *TESTS)]  # an archive without history
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_import_contracts_hold() -> None:
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        assert lint_imports(config_filename="pyproject.toml", cache_dir=None, is_debug_mode=False) == 0
    finally:
        os.chdir(before)


@every_python
def test_no_module_is_too_long(path: Path) -> None:
    limit = TEST_LINES if "tests" in path.relative_to(ROOT).parts else LINES
    assert len(path.read_text().splitlines()) <= limit


@every_python
def test_every_module_has_its_licence_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if not text:
        return  # an empty file claims nothing
    assert "SPDX-License-Identifier: Apache-2.0" in "\n".join(text.splitlines()[:2])
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body


@every_source
def test_no_module_has_a_vague_name(path: Path) -> None:
    assert not VAGUE_NAMES & {path.stem, path.parent.name}


@every_python
def test_imports_say_what_they_take(path: Path) -> None:
    assert not [name for name in imports(tree_of(path)) if name.endswith(".*")]


@every_source
def test_no_signals(path: Path) -> None:
    """Control flow that no reader can follow. A worker's life-cycle hooks (Celery) are another thing."""
    hidden = ("django.dispatch", "django.db.models.signals", "django.core.signals")
    assert not [name for name in imports(tree_of(path)) if name.startswith(hidden)]


@pytest.mark.parametrize("path", sources("chains/planning"), ids=name_of)
def test_planning_is_pure(path: Path) -> None:
    tree = tree_of(path)
    assert not [name for name in imports(tree) if name.split(".")[0] in IMPURE]
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [func for func in called if isinstance(func, ast.Attribute) and func.attr in CLOCKS]
    assert not {"open", "print", "input"} & {func.id for func in called if isinstance(func, ast.Name)}


@pytest.mark.parametrize("path", sources("orchestrator", "chains", "drivers", "frontend"), ids=name_of)
def test_only_transports_speak_to_devices(path: Path) -> None:
    agent = ROOT / "drivers" / "host" / "daemon.py"  # the device's end of the channel
    command_line = ROOT / "frontend" / "cli" / "rest.py"  # speaks to the server, as any client
    if path.is_relative_to(ROOT / "drivers" / "transport") or path in (agent, command_line):
        return
    assert not [name for name in imports(tree_of(path)) if name.split(".")[0] in DEVICE_CLIENTS]


@every_source
def test_broad_excepts_are_only_at_the_top_of_the_engine(path: Path) -> None:
    if path.is_relative_to(ROOT / "chains" / "engine"):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = [kind for kind in kinds if kind is None or getattr(kind, "id", "") == "Exception"]
            assert not broad, f"line {node.lineno}"


def test_the_engine_has_a_broad_except_only_where_nothing_is_above() -> None:
    """Where a change is run, where a chain is looked at, and where the sweep goes round."""
    broad = re.compile(r"except (?:Base)?Exception")
    found = [path.stem for path in sources("chains/engine") for _ in broad.findall(path.read_text())]
    assert sorted(found) == ["converge", "reconcile", "sweep"]


def test_the_top_level_holds_what_it_should() -> None:
    entries = {name.split("/")[0] for name in tracked()}
    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL


def test_no_text_names_a_place_outside_the_repository() -> None:
    """Built from pieces, so that this file does not hold what it looks for."""
    outside = re.compile("|".join((r"\.\./" + "shared", "/" + r"work/(?:main|shared)", "/tmp/" + "brief")))
    found = []
    for name in tracked():
        try:
            text = (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue  # a picture
        found += [f"{name}: {match.group()}" for match in outside.finditer(text)]
    assert not found
