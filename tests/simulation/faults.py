# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around the workers in a schedule: devices, hands, strangers, links. Each act is done at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from drivers import fake
from drivers.state import DeviceState, Guard, Item, Key, Match, RuleSet, Signatures, slot
from tests.simulation import oracle
from tests.simulation.devices import Outside

# Name of a fault -> its value. Of every vendor's kind: see `drivers.fake.Faults`.
TROUBLES: tuple[tuple[str, Any], ...] = (
    ("is_unreachable", True),
    ("is_unreachable", True),
    ("reject", "% Table full"),
    ("loses_reply", True),
    ("loses_reply", True),
    ("is_silent", True),
    ("is_silent", True),
    ("swallows_error", "whole"),
    ("swallows_error", "half"),
    ("verification_failed", True),
)
CONFIRMING: tuple[tuple[str, Any], ...] = (
    ("confirm_loses_reply", True),
    ("confirm_lies", True),
    ("late_confirm_ok", True),
    ("any_commit_confirms", True),
    ("aborts_on_close", True),
    ("hidden_pending", True),
    ("refused_stays_pending", True),
    ("cuts_management", True),
)
ARMS = (
    ("leaf1", "fw1-in"),
    ("leaf2", "fw2-in"),
    ("leaf2", "ips1-out"),
    ("leaf1", "ips2-out"),
    ("leaf2", "cgn1-in"),
)


@dataclass
class Faults:
    """devices: those that are switched on. confirming: those of them that take back what nobody confirms."""

    random: random.Random
    outside: Outside
    devices: list[str]
    confirming: list[str]
    say: Callable[[str], None]

    def trouble(self) -> None:
        self._trouble(self.random.choice(self.devices))

    def trouble_ahead(self) -> None:
        """Where something is about to be written."""
        due = [name for (name,) in oracle.ask(oracle.DUE, list(oracle.UNDER_WAY)) if name in self.devices]
        if due:
            self._trouble(self.random.choice(due))

    def _trouble(self, device: str) -> None:
        kinds = TROUBLES + CONFIRMING if device in self.confirming else TROUBLES
        name, value = self.random.choice(kinds)
        with fake.box(device) as box:
            setattr(box.faults, name, value)
            box.faults.counts[name] = self.random.choice((1, 1, 2, 5))
            if name == "refused_stays_pending":
                box.faults.reject, box.faults.counts["reject"] = "% Table full", 1
        self.say(f"  {name} {device}")

    def stranger(self) -> None:
        """What others put on a device is theirs. Their commit may confirm ours, or wait for its own confirmation."""
        device = self.random.choice(self.devices)
        kind = self.random.choice(("item", "confirm", "commit", "reboot"))
        with self.outside.by_hand(device, is_hand=False) as box:
            if device not in self.confirming or kind == "item":
                box.foreign.append("a stranger's")
            elif kind == "confirm":
                box.confirm()
            elif kind == "reboot":
                box.reboot()
            elif box.pending is None:
                box.commit(box.state, "operator", 120)
        self.outside.crew.shown["stranger"] += 1

    def link(self) -> None:
        switch, port = self.random.choice(ARMS)
        with fake.box(switch) as box:
            box.links_down = [] if box.links_down else [port]
        self.outside.crew.shown["link"] += 1

    def drift(self) -> None:
        """Somebody deletes, alters or adds something of ours."""
        kind = self.random.choice(("delete", "alter", "orphan"))
        full = [name for name in self.devices if _held(name)]
        device = self.random.choice(full if full and kind != "orphan" else self.devices)
        items: dict[Key, Item] = dict(_held(device))
        if kind == "orphan" or not items:
            if not device.startswith("leaf"):
                return
            items[Key.parse("c7777.r1.f.0.guard.0")] = Guard(
                "spine1", 0, Match("192.0.2.0/24", "198.51.100.0/24")
            )
        else:
            key = self.random.choice(sorted(items))
            if kind == "delete":
                del items[key]
            else:
                altered = _altered(items[key])
                if any(slot(other) == slot(altered) for at, other in items.items() if at != key):
                    return
                items[key] = altered
        self.say(f"  {kind} on {device}")
        self.outside.crew.shown["drift"] += 1
        with self.outside.by_hand(device) as box:
            box.state = DeviceState(items)

    def peace(self) -> None:
        """Devices behave again; what waits for a confirmation goes on waiting."""
        for name in self.devices:
            with fake.box(name) as box:
                box.faults = fake.Faults()
                box.links_down = []


def _held(device: str) -> DeviceState:
    with fake.box(device) as box:
        return box.state


def _altered(item: Item) -> Item:
    """The same item with something wrong in it."""
    if isinstance(item, RuleSet):
        return replace(item, rules=item.rules[:-1])
    if isinstance(item, Signatures):
        return replace(item, patterns=("deadbeef",))
    if hasattr(item, "precedence"):
        return replace(item, precedence=item.precedence + 7)
    return replace(item, block_size=512)
