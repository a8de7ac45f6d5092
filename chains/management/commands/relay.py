# SPDX-License-Identifier: Apache-2.0
"""`manage.py relay`: carries bells from the outbox to the workers until it is stopped."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from chains.engine.relay import run
from chains.tasks import ring_later


class Command(BaseCommand):
    help = "Carries bells from the outbox to the broker. Stops with Ctrl-C; several may run."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run(ring_later)
        except KeyboardInterrupt:
            self.stderr.write("relay: stopped")
