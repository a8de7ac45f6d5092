# SPDX-License-Identifier: Apache-2.0
"""The `srx` driver: rule sets as zone policies on a Juniper SRX, over NETCONF with NAPALM.

Settings: `zone_PORT: NAME`, the security zone of each port, which must hold that port's interface and no other;
`steers: yes`, whose redirect rules are those of `srx_steering`; `unverified: yes`. Credential: see
`drivers.transport.vendor`. Between the two zones there may be no policies of the operator's: they would decide before
ours. What no item claims is dropped by the box's own default (deny-all).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from drivers import junos_lines
from drivers.appliance import srx_steering
from drivers.appliance.srx_steering import STEERING
from drivers.appliance.srx_text import interface_of, item_of, key_of, lines_for, rendered, text_of, zone_of
from drivers.base import LINES, SHADOWS, Capabilities, Driver, Limit, Rejected, Session, Target, Unsupported
from drivers.box import BoxSession, Reading, Syntax
from drivers.diff import Change, patch
from drivers.junos_lines import APPLY, GROUP, MARKER, body_of, lines_of, ours, theirs, written
from drivers.nftables_parse import DAMAGED_ITEMS
from drivers.state import EMPTY, DeviceState, Item, Key, Kind, RuleSet
from drivers.transport import junos as transport

CAPS = Capabilities(
    kinds=frozenset({Kind.RULESET}),
    is_atomic=True,
    has_confirmed_commit=True,
    shares_objects=True,
    has_lock=True,
    counts=False,
    limits=(Limit(LINES, None, "policies: the model decides, `show security policies information`"),),
)
DAMAGED = DAMAGED_ITEMS[Kind.RULESET]
_OBJECT = re.compile(
    r"apply-macro SI-\S+|security address-book global address SI-\S+|applications application SI-\S+"
    r"|security policies from-zone \S+ to-zone \S+ policy SI-\S+"
)
_TERM = re.compile(r" term (SI-c\S+) ")
# What a delete leaves behind.
_EMPTY = re.compile(r"security policies from-zone \S+ to-zone \S+")
_LINES = tuple(
    re.compile(text)
    for text in (
        r'apply-macro SI-c\S+ (?:inside|outside|default) [A-Za-z0-9._-]+',
        r'apply-macro SI-c\S+ (?:traffic|rule-\d{1,4}) "[a-z0-9:./ -]+"',
        r"security address-book global address SI-\S+ [0-9a-f:.]+/\d{1,3}",
        r"applications application SI-\S+ (?:protocol [a-z0-9]+|(?:source|destination)-port \d{1,5}(?:-\d{1,5})?)",
        r"security policies from-zone \S+ to-zone \S+ policy SI-c\S+ match "
        r"(?:(?:source|destination)-address|application) \S+",
        r"security policies from-zone \S+ to-zone \S+ policy SI-c\S+ then (?:permit|deny)",
    )
)
_POLICY = re.compile(r"security policies (from-zone (\S+) to-zone (\S+)) policy (\S+)")
_THEIRS = re.compile(r"security policies from-zone \S+ to-zone \S+ policy \S+|security address-book \S+ address \S+")


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Errors: Unsupported."""
    if not changes:
        return ""
    strangers = [change.key for change in changes if change.key.kind not in CAPS.kinds]
    if strangers:
        raise Unsupported(f"{target.name}: an SRX cannot hold a {strangers[0].kind}")
    for change in changes:
        if isinstance(change.after, RuleSet):
            rendered(change.key, change.after, target)
    started = {one.key: one.before for one in changes if one.before is not None and one.key not in target.held}
    after = patch({**target.held, **started}, changes)
    return written(_body(DeviceState({key: item for key, item in after.items() if item != DAMAGED}), target))


