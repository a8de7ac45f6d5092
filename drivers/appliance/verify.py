# SPDX-License-Identifier: Apache-2.0
"""The session of appliances that are read and verified, never written: the operator pastes, the device is looked at.

Called by `panos` and `fortios`. `validate` passes when the device holds exactly what the text would make, and says what
to paste when it does not; `push` says the same, and sends nothing: its whole box is a reader.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from drivers.appliance.policy import (
    Line,
    Route,
    damaged,
    interface_of,
    is_damaged,
    items_of,
    parse_name,
    unrouted,
    zone_of,
)
from drivers.appliance.steering import is_steering, key_of, names_for, unreached
from drivers.base import SHADOWS, Observation, Rejected, Target
from drivers.state import DeviceState, Item, Key, Match, RuleSet

Object = tuple[str, str]  # kind, name
# Of an object, every attribute with its value, as one line each.
Objects = Mapping[Object, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Holding:
    """What the device says. objects: ours and others', rules in order. waiting: the same, not yet committed.

    order: the names of all rules, ours and others'; steers: of all redirect rules, the first that matches decides.
    zones: zone -> its interfaces. links: by interface.
    """

    objects: Objects
    order: tuple[str, ...]
    zones: Mapping[str, frozenset[str]]
    routes: tuple[Route, ...]
    links: Mapping[str, bool]
    waiting: Objects | None = None
    steers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a native text makes: objects that are there afterwards, and objects that are not."""

    there: Objects
    gone: frozenset[Object]


@dataclass(frozen=True, slots=True)
class Reach:
    """Packets that enter by one of these interfaces or zones, from and to one of these prefixes; empty: by any."""

    ends: frozenset[str]
    sources: frozenset[str]
    destinations: frozenset[str]

    def meets(self, ends: frozenset[str], match: Match) -> bool:
        """What is no prefix may be any."""
        is_entered = not self.ends or bool(self.ends & ends)
        return is_entered and _overlaps(self.sources, match.source) and _overlaps(self.destinations, match.destination)


def _overlaps(prefixes: frozenset[str], prefix: str) -> bool:
    wanted = ipaddress.ip_network(prefix)
    try:
        networks = [ipaddress.ip_network(one, strict=False) for one in prefixes]
    except ValueError:
        return True
    return not networks or any(one.overlaps(wanted) for one in networks)


@dataclass(frozen=True, slots=True)
class Language:
    """A vendor's words. Pure.

    parse(native): Rejected for a line that `render` does not write. line(name, attributes, target): the rule as a line
    of the policy; ValueError if it says something that nobody here writes. makes(state, target): what these items are
    on the device; Unsupported. reach: which packets meet a redirect rule. how: what the operator does with the text.
    """

    parse: Callable[[str, Target], Wanted]
    line: Callable[[str, frozenset[str], Target], Line]
    zones: Callable[[frozenset[str]], tuple[frozenset[str], frozenset[str]]]
    is_off: Callable[[frozenset[str]], bool]
    makes: Callable[[DeviceState, Target], Wanted]
    reach: Callable[[frozenset[str]], Reach]
    how: str


