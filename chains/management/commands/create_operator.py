# SPDX-License-Identifier: Apache-2.0
"""`manage.py create_operator NAME`: a person who may sign in to the pages and operate everything."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from chains.errors import Problem
from chains.services.actor import SYSTEM
from chains.services.tenancy import operator_create

VARIABLE = "VIADUCT_PASSWORD"


class Command(BaseCommand):
    help = f"Create an operator, or give an existing one a new password: ${VARIABLE}, else a random one, printed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the name to sign in with")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        given = os.environ.get(VARIABLE, "")
        password = given or secrets.token_urlsafe(18)
        try:
            validate_password(password)
            operator_create(actor=SYSTEM, username=name, password=password)
        except ValidationError as error:
            raise CommandError(f"{VARIABLE}: {' '.join(error.messages)}") from None
        except Problem as problem:
            raise CommandError(problem.detail) from None
        if not given:
            self.stdout.write(password)
