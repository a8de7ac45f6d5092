# SPDX-License-Identifier: Apache-2.0
"""`manage.py reserve`: after which single failure would a chain that blocks have no place any more? Writes nothing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chains.engine.whatif import reserve_ask
from chains.services.actor import SYSTEM


class Command(BaseCommand):
    help = "Ask of every appliance and every link between switches what its failure would leave without a place."

    def handle(self, *args: Any, **options: Any) -> None:
        found = reserve_ask(actor=SYSTEM)
        for failure in found:
            self.stdout.write(f"{failure['failure']}: {', '.join(failure['chains'])}")
            if failure["remedy"]:
                self.stdout.write(f"  would be enough: {failure['remedy']}")
        if found:
            raise CommandError(f"{len(found)} failures would leave chains without a place")
        self.stdout.write("any one appliance, and any one link between switches, may fail")
