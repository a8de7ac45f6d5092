# SPDX-License-Identifier: Apache-2.0
"""The session of every family that NAPALM drives: the same steps, the same doubts.

A family gives a `Syntax` (pure) and a `Box` (an open NAPALM driver, from `drivers.transport`). Nothing is
loaded before what is there was read and claimed, nothing believed before it was read back. Before a loaded text takes
effect, the device's own difference must be the text's: every line that it changes, and no other. Where a commit also
saves, nothing is sent while lines of others are not saved: they would become permanent with ours. NAPALM's `rollback()`
is never called: it takes the whole device back, other people's work too.
"""

from __future__ import annotations

import re
from collections import Counter as Multiset
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drivers.base import Counter, Identity, Observation, Rejected, Target
from drivers.difference import header
from drivers.introspection import configured
from drivers.state import DeviceState, Key

LABEL = re.compile(r"[a-z0-9-]{1,63}")
MAX_REVERT_S = 24 * 3600 - 60
STARTUP = "--- startup ---\n"
# The setting that lets our commits save what others left unsaved.
UNSAVED = "saves_others"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """Ours in a running configuration. missing: prerequisites, each with the exact line to add.

    attached, foreign, residue: as in `Observation`.
    """

    state: DeviceState
    attached: tuple[str, ...] = ()
    foreign: int = 0
    missing: tuple[str, ...] = ()
    residue: str = ""


