# SPDX-License-Identifier: Apache-2.0
"""`manage.py test_login DEVICE`: log in here and now, as a worker would, and say what the device says of itself."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chains.engine.logins import log_in_once
from chains.errors import Problem
from chains.models import Device, LoginTest
from chains.selectors import caps_of, caps_words, is_verified
from chains.services.actor import SYSTEM
from chains.services.logins import login_ask


class Command(BaseCommand):
    help = "Log in to a device and read it: platform, version, missing prerequisites. Writes nothing to it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("device")

    def handle(self, *args: Any, device: str, **options: Any) -> None:
        row = Device.objects.filter(name=device).first()
        if row is None:
            raise CommandError(f"there is no device {device!a}")
        try:
            login_ask(actor=SYSTEM, device=row)
        except Problem as problem:
            raise CommandError(problem.detail) from None
        if not log_in_once(row.pk):
            raise CommandError("a worker is logging in to it at this moment: see the device's page")
        found = LoginTest.objects.get(device=row)
        if found.status != LoginTest.Status.SUCCEEDED:
            raise CommandError(found.error)
        for line in told(row, found):
            self.stdout.write(line)


def told(row: Device, found: LoginTest) -> list[str]:
    """What was found, a line each."""
    about = ", ".join(part for part in (found.platform, found.version, found.serial) if part)
    caps = caps_of(row)
    lines = [f"{row.name}: logged in. {about or 'It says nothing of itself.'}", f"  {found.verified}"]
    if not is_verified(row):
        lines.append("  WARNING: its setting unverified is yes: anybody in between can read and change everything")
    lines.append(f"  holds {found.items} items of ours")
    if caps is not None:
        lines.append(f"  driver {row.driver}, tier {caps['tier']}: {', '.join(caps['kinds'])}")
        lines.extend(f"  - {line}" for line in caps_words(caps))
    lines.extend(f"  MISSING: {line}" for line in found.missing)
    return lines
