# SPDX-License-Identifier: Apache-2.0
"""`manage.py credential VERB`: encrypted credentials. The secret comes on standard input, never as an argument."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chains.engine import vault
from chains.errors import Problem
from chains.models import Credential
from chains.selectors import credential_list, credential_users
from chains.services import credentials
from chains.services.actor import SYSTEM
from chains.services.sealing import KeyFault, new_pair
from drivers.base import Rejected


class Command(BaseCommand):
    help = "Encrypted credentials of devices: set NAME < file, rotate, delete NAME, list, keygen."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="names, keys, times and the devices that use them")
        verbs.add_parser("set", help="store or replace: the secret on standard input").add_argument("name")
        verbs.add_parser("delete", help="only if no device names it").add_argument("name")
        verbs.add_parser("rotate", help="seal all to the first key of VIADUCT_CREDENTIAL_KEY; where the workers run")
        verbs.add_parser("keygen", help="print a new pair of keys")

    def handle(self, *args: Any, verb: str, name: str = "", **options: Any) -> None:
        try:
            getattr(self, f"_{verb}")(name)
        except Problem as problem:
            raise CommandError(problem.detail) from None
        except (KeyFault, Rejected) as fault:
            raise CommandError(str(fault)) from None

    def _list(self, name: str) -> None:
        rows = list(credential_list(SYSTEM))
        users = credential_users([row.name for row in rows])
        for row in rows:
            used = ", ".join(users[row.name]) or "no device"
            self.stdout.write(f"{row.name}  key {row.key_id}  set {row.rotated_at:%Y-%m-%d %H:%M:%S %Z}  {used}")

    def _set(self, name: str) -> None:
        row = credentials.credential_set(actor=SYSTEM, name=name, secret=_secret())
        self.stdout.write(f"vault:{row.name} is set, sealed to the key {row.key_id}")

    def _delete(self, name: str) -> None:
        row = Credential.objects.filter(name=name).first()
        if row is None:
            raise CommandError("there is no credential of that name; manage.py credential list")
        credentials.credential_delete(actor=SYSTEM, credential=row)
        self.stdout.write(f"vault:{row.name} is gone")

    def _rotate(self, name: str) -> None:
        moved = vault.reseal(SYSTEM)
        self.stdout.write(f"{len(moved)} credentials are sealed to the first key now: {', '.join(moved) or 'none'}")

    def _keygen(self, name: str) -> None:
        private, public = new_pair()
        self.stdout.write(f"VIADUCT_CREDENTIAL_KEY={private}\nVIADUCT_CREDENTIAL_PUBLIC={public}")


def _secret() -> str:
    """All of standard input without its last line feed; at a terminal it is not echoed. Errors: CommandError."""
    if sys.stdin.isatty():
        return getpass.getpass("secret: ")
    try:
        return sys.stdin.read(credentials.MAX_SECRET + 2).removesuffix("\n")
    except UnicodeDecodeError:
        raise CommandError("the secret on standard input is not UTF-8") from None
