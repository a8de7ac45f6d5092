# SPDX-License-Identifier: Apache-2.0
"""A Junos configuration: loading in set and in text format, printing, comparing, inheritance.

Used by `lab.devices.junos`. Pure. A configuration is a nested dict, statement -> what is inside it, in order; which
statements there are says `lab.devices.junos_schema`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lab.devices.junos_schema import ANYWHERE, BARE, Form, Stmt

Config = dict[str, Any]
TOKEN = re.compile(r'/\*.*?\*/|#[^\n]*|"[^"\n]*"|[{};\[\]]|[^\s{};\[\]"]+', re.DOTALL)
STEP = "    "


class Refused(ValueError):
    """A syntax error: what was typed, where."""


class Absent(ValueError):
    """A statement to delete is not there: a warning on the box."""


def words_of(text: str) -> list[str]:
    return [word for word in TOKEN.findall(text) if not word.startswith(("/*", "#"))]


def statement(known: Mapping[str, Stmt], words: list[str]) -> tuple[str, Stmt, list[str]]:
    """The first statement of the words: how it is kept, what it is, and the words that are left."""
    two = " ".join(words[:2])
    keyword = two if two in known else words[0]
    rule = known.get(keyword) or ANYWHERE.get(keyword)
    if rule is None or keyword == BARE:
        found = known.get(BARE)
        if found is None or not found.key.fullmatch(words[0]):
            raise Refused(f"syntax error: {words[0]}")
        return words[0], found, words[1:]
    rest = words[len(keyword.split()) :]
    if rule.form in (Form.BOX, Form.FLAG):
        return keyword, rule, rest
    length = 3 if keyword == "from-zone" else 1
    key = " ".join(rest[:length])
    if not rest or not rule.key.fullmatch(key):
        raise Refused(f"invalid value: {keyword} {key}")
    return f"{keyword} {key}", rule, rest[length:]


def put(config: Config, known: Mapping[str, Stmt], words: list[str]) -> None:
    """`set WORDS`. Errors: Refused."""
    while words:
        head, rule, rest = statement(known, words)
        if rule.form is Form.VALUE:
            keyword = head.partition(" ")[0]
            for other in [one for one in config if one.partition(" ")[0] == keyword and one != head]:
                del config[other]
        if rest and not rule.inside and rule.form is not Form.LIST:
            if rule.form is not Form.BARE or len(rest) != 1:
                raise Refused(f"syntax error: {rest[0]}")
            for other in [one for one in config if one.partition(" ")[0] == words[0]]:  # a macro's parameter
                del config[other]
            config[f"{head} {rest[0]}"] = {}
            return
        config = config.setdefault(head, {})
        known, words = rule.inside, rest


def drop(config: Config, known: Mapping[str, Stmt], words: list[str]) -> None:
    """`delete WORDS`. Errors: Refused; Absent."""
    trail: list[tuple[Config, str, Stmt]] = []
    while words:
        if len(words) == 1 and words[0] not in config:
            held = [one for one in config if one.partition(" ")[0] == words[0]]
            if held and words[0] in known:
                for one in held:
                    del config[one]
                break
        head, rule, rest = statement(known, words)
        if head not in config:
            raise Absent(" ".join(words))
        trail.append((config, head, rule))
        config, known, words = config[head], rule.inside, rest
    else:
        around, head, _ = trail.pop()
        del around[head]
    for around, head, rule in reversed(trail):
        if rule.form is Form.BOX and not around[head]:
            del around[head]


def heard(text: str, faults: Mapping[str, Any]) -> str:
    """What the device makes of a text that is loaded: see the faults `drops` and `also`."""
    drops, also = faults.get("drops"), faults.get("also")
    kept = [line for line in text.splitlines() if not drops or drops not in line]
    return "".join(f"{line}\n" for line in (*kept, *([also] if also else [])))


def load_set(config: Config, known: Mapping[str, Stmt], text: str) -> list[str]:
    """Lines of set and delete, in place; the warnings. Errors: Refused."""
    warnings = []
    for line in text.splitlines():
        words = words_of(line)
        if not words:
            continue
        if len(words) < 2 or words[0] not in ("set", "delete"):
            raise Refused(f"unknown command: {line.strip()}")
        if words[0] == "set":
            for one in _spread(words[1:]):
                put(config, known, one)
            continue
        try:
            drop(config, known, words[1:])
        except Absent:
            warnings.append("statement not found")
    return warnings


def _spread(words: list[str]) -> Iterator[list[str]]:
    """`a [ b c ]` is `a b` and `a c`."""
    if "[" not in words:
        yield words
        return
    start = words.index("[")
    if words[-1] != "]":
        raise Refused("syntax error: [")
    for word in words[start + 1 : -1]:
        yield [*words[:start], word]


def load_text(config: Config, known: Mapping[str, Stmt], text: str) -> list[str]:
    """Curly braces, with `replace:` and `delete:`, in place; the warnings. Errors: Refused."""
    warnings: list[str] = []
    rest = _block(config, known, [], words_of(text), warnings)
    if rest:
        raise Refused(f"syntax error: {rest[0]}")
    return warnings


def _block(
    config: Config, known: Mapping[str, Stmt], path: list[str], words: list[str], warnings: list[str]
) -> list[str]:
    while words and words[0] != "}":
        tag = words[0] if words[0] in ("replace:", "delete:") else ""
        words = words[1:] if tag else words
        end = next((number for number, word in enumerate(words) if word in ("{", ";")), None)
        if not end:
            raise Refused(f"syntax error: {' '.join(words[:3])}")
        said, opener, words = [*path, *words[:end]], words[end], words[end + 1 :]
        if tag:
            try:
                drop(config, known, said)
            except Absent:
                warnings += ["statement not found"] * (tag == "delete:")
        if tag != "delete:":
            for one in _spread(said):
                put(config, known, one)
        if opener == "{":
            words = _block(config, known, said, words, warnings)
            if not words:
                raise Refused("missing }")
            words = words[1:]
    return words


def lines(config: Config, known: Mapping[str, Stmt], depth: int = 0) -> Iterator[str]:
    """As `show configuration` prints it."""
    done = set()
    for head, inside in config.items():
        for text, rule, below in _written(config, head, inside, known, done):
            if below is None:
                yield f"{STEP * depth}{text};"
            else:
                yield f"{STEP * depth}{text} {{"
                yield from lines(below, rule.inside, depth + 1)
                yield f"{STEP * depth}}}"


def _written(
    config: Config, head: str, inside: Config, known: Mapping[str, Stmt], done: set[str]
) -> Iterator[tuple[str, Stmt, Config | None]]:
    if head in done:
        return
    _, rule, rest = statement(known, head.split(" ") if '"' not in head else words_of(head))
    if rule.form is Form.VALUES:
        keyword = head.partition(" ")[0]
        same = [one for one in config if one.partition(" ")[0] == keyword]
        done.update(same)
        said = [one.partition(" ")[2] for one in same]
        yield f"{keyword} {said[0]}" if len(said) == 1 else f"{keyword} [ {' '.join(said)} ]", rule, None
    elif not inside and (rule.form is not Form.BOX or not rule.inside):
        yield head, rule, None
    elif rule.inline and len(inside) == 1 and not next(iter(inside.values())):
        yield f"{head} {next(iter(inside))}", rule, None
    else:
        yield head, rule, inside


def compare(old: Config, new: Config, known: Mapping[str, Stmt], path: tuple[str, ...] = ()) -> Iterator[str]:
    """As `show | compare` prints it; nothing if they are equal."""
    here: list[str] = []
    deeper: list[str] = []
    pad = STEP * len(path) if path else ""
    done: set[str] = set()
    for head in [*old, *(one for one in new if one not in old)]:
        if head in done:
            continue
        _, rule, _ = statement(known, words_of(head))
        if rule.form is Form.VALUES:
            keyword = head.partition(" ")[0]
            pair = [{one: {} for one in side if one.partition(" ")[0] == keyword} for side in (old, new)]
            done.update(*pair)
            for sign, side, other in (("-", pair[0], pair[1]), ("+", pair[1], pair[0])):
                if list(side) != list(other):
                    here += [f"{sign} {pad}{line}" for line in lines(side, known)]
        elif head not in new:
            here += [f"- {pad}{line}" for line in lines({head: old[head]}, known)]
        elif head not in old:
            here += [f"+ {pad}{line}" for line in lines({head: new[head]}, known)]
        else:
            deeper += compare(old[head], new[head], rule.inside, (*path, head))
    kept, now = [one for one in old if one in new], [one for one in new if one in old]
    if kept != now and not any(head in done for head in kept):
        moved = [one for one, other in zip(now, kept, strict=True) if one != other]
        here += [f"! {pad}{line}" for head in moved for line in lines({head: new[head]}, known)]
    if here:
        yield f"[edit{''.join(f' {one}' for one in path)}]"
        yield from here
    yield from deeper


def expanded(config: Config, known: Mapping[str, Stmt]) -> Config:
    """What is in force: groups inherited where nothing explicit says otherwise (CLI: configuration groups)."""
    full = {one: _copy(inside) for one, inside in config.items() if one.split(" ")[0] not in ("groups", "apply-groups")}
    for head in config:
        if head.startswith("apply-groups "):
            name = head.partition(" ")[2]
            _inherit(full, config.get("groups", {}).get(name, {}), known, name)
    return full


def _inherit(into: Config, group: Config, known: Mapping[str, Stmt], name: str) -> None:
    if f"apply-groups-except {name}" in into:
        return
    for head, inside in group.items():
        _, rule, _ = statement(known, words_of(head))
        keyword = head.partition(" ")[0]
        if head in into:
            _inherit(into[head], inside, rule.inside, name)
        elif rule.form is not Form.VALUE or not any(one.partition(" ")[0] == keyword for one in into):
            into[head] = _copy(inside)


def _copy(config: Config) -> Config:
    return {head: _copy(inside) for head, inside in config.items()}


copied = _copy
