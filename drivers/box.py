# SPDX-License-Identifier: Apache-2.0
"""The session of every family that NAPALM drives: the same steps, the same doubts.

A family gives a `Syntax` (pure) and a `Box` (an open NAPALM driver, from `drivers.transport`). Nothing is
loaded before what is there was read and claimed, nothing believed before it was read back. `validate` has the device
compute its own difference and refuses it if a line cannot be ours; that the lines are the planned ones shows in the
reading afterwards. NAPALM's `rollback()` is never called: it takes the whole device back, other people's work too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drivers.base import Counter, Identity, Observation, Rejected, Target
from drivers.introspection import configured, verified_by
from drivers.state import DeviceState, Key

LABEL = re.compile(r"[a-z0-9-]{1,63}")
MAX_REVERT_S = 24 * 3600 - 60


@dataclass(frozen=True, slots=True)
class Reading:
    """Ours in a running configuration. missing: prerequisites, each with the exact line to add.

    attached, foreign: as in `Observation`.
    """

    state: DeviceState
    attached: tuple[str, ...] = ()
    foreign: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device says of itself when somebody logs in."""

    platform: str
    version: str
    serial: str = ""


class Box(Protocol):
    """An open NAPALM driver. Every method raises drivers.base kinds only; all text is in the device's words."""

    def running(self) -> str:
        """The running configuration."""
        ...

    def facts(self) -> Facts: ...

    def trial(self, native: str) -> str:
        """Load, let the device (or the driver) compute the difference, discard. Lines begin with + or -.

        Errors: Rejected if the device refuses a line, with its words.
        """
        ...

    def commit(self, native: str) -> None:
        """Load and commit for good. An error text that the driver overlooks is Rejected all the same."""
        ...

    def commit_confirmed(self, native: str, label: str, revert_in_s: int) -> None:
        """Load and commit, to be taken back by the device. `label` must be found again by `pending`, by any process."""
        ...

    def pending(self) -> str:
        """The label of the commit that waits for its confirmation, a stranger's name, or ""."""
        ...

    def confirm(self, label: str) -> None: ...

    def cancel(self, label: str) -> None: ...

    def counters(self) -> Mapping[str, Counter]:
        """By entry name (`tables.entry_name`); {} where the platform counts nothing."""
        ...

    def links_up(self) -> Mapping[str, bool]:
        """By the device's own interface names."""
        ...


@dataclass(frozen=True, slots=True)
class Syntax:
    """A family's words. All pure.

    check(native, target): Rejected unless every line is one that `render` writes. read(running, target): Rejected
    for text inside our objects that nobody here writes. is_ours(line, target): may a line of the device's difference
    come from us? claim(running, native, target): what stands in the way, one line each with the cause and the fix,
    before anything is touched. key_of: of an entry's name.
    """

    check: Callable[[str, Target], None]
    read: Callable[[str, Target], Reading]
    is_ours: Callable[[str, Target], bool]
    claim: Callable[[str, str, Target], tuple[str, ...]]
    key_of: Callable[[str], Key | None]


@dataclass(slots=True)
class BoxSession:
    """drivers.base.ConfirmingSession over a box."""

    target: Target
    box: Box
    syntax: Syntax
    _seen: str = field(default="", init=False)

    def read(self) -> Observation:
        running = self._running()
        reading = self.syntax.read(running, self.target)
        links = self.box.links_up()
        ports = self.target.ports.values()
        return Observation(
            state=reading.state,
            counters=self._counters(reading.state),
            links_up={port.name: links.get(port.interface or port.name, False) for port in ports},
            foreign=reading.foreign,
            attached=reading.attached,
            pending=self.box.pending(),
        )

    def validate(self, native: str) -> None:
        """Errors: Rejected, with every reason at once."""
        if not native:
            return
        self._claim(native)
        self._agree(native)

    def push(self, native: str) -> None:
        if native:
            self._claim(native)
            self.box.commit(native)

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        if LABEL.fullmatch(label) is None:
            raise Rejected(f"{self.target.name}: {label[:80]!r} is no label: 1 to 63 of a-z, 0-9 and -")
        is_whole = type(revert_in_s) is int and revert_in_s % 60 == 0
        if not is_whole or not 60 <= revert_in_s <= MAX_REVERT_S:
            raise Rejected(f"{self.target.name}: {revert_in_s!r} s is not 1 to 1439 whole minutes")
        if native:
            self._claim(native)
        self.box.commit_confirmed(native, label, revert_in_s)

    def confirm(self, label: str) -> None:
        self.box.confirm(label)

    def cancel(self, label: str) -> None:
        self.box.cancel(label)

    def login(self, native: str = "") -> Identity:
        """drivers.base.Introspective."""
        facts, running = self.box.facts(), self._running()
        missing = self.syntax.read(running, self.target).missing
        if native:
            missing += tuple(self.syntax.claim(running, native, self.target))
        return Identity(facts.platform, facts.version, facts.serial, verified_by(self.target), missing)

    def configuration(self) -> str:
        """drivers.base.Printable."""
        return configured(self._running())

    def _running(self) -> str:
        self._seen = self.box.running()
        return self._seen

    def _claim(self, native: str) -> None:
        self.syntax.check(native, self.target)
        running = self._seen or self._running()
        reading = self.syntax.read(running, self.target)
        found = (*reading.missing, *self.syntax.claim(running, native, self.target))
        if found:
            raise Rejected(f"{self.target.name}: " + "; ".join(found))

    def _agree(self, native: str) -> None:
        """No line of what the device would change may be somebody else's."""
        for line in self.box.trial(native).splitlines():
            if line[:1] in "+-" and line[1:].strip() and not self.syntax.is_ours(line[1:], self.target):
                said = f"the device would also change {line.strip()!r}, which is not ours; nothing was sent"
                raise Rejected(f"{self.target.name}: {said}")

    def _counters(self, state: DeviceState) -> dict[Key, Counter]:
        """Parts of one item count together."""
        found = {key: Counter() for key in state}
        for name, one in self.box.counters().items():
            key = self.syntax.key_of(name)
            if key in found:
                sum_ = found[key]
                found[key] = Counter(
                    sum_.packets + one.packets, sum_.octets + one.octets, sum_.dropped + one.dropped
                )
        return found
