# SPDX-License-Identifier: Apache-2.0
"""What every driver promises, as one suite. `test_contract.py` runs it on every registered driver.

A driver joins with a `Rig`: a clean device of its own, and hands on that device beside the driver.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from drivers.base import Driver, Observation, Rejected, Target, Transient, Unsupported
from drivers.codec import OPTIONAL, state_from_json, state_to_json
from drivers.diff import Change, diff
from drivers.state import EMPTY, DeviceState, Filter, Kind, Redirect
from drivers.switch.flows import torn
from lab.devices.process import Emulated
from tests.drivers.samples import Site, sample, states

# Generous, for busy machines; whoever is waiting for a dead device takes the short one.
TIMEOUT_S, DEAD_TIMEOUT_S = 30.0, 2.0
STEERING = (Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS)
SLOW_EXAMPLES = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    # On a real device, making a failure smaller takes minutes and says little more.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _never(seconds: float) -> None:
    raise AssertionError(f"this rig cannot let {seconds:g} s pass")


@dataclass(frozen=True)
class Rig:
    """A clean device for one test.

    site: which names items may use. add_foreign puts objects of others beside ours, at least one of
    which the driver counts; others prints all that is on the device and not ours, in any stable text.
    stop makes the device unreachable for good. hostile: native lines that must never be taken, each
    of which a test sends after lines that are good. elapse lets so many seconds pass on the device
    (`confirming.ConfirmingContract` only).
    """

    driver: Driver
    target: Target
    site: Site
    add_foreign: Callable[[], None]
    others: Callable[[], str]
    stop: Callable[[], None]
    hostile: tuple[str, ...]
    elapse: Callable[[float], None] = _never

    def read(self) -> Observation:
        with self.driver.open(self.target, TIMEOUT_S) as session:
            return session.read()

    def push(self, native: str) -> None:
        with self.driver.open(self.target, TIMEOUT_S) as session:
            session.push(native)

    def render(self, before: DeviceState, after: DeviceState, residue: str = "") -> str:
        return self.render_changes(diff(before, after), before, residue)

    def render_changes(self, changes: tuple[Change, ...], held: DeviceState = EMPTY, residue: str = "") -> str:
        """held: what the device holds before them. residue: as it was read, if that is damaged."""
        return self.driver.render(changes, replace(self.target, held=held, residue=residue))

    def move(self, before: DeviceState, after: DeviceState) -> DeviceState:
        """Push the difference; what the device then holds."""
        with self.driver.open(self.target, TIMEOUT_S) as session:
            is_damaged = any(item == torn(key.kind) for key, item in before.items() if key.kind in STEERING)
            residue = session.read().residue if is_damaged else ""
            session.push(self.render(before, after, residue))
            return session.read().state


def named(device: Emulated, *lines: str) -> tuple[str, ...]:
    """The lines with the letters that the names end with on the device, where they say `-?`."""
    running = device.config()["running"]

    def letters(found: re.Match[str]) -> str:
        there = re.search(rf"{found[1]}-[a-z]{{3}}", running)
        assert there is not None, found[0]
        return there[0]

    return tuple(re.sub(r"(SI-[\w-]+)-\?", letters, line) for line in lines)


class Contract:
    """Every method is a test; `rig` is a fixture."""

    def test_a_clean_device_holds_nothing(self, rig: Rig) -> None:
        seen = rig.read()
        assert (seen.state, dict(seen.counters)) == (EMPTY, {})

    def test_what_was_pushed_is_read_back(self, rig: Rig) -> None:
        wanted = sample(rig.site)
        assert {key.kind for key in wanted} == rig.driver.caps.kinds
        rig.push(rig.render(EMPTY, wanted))
        seen = rig.read()
        assert seen.state == wanted
        assert diff(seen.state, wanted) == ()
        assert seen.counters.keys() == wanted.keys()
        assert all((each.packets, each.octets, each.dropped) == (0, 0, 0) for each in seen.counters.values())
        assert seen.links_up.keys() == rig.target.ports.keys()

    @SLOW_EXAMPLES
    @given(st.data())
    def test_from_any_state_to_any_other_and_back(self, rig: Rig, data: st.DataObject) -> None:
        first, second = data.draw(states(rig.site)), data.draw(states(rig.site))
        assert rig.move(EMPTY, first) == first
        assert rig.move(first, second) == second
        assert rig.move(second, first) == first
        assert rig.move(first, EMPTY) == EMPTY

    def test_the_reverse_restores(self, rig: Rig) -> None:
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        rig.push(rig.render(EMPTY, first))
        there = diff(first, second)
        rig.push(rig.render_changes(there, first))
        rig.push(rig.render_changes(tuple(change.reversed() for change in there), second))
        assert rig.read().state == first

    def test_a_new_revision_takes_over_the_slots(self, rig: Rig) -> None:
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        assert first.keys().isdisjoint(second.keys())
        rig.push(rig.render(EMPTY, first))
        assert rig.move(first, second) == second

    def test_an_item_changes_under_its_key(self, rig: Rig) -> None:
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        rewritten = DeviceState(dict(zip(first, second.values(), strict=True)))
        assert all(change.action == "update" for change in diff(first, rewritten))
        rig.push(rig.render(EMPTY, first))
        assert rig.move(first, rewritten) == rewritten

    def test_a_push_twice_is_a_push_once(self, rig: Rig) -> None:
        """The reply may be lost, so whoever sent it must be able to send it again."""
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        for before, after in ((EMPTY, first), (first, second), (second, EMPTY)):
            native = rig.render(before, after)
            rig.push(native)
            # A device may say that it is done already, as long as it does no harm.
            with suppress(Rejected):
                rig.push(native)
            assert rig.read().state == after

    def test_one_chain_goes_and_the_other_stays(self, rig: Rig) -> None:
        both = sample(rig.site)
        gone, stays = (DeviceState(dict(list(both.items())[start::2])) for start in (0, 1))
        rig.push(rig.render(EMPTY, both))
        rig.push(rig.render_changes(diff(gone, EMPTY), both))
        assert rig.read().state == stays

    def test_what_others_put_there_stays(self, rig: Rig) -> None:
        foreign_before = rig.read().foreign
        rig.add_foreign()
        theirs = rig.others()
        assert theirs
        wanted = sample(rig.site)
        assert rig.move(EMPTY, wanted) == wanted
        assert rig.read().foreign > foreign_before
        assert rig.others() == theirs
        assert rig.move(wanted, EMPTY) == EMPTY
        assert rig.others() == theirs

    def test_hostile_text_is_refused_whole(self, rig: Rig) -> None:
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        rig.add_foreign()
        rig.push(rig.render(EMPTY, first))
        good, theirs = rig.render(first, second), rig.others()
        assert rig.hostile
        for line in rig.hostile:
            for text in (f"{good}{line}\n", f"{line}\n{good}"):
                with rig.driver.open(rig.target, TIMEOUT_S) as session:
                    with pytest.raises(Rejected):
                        session.validate(text)
                    with pytest.raises(Rejected):
                        session.push(text)
                assert (rig.read().state, rig.others()) == (first, theirs), text

    def test_validating_changes_nothing(self, rig: Rig) -> None:
        first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
        rig.push(rig.render(EMPTY, first))
        with rig.driver.open(rig.target, TIMEOUT_S) as session:
            session.validate(rig.render(first, second))
            session.validate(rig.render(first, EMPTY))
        assert rig.read().state == first

    def test_no_change_is_no_text(self, rig: Rig) -> None:
        assert rig.driver.render((), rig.target) == ""
        rig.push("")
        assert rig.read().state == EMPTY

    def test_text_depends_on_the_changes_alone(self, rig: Rig) -> None:
        first = sample(rig.site, revision=1)
        changes = diff(first, sample(rig.site, revision=2))
        assert rig.render_changes(changes, first) == rig.render_changes(changes[::-1], first)

    def test_what_it_cannot_hold_is_unsupported(self, rig: Rig) -> None:
        strangers = set(Kind) - rig.driver.caps.kinds
        assert strangers
        site = Site(frozenset(strangers), ("a", "b"), ("v",), "a", "b")
        for key, item in sample(site).items():
            with pytest.raises(Unsupported):
                rig.driver.render((Change(key, None, item),), rig.target)

    def test_a_standby_or_a_copy_is_held_or_refused(self, rig: Rig) -> None:
        """Never left out: a packet would be lost, or nobody would see it, and the text would say all is well."""
        caps = rig.driver.caps
        assert (rig.site.has_standby, rig.site.has_copies) == (caps.has_standby, caps.has_copies)
        if Kind.REDIRECT not in caps.kinds:
            return
        other = rig.site.hop(rig.site.ports[1], 3801, "02:00:00:00:00:02")
        for key, item in sample(replace(rig.site, has_standby=False, has_copies=False)).items():
            if not isinstance(item, Redirect | Filter) or not item.next.port:
                continue
            for has_it, asked in (
                (caps.has_standby, replace(item, standby=other)),
                (caps.has_copies, replace(item, copies=(other,))),
            ):
                if not has_it:
                    with pytest.raises(Unsupported, match="standby|cop"):
                        rig.render_changes((Change(key, None, asked),))
                else:
                    assert rig.render_changes((Change(key, None, asked),)) != rig.render_changes(
                        (Change(key, None, item),)
                    )

    def test_a_dead_device_is_transient(self, rig: Rig) -> None:
        native = rig.render(EMPTY, sample(rig.site))
        rig.stop()
        with pytest.raises(Transient) as caught, rig.driver.open(rig.target, DEAD_TIMEOUT_S) as session:
            session.read()
        with pytest.raises(Transient), rig.driver.open(rig.target, DEAD_TIMEOUT_S) as session:
            session.push(native)
        assert rig.target.secret == "" or rig.target.secret not in str(caught.value)

    def test_states_survive_storage(self, rig: Rig) -> None:
        wanted = sample(rig.site)
        assert state_from_json(state_to_json(wanted)) == wanted
        fields = {str(key): asdict(item) for key, item in wanted.items()}
        said = {key: {n: v for n, v in item.items() if n not in OPTIONAL or v} for key, item in fields.items()}
        assert state_to_json(wanted) == said
