# SPDX-License-Identifier: Apache-2.0
"""One fake device: what it holds, the commit that it will take back, and what is wrong with it.

Pure state with the time handed in (`now_s`): no clock, no file, no session. Opened by `drivers.fake.box`, which
looks at the deadline first; sessions and tests change it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from drivers.base import Rejected
from drivers.codec import state_from_json, state_to_json
from drivers.state import DeviceState

# How many events a device remembers.
HISTORY_LENGTH = 200


@dataclass
class Faults:
    """What goes wrong. Each stays until it is set back, or strikes as often as `counts` says for its name.

    Texts are what the device would say. counts: {"is_silent": 1} is "for the next push only".
    """

    # Nothing gets an answer.
    is_unreachable: bool = False
    # Refuse the next pushes and commits with this text.
    reject: str = ""
    # Take the push or commit, then lose the connection before answering.
    loses_reply: bool = False
    # Answer "done" and hold the old state (a commit: without anything pending).
    is_silent: bool = False
    # Answer "done" and take nothing ("whole") or the first half of the lines ("half"): IOS, NX-OS.
    swallows_error: str = ""
    # Take it, roll it back and answer "done": NX-OS.
    verification_failed: bool = False
    # What is taken cuts the device off: until a commit is taken back; after a push, `is_unreachable` stays set.
    cuts_management: bool = False
    # A push while a commit is pending confirms it instead of being refused: Junos.
    any_commit_confirms: bool = False
    # A confirm of what is not pending (any more) is "done", and confirms whatever else is pending: Junos.
    late_confirm_ok: bool = False
    # Answer a confirm with "done" and leave the commit pending.
    confirm_lies: bool = False
    # Confirm, then lose the connection before answering.
    confirm_loses_reply: bool = False
    # Closing the session that made the pending commit takes it back: EOS.
    aborts_on_close: bool = False
    # `Observation.pending` stays empty: EOS 4.32.
    hidden_pending: bool = False
    # A commit that was refused (`reject`) is pending all the same: netopeer2.
    refused_stays_pending: bool = False
    # What is in force is not what it starts with, until it is saved; why it will not save, in its words.
    is_unsaved: bool = False
    will_not_save: str = ""
    # Seconds that every answer is late; what was asked is done at once.
    hangs_s: float = 0.0
    # Seconds that every push and commit takes before it is in force.
    delay_s: float = 0.0
    # A prerequisite that a log-in reports as missing, with the line to add.
    lacks: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    def strike(self, name: str) -> Any:
        """The fault's value; a counted one that strikes for the last time is set back."""
        value = getattr(self, name)
        if value and name in self.counts:
            self.counts[name] -= 1
            if self.counts[name] <= 0:
                del self.counts[name]
                setattr(self, name, DEFAULTS[name])
        return value


DEFAULTS: Mapping[str, Any] = {
    each.name: each.default for each in fields(Faults) if each.default is not MISSING
}


def standing(words: str) -> Faults:
    """What the setting `quirks` says: names of faults, those that are no flags with their value (`delay_s=0.5`).

    Errors: Rejected, with the names that exist.
    """
    found = Faults()
    for word in words.split():
        name, equals, text = word.partition("=")
        default = DEFAULTS.get(name)
        try:
            if default is None or isinstance(default, bool) == bool(equals):
                raise ValueError(f"a device has {', '.join(sorted(DEFAULTS))}")
            setattr(found, name, True if isinstance(default, bool) else type(default)(text))
        except ValueError as error:
            raise Rejected(f"quirk {word[:80]!r}: {error}") from error
    return found


@dataclass(frozen=True)
class Pending:
    """A commit that waits: what the device goes back to (all of it, as it was before) and when.

    deadline_s is of the clock of `drivers.fake`. is_cut: the commit made the device unreachable.
    """

    label: str
    state: DeviceState
    foreign: tuple[str, ...]
    deadline_s: float
    is_cut: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "state": state_to_json(self.state),
            "foreign": list(self.foreign),
            "deadline_s": self.deadline_s,
            "is_cut": self.is_cut,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pending:
        return cls(**{**data, "state": state_from_json(data["state"]), "foreign": tuple(data["foreign"])})


