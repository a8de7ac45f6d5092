# SPDX-License-Identifier: Apache-2.0
"""Junos configuration text as lines, one for each statement, and what every Junos family shares of it.

Called by `drivers.switch.junos`, `drivers.appliance.srx` and their transport. Pure. All that is ours lies in one
configuration group, so that nothing of the operator's is ever edited and all of ours goes with two deletes. The group
is written whole with every change: the device itself computes what differs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from drivers.base import Rejected
from drivers.difference import differs as differ
from drivers.difference import header

GROUP = "SI-viaduct"
# Holds the label of a commit that waits for its confirmation. Nothing applies it.
PENDING = "SI-pending"
MARKER = "apply-macro viaduct format 1"
OURS, APPLY = f"groups {GROUP}", f"apply-groups {GROUP}"
_DELETES = (f"delete {OURS}", f"delete {APPLY}")
_TOKEN = re.compile(r'/\*.*?\*/|#[^\n]*|"(?:[^"\\\n]|\\.)*"|[{};\[\]]|[^\s{};\[\]"]+', re.DOTALL)


def lines_of(text: str) -> tuple[str, ...]:
    """Curly-brace text -> what `show configuration | display set` prints, without the word set.

    Errors: Rejected if braces do not pair.
    """
    path: list[list[str]] = []
    words: list[str] = []
    found: list[str] = []
    counts: list[int] = []
    for token in (one for one in _TOKEN.findall(text) if not one.startswith(("/*", "#"))):
        if token == "{":
            path.append(words)
            counts.append(len(found))
            words = []
        elif token == ";":
            found += _spread([word for part in path for word in part], words)
            words = []
        elif token == "}":
            if not path or words:
                raise Rejected("the configuration that the device printed has a } too many")
            if len(found) == counts.pop():
                found.append(" ".join(word for part in path for word in part))
            path.pop()
        else:
            words.append(token)
    if path or words:
        raise Rejected("the configuration that the device printed is cut off")
    return tuple(found)


def _spread(path: list[str], words: list[str]) -> Iterator[str]:
    """`protocol [ tcp udp ]` is two lines."""
    if "[" not in words:
        yield " ".join((*path, *words))
        return
    start = words.index("[")
    for word in words[start + 1 : -1]:
        yield " ".join((*path, *words[:start], word))


def ours(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines in our group, without its name; the marker too."""
    return tuple(line.removeprefix(f"{OURS} ") for line in lines if line.startswith(f"{OURS} "))


def theirs(lines: Iterable[str]) -> tuple[str, ...]:
    """All others, without the operator's own groups being expanded."""
    held = (f"{OURS} ", f"groups {PENDING} ")
    return tuple(line for line in lines if not line.startswith(held) and line not in (OURS, APPLY))


def written(lines: Iterable[str]) -> str:
    """Native text that makes these lines (without their group) all that is ours."""
    body = [f"set {OURS} {line}\n" for line in lines]
    if body:
        body = [f"set {OURS} {MARKER}\n", *body, f"set {APPLY}\n"]
    return "".join([*(f"{line}\n" for line in _DELETES), *body])


def body_of(native: str, device: str) -> tuple[str, ...]:
    """Inverse of `written`. Errors: Rejected, naming the line."""
    said = native.splitlines()
    if tuple(said[:2]) != _DELETES:
        raise Rejected(f"{device}: the native text must begin with {_DELETES[0]!r} and {_DELETES[1]!r}")
    for number, line in enumerate(said[2:], start=3):
        if not line.startswith(f"set {OURS} ") and (line != f"set {APPLY}" or number != len(said)):
            raise Rejected(f"{device}: line {number}, {line[:200]!r}, is not something that this driver writes")
    found = tuple(line.removeprefix(f"set {OURS} ") for line in said[2:-1])
    if written(found[1:]) != native:
        raise Rejected(f"{device}: the native text is not as this driver writes it")
    return found[1:]