@dataclass(frozen=True, slots=True)
class VerifySession:
    """drivers.base.Session. look: reads the device, anew each time."""

    target: Target
    look: Callable[[], Holding]
    language: Language

    def read(self) -> Observation:
        held = self.look()
        lines = [self._line(name, held) for name in held.order if parse_name(name) is not None]
        ports = self.target.ports
        state = self._whole(items_of(lines, self.target), held)
        strangers = [name for name in held.steers if key_of(name) is None]
        return Observation(
            state=state,
            counters={},
            links_up={port: held.links.get(interface_of(self.target, port), False) for port in ports},
            foreign=len(held.order) - len(lines) + len(strangers),
            attached=tuple(SHADOWS + name for name in (*self._shadows(held), *self._led_away(state, held))),
        )

    def _whole(self, state: DeviceState, held: Holding) -> DeviceState:
        """With `damaged` for an item whose addresses, services or redirect rules are not what it makes."""
        found: dict[Key, Item] = dict(state)
        for key, item in state.items():
            assert isinstance(item, RuleSet)
            if is_damaged(item):
                continue
            wanted = self.language.makes(DeviceState({key: item}), self.target)
            extra = {name for name in names_for(key) if ("steer", name) in held.objects}
            extra -= {name for _, name in wanted.there}
            if extra or _differences(wanted, held.objects):
                found[key] = damaged(len(item.rules) + 1)
        for name in held.steers:
            key_ = key_of(name)
            if key_ is not None:
                found.setdefault(key_, damaged(1))
        return DeviceState(found)

    def validate(self, native: str) -> None:
        """Errors: Rejected, with what to paste and everything else that is wrong."""
        if not native:
            return
        wanted = self.language.parse(native, self.target)
        held = self.look()
        reasons = [*self._zones(wanted, held), *self._routes(wanted, held)]
        missing = _differences(wanted, held.objects)
        if missing and held.waiting is not None and not _differences(wanted, held.waiting):
            reasons.append("the text is in the candidate configuration and not committed; give `commit`")
        elif missing:
            reasons.append(
                f"{'; '.join(missing[:5])}. This family is read and verified, never written. {self.language.how}, then "
                f"apply again:\n{native}"
            )
        else:
            reasons += [f"the rule {name} stands before ours and takes their packets" for name in self._shadows(held)]
            after = items_of(self._lines(wanted), self.target)
            reasons += [f"{name} leads our packets elsewhere; narrow it" for name in self._led_away(after, held)]
        if reasons:
            raise Rejected(f"{self.target.name}: " + "; ".join(reasons))

    def push(self, native: str) -> None:
        self.validate(native)

    def _line(self, name: str, held: Holding) -> Line:
        try:
            return self.language.line(name, held.objects["rule", name], self.target)
        except ValueError as error:
            said = f"{error} in rule {name} is nothing that we write; delete the rule"
            raise Rejected(f"{self.target.name}: {said}") from error

    def _zones(self, wanted: Wanted, held: Holding) -> list[str]:
        ports = {port for line in self._lines(wanted) for port in (line.inside, line.outside)}
        found = []
        for port in sorted(ports):
            zone, interface = zone_of(self.target, port), interface_of(self.target, port)
            if interface not in held.zones.get(zone, frozenset()):
                found.append(f"interface {interface} is not in zone {zone}; put it there")
        return found

    def _routes(self, wanted: Wanted, held: Holding) -> list[str]:
        found = unreached if is_steering(self.target) else unrouted
        return list(dict.fromkeys(found(self._lines(wanted), held.routes, self.target)))

    def _led_away(self, state: DeviceState, held: Holding) -> list[str]:
        """Redirect rules of others that these items' packets meet before the last of ours; any, if none is ours."""
        ours = [index for index, name in enumerate(held.steers) if key_of(name) is not None]
        entries = [entry for item in state.values() for entry in self._entries(item, held)]
        found = []
        for name in held.steers[: max(ours, default=len(held.steers))]:
            said = held.objects["steer", name]
            if key_of(name) is None and not self.language.is_off(said):
                reach = self.language.reach(said)
                if any(reach.meets(ends, match) for ends, match in entries):
                    found.append(f"redirect rule {name}")
        return found

    def _entries(self, item: Item, held: Holding) -> Iterator[tuple[frozenset[str], Match]]:
        """Where the item's packets come in, as the device calls it, and which they are."""
        if isinstance(item, RuleSet) and not is_damaged(item):
            for port, match in ((item.inside, item.traffic), (item.outside, item.traffic.reversed())):
                interface = interface_of(self.target, port)
                zones = {zone for zone, there in held.zones.items() if interface in there}
                yield frozenset({interface, *zones}), match

    def _lines(self, wanted: Wanted) -> list[Line]:
        rules = [(name, said) for (kind, name), said in wanted.there.items() if kind == "rule"]
        try:
            return [self.language.line(name, said, self.target) for name, said in rules]
        except ValueError as error:
            raise Rejected(f"{self.target.name}: {error} is nothing that this driver writes") from error

    def _shadows(self, held: Holding) -> list[str]:
        """Rules of others before the last of ours, in force, between the same zones."""
        ours = [index for index, name in enumerate(held.order) if parse_name(name) is not None]
        pairs = {self.language.zones(held.objects["rule", held.order[index]]) for index in ours}
        found = []
        for index, name in enumerate(held.order[: max(ours, default=0)]):
            attributes = held.objects["rule", name]
            if index in ours or self.language.is_off(attributes):
                continue
            source, destination = self.language.zones(attributes)
            if any(_meet(source, one) and _meet(destination, other) for one, other in pairs):
                found.append(name)
        return found


def _meet(one: frozenset[str], other: frozenset[str]) -> bool:
    return "any" in one or bool(one & other)


def _differences(wanted: Wanted, held: Objects) -> list[str]:
    found = [
        f"{kind} {name} says {', '.join(sorted(held[kind, name] ^ said))}"
        for (kind, name), said in wanted.there.items()
        if (kind, name) in held and held[kind, name] != said
    ]
    found += [f"there is no {kind} {name}" for kind, name in wanted.there if (kind, name) not in held]
    return found + [f"{kind} {name} is still there" for kind, name in sorted(wanted.gone) if (kind, name) in held]
