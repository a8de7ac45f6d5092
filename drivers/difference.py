# SPDX-License-Identifier: Apache-2.0
"""Is what a device says that it would change just what is meant? Pure; called by the families that NAPALM drives.

Both sides are signed lines ("+..." or "-..."), each with the lines around it and in one spelling: a family brings them
into it. A line is signed "!" if it only moves among its neighbours. A line that is not ours is never quoted: it may
hold a password, and what is said here is stored and shown to whoever may look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SHOWN = 120
WORD = re.compile(r"(?P<sign>[+!-]?) *(?P<word>(?:no +)?[A-Za-z][A-Za-z0-9-]{0,30})(?= |$)")


def header(line: str) -> str:
    """Of a line that is not ours: its sign and its first word, or that of the outermost line around it."""
    found = WORD.match(line)
    return f"{found['sign']}{found['word']} ..." if found else "..."


def differs(planned: Iterable[str], said: Iterable[str], may: Iterable[str] = ()) -> str:
    """In words, "" if they agree. may: what a device may say or leave out."""
    wanted, found, free = set(planned), set(said), set(may)
    extra, lacking = sorted(found - wanted - free), sorted(wanted - found - free)
    told = []
    if extra:
        told.append(f"the device would also change {header(extra[0])!r}, which is not meant{_more(extra)}")
    if lacking:
        told.append(f"the device would not change {lacking[0][:SHOWN]!r}, which is meant{_more(lacking)}")
    return "; ".join(told)


def _more(lines: list[str]) -> str:
    return f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
