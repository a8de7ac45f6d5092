# SPDX-License-Identifier: Apache-2.0
"""Private services for the tests: a PostgreSQL cluster and a Valkey server for each test process, on demand.

Tests without a database start neither. A database or broker that was on the machine before is never used,
unless DATABASE_URL or REDIS_URL names it. With CI=true a skipped test fails the run, but for those named in
SKIPS_ALLOWED.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dj_database_url
import pytest
from django.conf import settings

from orchestrator.celery import app
from orchestrator.services import postgres
from orchestrator.services.places import CHECKOUT
from orchestrator.services.postgres import start_postgres
from orchestrator.services.processes import ProcessGroup
from orchestrator.services.valkey import start_valkey

STATES = CHECKOUT / "var" / "test"
# Node id prefix -> what no test machine has. Everything else must run in continuous integration.
SKIPS_ALLOWED: dict[str, str] = (
    {}
    if os.geteuid() == 0
    else {
        "tests/lab/": "network namespaces need root",
        "tests/demo/test_demo.py::test_every_line": "network namespaces need root",
        "tests/drivers/": "network namespaces need root",
    }
)

# Nobody waits in a test; what is about waiting sets it by itself. The environment is for processes that tests start.
os.environ["VIADUCT_SOAK_S"] = "0"
settings.VIADUCT_SOAK_S = 0.0

_skipped: list[tuple[str, str]] = []


def discard(state: Path) -> None:
    ProcessGroup(state).stop_all()
    postgres.remove(state)
    shutil.rmtree(state, ignore_errors=True)


def discard_orphans() -> None:
    """What a killed test run left behind: its folder is named after its process."""
    for folder in STATES.glob("*"):
        if not Path("/proc", folder.name.partition("-")[0]).exists():
            discard(folder)


@pytest.fixture(scope="session")
def process_state() -> Iterator[Path]:
    """The state folder of this test process. Under var/, so that `./run stop` finds it."""
    discard_orphans()
    state = STATES / str(os.getpid())
    state.mkdir(parents=True)
    yield state
    discard(state)


@pytest.fixture
def new_state(process_state: Path) -> Iterator[Callable[[str], Path]]:
    """Empty state folders by name; what runs there is stopped at the end of the test."""
    with ExitStack() as stack:

        def make(name: str) -> Path:
            state = process_state.with_name(f"{process_state.name}-{name}")
            state.mkdir()
            stack.callback(discard, state)
            return state

        yield make


@pytest.fixture(scope="session")
def database_url(process_state: Path) -> str:
    return start_postgres(process_state, is_fast=True)


@pytest.fixture(scope="session")
def redis_url(process_state: Path) -> str:
    """A running broker, which the Celery application of this process uses from now on."""
    url = start_valkey(process_state)
    app.conf.broker_url = url.replace("unix://", "redis+socket://", 1)
    return url


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    database_url: str, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """pytest-django asks this before it makes the test database: only now is a server needed."""
    settings.DATABASES["default"].update(dj_database_url.parse(database_url))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") == "true" and _forbidden_skips() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("CI") == "true":
        for nodeid, reason in _forbidden_skips():
            terminalreporter.write_line(f"A skip counts as a failure here: {nodeid}: {reason}", red=True)


def _forbidden_skips() -> list[tuple[str, str]]:
    return [skip for skip in _skipped if not skip[0].startswith(tuple(SKIPS_ALLOWED))]
