#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Django's command line. Outside ./run it talks to the embedded services of VIADUCT_STATE, which must run."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError

import orchestrator.celery  # noqa: F401  makes ours the current Celery application: `relay` rings its workers

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        first = str(error).strip().splitlines()[0]
        sys.exit(f"The database does not answer: {first}. Start ./run serve, or set VIADUCT_STATE or DATABASE_URL.")
