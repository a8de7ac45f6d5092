# SPDX-License-Identifier: Apache-2.0
"""`manage.py load_fabric FILE`: make the inventory what the file says, all of it or nothing."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chains.fabric.load import FabricRefused, Summary, load, read
from chains.fabric.nodes import MAX_OCTETS


class Command(BaseCommand):
    help = "Load a fabric file: all of it or nothing; loading it again changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the fabric file (YAML)")
        parser.add_argument(
            "--check", action="store_true", help="check the file, load nothing, use no database"
        )

    def handle(self, *args: Any, file: Path, check: bool, **options: Any) -> None:
        text = text_of(file)
        try:
            if check:
                read(text)
                self.stdout.write(f"{file}: no fault found")
                return
            summary = load(text)
        except FabricRefused as refused:
            lines = [f"{file}: {fault}" for fault in refused.faults]
            raise CommandError("\n".join([*lines, f"{len(lines)} faults; nothing was loaded"])) from None
        for line in told(summary):
            self.stdout.write(line)


def text_of(file: Path) -> str:
    """Errors: CommandError, one line."""
    try:
        with file.open("rb") as source:
            octets = source.read(MAX_OCTETS + 1)
        if len(octets) > MAX_OCTETS:
            raise CommandError(f"{file}: larger than {MAX_OCTETS} octets")
        return octets.decode("utf-8")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: not UTF-8 at octet {error.start}") from None
    except ValueError as error:  # a NUL in the name
        raise CommandError(f"{str(file)!a}: {error}") from None


def told(summary: Summary) -> list[str]:
    """A line for each section, and one for each thing that is new, changed or gone."""
    lines = []
    for section, held in summary.items():
        lines.append(
            f"{section:<10} {len(held.created):>4} created {len(held.changed):>4} changed "
            f"{len(held.removed):>4} removed {held.unchanged:>4} unchanged"
        )
        for mark, names in (("+", held.created), ("~", held.changed), ("-", held.removed)):
            lines.extend(f"  {mark} {name}" for name in names)
    return lines
