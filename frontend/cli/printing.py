# SPDX-License-Identifier: Apache-2.0
"""What the command line shows: tables for people, one JSON object a line for programs; colours only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# What a pipeline decides by, as Terraform's -detailed-exitcode.
DONE, FAILED, PENDING = 0, 1, 2
STYLES = {
    "ready": "green", "succeeded": "green", "info": "", "applying": "cyan", "running": "cyan", "pending": "cyan",
    "waiting": "yellow", "degraded": "yellow", "warning": "yellow", "unknown": "yellow",
    "failed": "red", "refused": "red", "reverted": "red", "error": "red", "critical": "red",
}  # fmt: skip
SYMBOLS = {"create": "[green]+[/]", "update": "[yellow]~[/]", "delete": "[red]-[/]"}


class Failure(Exception):
    """What ends a command with exit code 1. The text names the cause and the fix; problem: the server's own words."""

    def __init__(self, text: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.problem = dict(problem or {})


@dataclass
class Printer:
    """is_json: one object a line on standard output, errors too, on standard error."""

    is_json: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    error: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))

    def data(self, row: Mapping[str, Any]) -> None:
        """For programs only."""
        if self.is_json:
            sys.stdout.write(json.dumps(row, sort_keys=True) + "\n")
            sys.stdout.flush()

    def say(self, markup: str) -> None:
        """For people only. What came from elsewhere is escaped by the caller: see `plain`."""
        if not self.is_json:
            self.out.print(markup)

    def rows(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
        """empty: what to say, and to do, where there is nothing."""
        held = list(rows)
        for row in held:
            self.data(row)
        if self.is_json:
            return
        if not held:
            self.out.print(empty)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name.replace("_", " "))
        for row in held:
            table.add_row(*(cell(row.get(name)) for name in columns))
        self.out.print(table)

    def fail(self, failure: Failure) -> None:
        if self.is_json:
            row = {"error": failure.text, **({"problem": failure.problem} if failure.problem else {})}
            sys.stderr.write(json.dumps(row, sort_keys=True) + "\n")
            return
        self.error.print(f"[red]error:[/] {plain(failure.text)}")
        for each in failure.problem.get("errors", ()):
            where = f"{each['field']}: " if each.get("field") else ""
            self.error.print(f"  {plain(where + str(each.get('detail', '')))}")


def plain(value: object) -> str:
    """Text of others: never markup, never a terminal's control sequence."""
    text = str(value)
    return escape(
        "".join(
            letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}"
            for letter in text
        )
    )


def cell(value: object) -> str:
    if value is None or value == "":
        return "[dim]-[/]"
    if isinstance(value, list):
        return plain(", ".join(str(each) for each in value))
    text = plain(value)
    style = STYLES.get(str(value), "")
    return f"[{style}]{text}[/]" if style else text
