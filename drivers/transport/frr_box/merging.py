# SPDX-License-Identifier: Apache-2.0
"""Ours into a configuration of FRR's, or out of it: every line of others stays where it is, as it is typed.

Called by `router`, for what FRR would run and for what it starts with: a file may be typed by hand, with heads twice,
comments inside a stanza and no indentation. Pure, standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable

from .config import is_policy, joined

ENDS = ("exit", "end", "exit-vrf")
NOTHING = ("", "!")
OURS = "pbr-map SI-t-"


def merged(config: str, stanzas: list[str], keep: list[str]) -> str:
    """The configuration as it would be: what is written is there, what is ours and not kept is not."""
    blocks = _blocks(config)
    written = {head: said for head, *said in (text.split("\n")[:-1] for text in stanzas)}
    maps = [line.split() for line in keep if line.startswith("map ")]
    kept = {f"pbr-map {words[1]} seq {number}" for words in maps for number in words[2:]}
    policies = {tuple(line.split()[1:]) for line in keep if line.startswith("policy ")}
    for head, lines in blocks:
        if head.startswith(OURS) and head not in kept:
            _drop(lines)
        elif head.startswith("interface "):
            _detach(head, lines, {name for interface, name in policies if interface == head.split()[1]})
    for head, said in written.items():
        if head.startswith(OURS):
            _write(blocks, head, said)
        elif head.startswith("interface "):
            _attach(blocks, head, said)
    return joined([line for _, lines in blocks for line in lines])


def _blocks(config: str) -> list[tuple[str, list[str]]]:
    """(head, its line and every line up to the next head). What stands before all heads has "" for one."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in config.splitlines():
        if not line.startswith(" ") and line.strip() not in (*NOTHING, *ENDS):
            found.append((line.rstrip(), []))
        found[-1][1].append(line)
    return found


def _inner(lines: list[str]) -> list[str]:
    return [line for line in lines[1:] if line.startswith(" ")]


def _drop(lines: list[str]) -> None:
    """A stanza of ours, and what closes it."""
    lines[:] = [line for line in lines[1:] if line.strip() in (*NOTHING, "end")]


def _detach(head: str, lines: list[str], kept: Iterable[str]) -> None:
    """The policies of ours that are not kept. A stanza that held nothing else was ours."""
    left = [line for line in lines if not is_policy(line, "SI-t-") or line.split()[1] in kept]
    if left == lines:
        return
    lines[:] = left
    if not _inner(left):
        _drop(lines)


def _write(blocks: list[tuple[str, list[str]]], head: str, said: list[str]) -> None:
    """A stanza of ours, once."""
    there = [lines for name, lines in blocks if name == head and lines]
    if len(there) == 1 and _inner(there[0]) == said:
        return
    for lines in there[1:]:
        _drop(lines)
    if there:
        rest = [line for line in there[0][1:] if line.strip() in (*NOTHING, "end")]
        there[0][:] = [head, *said, "exit", *rest]
    else:
        _append(blocks, head, said)


def _attach(blocks: list[tuple[str, list[str]]], head: str, said: list[str]) -> None:
    """After the last line of a stanza that is there; an empty one is its operator's and stays so."""
    there = [lines for name, lines in blocks if name == head and lines]
    if [line for lines in there for line in lines if is_policy(line)] == said:
        return
    for lines in there:
        had = len(lines)
        lines[:] = [line for line in lines if not is_policy(line)]
        if len(lines) != had and not _inner(lines):
            _drop(lines)
    for lines in there:
        end = next((at for at, line in enumerate(lines) if line.strip() in ENDS), len(lines))
        last = max((at for at in range(1, end) if lines[at].startswith(" ")), default=0)
        if last:
            lines[last + 1 : last + 1] = said
            return
    _append(blocks, head, said)


def _append(blocks: list[tuple[str, list[str]]], head: str, said: list[str]) -> None:
    """Last of all, but before the `end` that FRR prints."""
    lines = blocks[-1][1]
    end = [lines.pop()] if lines and lines[-1].strip() == "end" else []
    blocks.append((head, [head, *said, "exit", *end]))