def _body(state: DeviceState, target: Target) -> tuple[str, ...]:
    """All lines of our group. Errors: Unsupported."""
    return (*text_of(state, target), *srx_steering.text_of(state, target))


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`: policies. Errors: Unsupported."""
    lines = text_of(DeviceState({key: item for key, item in state.items() if item != DAMAGED}), target)
    return {LINES: len({found[0] for line in lines if (found := _POLICY.match(line))})}


def check(native: str, target: Target) -> None:
    """Errors: Rejected, unless `render` writes exactly this for some items."""
    body = body_of(native, target.name)
    found = read_lines(body, target)
    if DAMAGED in found.values() or _body(found, target) != body:
        raise Rejected(f"{target.name}: the native text is not what this driver writes for any items")


def read(running: str, target: Target) -> Reading:
    """Errors: Rejected, for unknown text in our group."""
    lines = lines_of(running)
    mine, others = ours(lines), theirs(lines)
    foreign = len({found[0] for line in others if (found := _THEIRS.match(line))})
    if mine and MARKER not in mine:
        return Reading(EMPTY, (f"{SHADOWS}groups {GROUP} without {MARKER!r}: it is not ours",), foreign)
    body = tuple(line for line in mine if line != MARKER)
    state = read_lines(body, target)
    if APPLY not in lines:
        state = DeviceState(dict.fromkeys(state, DAMAGED))
    return Reading(state, tuple(f"{SHADOWS}{line}" for line in _in_the_way(others, body)), foreign)


def read_lines(body: tuple[str, ...], target: Target) -> DeviceState:
    """The items that these lines (of our group, without the marker) realise. Errors: Rejected, naming the line."""
    steering = tuple(line for line in body if STEERING.match(line))
    objects: dict[str, list[str]] = {}
    for line in body:
        found = _OBJECT.match(line)
        if not _is_ours(line, found):
            raise Rejected(f"{target.name}: {line[:200]!r} is in our configuration group, but nobody here writes it")
        if found is not None:
            objects.setdefault(found[0], []).append(line)
    items: dict[Key, Item] = dict.fromkeys(_steered_keys(steering), DAMAGED)
    for name in objects:
        key = key_of(name.rpartition(" ")[2]) if name.startswith(("apply-macro", "security policies")) else None
        if key is not None and items.get(key, DAMAGED) == DAMAGED:
            items[key] = _item(key, objects, target)
    state = _in_order(items, objects, target)
    sound = DeviceState({key: item for key, item in state.items() if item != DAMAGED})
    # All of ours is written whole, so where the redirect rules are not right nothing is.
    if len(sound) == len(state) and not _is_steered(steering, sound, target):
        return DeviceState(dict.fromkeys(state, DAMAGED))
    return state


def _is_ours(line: str, found: re.Match[str] | None) -> bool:
    if found is not None:
        return line == found[0] or any(form.fullmatch(line) for form in _LINES)
    return bool(_EMPTY.fullmatch(line)) or any(form.fullmatch(line) for form in srx_steering.LINES)


def _steered_keys(steering: tuple[str, ...]) -> list[Key]:
    named = (key_of(found[1]) for line in steering if (found := _TERM.search(line)))
    return [key for key in named if key is not None]


def _is_steered(steering: tuple[str, ...], state: DeviceState, target: Target) -> bool:
    try:
        return srx_steering.is_same(steering, srx_steering.text_of(state, target))
    except Unsupported:
        return False


def _item(key: Key, objects: Mapping[str, list[str]], target: Target) -> Item:
    """As its macro says, if the policies are exactly what it would be written as."""
    macro = f"apply-macro {_name(key)}"
    held = (line.removeprefix(f"{macro} ") for line in objects.get(macro, ()) if line != macro)
    said = dict(line.split(" ", 1) for line in held)
    item = item_of(said)
    if item is None:
        return DAMAGED
    try:
        wanted = _by_object(lines_for(key, item, target))
    except Unsupported:
        return DAMAGED
    own = {name for name in objects if key_of(name.rpartition(" ")[2]) == key}
    is_sound = own <= wanted.keys() and all(sorted(objects.get(name, ())) == sorted(wanted[name]) for name in wanted)
    return item if is_sound else DAMAGED


def _name(key: Key) -> str:
    return f"SI-c{key.chain}r{key.revision}{key.direction}{key.stage}s{key.index}"


def _by_object(lines: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        one = _OBJECT.match(line)
        assert one is not None, line
        found.setdefault(one[0], []).append(line)
    return found


def _in_order(items: Mapping[Key, Item], objects: Mapping[str, list[str]], target: Target) -> DeviceState:
    """The first policy that matches decides: items whose policies stand in another order than ours are damaged."""
    sound = DeviceState({key: item for key, item in items.items() if item != DAMAGED})
    wanted = [name for name in _by_object(text_of(sound, target)) if name.startswith("security policies")]
    actual = [name for name in objects if name in set(wanted)]
    pairs: dict[str, tuple[list[str], list[str]]] = {}
    for index, names in enumerate((wanted, actual)):
        for name in names:
            pairs.setdefault(name.rpartition(" policy ")[0], ([], []))[index].append(name)
    wrong = {key_of(name.rpartition(" ")[2]) for ours_, box in pairs.values() if ours_ != box for name in box}
    return DeviceState({key: DAMAGED if key in wrong else item for key, item in items.items()})


def _in_the_way(others: tuple[str, ...], body: tuple[str, ...]) -> Iterator[str]:
    """The operator's lines that decide before ours, or are called as ours."""
    pairs = {found[1] for line in body if (found := _POLICY.match(line))}
    for line in others:
        found = _POLICY.match(line)
        is_named = re.search(r"(?:address|application|policy) SI-\S+", line) is not None
        is_except = f"apply-groups-except {GROUP}" in line
        if is_named or is_except or (found and found[1] in pairs):
            yield line
    yield from srx_steering.in_the_way(others, body)


def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
    """What is in the way, one line each."""
    lines = lines_of(running)
    mine, others = ours(lines), theirs(lines)
    body = body_of(native, target.name)
    found = []
    if mine and MARKER not in mine:
        found.append(f"the configuration group {GROUP} is not ours (it lacks {MARKER!r}); rename it")
    for line in _in_the_way(others, body):
        found.append(f"{line!r} is the operator's and would decide before ours; remove it")
    if "security policies default-policy permit-all" in others:
        found.append("what no policy matches is let through: delete security policies default-policy permit-all")
    return tuple(dict.fromkeys(found))


def needs(running: str, native: str, target: Target) -> tuple[str, ...]:
    """The zones and the routes, each with the exact line to add."""
    others, found = theirs(lines_of(running)), list[str]()
    for item in read_lines(body_of(native, target.name), target).values():
        if isinstance(item, RuleSet) and item != DAMAGED:
            for port in (item.inside, item.outside):
                found += _zone(others, port, target)
            found += srx_steering.misrouted(others, item, target)
    return tuple(dict.fromkeys(found))


def _zone(others: tuple[str, ...], port: str, target: Target) -> Iterator[str]:
    zone, name = zone_of(target, port), interface_of(target, port)
    root = f"security zones security-zone {zone} interfaces "
    held = {line.removeprefix(root).split(" ")[0] for line in others if line.startswith(root)}
    if name not in held:
        yield f"interface {name} of port {port} is not in zone {zone}: set {root}{name}"
    for other in sorted(held - {name}):
        yield f"zone {zone} holds {other} too, for which the policies would count: give port {port} a zone of its own"



def differs(running: str, native: str, said: str, target: Target) -> str:
    return junos_lines.differs(running, native, said, target.name)


def adds(running: str, native: str, target: Target) -> bool:
    return junos_lines.adds(running, native, target.name)


def others(text: str, target: Target) -> tuple[str, ...]:
    return theirs(lines_of(text))


SYNTAX = Syntax(check, read, differs, claim, key_of, adds, needs, others, "")


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[Session]:
    """Errors: Transient, Rejected."""
    with transport.connect(target, timeout_s) as box:
        yield BoxSession(target, box, SYNTAX)


DRIVER = Driver(name="srx", caps=CAPS, render=render, open=open_session, entries=entries)
