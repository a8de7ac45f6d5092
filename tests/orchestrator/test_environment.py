# SPDX-License-Identifier: Apache-2.0
"""What the environment may and may not set."""

from __future__ import annotations

import json
import logging
import stat
import sys
import time
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError

from orchestrator import environment
from orchestrator.celery import app
from orchestrator.logs import JsonFormatter

PRODUCTION = {
    "VIADUCT_PRODUCTION": "1",
    "VIADUCT_SECRET_KEY": "k" * 50,
    "VIADUCT_HOSTS": "viaduct.example, other.example",
    "DATABASE_URL": "postgres://db.example/viaduct",
    "REDIS_URL": "redis://broker.example/0",
}


def test_production_takes_what_it_is_given() -> None:
    found = environment.read(PRODUCTION)
    assert found.hosts == ("viaduct.example", "other.example")
    assert (found.database_url, found.redis_url) == (PRODUCTION["DATABASE_URL"], PRODUCTION["REDIS_URL"])
    assert not found.is_debug


@pytest.mark.parametrize("name", environment.REQUIRED_IN_PRODUCTION)
def test_production_refuses_to_guess(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        environment.read({key: value for key, value in PRODUCTION.items() if key != name})


def test_production_refuses_debug() -> None:
    with pytest.raises(ImproperlyConfigured, match="VIADUCT_DEBUG"):
        environment.read(PRODUCTION | {"VIADUCT_DEBUG": "1"})


def test_the_secret_is_made_once_and_only_ours_to_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret_key"
    first = environment.stored_secret(path)
    assert len(first) >= 50
    assert environment.stored_secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret_key"]


def test_log_lines_are_json_with_the_callers_keys() -> None:
    record = logging.LogRecord("chains", logging.INFO, __file__, 1, "applied %s", ("web",), None)
    record.change = 7
    try:
        raise ValueError("broken")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["change"], line["level"]) == ("applied web", 7, "info")
    assert "ValueError: broken" in line["exception"]


def test_workers_lose_no_time_on_a_silent_broker_and_repeat_no_task() -> None:
    conf = app.conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost) == (False, False)
    assert (conf.accept_content, conf.task_ignore_result) == (["json"], True)
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_transport_options["socket_timeout"] and conf.task_time_limit
    assert app.Task.expires == 60


def test_ringing_a_dead_broker_fails_fast(tmp_path: Path) -> None:
    before = time.monotonic()
    with (
        app.connection_for_write(f"redis+socket://{tmp_path}/none.sock") as connection,
        pytest.raises(OperationalError),
    ):
        app.send_task("absent", connection=connection)
    assert time.monotonic() - before < 5, "with Celery's defaults it takes 20 s"
