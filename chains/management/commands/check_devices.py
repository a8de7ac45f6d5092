# SPDX-License-Identifier: Apache-2.0
"""`manage.py check_devices`: what is shown of each device family, and its main cases run now on emulators and daemons.

Runs `lab.devices.check` in a process of its own; needs a checkout with lab/ and tests/, no database.
"""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orchestrator.services.places import CHECKOUT


class Command(BaseCommand):
    help = "Evidence levels of each device family, and its main contract cases run now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("families", nargs="*", help="default: all")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, families: list[str], **options: Any) -> None:
        if not (CHECKOUT / "lab").is_dir() or not (CHECKOUT / "tests").is_dir():
            raise CommandError("there is no lab/ and tests/ beside manage.py: use a checkout")
        words = [*families, *(["--json"] if options["json"] else [])]
        done = subprocess.run([sys.executable, "-m", "lab.devices.check", *words], cwd=CHECKOUT, check=False)
        if done.returncode:
            sys.exit(done.returncode)
