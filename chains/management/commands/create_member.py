# SPDX-License-Identifier: Apache-2.0
"""`manage.py create_member NAME --tenant T`: a person of one tenant, who may sign in to the pages."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from chains.errors import Problem
from chains.models import Role
from chains.selectors import tenant_find
from chains.services.actor import SYSTEM
from chains.services.tenancy import member_create

VARIABLE = "VIADUCT_PASSWORD"


class Command(BaseCommand):
    help = f"Create a member of a tenant, or change role and password: ${VARIABLE}, else a random one, printed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the name to sign in with")
        parser.add_argument("--tenant", required=True, help="whose member")
        parser.add_argument("--role", choices=(Role.VIEWER.value, Role.EDITOR.value), default=Role.VIEWER.value)

    def handle(self, *args: Any, name: str, tenant: str, role: str, **options: Any) -> None:
        row = tenant_find(tenant)
        if row is None:
            raise CommandError(f"there is no tenant {tenant!a}; load a fabric file that names it")
        given = os.environ.get(VARIABLE, "")
        password = given or secrets.token_urlsafe(18)
        try:
            validate_password(password)
            member_create(actor=SYSTEM, username=name, password=password, tenant=row, role=Role(role))
        except ValidationError as error:
            raise CommandError(f"{VARIABLE}: {' '.join(error.messages)}") from None
        except Problem as problem:
            raise CommandError(problem.detail) from None
        if not given:
            self.stdout.write(password)
