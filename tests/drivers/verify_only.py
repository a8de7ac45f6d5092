# SPDX-License-Identifier: Apache-2.0
"""What a driver promises that reads and verifies and never writes, as one suite. `contract.Contract` is of the others.

A driver joins with a `VerifyRig`: a clean device of its own, and an operator who pastes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import certifi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.base import Driver, Observation, Rejected, Target, Transient, Unsupported
from drivers.diff import Change, diff
from drivers.state import EMPTY, DeviceState, Kind, RuleSet
from tests.drivers.samples import Site, sample, states

TIMEOUT_S, DEAD_TIMEOUT_S = 30.0, 1.0
FEW = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class VerifyRig:
    """A clean device for one test, with zones and routes for any traffic.

    paste: the operator does with a native text what the driver says. add_foreign: rules of others that are in nobody's
    way. transcript: what came over the wire. stop, others, hostile: as in `contract.Rig`. shadow: a rule of the
    operator's that takes our packets before ours.
    """

    driver: Driver
    target: Target
    site: Site
    paste: Callable[[str], None]
    add_foreign: Callable[[], None]
    others: Callable[[], str]
    transcript: Callable[[], list[str]]
    stop: Callable[[], None]
    shadow: Callable[[], None]
    fault: Callable[..., None]
    hostile: tuple[str, ...]

    def read(self) -> Observation:
        with self.driver.open(self.target, TIMEOUT_S) as session:
            return session.read()

    def render(self, before: DeviceState, after: DeviceState) -> str:
        return self.driver.render(diff(before, after), replace(self.target, held=before))

    def refused(self, native: str) -> str:
        """By validate and push alike."""
        with self.driver.open(self.target, TIMEOUT_S) as session:
            with pytest.raises(Rejected) as first:
                session.validate(native)
            with pytest.raises(Rejected) as second:
                session.push(native)
        assert str(first.value) == str(second.value)
        return str(first.value)

    def takes(self, native: str) -> None:
        with self.driver.open(self.target, TIMEOUT_S) as session:
            session.validate(native)
            session.push(native)


class VerifyOnlyContract:
    """Every method is a test; `verify_rig` is a fixture."""

    @pytest.fixture
    def rig(self, verify_rig: VerifyRig) -> VerifyRig:
        return verify_rig

    def test_it_says_that_it_is_never_written(self, rig: VerifyRig) -> None:
        assert not rig.driver.caps.is_writable
        assert not rig.driver.caps.has_confirmed_commit

    def test_a_clean_device_holds_nothing(self, rig: VerifyRig) -> None:
        seen = rig.read()
        assert (seen.state, seen.pending, seen.foreign) == (EMPTY, "", 0)
        assert dict(seen.links_up) == dict.fromkeys(rig.target.ports, True)

    def test_it_says_what_to_paste_and_takes_what_was_pasted(self, rig: VerifyRig) -> None:
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        for before, after in ((EMPTY, first), (first, second), (second, first), (first, EMPTY)):
            native = rig.render(before, after)
            assert native in rig.refused(native)
            assert rig.read().state == before
            rig.paste(native)
            rig.takes(native)
            assert rig.read().state == after

    def test_nothing_is_ever_written(self, rig: VerifyRig) -> None:
        native = rig.render(EMPTY, sample(rig.site))
        rig.refused(native)
        rig.paste(native)
        rig.takes(native)
        assert rig.transcript()
        assert all(line.startswith("GET ") for line in rig.transcript())

    @FEW
    @given(st.data())
    def test_from_any_state_to_any_other(self, rig: VerifyRig, data: st.DataObject) -> None:
        first, second = (_without_dscp(data.draw(states(rig.site))) for _ in range(2))
        for before, after in ((EMPTY, first), (first, second), (second, EMPTY)):
            rig.paste(rig.render(before, after))
            assert rig.read().state == after

    def test_what_others_put_there_stays(self, rig: VerifyRig) -> None:
        rig.add_foreign()
        theirs, wanted = rig.others(), sample(rig.site)
        rig.paste(rig.render(EMPTY, wanted))
        seen = rig.read()
        assert (seen.state, rig.others()) == (wanted, theirs)
        assert seen.foreign > 0
        rig.paste(rig.render(wanted, EMPTY))
        assert (rig.read().state, rig.others()) == (EMPTY, theirs)

    def test_a_rule_before_ours_is_named(self, rig: VerifyRig) -> None:
        native = rig.render(EMPTY, sample(rig.site))
        rig.paste(native)
        rig.shadow()
        assert "stands before ours" in rig.refused(native)
        assert any(line.startswith("shadows ") for line in rig.read().attached)

    def test_hostile_text_is_refused(self, rig: VerifyRig) -> None:
        good = rig.render(EMPTY, sample(rig.site))
        rig.paste(good)
        for line in rig.hostile:
            for text in (f"{good}{line}\n", f"{line}\n{good}"):
                assert good not in rig.refused(text), text

    def test_text_depends_on_the_changes_alone(self, rig: VerifyRig) -> None:
        first = sample(rig.site)
        changes, target = diff(first, sample(rig.site, revision=2)), replace(rig.target, held=first)
        assert rig.driver.render(changes, target) == rig.driver.render(changes[::-1], target)
        assert rig.driver.render((), target) == ""
        rig.takes("")

    def test_what_it_cannot_hold_is_unsupported(self, rig: VerifyRig) -> None:
        strangers = frozenset(Kind) - rig.driver.caps.kinds
        for key, item in sample(Site(strangers, ("a", "b"), ("v",), "a", "b")).items():
            with pytest.raises(Unsupported):
                rig.driver.render((Change(key, None, item),), rig.target)

    @pytest.mark.parametrize(
        ("fault", "kind"), [("not_ready", Transient), ("cut", Transient), ("bad_key", Rejected), ("refuse", Rejected)]
    )
    def test_bad_answers_are_not_believed(self, rig: VerifyRig, fault: str, kind: type[Exception]) -> None:
        rig.paste(rig.render(EMPTY, sample(rig.site)))
        rig.fault(**{fault: 1})
        with rig.driver.open(rig.target, TIMEOUT_S) as session, pytest.raises(kind) as caught:
            session.read()
        assert "emulated-key" not in str(caught.value)

    def test_a_dead_device_is_transient(self, rig: VerifyRig) -> None:
        rig.stop()
        with pytest.raises(Transient), rig.driver.open(rig.target, DEAD_TIMEOUT_S) as session:
            session.read()

    def test_an_imposter_is_not_asked(self, rig: VerifyRig) -> None:
        """Its certificate is of another authority."""
        secret = json.dumps({**json.loads(rig.target.secret), "authority_file": certifi.where()})
        target = replace(rig.target, secret=secret)
        with (
            pytest.raises(Rejected, match="certificate") as caught,
            rig.driver.open(target, TIMEOUT_S) as session,
        ):
            session.read()
        assert rig.transcript() == []
        assert "emulated-key" not in str(caught.value)


def _without_dscp(state: DeviceState) -> DeviceState:
    def plain(item: RuleSet) -> RuleSet:
        rules = tuple(replace(rule, match=replace(rule.match, dscp=-1)) for rule in item.rules)
        return replace(item, traffic=replace(item.traffic, dscp=-1), rules=rules)

    return DeviceState({key: plain(item) for key, item in state.items() if isinstance(item, RuleSet)})
