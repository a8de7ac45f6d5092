# SPDX-License-Identifier: Apache-2.0
"""The run script as a person meets it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.services.places import CHECKOUT

RUN = CHECKOUT / "run"
VERBS = ("demo", "serve", "test", "bench", "check", "doctor", "stop", "help")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RUN), *arguments], env=os.environ | environ, capture_output=True, text=True, timeout=300, cwd="/"
    )


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_the_script_is_posix_sh(shell: str) -> None:
    for script in (RUN, CHECKOUT / ".ci" / "run"):
        assert script.read_text().startswith("#!/bin/sh\n")
        subprocess.run([shell, "-n", str(script)], check=True)
        assert os.access(script, os.X_OK)


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",)])
def test_help_names_every_verb(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert set(VERBS) <= set(re.findall(r"^  (\w+)", done.stdout, re.MULTILINE))


def test_an_unknown_verb_gets_the_help_and_status_2() -> None:
    done = run("dmeo")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "unknown verb 'dmeo'" in done.stderr and "Usage:" in done.stderr


def test_doctor_finds_nothing_required_missing_where_the_tests_run() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok       Python packages" in done.stdout


def test_stop_without_anything_running_says_nothing(tmp_path: Path) -> None:
    done = run("stop", VIADUCT_STATE=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")


def test_bad_arguments_get_one_line_and_no_traceback() -> None:
    done = run("serve", "--port", "http")
    assert done.returncode == 2
    assert "is no number from 1 to 65535" in done.stderr and "Traceback" not in done.stderr


def test_without_a_fitting_python_the_fix_is_named(tmp_path: Path) -> None:
    """A copy without var/ on a PATH whose only python3 is too old."""
    for name in ("run", "requirements.txt"):
        (tmp_path / name).write_bytes((CHECKOUT / name).read_bytes())
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "uv.txt").write_bytes((CHECKOUT / ".ci" / "uv.txt").read_bytes())
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("dirname", "cat", "tr", "sha256sum", "mkdir", "id", "flock", "rm"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    script = (tmp_path / "run").read_text().replace("/usr/bin/python3", "/no/python3")
    done = subprocess.run(
        ["/bin/sh", "-s", "serve"],
        input=script.replace('"$(dirname "$0")"', f"'{tmp_path}'"),
        env={"PATH": str(tools), "VIADUCT_NO_APT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "apt-get install python3 python3-venv" in done.stderr


@pytest.mark.parametrize("lock", ["requirements.txt", "tests/requirements.txt", ".ci/uv.txt"])
def test_every_locked_package_has_hashes_and_no_address(lock: str) -> None:
    text = (CHECKOUT / lock).read_text()
    assert "://" not in text and "--index" not in text
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert entries and all("--hash=sha256:" in entry for entry in entries)


def test_the_development_lock_repeats_the_runtime_lock() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==[^ ;]+", (CHECKOUT / name).read_text(), re.MULTILINE))

    assert pins("requirements.txt") < pins("tests/requirements.txt")
