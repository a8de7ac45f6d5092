# SPDX-License-Identifier: Apache-2.0
"""Live says that the process answers; ready, that it may get traffic."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from orchestrator.services.places import CHECKOUT


def test_live_needs_no_database() -> None:
    response = Client().get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db
def test_ready_with_the_schema_of_this_program() -> None:
    assert Client().get("/health/ready").status_code == 200


@pytest.mark.django_db
def test_not_ready_with_an_older_schema() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
    response = Client().get("/health/ready")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:viaduct:migrations-missing"


def test_not_ready_without_a_database(tmp_path: Path) -> None:
    script = (
        "import django; django.setup(); from django.test import Client; "
        "response = Client().get('/health/ready', headers={'host': 'localhost'}); "
        "print(response.status_code, response.json()['type'])"
    )
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
        "DATABASE_URL": f"postgres://nobody@{str(tmp_path).replace('/', '%2F')}/none",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["503", "urn:viaduct:database-unavailable"], done.stderr


def test_the_api_page_loads_nothing_from_elsewhere() -> None:
    response = Client().get("/api/docs/")
    text = response.content.decode()
    assert response.status_code == 200
    assert "swagger-ui" in text
    assert "//" not in text.replace("</", "").replace("/>", ""), "an address of another host"
