# SPDX-License-Identifier: Apache-2.0
"""A box without atomic commit, made as safe as it can be: read, build beside what is there, read back,
switch, read back; put right what is not as it was sent. What is sent is the text, line for line.

Called by the IOS and NX-OS families. It holds no I/O of its own: a `Wire` (an open NAPALM driver) has it. The drivers
overlook errors that a device says in text, so nothing they report is success: what the device then holds is.
The way back is kept before anything is sent: our own objects as they were. NAPALM's rollback takes back everybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from drivers.base import Counter, Rejected, Target
from drivers.box import Agree, Facts
from drivers.switch.generations import steps
from drivers.switch.routemaps import Stock, Words, collect, list_base
from drivers.switch.stanzas import split
from drivers.switch.typed import Text, applied, digest, parse


class Wire(Protocol):
    """An open driver. Every method raises drivers.base kinds only."""

    def running(self) -> str: ...

    def startup(self) -> str: ...

    def facts(self) -> Facts: ...

    def proof(self) -> str: ...

    def difference(self, lines: tuple[str, ...]) -> str:
        """The commands among them that would change something, as the device or the driver computes it; none stays."""
        ...

    def send(self, lines: tuple[str, ...], agree: Callable[[str], None]) -> None:
        """Into the running configuration, and that into the startup one. agree: is asked with `difference` before.

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

    def startup(self) -> str:
        return self.wire.startup()

    def facts(self) -> Facts:
        return self.wire.facts()

    def proof(self) -> str:
        return self.wire.proof()

    def trial(self, native: str, agree: Agree) -> None:
        running = self.wire.running()
        lines = self._planned(native, self._stock(running)).lines
        if lines:
            agree(running, _joined(lines), self.wire.difference(lines))

    def commit(self, native: str, agree: Agree) -> None:
        before = self._stock(self.wire.running())
        for part in self._planned(native, before).parts:
            self._send(before, part, agree)
        self._see_saved()

    def _planned(self, native: str, before: Stock) -> Text:
        """What is to be sent: all of it, or nothing if the device is there already. Errors: Rejected."""
        text = parse(native, self.target, self.words)
        now = digest(before, text)
        if now == text.goal:
            return replace(text, parts=())
        if now != text.start:
            said = "its objects are not those that this text starts from; ask for a new plan"
            raise Rejected(f"{self.target.name}: {said}")
        return text

    def _send(self, before: Stock, lines: tuple[str, ...], agree: Agree) -> None:
        """Nothing that packets meet moves before all that is new was read back. Errors: Rejected, Transient."""
        running = self.wire.running()
        end = applied(self._stock(running), lines, self.target, self.words)
        try:
            self.wire.send(lines, lambda said: agree(running, _joined(lines), said))
        except Rejected as error:
            self._put_back(before, str(error), agree)
        wrong = _unequal(self._stock(self.wire.running()), end)
        if wrong:
            said = f"{self.target.name}: the device took the lines without an error, but {wrong}"
            self._put_back(before, said, agree)

    def commit_confirmed(self, native: str, label: str, revert_in_s: int, agree: Agree) -> None:
        raise Rejected(f"{self.target.name}: {self.why_not_confirmed}")

    def pending(self) -> str:
        return self.wire.pending()

    def save(self) -> None:
        self.wire.save()

    def confirm(self, label: str, *, is_saved: bool) -> None:
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

    def _see_saved(self) -> None:
        """Saved already as a rule; if not, once more. Errors: Rejected."""
        held = self._stock(self.wire.running())
        if _unequal(self._stock(self.wire.startup()), held):
            self.wire.save()
            wrong = _unequal(self._stock(self.wire.startup()), held)
            if wrong:
                said = "it is in force but not saved: in the startup configuration"
                raise Rejected(f"{self.target.name}: {said} {wrong}; is the file system full?")

    def _put_back(self, before: Stock, why: str, agree: Agree) -> None:
        """Our objects as they were. Errors: always Rejected, and whether that was possible."""
        running = self.wire.running()
        lines = steps(self._stock(running), before, self.words)
        try:
            if lines:
                self.wire.send(lines, lambda said: agree(running, _joined(lines), said))
            wrong = _unequal(self._stock(self.wire.running()), before)
        except Rejected as error:
            wrong = str(error)
        if not lines and not wrong:
            raise Rejected(why)
        if wrong:
            raise Rejected(f"{why}; taking back what was sent did not work either: {wrong}")
        raise Rejected(f"{why}; what had been sent was taken back")


def _joined(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)


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
