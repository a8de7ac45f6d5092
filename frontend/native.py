# SPDX-License-Identifier: Apache-2.0
"""A device's native text as lines with signs: what it adds, what it takes away.

Works on the exact text that a plan step pushes (OpenFlow bundle lines, nft scripts, iptables-restore lines);
nothing is reworded. Used by the plan page. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ADDS = re.compile(r"\s*(flow add\b|add\b|create\b|insert\b|-A\b|-I\b|:VIADUCT|\+ )", re.IGNORECASE)
REMOVES = re.compile(r"\s*(flow del|delete\b|destroy\b|-D\b|-F\b|-X\b|- )", re.IGNORECASE)
MODIFIES = re.compile(r"\s*(flow mod|replace\b|flush\b|~ )", re.IGNORECASE)
SIGNED = re.compile(r"[-+~] ")
NOTES = re.compile(r"\s*(#|\*|COMMIT\b|$)")


@dataclass(frozen=True, slots=True)
class Line:
    """kind: add, remove, change, note or "" (neither). sign: before the text; spoken: for screen readers."""

    kind: str
    sign: str
    text: str
    spoken: str = ""


SIGNS = {"add": "+", "remove": "\N{MINUS SIGN}", "change": "~", "note": "", "": ""}
SPOKEN = {"add": "adds:", "remove": "removes:", "change": "changes:"}


def lines(native: str) -> tuple[Line, ...]:
    """One Line for each line of the text, in order. Lines inside braces go with the statement that opened them."""
    found: list[Line] = []
    depth, outer = 0, ""
    for text in native.splitlines():
        kind = outer if depth and not NOTES.match(text) else _kind(text)
        # Where the text itself starts with the sign, the sign's column shows it.
        shown = text[2:] if SIGNED.match(text) else text
        found.append(Line(kind, SIGNS[kind], shown, SPOKEN.get(kind, "")))
        if depth == 0:
            outer = kind
        depth = max(0, depth + text.count("{") - text.count("}"))
    return tuple(found)


def totals(found: tuple[Line, ...]) -> dict[str, int]:
    """How many lines of each kind: {"add": 3, "remove": 1, "change": 0}."""
    return {kind: sum(line.kind == kind for line in found) for kind in ("add", "remove", "change")}


def _kind(text: str) -> str:
    if NOTES.match(text):
        return "note"
    if REMOVES.match(text):
        return "remove"
    if MODIFIES.match(text):
        return "change"
    return "add" if ADDS.match(text) else ""
