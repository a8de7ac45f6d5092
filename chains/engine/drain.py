# SPDX-License-Identifier: Apache-2.0
"""Wait until the old path carries nothing any more: a condition with a deadline, never a fixed sleep.

Called by reconcile between the decision and the removal. Reads counters, writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from chains.engine.limits import Limits
from chains.engine.sessions import Fleet
from drivers.base import Session
from drivers.state import Key

Packets = dict[str, int]


def drain(fleet: Fleet, old: Mapping[str, frozenset[Key]], limits: Limits) -> str:
    """old: by device, the items that are about to go. Returns one line: how it ended.

    A device that does not answer is left out: nothing can be learnt from it.
    """
    if not any(old.values()):
        return "nothing to drain"
    began = time.monotonic()
    last, still_since = _packets(fleet, old), began
    while (now := time.monotonic()) - began < limits.drain_bound_s:
        if now - still_since >= limits.drain_idle_s:
            return f"the old path was idle after {now - began:.1f} s"
        time.sleep(limits.drain_poll_s)
        seen = _packets(fleet, old)
        if seen != last:
            last, still_since = seen, time.monotonic()
    return f"the old path still carried packets after {limits.drain_bound_s:.0f} s; its flows are cut over now"


def _packets(fleet: Fleet, old: Mapping[str, frozenset[Key]]) -> Packets:
    return dict(fleet.each({name: _sum(keys) for name, keys in old.items() if keys}).values)


def _sum(keys: Iterable[Key]) -> Callable[[Session], int]:
    def read(session: Session) -> int:
        counters = session.read().counters
        return sum(counters[key].packets for key in keys if key in counters)

    return read
