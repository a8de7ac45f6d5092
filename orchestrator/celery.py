# SPDX-License-Identifier: Apache-2.0
"""The Celery application. No beat: every worker sweeps for due rows, so no single process is needed.

Started by `celery -A orchestrator.celery worker`.
"""

from __future__ import annotations

import os
import warnings

from celery import Celery, Task

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
# Celery's warning is about pickle, which the settings refuse; the lab needs root.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")


class Doorbell(Task):
    """A message that waited longer than this has been overtaken by the sweep."""

    expires = 60  # seconds


app = Celery("viaduct", task_cls=Doorbell)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["chains"])
