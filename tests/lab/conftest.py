# SPDX-License-Identifier: Apache-2.0
"""One running lab for the tests of this folder, without agents; labs of killed test runs are removed first."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, support
from lab.network import names, state_folder

OURS = re.compile(r"t\d+[a-z]?")


@pytest.fixture(scope="session")
def ground() -> None:
    """Real packets need root; the reason is named in the skip."""
    ground = support()
    if not ground.ok:
        pytest.skip(f"no lab here: {ground.reason}")
    for name in filter(OURS.fullmatch, names()):
        owner = json.loads((state_folder() / name / "lab.json").read_text())["pid"]
        if not Path(f"/proc/{owner}").exists():
            Lab.attach(name).down()


@pytest.fixture(scope="session")
def lab(ground: None) -> Iterator[Lab]:
    with Lab.up(name=f"t{os.getpid()}", has_agents=False) as made:
        yield made
