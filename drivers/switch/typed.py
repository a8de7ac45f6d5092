# SPDX-License-Identifier: Apache-2.0
"""The native text of a change of route maps: every line that is sent, in parts, and what they make of what is there.

Called by `policies`, `claims` and `stepwise`. Pure. Comment lines are for us: from which and into which state of the
objects that are named the text leads (a device that holds neither takes nothing), in which VRF interfaces must be, and
where a part ends. All other lines are sent as they stand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from drivers.base import Rejected, Target
from drivers.difference import differs as differ
from drivers.switch.aces import plain
from drivers.switch.generations import short
from drivers.switch.routemaps import (
    ATTACH,
    FAMILY,
    LIST,
    SLA,
    TABLE,
    WORD,
    Stock,
    Words,
    arranged,
    collect,
    crossing_place,
    far_place,
    list_base,
    lower,
    numbers_of,
    same,
    table_base,
)
from drivers.switch.stanzas import Stanza, split

FROM = re.compile(r"! from (?P<start>[0-9a-f]{16}) to (?P<goal>[0-9a-f]{16})")
VRF = re.compile(r"! interface (?P<name>\S+) is in vrf (?P<vrf>\S+)")
THEN = "! then"
DEFAULT = "default"
_PATH = " / "


@dataclass(frozen=True, slots=True)
class Text:
    """A native text, parsed. start, goal: see `digest`. vrfs: by interface, "" for the global table."""

    start: str
    goal: str
    vrfs: Mapping[str, str]
    parts: tuple[tuple[str, ...], ...]

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(line for part in self.parts for line in part)


def write(
    actual: Stock, parts: tuple[tuple[str, ...], ...], vrfs: Mapping[str, str], target: Target, words: Words
) -> str:
    """The text; "" for no parts."""
    if not parts:
        return ""
    goal = actual
    for part in parts:
        goal = applied(goal, part, target, words)
    text = Text("", "", {}, parts)
    head = [f"! from {digest(actual, text)} to {digest(goal, text)}"]
    head += [f"! interface {name} is in vrf {vrf or DEFAULT}" for name, vrf in sorted(vrfs.items())]
    end = [words.last] if words.last else []
    body = [line for part in parts for line in (THEN, *part, *end)]
    return "".join(f"{line}\n" for line in (*head, *body[1:]))


def parse(native: str, target: Target, words: Words) -> Text:
    """Errors: Rejected, with the first line that is not what `write` writes."""
    lines = native.splitlines()
    found = FROM.fullmatch(lines[0]) if lines else None
    if found is None or not native.endswith("\n"):
        raise Rejected(f"{target.name}: the text does not say from where to where it leads")
    vrfs: dict[str, str] = {}
    parts: list[list[str]] = [[]]
    for line in lines[1:]:
        said = VRF.fullmatch(line)
        if said and parts == [[]]:
            vrfs[said["name"]] = "" if said["vrf"] == DEFAULT else said["vrf"]
        elif line == THEN:
            parts.append([])
        elif re.fullmatch(r" *[!-~]+(?: [!-~]+)*", line) and not line.lstrip().startswith("!"):
            parts[-1].append(line)
        else:
            raise Rejected(f"{target.name}: line {line.strip()!r} is not what is rendered here")
    if any(words.last and part[-1:] != [words.last] for part in parts):
        raise Rejected(f"{target.name}: a part does not end with {words.last!r}")
    done = tuple(tuple(part[:-1] if words.last else part) for part in parts)
    return Text(found["start"], found["goal"], vrfs, done)


def check(native: str, target: Target, words: Words) -> None:
    """Errors: Rejected unless every line is one that may come from us."""
    if not native:
        return
    text = parse(native, target, words)
    for part in text.parts:
        stanzas = split("".join(f"{line}\n" for line in part))
        for stanza in stanzas:
            strange = _strange(stanza, target, words)
            if strange:
                raise Rejected(f"{target.name}: line {strange.strip()!r} is not what is rendered here")
        written = [line for one in stanzas for line in one.text().splitlines()]
        if [" ".join(line.split()) for line in part] != [" ".join(line.split()) for line in written]:
            raise Rejected(f"{target.name}: the text is not what is rendered here")
        applied(Stock({}, {}), part, target, words)


def _strange(stanza: Stanza, target: Target, words: Words) -> str:
    """The first line of a stanza that cannot come from us, "" for none."""
    is_no = stanza.header.startswith("no ")
    header = stanza.header.removeprefix("no ")
    name = header.removeprefix("interface ")
    ports = {port.interface or port.name for port in target.ports.values()}
    if header.startswith("interface ") and name in ports and not is_no:
        return next((line for line in stanza.lines if not _is_attach(line.strip(), name, target)), "")
    if is_no and stanza.lines:
        return stanza.lines[0]
    if not is_ours(header, target, words):
        return stanza.header
    if crossing_place(header, target) is not None:
        lines = (line.strip() for line in stanza.lines)
        known = (line for line in lines if not _is_attach(line, name, target))
        said = (line.removeprefix("no ") for line in known)
        return next((line for line in said if not words.known.fullmatch(line)), "")
    return ""  # what is inside is looked at when it is applied


def _is_attach(line: str, interface: str, target: Target) -> bool:
    found = ATTACH.fullmatch(line.removeprefix("no "))
    base = table_base(found["name"]) if found else None
    if found is None or base is None or TABLE.fullmatch(found["name"])["letters"] is None:  # type: ignore[index]
        return False
    port = target.ports.get(base[0][0])
    if port is None or base[1] != FAMILY[found["family"]]:
        return line.startswith("no ")
    own = port.interface or port.name
    return interface == (f"{own}.{base[0][1]}" if base[0][1] else own) or line.startswith("no ")


def is_ours(header: str, target: Target, words: Words) -> bool:
    """Of a stanza, or what `no` takes of it."""
    for prefix in words.lists.values():
        if header.startswith(prefix):
            found = LIST.fullmatch(header.removeprefix(prefix))
            return found is not None and list_base(found[0]) is not None and found["letters"] is not None
    said = re.fullmatch(r"route-map (\S+) (?:(?:permit|deny) \d+|pbr-statistics)", header)
    if said:
        named = TABLE.fullmatch(said[1])
        return named is not None and named["letters"] is not None and table_base(said[1]) is not None
    if crossing_place(header, target) is not None:
        return True
    numbers = re.fullmatch(r"(?:ip sla(?: schedule)?|track) (\d+)(?: .*)?", header)
    if numbers:
        return int(numbers[1]) in numbers_of(target, words)
    return far_place(header, target, words) is not None


# --- what the lines do ------------------------------------------------------------------------


def applied(stock: Stock, part: Iterable[str], target: Target, words: Words) -> Stock:
    """Ours, when the lines have been typed. Errors: Rejected for a line inside ours that nobody here writes."""
    blocks, attached = dict(stock.blocks), dict(stock.attached)
    for one in split("".join(f"{line}\n" for line in part)):
        if one.header.startswith("no "):
            for key in _removed(one.header.removeprefix("no "), blocks):
                del blocks[key]
            continue
        lines = one.lines
        if one.header.startswith("interface "):
            lines = tuple(_attach(one, attached))
            if crossing_place(one.header, target) is None:
                continue
        key = same(one.header)
        old = blocks.get(key)
        edited = Stanza(one.header, tuple(_edited(old.lines if old else (), lines, words)))
        blocks[key] = arranged(edited, target, words)
    return Stock(blocks, attached, stock.vrfs, stock.strangers)


def _removed(said: str, blocks: Mapping[str, Stanza]) -> list[str]:
    found = [key for key, one in blocks.items() if said in (key, one.header, short(one.header)) or same(said) == key]
    sla = SLA.fullmatch(said)  # its schedule goes with it
    return found + [key for key in blocks if sla and key == f"ip sla schedule {sla['number']}" and key not in found]


def _attach(stanza: Stanza, attached: dict[tuple[str, int], str]) -> Iterator[str]:
    """Takes the attach lines; the others are given back."""
    name = stanza.header.removeprefix("interface ")
    for line in stanza.lines:
        found = ATTACH.fullmatch(line.removeprefix("no "))
        if found is None:
            yield line
        elif line.startswith("no "):
            attached.pop((name, FAMILY[found["family"]]), None)
        else:
            attached[name, FAMILY[found["family"]]] = found["name"]


def _edited(old: tuple[str, ...], lines: Iterable[str], words: Words) -> Iterator[str]:
    held = list(old)
    for line in lines:
        bare = line.strip()
        is_kept = bare == "no shutdown" and not words.has_ghosts
        if bare.startswith("no ") and not is_kept:
            gone = bare.removeprefix("no ")
            held = [one for one in held if one.strip() != gone and not _is_bare(gone, one, words)]
            continue
        if is_kept:
            held = [one for one in held if one.strip() != "shutdown"]
        if line not in held:
            held.append(line)
    yield from held


def _is_bare(gone: str, line: str, words: Words) -> bool:
    """`no vrf forwarding` names no VRF."""
    return gone == words.vrf.strip() and line.startswith(words.vrf)


def digest(stock: Stock, text: Text) -> str:
    """Of the objects that a text names, as they are in this stock; others do not matter."""
    keys: set[str] = set()
    spots: set[tuple[str, int]] = set()
    for one in split("".join(f"{line}\n" for line in text.lines)):
        said = one.header.removeprefix("no ")
        if one.header.startswith("interface "):
            moved = (ATTACH.fullmatch(line.strip().removeprefix("no ")) for line in one.lines)
            spots |= {(said.removeprefix("interface "), FAMILY[match["family"]]) for match in moved if match}
        keys.add(same(said))
        sla = SLA.fullmatch(said)
        keys |= {f"ip sla schedule {sla['number']}"} if sla else set()
    found = {key: stock.blocks[key].text() for key in keys & stock.blocks.keys()}
    held = [f"{key}: {found.get(key, '')}\n" for key in sorted(keys)]
    held += [f"{spot}: {stock.attached.get(spot, '')}\n" for spot in sorted(spots)]
    return hashlib.sha256("".join(held).encode()).hexdigest()[:16]


def others(text: str, target: Target, words: Words) -> Iterator[str]:
    """The lines of a configuration that are not ours, each after the lines around it."""
    stanzas = split(text)
    ours = {one.header for one in collect(stanzas, target, words).blocks.values()}
    for one in stanzas:
        if lower(one.header) in ours:
            continue
        yield one.header
        for line in one.lines:
            found = ATTACH.fullmatch(line)
            if found is None or table_base(found["name"]) is None:
                yield f"{one.header}{_PATH}{line.strip()}"


# --- what a device says that they do ----------------------------------------------------------


def differs(running: str, native: str, said: str, target: Target, words: Words) -> str:
    """said: commands, as the device or the driver lists those that would change something. "" if they are as meant.

    A device may leave out what changes nothing, and may say what goes along with a removal.
    """
    before = collect(split(running), target, words)
    part = tuple(native.splitlines())
    after = applied(before, part, target, words)
    old, new = set(_flat(before)), set(_flat(after))
    gone = {path for path in old - new if _PATH.join(path.split(_PATH)[:-1]) not in old - new}
    planned = {f"+{path}" for path in new - old} | {f"-{path}" for path in gone}
    may = {f"-{path}" for path in old - new - gone}
    may |= set(_commands(native, target, words)) - planned
    # A line that takes the place of another takes it away.
    may |= {path for path in planned if path.startswith("-") and _is_replaced(path, planned)}
    context = {f"+{short(lower(one.header))}" for one in split(running)}
    return differ(planned, (line for line in _commands(said, target, words) if line not in context), may)


def _is_replaced(path: str, planned: set[str]) -> bool:
    head, _, line = path[1:].rpartition(_PATH)
    found = ATTACH.fullmatch(line)
    if found is None:
        return line == "shutdown" and f"+{head}{_PATH}no shutdown" in planned
    return any(one.startswith(f"+{head}{_PATH}{found['family']} policy route-map ") for one in planned)


def _flat(stock: Stock) -> Iterator[str]:
    for one in stock.blocks.values():
        yield short(one.header)
        yield from (f"{short(one.header)}{_PATH}{line.strip()}" for line in one.lines)
    for (name, family), said in stock.attached.items():
        yield f"interface {name}{_PATH}{WORD[family]} policy route-map {said}"


def _commands(text: str, target: Target, words: Words) -> Iterator[str]:
    """Signed lines with those around them, in our spelling."""
    for one in split(text):
        if one.header in ("end", words.last):
            continue
        header = lower(one.header)
        if header.startswith("no "):
            yield f"-{short(header.removeprefix('no '))}"
            continue
        family = next((f for f, prefix in words.lists.items() if header.startswith(prefix)), 0)
        yield f"+{short(header)}"
        for raw in one.lines:
            line = raw.strip()
            sign, bare = ("-", line.removeprefix("no ")) if _is_no(line, words) else ("+", line)
            spelled = plain(words.style, bare, family) if family else lower(bare)
            yield f"{sign}{short(header)}{_PATH}{spelled}"


def _is_no(line: str, words: Words) -> bool:
    return line.startswith("no ") and (words.has_ghosts or line != "no shutdown")
