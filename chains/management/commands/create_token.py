# SPDX-License-Identifier: Apache-2.0
"""`manage.py create_token NAME`: an API token, printed once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from chains.errors import Problem
from chains.models import Role
from chains.selectors import tenant_find
from chains.services.actor import SYSTEM
from chains.services.tokens import token_create


class Command(BaseCommand):
    help = "Create an API token and print it: nobody can show it again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what it is for")
        parser.add_argument("--tenant", default="", help="whose it is; none for an operator's")
        parser.add_argument(
            "--role", choices=Role.values, help="default: editor with --tenant, else operator"
        )
        parser.add_argument("--owner", default="", help="the person behind it, by user name; see Approval in the docs")
        parser.add_argument("--days", type=int, default=90, help="how long it is valid (1 to 366)")

    def handle(
        self, *args: Any, name: str, tenant: str, role: str | None, owner: str, days: int, **options: Any
    ) -> None:
        row = tenant_find(tenant) if tenant else None
        if tenant and row is None:
            raise CommandError(f"there is no tenant {tenant!a}; load a fabric file that names it")
        person = User.objects.filter(username=owner).first() if owner else None
        if owner and person is None:
            raise CommandError(f"there is no user {owner!a}; create_operator and create_member make them")
        chosen = Role(role) if role else (Role.EDITOR if row else Role.OPERATOR)
        try:
            _, plaintext = token_create(
                actor=SYSTEM, name=name, tenant=row, role=chosen, days=days, owner=person
            )
        except Problem as problem:
            raise CommandError(problem.detail) from None
        self.stdout.write(plaintext)
