# SPDX-License-Identifier: Apache-2.0
"""What lines that are merged into a nested configuration change in it. Pure.

Called by the families that load a text into a candidate configuration (EOS, IOS-XR). A line is its path: itself after
the lines around it. `no LINE` takes the line and all inside; every other line is there afterwards.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

Path = tuple[str, ...]
# (line, the lines around it) -> the line in one spelling
Spelling = Callable[[str, Path], str]
_MAC = re.compile(r"(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}|(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")


class Nested(Protocol):
    """A line with the lines inside it."""

    @property
    def line(self) -> str: ...

    @property
    def inside(self) -> Sequence[Nested]: ...


def changes(
    running: Iterable[Nested],
    native: Iterable[Nested],
    spelled: Spelling,
    between: str,
    single: tuple[str, ...] = (),
) -> Iterator[str]:
    """Signed paths, the lines of each with `between` between them. single: how lines begin that replace each other."""
    before = set(paths(running, spelled))
    after = set(before)
    for one in native:
        _merge(one, (), after, spelled, single)
    for sign, found in (("-", before - after), ("+", after - before)):
        yield from (sign + between.join(path) for path in found)


def paths(blocks: Iterable[Nested], spelled: Spelling, around: Path = ()) -> Iterator[Path]:
    for one in blocks:
        path = (*around, spelled(one.line, around))
        yield path
        yield from paths(one.inside, spelled, path)


def respelled(signed: str, spelled: Spelling, between: str) -> str:
    """A signed path in our spelling."""
    path: Path = ()
    for line in signed[1:].split(between):
        path = (*path, spelled(line, path))
    return signed[:1] + between.join(path)


def _merge(one: Nested, around: Path, held: set[Path], spelled: Spelling, single: tuple[str, ...]) -> None:
    if one.line.startswith("!"):
        return
    if one.line.startswith("no "):
        gone = (*around, spelled(one.line.removeprefix("no "), around))
        held -= {path for path in held if path[: len(gone)] == gone}
        return
    path = (*around, spelled(one.line, around))
    start = next((word for word in single if around and path[-1].startswith(word)), "")
    if start:
        held -= {old for old in held if old[:-1] == around and old[-1].startswith(start)}
    held.add(path)
    for inner in one.inside:
        _merge(inner, path, held, spelled, single)


def plain(line: str) -> str:
    """Addresses and MAC addresses in one form, one space between words."""
    return " ".join(_word(word) for word in line.split())


def _word(word: str) -> str:
    if _MAC.fullmatch(word):
        return re.sub(r"[.:]", "", word).lower()
    if ":" not in word:
        return word
    try:
        return str(ipaddress.ip_interface(word)) if "/" in word else str(ipaddress.ip_address(word))
    except ValueError:
        return word
