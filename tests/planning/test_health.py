# SPDX-License-Identifier: Apache-2.0
"""When a function is said to be down, and for how long: probes, links, flaps, groups. Properties over any history."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.planning.health import (
    CEILING,
    HALF_S,
    REUSE,
    SUPPRESS,
    Evidence,
    Flaps,
    Judgement,
    Said,
    Share,
    damped,
    flaps_of,
    flaps_stored,
    judge,
    share,
)

QUICK = settings(max_examples=200, deadline=None, derandomize=True)
UP, DOWN = Judgement("up", ""), Judgement("down", "through by leaf1: nothing came out")
AT = datetime(2030, 1, 1, tzinfo=UTC)


def seen(*ups: bool | None, is_fresh: bool = True, links: bool | None = True, is_reachable: bool = True) -> Evidence:
    probes = tuple(Said(f"o1.{i}", "through", "leaf1", up, is_fresh, f"said {up}") for i, up in enumerate(ups))
    return Evidence((("leaf1:fw1-in", links),), is_reachable, AT, probes)


def test_a_probe_that_failed_is_down_and_says_why() -> None:
    found = judge(UP, seen(True, False))
    assert (found.health, found.reason) == ("down", "through by leaf1: said False")


def test_probes_that_are_answered_need_no_management() -> None:
    assert judge(DOWN, seen(True, is_reachable=False)) == UP
    assert judge(DOWN, seen(True, links=None, is_reachable=False)) == UP


def test_a_lost_link_outweighs_good_probes() -> None:
    assert judge(UP, seen(True, links=False)).reason == "no link at leaf1:fw1-in"


@pytest.mark.parametrize("ups", [(None,), (True, None)])
def test_a_probe_that_did_not_answer_yet_proves_nothing(ups: tuple[bool | None, ...]) -> None:
    assert judge(UP, seen(*ups)).health == "unknown"
    assert judge(DOWN, seen(*ups)) == DOWN, "who was down stays down"


def test_an_old_answer_is_none() -> None:
    assert judge(UP, seen(False, is_fresh=False)).health == "unknown"
    assert judge(UP, seen(True, is_fresh=False)).health == "unknown"


HISTORY = st.lists(st.tuples(st.floats(0.1, 600), st.booleans()), max_size=40)


@QUICK
@given(history=HISTORY)
def test_damping_only_ever_holds_down(history: list[tuple[float, bool]]) -> None:
    """It never calls up what is down, its penalty is bounded, and it lets go after a bounded time of quiet."""
    flaps, said, now_s = Flaps(), UP, 0.0
    for wait_s, is_up in history:
        now_s += wait_s
        flaps = flaps_of(flaps_stored(flaps))
        flaps, after = damped(flaps, said, UP if is_up else DOWN, now_s)
        assert is_up or after.health == "down"
        assert 0 <= flaps.penalty <= CEILING
        assert after == (UP if is_up else DOWN) or flaps.is_suppressed
        said = after
    now_s += HALF_S * 2.5
    assert CEILING / 2**2.5 < REUSE
    assert damped(flaps, said, UP, now_s)[1] == UP, "long enough of quiet, and it serves again"


def test_three_falls_in_a_row_are_too_many_and_two_are_not() -> None:
    flaps, said, now_s, falls = Flaps(), UP, 0.0, 0
    while not flaps.is_suppressed:
        now_s += 1
        flaps, said = damped(flaps, said, DOWN, now_s)
        falls += 1
        now_s += 1
        flaps, said = damped(flaps, said, UP, now_s)
    assert falls == 3 and said.health == "down" and "too often" in said.reason
    assert flaps.left(now_s) > SUPPRESS - 100


def test_the_same_number_of_falls_spread_over_an_hour_is_no_flapping() -> None:
    flaps, said, now_s = Flaps(), UP, 0.0
    for _ in range(20):
        now_s += 180
        flaps, said = damped(flaps, said, DOWN, now_s)
        flaps, said = damped(flaps, said, UP, now_s + 1)
        assert said == UP


@QUICK
@given(total=st.integers(1, 300), data=st.data())
def test_a_group_gets_no_worse_by_a_member_that_returns(total: int, data: st.DataObject) -> None:
    low = data.draw(st.integers(0, 100))
    high = data.draw(st.integers(low, 100))
    order = [Share.DOWN, Share.DEGRADED, Share.OK]
    found = [order.index(share(healthy, total, high, low)) for healthy in range(total + 1)]
    assert found == sorted(found)
    assert found[0] == 0 and found[-1] == 2


def test_thresholds_are_shares() -> None:
    assert [share(n, 4, 75, 50) for n in range(5)] == ["down", "down", "degraded", "ok", "ok"]
