# SPDX-License-Identifier: Apache-2.0
"""When a change may begin: weekly windows in their own time zones against one instant. Pure: the clock is given.

Used by the engine before the first push, by the API and the pages to say what opens next. A wall time that a zone
skips or has twice is read as RFC 5545 section 3.3.5 says: skipped, with the offset before the gap; twice, the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
# Daylight saving repeats within a year: what has not met by then never does.
HORIZON = timedelta(days=400)
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """scope: windows of one scope are alternatives, of several scopes one of each must be open.

    weekdays: of the day it opens, 0 (Monday) to 6. minutes: how long, as they pass, whatever a clock on the wall does.
    """

    name: str
    scope: str
    weekdays: frozenset[int]
    opens_at: time
    minutes: int
    timezone: str

    @property
    def length(self) -> timedelta:
        return timedelta(minutes=self.minutes)


def opens(windows: Iterable[Window], now: datetime) -> datetime | None:
    """None: a change may begin now. Else when the next one may; NEVER if no such time comes.

    now: with its zone; the answer is in UTC. Errors: ZoneInfoNotFoundError for a zone that this machine lacks.
    """
    scopes: dict[str, list[Window]] = {}
    for window in windows:
        scopes.setdefault(window.scope, []).append(window)
    at, now = now.astimezone(UTC), now.astimezone(UTC)
    while at - now <= HORIZON:
        later = max((_scope_opens(group, at) for group in scopes.values()), default=at)
        if later == at:
            return None if at == now else at
        at = later
    return NEVER


def opening(windows: Iterable[Window], at: datetime) -> Window | None:
    """The one that opens at this very moment, as answered by `opens`."""
    found = [window for window in windows if at in _starts(window, at, at)]
    return min(found, key=lambda window: window.name, default=None)


def is_open(window: Window, at: datetime) -> bool:
    """From its first moment on, its last one excluded."""
    return any(start <= at < start + window.length for start in _starts(window, at - window.length, at))


def next_start(window: Window, at: datetime) -> datetime:
    """The first moment after `at` at which it opens; NEVER if no day is named."""
    return next((start for start in _starts(window, at, at + 10 * DAY) if start > at), NEVER)


def _scope_opens(group: Sequence[Window], at: datetime) -> datetime:
    """`at` if one of them is open then, else when the first one opens."""
    if any(is_open(window, at) for window in group):
        return at
    return min(next_start(window, at) for window in group)


def _starts(window: Window, low: datetime, high: datetime) -> Iterator[datetime]:
    """Every opening from low to high, both included, in order."""
    zone = ZoneInfo(window.timezone)
    day = low.astimezone(zone).date() - DAY
    last = high.astimezone(zone).date() + DAY
    found = []
    while day <= last:
        if day.weekday() in window.weekdays:
            found.append(_instant(day, window.opens_at, zone))
        day += DAY
    yield from (start for start in sorted(found) if low <= start <= high)


def _instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock.replace(fold=0), tzinfo=zone).astimezone(UTC)
