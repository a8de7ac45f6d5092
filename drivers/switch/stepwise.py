# SPDX-License-Identifier: Apache-2.0
"""A box without atomic commit, made as safe as it can be: read, build beside what is there, read back,
switch, read back; put right what is not as it was sent.

Called by the IOS and NX-OS families. It holds no I/O of its own: a `Wire` (an open NAPALM driver) has it. The drivers
overlook errors that a device says in text, so nothing they report is success: what the device then holds is.
The way back is kept before anything is sent: our own objects as they were. NAPALM's rollback takes back everybody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from drivers.base import Counter, Rejected, Target
from drivers.box import Facts
from drivers.switch.generations import built, steps, wanted
from drivers.switch.policies import parse
from drivers.switch.routemaps import Stock, Words, collect, list_base
from drivers.switch.stanzas import split


class Wire(Protocol):
    """An open driver. Every method raises drivers.base kinds only."""

    def running(self) -> str: ...

    def startup(self) -> str: ...

    def facts(self) -> Facts: ...

    def difference(self, lines: tuple[str, ...]) -> str:
        """As the device or the driver computes it; nothing stays."""
        ...

    def send(self, lines: tuple[str, ...]) -> None:
        """Into the running configuration, and that into the startup one.

        Errors: Rejected, with what it said; also while a commit of somebody else waits for its confirmation, which
        could take back what is sent now.
        """
        ...

    def save(self) -> None:
        """The running configuration becomes the startup one."""
        ...

    def pending(self) -> str:
        """Whose commit waits for its confirmation, "" for nobody's."""
        ...

    def counters(self) -> Mapping[str, Counter]:
        """By the access list of an entry."""
        ...

    def links_up(self) -> Mapping[str, bool]: ...


@dataclass(slots=True)
class StepwiseBox:
    """drivers.box.Box over a wire. Tier B: there is no confirmed commit."""

    target: Target
    wire: Wire
    words: Words
    why_not_confirmed: str

    def running(self) -> str:
        return self.wire.running()

    def facts(self) -> Facts:
        return self.wire.facts()

    def trial(self, native: str) -> str:
        lines = self._planned(native)[2]
        return self.wire.difference(lines) if lines else ""

    def commit(self, native: str) -> None:
        before, goal, lines = self._planned(native)
        if not lines:
            self._see_saved(goal)
            return
        half = built(before, goal, self.words)
        for start, end in ((before, half), (half, goal)):
            self._send(before, steps(start, end, self.words), end)
        self._see_saved(goal)

    def _send(self, before: Stock, lines: tuple[str, ...], end: Stock) -> None:
        """Nothing that packets meet moves before all that is new was read back. Errors: Rejected, Transient."""
        if not lines:
            return
        try:
            self.wire.send(lines)
        except Rejected as error:
            self._put_back(before, str(error))
        wrong = _unequal(self._stock(self.wire.running()), end)
        if wrong:
            self._put_back(
                before, f"{self.target.name}: the device took the lines without an error, but {wrong}"
            )

    def commit_confirmed(self, native: str, label: str, revert_in_s: int) -> None:
        raise Rejected(f"{self.target.name}: {self.why_not_confirmed}")

    def pending(self) -> str:
        return self.wire.pending()

    def confirm(self, label: str) -> None:
        raise Rejected(f"{self.target.name}: {self.why_not_confirmed}")

    def cancel(self, label: str) -> None:
        raise Rejected(f"{self.target.name}: {self.why_not_confirmed}")

    def counters(self) -> Mapping[str, Counter]:
        found: dict[str, Counter] = {}
        for name, one in self.wire.counters().items():
            base = list_base(name)
            if base is not None:
                found[base] = one
        return found

    def links_up(self) -> Mapping[str, bool]:
        return self.wire.links_up()

    def _stock(self, text: str) -> Stock:
        return collect(split(text), self.target, self.words)

    def _planned(self, native: str) -> tuple[Stock, Stock, tuple[str, ...]]:
        before = self._stock(self.wire.running())
        goal = wanted(before, parse(native, self.target, self.words), self.target, self.words)
        half = built(before, goal, self.words)
        return before, goal, steps(before, half, self.words) + steps(half, goal, self.words)

    def _see_saved(self, goal: Stock) -> None:
        """Saved already as a rule; if not, once more. Errors: Rejected."""
        if _unequal(self._stock(self.wire.startup()), goal):
            self.wire.save()
            wrong = _unequal(self._stock(self.wire.startup()), goal)
            if wrong:
                said = "it is in force but not saved: in the startup configuration"
                raise Rejected(f"{self.target.name}: {said} {wrong}; is the file system full?")

    def _put_back(self, before: Stock, why: str) -> None:
        """Our objects as they were. Errors: always Rejected, and whether that was possible."""
        now = self._stock(self.wire.running())
        lines = steps(now, before, self.words)
        try:
            if lines:
                self.wire.send(lines)
            wrong = _unequal(self._stock(self.wire.running()), before)
        except Rejected as error:
            wrong = str(error)
        if not lines and not wrong:
            raise Rejected(why)
        if wrong:
            raise Rejected(f"{why}; taking back what was sent did not work either: {wrong}")
        raise Rejected(f"{why}; what had been sent was taken back")


def _unequal(found: Stock, goal: Stock) -> str:
    """The first difference in words, "" for none."""
    for spot in sorted(goal.attached.keys() | found.attached.keys()):
        if found.attached.get(spot) != goal.attached.get(spot):
            return f"interface {spot[0]} has {found.attached.get(spot, 'no policy of ours')!r}"
    for key in sorted(goal.blocks.keys() | found.blocks.keys()):
        here, there = found.blocks.get(key), goal.blocks.get(key)
        if there is None:
            return f"{key!r} is still there"
        if here is None:
            return f"{key!r} is missing"
        if here != there:
            missing = [
                line.strip()
                for line in (there.header, *there.lines)
                if line not in (here.header, *here.lines)
            ]
            return f"{key!r} is not as it was sent{f', {missing[0]!r} is missing' if missing else ''}"
    return ""