# (running configuration, native text or the part of it that was loaded, the device's difference). Raises Rejected.
Agree = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device says of itself when somebody logs in."""

    platform: str
    version: str
    serial: str = ""


class Box(Protocol):
    """An open NAPALM driver. Every method raises drivers.base kinds only; all text is in the device's words.

    agree: is asked with the text loaded and before it takes effect; if it raises, nothing does. The difference is in
    the form that the family's `Syntax.differs` takes.
    """

    def running(self) -> str:
        """The running configuration."""
        ...

    def startup(self) -> str | None:
        """What the device starts with, if that is saved by a step of its own; else None."""
        ...

    def facts(self) -> Facts: ...

    def proof(self) -> str:
        """How the device proved who it is in this session, or that it did not: words of `drivers.introspection`."""
        ...

    def trial(self, native: str, agree: Agree) -> None:
        """Load, let the device (or the driver) compute the difference, discard.

        Errors: Rejected if the device refuses a line, with its words.
        """
        ...

    def commit(self, native: str, agree: Agree) -> None:
        """Load and commit for good. An error text that the driver overlooks is Rejected all the same."""
        ...

    def commit_confirmed(self, native: str, label: str, revert_in_s: int, agree: Agree) -> None:
        """Load and commit, to be taken back by the device. `label` must be found again by `pending`, by any process."""
        ...

    def pending(self) -> str:
        """The label of the commit that waits for its confirmation, a stranger's name, or ""."""
        ...

    def save(self) -> None:
        """The running configuration becomes the startup one; nothing where a commit is what it starts with."""
        ...

    def confirm(self, label: str, *, is_saved: bool) -> None:
        """is_saved: where saving is a step of its own, it is done too."""
        ...

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
    for text inside our objects that nobody here writes. differs(running, native, said, target): how the device's
    difference is not what the text makes of the running configuration, "" if it is just that. claim(running, native,
    target): what stands in the way, one line each with the cause and the fix, before anything is touched.
    key_of: of an entry's name. adds(running, native, target): does the text bring anything, or only take away? needs:
    what must be there for what it brings, beside `Reading.missing`. others(text, target): the lines of a configuration
    that are not ours, each after the lines around it. save: the command that saves.
    """

    check: Callable[[str, Target], None]
    read: Callable[[str, Target], Reading]
    differs: Callable[[str, str, str, Target], str]
    claim: Callable[[str, str, Target], tuple[str, ...]]
    key_of: Callable[[str], Key | None]
    adds: Callable[[str, str, Target], bool]
    needs: Callable[[str, str, Target], tuple[str, ...]]
    others: Callable[[str, Target], Iterable[str]]
    save: str


def nothing(running: str, native: str, target: Target) -> tuple[str, ...]:
    """For a family whose every prerequisite is in `Reading.missing`."""
    return ()


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
            residue=reading.residue,
            is_saved=self._is_saved(reading),
        )

    def validate(self, native: str) -> None:
        """Errors: Rejected, with every reason at once."""
        if not native:
            return
        self._claim(native)
        self.box.trial(native, self._agree)

    def push(self, native: str) -> None:
        if native:
            self._claim(native)
            self.box.commit(native, self._agree)

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        if LABEL.fullmatch(label) is None:
            raise Rejected(f"{self.target.name}: {label[:80]!r} is no label: 1 to 63 of a-z, 0-9 and -")
        is_whole = type(revert_in_s) is int and revert_in_s % 60 == 0
        if not is_whole or not 60 <= revert_in_s <= MAX_REVERT_S:
            raise Rejected(f"{self.target.name}: {revert_in_s!r} s is not 1 to 1439 whole minutes")
        if native:
            self._claim(native)
        self.box.commit_confirmed(native, label, revert_in_s, self._agree)

    def confirm(self, label: str) -> None:
        """What others changed while it was pending does not become permanent with it: then nothing is saved.

        A reload would lose ours too; that is drift, which is seen and repaired, and a log-in names the unsaved lines.
        """
        self.box.confirm(label, is_saved=not self._unsaved(self._running()))

    def cancel(self, label: str) -> None:
        self.box.cancel(label)

    def save(self) -> None:
        """drivers.base.Saving."""
        running = self._running()
        reading, unsaved = self.syntax.read(running, self.target), self._unsaved(running)
        if not unsaved and not self._is_saved(reading):
            self.box.save()
        why = "; ".join(unsaved) or "is its file system full?"
        if not self._is_saved(reading):
            raise Rejected(f"{self.target.name}: ours is in force but not saved, and lost at a reload: {why}")

    def login(self, native: str = "") -> Identity:
        """drivers.base.Introspective."""
        facts, running = self.box.facts(), self._running()
        missing = self.syntax.read(running, self.target).missing
        if native:
            missing += self.syntax.needs(running, native, self.target)
            missing += self.syntax.claim(running, native, self.target)
        missing = tuple(dict.fromkeys((*missing, *self._unsaved(running))))
        return Identity(facts.platform, facts.version, facts.serial, self.box.proof(), missing)

    def configuration(self) -> str:
        """drivers.base.Printable. What the device starts with too, where that is another text."""
        startup = self.box.startup()
        said = configured(self._running())
        return said if startup is None else f"{said}{STARTUP}{configured(startup)}"

    def _running(self) -> str:
        self._seen = self.box.running()
        return self._seen

    def _is_saved(self, reading: Reading) -> bool:
        """Ours only. What it starts with and nobody here can read is not ours as it is."""
        startup = self.box.startup()
        try:
            return startup is None or self.syntax.read(startup, self.target).state == reading.state
        except Rejected:
            return False

    def _claim(self, native: str) -> None:
        """Prerequisites are asked for what is brought: what we hold must go when the operator has dropped one."""
        self.syntax.check(native, self.target)
        running = self._seen or self._running()
        reading = self.syntax.read(running, self.target)
        found = [*self.syntax.claim(running, native, self.target), *self._unsaved(running)]
        if self.syntax.adds(running, native, self.target):
            found = [*reading.missing, *self.syntax.needs(running, native, self.target), *found]
        if found:
            raise Rejected(f"{self.target.name}: " + "; ".join(dict.fromkeys(found)))

    def _unsaved(self, running: str) -> tuple[str, ...]:
        """What others changed and did not save: our commit would make it permanent.

        Their lines may hold passwords, and this is stored and shown: only how many and how they begin.
        """
        startup = None if self.target.settings.get(UNSAVED, "no") == "yes" else self.box.startup()
        if startup is None:
            return ()
        now, then = (Multiset(self.syntax.others(configured(text), self.target)) for text in (running, startup))
        lines = [f"+{line}" for line in (now - then).elements()]
        lines += [f"-{line}" for line in (then - now).elements()]
        if not lines:
            return ()
        begins = list(dict.fromkeys(header(line) for line in lines))
        more = " and others" if len(begins) > SHOWN else ""
        said = ", ".join(f"`{begin}`" for begin in begins[:SHOWN])
        return (
            f"somebody's changes are not saved, and our commit would save them: {len(lines)} lines ({said}{more}); "
            f"give `{self.syntax.save}`, or take them back, or set `{UNSAVED}: yes` in the device's settings",
        )

    def _agree(self, running: str, native: str, said: str) -> None:
        """Exactly what is meant changes, and nobody's work is saved that came meanwhile; or nothing more is sent."""
        wrong = self.syntax.differs(running, native, said, self.target) or "; ".join(self._unsaved(running))
        if wrong:
            raise Rejected(f"{self.target.name}: {wrong}; nothing was committed")

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
