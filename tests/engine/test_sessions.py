# SPDX-License-Identifier: Apache-2.0
"""Sessions side by side, kept for later, and the secrets that open them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from chains.engine.credentials import resolve
from chains.engine.kept import IDLE_S, KEPT, Kept
from chains.engine.sessions import Fleet, read
from drivers import fake, registry
from drivers.base import Driver, Observation, Rejected, Session, Target, Transient
from drivers.state import EMPTY

NAMES = ("d1", "d2", "d3", "d4")


@dataclass
class Line:
    """A device family whose sessions can be cut, slowed and counted."""

    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    delay_s: float = 0.0

    def driver(self) -> Driver:
        return replace(fake.SWITCH, name="line", open=self.open)

    @contextmanager
    def open(self, target: Target, timeout_s: float) -> Iterator[Session]:
        if target.name in self.down:
            raise Transient(f"{target.name}: no answer")
        self.opened.append(target.name)
        self.secrets.append(target.secret)
        self.cut.discard(target.name)
        yield LineSession(self, target.name)
        self.closed.append(target.name)


@dataclass
class LineSession:
    line: Line
    name: str

    def read(self) -> Observation:
        time.sleep(self.line.delay_s)
        if self.name in self.line.cut or self.name in self.line.down:
            raise Transient(f"{self.name}: connection reset")
        return Observation(EMPTY)

    def validate(self, native: str) -> None: ...

    def push(self, native: str) -> None: ...


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    made = Line()
    monkeypatch.setattr(registry, "DRIVERS", MappingProxyType({"line": made.driver()}))
    yield made
    KEPT.close_idle(0)


def fleet(references: dict[str, str] | None = None) -> Fleet:
    targets = {name: Target(name, "line", "192.0.2.1") for name in NAMES}
    given = {name: "" for name in NAMES} | (references or {})
    return Fleet(targets, given, timeout_s=1, threads=8, while_waiting=lambda: None)


def read_all(**references: str) -> tuple[set[str], set[str]]:
    with fleet(references) as open_fleet:
        answers = open_fleet.each({name: read for name in NAMES})
    return set(answers.values), set(answers.errors)


def test_devices_are_asked_side_by_side(line: Line) -> None:
    line.delay_s = 0.3
    began = time.monotonic()
    assert read_all() == (set(NAMES), set())
    assert time.monotonic() - began < 0.9, "four times 0.3 s one after the other would be 1.2 s"


def test_a_session_is_kept_for_the_next_piece_of_work(line: Line) -> None:
    read_all()
    read_all()
    assert sorted(line.opened) == sorted(NAMES)
    assert line.closed == []


def test_a_kept_session_that_was_cut_is_replaced_unseen(line: Line) -> None:
    read_all()
    line.cut.add("d2")
    assert read_all() == (set(NAMES), set())
    assert line.opened.count("d2") == 2
    assert line.closed == ["d2"]


def test_a_device_that_is_down_is_an_answer_and_is_asked_once(line: Line) -> None:
    read_all()
    line.down.add("d2")
    with fleet() as open_fleet:
        first = open_fleet.each({name: read for name in NAMES})
        line.down.clear()
        second = open_fleet.each({"d2": read})
    assert set(first.errors) == {"d2"}
    assert set(second.errors) == {"d2"}, "one piece of work waits once for a silent device"
    assert read_all() == (set(NAMES), set())


def test_another_secret_or_target_opens_another_session(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D1_SECRET", "one")
    read_all(d1="env:D1_SECRET")
    monkeypatch.setenv("D1_SECRET", "two")
    read_all(d1="env:D1_SECRET")
    assert line.closed == ["d1"]
    assert line.secrets.count("two") == 1


def test_idle_sessions_are_closed(line: Line) -> None:
    now = [0.0]
    kept = Kept(clock=lambda: now[0])
    with fleet() as open_fleet:
        open_fleet.each({"d1": read})
        held = open_fleet._open.pop("d1")
    kept.give(held)
    now[0] = IDLE_S - 1
    assert kept.take(held.driver, held.target) is held
    kept.give(held)
    now[0] += IDLE_S
    kept.close_idle()
    assert line.closed == ["d1"]
    assert kept.take(held.driver, held.target) is None


def test_a_bug_in_a_driver_is_not_an_answer(line: Line) -> None:
    def broken(session: Session) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), fleet() as open_fleet:
        open_fleet.each({"d1": broken})


# --- secrets ---------------------------------------------------------------------------------


def test_secrets_come_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    monkeypatch.setenv("THE_SECRET", "other")
    assert resolve("", "d1") == ""
    assert resolve(f"file:{path}", "d1") == "s3cret"
    assert resolve("env:THE_SECRET", "d1") == "other"


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:/nonexistent/x", "plain-secret", "file:"])
def test_a_secret_that_cannot_be_had_is_refused_and_not_quoted(reference: str) -> None:
    with pytest.raises(Rejected, match="d1") as refused:
        resolve(reference, "d1")
    assert "plain-secret" not in str(refused.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("canary-value\n")
    path.chmod(0o644)
    with pytest.raises(Rejected, match="others can read") as refused:
        resolve(f"file:{path}", "d1")
    assert "canary-value" not in str(refused.value)
