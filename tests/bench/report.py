# SPDX-License-Identifier: Apache-2.0
"""One measured figure, and how figures are shown: a JSON object a line, or a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """value and against in `unit`; ratio is value / against. goal "": only told, never missed.

    against None: there is nothing to compare with, and no ratio. size: how much there was to do.
    """

    name: str
    value: float
    unit: str
    against: float | None
    size: str
    goal: str = ""
    ok: bool = True

    @property
    def ratio(self) -> float | None:
        return self.value / self.against if self.against else None


def line(figure: Figure) -> str:
    """One JSON object."""
    told = asdict(figure) | {"ratio": _rounded(figure.ratio)}
    told |= {"value": _rounded(figure.value), "against": _rounded(figure.against)}
    return json.dumps({name: told[name] for name in ORDER})


class Impossible(Exception):
    """This machine cannot carry the benchmark. The text says why, and what would help."""


ORDER = ("name", "value", "unit", "against", "ratio", "size", "goal", "ok")


def show(figures: Sequence[Figure]) -> None:
    table = Table(box=None, padding=(0, 1))
    for name in ("", "name", "value", "against", "ratio", "goal", "size"):
        table.add_column(name, justify="right" if name in ("value", "against", "ratio") else "left")
    for figure in figures:
        sign = "[red]NO[/]" if not figure.ok else "[green]ok[/]" if figure.goal else ""
        against = "" if figure.against is None else f"{_number(figure.against)} {figure.unit}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        value = f"{_number(figure.value)} {figure.unit}"
        table.add_row(sign, figure.name, value, against, ratio, figure.goal, figure.size)
    Console(width=160, highlight=False).print(table)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"
