# SPDX-License-Identifier: Apache-2.0
"""Change windows: known cases around midnight, the week's end and both changes of the clock, and any window against
a reference that walks minute by minute and knows nothing of dates."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chains.planning.windows import NEVER, Window, is_open, opening, opens

MINUTE = timedelta(minutes=1)
MONDAY, SATURDAY, SUNDAY = 0, 5, 6


def window(
    at: str, minutes: int, *weekdays: int, zone: str = "UTC", name: str = "nights", scope: str = "all"
) -> Window:
    return Window(name, scope, frozenset(weekdays), time.fromisoformat(at), minutes, zone)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("2026-11-28 01:59", "2026-11-28 02:00"),
        ("2026-11-28 02:00", None),
        ("2026-11-28 03:59", None),
        ("2026-11-28 04:00", "2026-12-05 02:00"),
        ("2026-11-22 23:00", "2026-11-28 02:00"),
    ],
)
def test_open_from_its_first_moment_until_before_its_last(asked: str, answer: str | None) -> None:
    assert opens([window("02:00", 120, SATURDAY)], utc(asked)) == (answer and utc(answer))


@pytest.mark.parametrize(
    ("asked", "is_it"),
    [
        ("2026-11-22 22:59", False),
        ("2026-11-22 23:00", True),  # Sunday
        ("2026-11-23 00:00", True),  # Monday
        ("2026-11-23 01:59", True),
        ("2026-11-23 02:00", False),
    ],
)
def test_over_midnight_and_the_weeks_end(asked: str, is_it: bool) -> None:
    assert is_open(window("23:00", 180, SUNDAY), utc(asked)) is is_it


def test_a_window_of_a_whole_week_never_closes() -> None:
    always = window("12:00", 10_080, MONDAY)
    assert {opens([always], utc("2026-11-23 12:00") + timedelta(hours=7 * hour)) for hour in range(60)} == {None}


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [
        ("2026-03-28", "00:30", "01:30"),  # a day before the clock goes forward: 01:30 is 00:30 UTC
        ("2026-03-29", "00:30", "01:30"),
        ("2026-10-24", "23:30", "00:30"),
    ],
)
def test_its_hour_is_that_of_its_zone(day: str, first: str, last: str) -> None:
    opened = window("01:30", 60, SATURDAY, SUNDAY, zone="Europe/Berlin")
    start = opens([opened], utc(f"{day} 12:00") - timedelta(days=1))
    assert start is not None
    assert start.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "01:30"
    assert (start.strftime("%H:%M"), (start + opened.length).strftime("%H:%M")) == (first, last)


def test_a_wall_time_that_is_skipped_is_read_with_the_offset_before_the_gap() -> None:
    """02:30 on the day the clock goes from 02:00 to 03:00: one hour and a half after 01:00, the wall says 03:30."""
    spring = window("02:30", 60, SUNDAY, zone="Europe/Berlin")
    assert opens([spring], utc("2026-03-29 00:00")) == utc("2026-03-29 01:30")
    assert opens([spring], utc("2026-03-29 02:29")) is None
    assert opens([spring], utc("2026-03-29 02:30")) == utc("2026-04-05 00:30")


def test_a_wall_time_that_comes_twice_is_the_first() -> None:
    """An hour from the first 02:30: it ends at the second one, and does not open again."""
    autumn = window("02:30", 60, SUNDAY, zone="Europe/Berlin")
    assert opens([autumn], utc("2026-10-24 23:00")) == utc("2026-10-25 00:30")
    assert opens([autumn], utc("2026-10-25 01:29")) is None
    assert opens([autumn], utc("2026-10-25 01:30")) == utc("2026-11-01 01:30")


def test_of_one_scope_any_of_several_scopes_all() -> None:
    both = [window("02:00", 60, SATURDAY), window("05:00", 60, SATURDAY, name="mornings")]
    assert opens(both, utc("2026-11-28 03:30")) == utc("2026-11-28 05:00")
    tenant = window("05:30", 60, SATURDAY, scope="tenant-a")
    assert opens([*both, tenant], utc("2026-11-28 02:10")) == utc("2026-11-28 05:30")
    assert opens([*both, tenant], utc("2026-11-28 05:45")) is None
    assert opens([*both, tenant], utc("2026-11-28 06:00")) == utc("2026-12-05 05:30")


def test_no_window_is_any_time_and_windows_that_never_meet_are_never() -> None:
    assert opens([], utc("2026-11-28 03:30")) is None
    apart = [window("02:00", 60, MONDAY), window("02:00", 60, SATURDAY, scope="lab")]
    assert opens(apart, utc("2026-11-28 02:30")) == NEVER
    assert opens([window("02:00", 60)], utc("2026-11-28 02:30")) == NEVER


def test_windows_that_meet_only_in_summer_are_found_in_winter() -> None:
    """06:00 in Berlin is 05:00 UTC in winter and 04:00 in summer."""
    apart = [window("04:00", 30, MONDAY), window("06:00", 30, MONDAY, zone="Europe/Berlin", scope="lab")]
    assert opens(apart, utc("2026-11-02 00:00")) == utc("2027-03-29 04:00")


# --- the reference: every minute of some weeks, by the clock on the wall alone ------------------


def starts(given: Window, first: datetime, count: int) -> set[int]:
    """Minutes after `first` at which it opens: the wall shows its time, or has just jumped over it."""
    zone = ZoneInfo(given.timezone)
    found, before = set(), (first - MINUTE).astimezone(zone).replace(tzinfo=None)
    for number in range(count):
        seen = (first + number * MINUTE).astimezone(zone)
        wall = seen.replace(tzinfo=None, fold=0)
        if seen.fold == 0 and wall.time() == given.opens_at and wall.weekday() in given.weekdays:
            found.add(number)
        skipped = before + MINUTE
        while skipped < wall:
            if skipped.time() == given.opens_at and skipped.weekday() in given.weekdays:
                found.add(number + (skipped - before - MINUTE) // MINUTE)
            skipped += MINUTE
        before = wall
    return found


def open_minutes(given: Window, first: datetime, count: int) -> set[int]:
    lead = given.minutes
    begun = starts(given, first - lead * MINUTE, count + lead)
    found = {minute - lead for begin in begun for minute in range(begin, begin + given.minutes)}
    return {minute for minute in found if 0 <= minute < count}


ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago",
    "Africa/Cairo",
)  # fmt: skip
# Around both changes of the clock in 2026 in these zones, and an ordinary week.
WEEKS = (
    "2026-03-06", "2026-03-27", "2026-04-03", "2026-04-23", "2026-09-04", "2026-10-02", "2026-10-23", "2026-10-29",
    "2026-11-23",
)  # fmt: skip
some_windows = st.builds(
    Window,
    name=st.just("x"),
    scope=st.sampled_from(("all", "tenant")),
    weekdays=st.frozensets(st.integers(0, 6), min_size=1, max_size=3),
    opens_at=st.builds(time, hour=st.sampled_from((0, 1, 2, 3, 12, 23)), minute=st.sampled_from((0, 1, 15, 30, 59))),
    minutes=st.one_of(st.integers(1, 200), st.sampled_from((1440, 1500, 5000, 10_079, 10_080))),
    timezone=st.sampled_from(ZONES),
)
SPAN = 4 * 1440


SPRING = window("02:30", 60, SUNDAY, zone="Europe/Berlin")


@example(windows=[SPRING], week="2026-03-27", asked=[0])
@example(windows=[SPRING], week="2026-10-23", asked=[0])  # the hour that comes twice
@settings(max_examples=60, deadline=None)
@given(
    windows=st.lists(some_windows, min_size=1, max_size=3),
    week=st.sampled_from(WEEKS),
    asked=st.lists(st.integers(0, SPAN - 1), min_size=20, max_size=20),
)
def test_as_a_walk_through_every_minute_says(windows: list[Window], week: str, asked: list[int]) -> None:
    first = utc(f"{week} 00:00")
    by_scope: dict[str, set[int]] = {}
    for each in windows:
        by_scope.setdefault(each.scope, set()).update(open_minutes(each, first, SPAN))
    free = set.intersection(*by_scope.values())
    bounds = {minute for minute in range(1, SPAN) if (minute in free) != (minute - 1 in free)}
    for minute in {*asked, *bounds, *(bound - 1 for bound in bounds)}:
        answer = opens(windows, first + minute * MINUTE)
        later = min((each for each in free if each > minute), default=None)
        if minute in free:
            assert answer is None
        elif later is None:
            assert answer is not None and answer >= first + SPAN * MINUTE
        else:
            assert answer == first + later * MINUTE
            assert opening(windows, answer) is not None