def changes_of(compared: str) -> str:
    """`show | compare` as one line for each statement, with the whole path: "+ groups SI-viaduct firewall ...".

    What only moved among its neighbours is signed "!". A value that stays in a list is no change of it.
    """
    found: list[tuple[str, str]] = []
    path: list[str] = []
    inside: list[str] = []
    for line in compared.splitlines():
        if header := re.fullmatch(r"\[edit ?(.*)\]", line.strip()):
            path, inside = header[1].split(), []
            continue
        sign, said = line[:1], line[1:].strip()
        if sign not in ("+", "-", "!") or not said:
            continue
        if said == "}":
            inside.pop()
        elif said.endswith("{"):
            inside.append(said[:-1].strip())
        else:
            found += [(sign, one) for one in _spread([*path, *inside], _words(said))]
    counts = Counter(found)
    other = {"+": "-", "-": "+", "!": ""}
    left = [(sign, one) for sign, one in found if not counts[(other[sign], one)]]
    return "".join(f"{sign} {one}\n" for sign, one in left)


def _words(said: str) -> list[str]:
    return [token for token in _TOKEN.findall(said) if token != ";"]


def differs(running: str, native: str, said: str, device: str) -> str:
    """See `drivers.box.Syntax`. said: of `changes_of`. A commit's label is not the text's; what moves is ours alone."""
    old, new = _held(lines_of(running)), _brought(native, device)
    found, strange = set(), ""
    for line in said.splitlines():
        sign, path = line[:1], line[1:].strip()
        if sign == "!" and not path.startswith(f"{OURS} ") and path != APPLY:
            strange = strange or f"the device would also move {header(path)!r}, which is not ours"
        elif sign != "!" and not path.startswith(f"groups {PENDING} "):
            found.add(f"{sign}{path}")
    planned = {f"+{path}" for path in _beyond(new, old)} | {f"-{path}" for path in _beyond(old, new)}
    return strange or differ(planned, found)


def _beyond(some: set[str], others: set[str]) -> set[str]:
    """Lines that the others do not have, not even as what stands around one of them."""
    around = {line[:at] for line in others for at, letter in enumerate(line) if letter == " "}
    return some - others - around


def adds(running: str, native: str, device: str) -> bool:
    return bool(_brought(native, device) - _held(lines_of(running)))


def _held(lines: Iterable[str]) -> set[str]:
    return {line for line in lines if line == APPLY or line.startswith(f"{OURS} ")}


def _brought(native: str, device: str) -> set[str]:
    body_of(native, device)
    return {line.removeprefix("set ") for line in native.splitlines() if line.startswith("set ")}


def pending_label(changes: str) -> str:
    """The label that the last commit brought, from its `changes_of`; "" if it brought none of ours."""
    found = re.search(rf"^\+ groups {PENDING} apply-macro ([a-z0-9-]{{1,63}}) since ", changes, re.MULTILINE)
    return found[1] if found else ""


def is_taken_back(pending: str, changes: str) -> bool:
    """Would a candidate of these `changes_of` take away the very label that the pending commit brought?"""
    label = re.search(rf"^\+ (groups {PENDING} apply-macro .*)$", pending, re.MULTILINE)
    return label is not None and f"- {label[1]}" in changes.splitlines()


def with_label(native: str, label: str, since: str) -> str:
    """The text that also leaves the label, beside the last commit's revision: so it always differs from an old one."""
    if not re.fullmatch(r"[a-z0-9-]{1,63}", label) or not re.fullmatch(r"[A-Za-z0-9-]{1,64}", since):
        raise Rejected(f"neither {label[:80]!r} nor {since[:80]!r} may have more than [a-z0-9-] in it")
    return f"{native}delete groups {PENDING}\nset groups {PENDING} apply-macro {label} since {since}\n"


WITHOUT_LABEL = f"delete groups {PENDING}\n"
