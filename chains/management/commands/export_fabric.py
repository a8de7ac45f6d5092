# SPDX-License-Identifier: Apache-2.0
"""`manage.py export_fabric [FILE]`: the inventory as a fabric file, in canonical form."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chains.fabric.export import export
from chains.fabric.text import write


class Command(BaseCommand):
    help = "Write the inventory as a fabric file that loads back unchanged."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, nargs="?", help="where to; standard output if none is named")

    def handle(self, *args: Any, file: Path | None, **options: Any) -> None:
        text = write(export())
        if file is None:
            self.stdout.write(text, ending="")
            return
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)  # never half a file under the name
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise CommandError(f"{file}: {error.strerror}") from None
