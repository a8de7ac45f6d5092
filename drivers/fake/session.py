# SPDX-License-Identifier: Apache-2.0
"""What a fake device does when it is asked, with all that is wrong with it.

Opened by `drivers.fake` and, at the far end of a socket, by its server. Knows no file, no clock and no socket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, dataclass, field
from typing import Any, TypeVar

from drivers.base import Counter, Demand, DriverError, Identity, Observation, Rejected, Target, Transient
from drivers.codec import state_to_json
from drivers.fake.device import Box, Faults
from drivers.fake.text import applied, parse
from drivers.nat import Block
from drivers.probe import Probe, ProbeResult, probes_from_json, probes_to_json
from drivers.state import DeviceState, Key, Kind, NatPool

T = TypeVar("T")
LABEL = re.compile(r"[a-z0-9-]{1,63}")
MAX_REVERT_S = 24 * 3600 - 60
ATTACHED = "attached "


@dataclass(frozen=True, slots=True)
class FakeSession:
    """A session that opens the box anew for every call, as a real device may change in between.

    standing: what the target's setting `quirks` says, on top of the box's own faults. made: labels of the commits
    that this session made.
    """

    target: Target
    kinds: frozenset[Kind]
    timeout_s: float
    open_box: Callable[[str, str], AbstractContextManager[Box]]
    pause: Callable[[float], None]
    standing: Faults = field(default_factory=Faults)
    made: list[str] = field(default_factory=list)

    def read(self) -> Observation:
        return self._call(self._seen)

    def validate(self, native: str) -> None:
        self._call(lambda held: self._after(held.state, native))

    def push(self, native: str) -> None:
        self._call(lambda held: self._write(held, native), is_write=True)

    def save(self) -> None:
        """drivers.base.Saving."""

        def write(held: Box) -> None:
            why = self._fault(held, "will_not_save")
            if why:
                raise self._refused(why)
            held.faults.is_unsaved = False

        self._call(write)

    def login(self, native: str = "") -> Identity:
        """drivers.base.Introspective."""
        missing = self._call(lambda held: self._fault(held, "lacks"))
        told = "not verified: it lives in memory"
        return Identity("fake", "1", verified=told, missing=(missing,) if missing else ())

    def set_probes(self, probes: tuple[Probe, ...]) -> None:
        """drivers.probe.Probing."""

        def write(held: Box) -> None:
            held.probes = probes_to_json(probes)

        self._call(write)

    def probe_results(self) -> tuple[ProbeResult, ...]:
        """drivers.probe.Probing. It asks in no time and counts nothing: what is silent now is down now."""
        return self._call(
            lambda held: tuple(
                ProbeResult(one.name, one.name not in held.silent_probes, at_s=held.now_s, evidence="asked in memory")
                for one in probes_from_json(held.probes)
            )
        )

    def demands(self) -> Mapping[Key, Demand]:
        """drivers.base.Giving."""

        def look(held: Box) -> dict[Key, Demand]:
            found = {}
            for key, item in held.state.items():
                if isinstance(item, NatPool) and item.blocks:
                    given = tuple(Block(*row) for row in held.given.get(str(key), ()))
                    found[key] = Demand(item, given, dict(held.wishes), frozenset())
            return found

        return self._call(look)

    def give(self, key: Key, taken: tuple[Block, ...], given: tuple[Block, ...]) -> None:
        """drivers.base.Giving."""

        def write(held: Box) -> None:
            reason = self._fault(held, "reject")
            if reason:
                raise self._refused(reason)
            old = [Block(*row) for row in held.given.get(str(key), ())]
            if key not in held.state or set(taken) - set(old):
                raise self._refused(f"{key} has no such blocks")
            held.given[str(key)] = [list(astuple(one)) for one in (*(o for o in old if o not in taken), *given)]

        self._call(write, is_write=True)

    def configuration(self) -> str:
        """drivers.base.Printable: a line for each item and each object of others."""
        return self._call(lambda held: "".join(f"{line}\n" for line in _lines(held)))

    def reach(self) -> None:
        """Errors: Transient if nobody answers."""
        with self._box():
            pass

    def close(self) -> None:
        """The session ends in order. Never an error: a device that is gone does not hear of it."""
        if not self.made:
            return
        with self.open_box(self.target.name, self.target.settings.get("store", "")) as held:
            is_mine = held.pending is not None and held.pending.label in self.made
            is_heard = not held.is_cut and not held.faults.is_unreachable
            if is_mine and is_heard and self._fault(held, "aborts_on_close"):
                held.revert("aborted")

    def _seen(self, held: Box) -> Observation:
        counters = {Key.parse(key): Counter(*values) for key, values in held.counters.items()}
        is_hidden = held.pending is None or self._fault(held, "hidden_pending")
        return Observation(
            state=held.state,
            counters={key: counters.get(key, Counter()) for key in held.state},
            links_up=self._links(held),
            foreign=len(held.foreign),
            attached=tuple(line for line in held.foreign if line.startswith(ATTACHED)),
            pending="" if is_hidden or held.pending is None else held.pending.label,
            is_saved=not held.faults.is_unsaved,
        )

    def links(self) -> Mapping[str, bool]:
        """drivers.base.Glancing."""
        return self._call(self._links)

    def _links(self, held: Box) -> dict[str, bool]:
        return {port: port not in held.links_down for port in self.target.ports}

    def _write(self, held: Box, native: str, label: str = "", revert_in_s: int = 0) -> None:
        """A push, or with a label a commit."""
        if held.pending is not None and (label or not self._fault(held, "any_commit_confirms")):
            raise self._refused(f"the commit {held.pending.label} is pending: confirm it, cancel it or wait")
        before, after = held.state, self._after(held.state, native)
        if text := self._fault(held, "reject"):
            if label and self._fault(held, "refused_stays_pending"):
                held.commit(before, label, revert_in_s)
            raise self._refused(text)
        held.confirm()
        if self._fault(held, "is_silent"):
            return
        if part := self._fault(held, "swallows_error"):
            lines = native.splitlines(keepends=True)
            after = self._after(before, "".join(lines[: len(lines) // 2] if part == "half" else []))
        is_cut = bool(self._fault(held, "cuts_management"))
        if label:
            held.commit(after, label, revert_in_s, is_cut=is_cut)
            self.made.append(label)
        else:
            held.push(after)
            held.faults.is_unreachable |= is_cut
        if self._fault(held, "verification_failed"):
            self._roll_back(held, before)
        if is_cut or self._fault(held, "loses_reply"):
            raise self._lost()

    def _roll_back(self, held: Box, before: DeviceState) -> None:
        if held.pending is not None:
            held.revert("rolled back")
            return
        held.state = before
        held.note("rolled back")

    def _after(self, state: DeviceState, native: str) -> DeviceState:
        return applied(state, parse(native, self.kinds))

    def _call(self, work: Callable[[Box], T], *, is_write: bool = False) -> T:
        """Do it, as late as the device is; who gives up waiting does not learn what became of it."""
        with self._box() as held:
            hang_s = float(self._fault(held, "hangs_s"))
            delay_s = float(self._fault(held, "delay_s")) if is_write else 0.0
            if not hang_s + delay_s:
                return work(held)
        # No lock while it takes its time: others may read meanwhile.
        self.pause(min(delay_s, self.timeout_s))
        with self._box() as held:
            try:
                answer: T | DriverError = work(held)
            except DriverError as error:
                answer = error
        self.pause(min(hang_s, max(0.0, self.timeout_s - delay_s)))
        if delay_s + hang_s >= self.timeout_s:
            raise Transient(f"{self.target.name}: no answer within {self.timeout_s:g} s")
        if isinstance(answer, DriverError):
            raise answer
        return answer

    @contextmanager
    def _box(self) -> Iterator[Box]:
        with self.open_box(self.target.name, self.target.settings.get("store", "")) as held:
            if held.is_cut or self._fault(held, "is_unreachable"):
                raise Transient(f"{self.target.name}: no answer from {self.target.management}")
            yield held

    def _fault(self, held: Box, name: str) -> Any:
        return held.faults.strike(name) or getattr(self.standing, name)

    def _refused(self, text: str) -> Rejected:
        return Rejected(f"{self.target.name}: {text}")

    def _lost(self) -> Transient:
        return Transient(f"{self.target.name}: the connection was lost before the reply")


def _lines(held: Box) -> list[str]:
    items = [f"{key} {json.dumps(item, sort_keys=True)}" for key, item in state_to_json(held.state).items()]
    return [*sorted(items), *(f"foreign {line}" for line in held.foreign)]


@dataclass(frozen=True, slots=True)
class ConfirmingFakeSession(FakeSession):
    """With confirmed commit: see `drivers.base.ConfirmingSession`."""

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        if LABEL.fullmatch(label) is None:
            raise self._refused(f"{label[:80]!r} is no label: 1 to 63 of a-z, 0-9 and -")
        if isinstance(revert_in_s, bool) or not isinstance(revert_in_s, int) or revert_in_s % 60:
            raise self._refused(f"{revert_in_s} s is not a whole number of minutes")
        if not 60 <= revert_in_s <= MAX_REVERT_S:
            raise self._refused(f"{revert_in_s} s is outside 60..{MAX_REVERT_S}")
        self._call(lambda held: self._write(held, native, label, revert_in_s), is_write=True)

    def confirm(self, label: str) -> None:
        self._call(lambda held: self._confirm(held, label))

    def cancel(self, label: str) -> None:
        self._call(lambda held: self._cancel(held, label))

    def _confirm(self, held: Box, label: str) -> None:
        is_known = held.pending is not None and held.pending.label == label
        if not is_known and not self._fault(held, "late_confirm_ok"):
            raise self._unknown(label)
        if self._fault(held, "confirm_lies"):
            return
        held.confirm()
        if self._fault(held, "confirm_loses_reply"):
            raise self._lost()

    def _cancel(self, held: Box, label: str) -> None:
        if held.pending is None or held.pending.label != label:
            raise self._unknown(label)
        held.revert("cancelled")

    def _unknown(self, label: str) -> Rejected:
        return self._refused(f"no commit {label[:80]} is pending")
