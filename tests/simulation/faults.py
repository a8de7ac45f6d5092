# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around the workers in a schedule: devices, hands, strangers, links. Each act is done at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from drivers import fake
from drivers.state import DeviceState, Guard, Item, Key, Match, RuleSet, Signatures, slot
from tests.simulation.devices import Outside, Trouble
from tests.simulation.packets import Watcher

TROUBLES = ("unreachable", "unreachable", "refuses", "loses_reply", "silent")
ARMS = (("leaf1", "fw1-in"), ("leaf2", "fw2-in"), ("leaf2", "ips1-out"), ("leaf1", "ips2-out"), ("leaf2", "cgn1-in"))


@dataclass
class Faults:
    """devices: those that are switched on."""

    random: random.Random
    outside: Outside
    watcher: Watcher
    devices: list[str]
    say: Callable[[str], None]

    def trouble(self) -> None:
        kind = self.random.choice(TROUBLES)
        device = self.random.choice(self.devices)
        self.outside.troubles[device] = Trouble(kind, self.random.choice((1, 1, 2, 5)))
        self.say(f"  {kind} {device}")

    def stranger(self) -> None:
        """What others put on a device is theirs."""
        with fake.box(self.random.choice(self.devices)) as box:
            box.foreign.append("a stranger's")
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
            items[Key.parse("c7777.r1.f.0.guard.0")] = Guard("spine1", 0, Match("192.0.2.0/24", "198.51.100.0/24"))
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
        with fake.box(device) as box:
            box.state = DeviceState(items)
            self.watcher.by_hand(device, box.state)

    def peace(self) -> None:
        self.outside.troubles.clear()
        for name in self.devices:
            with fake.box(name) as box:
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
