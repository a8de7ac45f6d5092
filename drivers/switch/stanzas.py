# SPDX-License-Identifier: Apache-2.0
"""A Cisco-like configuration as stanzas: a line at the margin and the lines inside it.

Called by `routemaps` and its dialects. Pure. Lines inside keep one space for each further level of indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BANNER = re.compile(r"banner \S+ (?P<end>\^C|\S)(?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class Stanza:
    header: str
    lines: tuple[str, ...] = ()

    def text(self) -> str:
        return "".join(f"{line}\n" for line in (self.header, *(f" {line}" for line in self.lines)))


def split(text: str) -> tuple[Stanza, ...]:
    """Comments (`!`) are left out, and so is what a banner says: it is no configuration."""
    return tuple(_stanzas(_without_banners(text.splitlines())))


def _without_banners(lines: Iterable[str]) -> Iterator[str]:
    end = ""
    for line in lines:
        if end:
            end = "" if end in line else end
            continue
        found = BANNER.match(line)
        if found and found["end"] not in found["rest"]:
            end = found["end"]
        yield line


def _stanzas(lines: Iterable[str]) -> Iterator[Stanza]:
    header, inside, depths = "", list[str](), [0]
    for raw in lines:
        line = raw.strip()
        if not line or line.startswith("!"):
            continue
        depth = len(raw) - len(raw.lstrip())
        if depth == 0 or not header:
            if header:
                yield Stanza(header, tuple(inside))
            header, inside, depths = line, [], [0]
            continue
        while depth <= depths[-1] and len(depths) > 1:
            depths.pop()
        depths.append(depth)
        inside.append(" " * (len(depths) - 2) + line)
    if header:
        yield Stanza(header, tuple(inside))