@dataclass(frozen=True)
class Event:
    """what: pushed, committed, confirmed, cancelled, expired, aborted, rolled back, rebooted."""

    at_s: float
    what: str
    label: str = ""


@dataclass
class Box:
    """One device: what it holds of ours, what it holds of others, and its faults.

    foreign: one line for each object of others; a line that begins with "attached " is told as attached to ours.
    counters: str(key) -> [packets, octets, dropped]. history: the last writes, oldest first.
    probes: what it was told to ask; silent_probes: names of those that get no answer now, others do.
    wishes: who wants port blocks of any pool, and how many he has used up (drivers.base.Demand). given: str(key) ->
    the blocks that were given, each as its fields. now_s: when it was opened.
    """

    state: DeviceState = field(default_factory=DeviceState)
    foreign: list[str] = field(default_factory=list)
    links_down: list[str] = field(default_factory=list)
    counters: dict[str, list[int]] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    pending: Pending | None = None
    history: list[Event] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    silent_probes: list[str] = field(default_factory=list)
    wishes: dict[str, int] = field(default_factory=dict)
    given: dict[str, list[list[Any]]] = field(default_factory=dict)
    now_s: float = field(default=0.0, compare=False)

    @property
    def is_cut(self) -> bool:
        return self.pending is not None and self.pending.is_cut

    def wake(self, now_s: float) -> None:
        """It is now `now_s`: a commit whose time is over is taken back."""
        self.now_s = now_s
        if self.pending is not None and now_s >= self.pending.deadline_s:
            self.revert("expired")

    def push(self, state: DeviceState) -> None:
        self.state = state
        self.note("pushed")

    def commit(self, state: DeviceState, label: str, revert_in_s: float, *, is_cut: bool = False) -> None:
        """Hold `state` until the time is over, or for good if it is confirmed."""
        self.pending = Pending(label, self.state, tuple(self.foreign), self.now_s + revert_in_s, is_cut)
        self.state = state
        self.note("committed", label)

    def confirm(self) -> None:
        """Nothing happens if nothing is pending."""
        pending, self.pending = self.pending, None
        if pending is not None:
            self.note("confirmed", pending.label)

    def revert(self, why: str) -> None:
        """Back to exactly what was there before the commit, whoever wrote since. why: as in `Event`."""
        pending, self.pending = self.pending, None
        if pending is not None:
            self.state, self.foreign = pending.state, list(pending.foreign)
            self.note(why, pending.label)

    def reboot(self) -> None:
        """What is pending is gone, counters begin anew."""
        self.revert("aborted")
        self.counters.clear()
        self.note("rebooted")

    def note(self, what: str, label: str = "") -> None:
        self.history.append(Event(self.now_s, what, label))
        del self.history[:-HISTORY_LENGTH]

    def dump(self) -> str:
        data = {
            "state": state_to_json(self.state),
            "foreign": self.foreign,
            "links_down": self.links_down,
            "counters": self.counters,
            "faults": asdict(self.faults),
            "pending": self.pending and self.pending.to_json(),
            "probes": self.probes,
            "silent_probes": self.silent_probes,
            "wishes": self.wishes,
            "given": self.given,
            "history": [asdict(event) for event in self.history],
        }
        return json.dumps(data, indent=1, sort_keys=True)

    @classmethod
    def load(cls, text: str) -> Box:
        """Inverse of `dump`."""
        data = json.loads(text)
        pending = data.get("pending")
        return cls(
            state=state_from_json(data["state"]),
            foreign=data["foreign"],
            links_down=data["links_down"],
            counters=data["counters"],
            faults=Faults(**data["faults"]),
            probes=data.get("probes", []),
            silent_probes=data.get("silent_probes", []),
            wishes=data.get("wishes", {}),
            given=data.get("given", {}),
            pending=pending and Pending.from_json(pending),
            history=[Event(**event) for event in data.get("history", ())],
        )
