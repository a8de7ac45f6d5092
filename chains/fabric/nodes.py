# SPDX-License-Identifier: Apache-2.0
"""YAML text -> a tree that knows its lines, and readers for single values. Used by `schema`. Pure.

Works on the parser's nodes, not on plain dicts: those have lost the lines and one of two equal keys.
Every fault is collected; a value at fault reads as None. A value may be anything: nothing is taken on trust.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from chains.fabric.document import Fault

MAX_OCTETS = 8_000_000
MAX_FAULTS = 200
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
PORT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?")
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9-]{1,63})*"
)
# The parser's time grows with the square of such a run: 2,000 brackets took it 15 s.
DEEP = re.compile(r"(?:[\[{]\s*){32}")


@dataclass(slots=True)
class Faults:
    """Collected while reading. dropped: entries that cannot be used.

    seen: nodes that were read, to refuse aliases (a small file could mean a huge one).
    """

    found: list[Fault] = field(default_factory=list)
    dropped: int = 0
    seen: set[int] = field(default_factory=set)

    def add(self, node: Node, path: str, detail: str) -> None:
        self.found.append(Fault(node.start_mark.line + 1, path, detail))


Reader = Callable[[Node, str, Faults], object]


def compose(text: str, faults: Faults) -> Node | None:
    """The root node, None if the text is no YAML or empty: then there is a fault."""
    if DEEP.search(text):
        faults.found.append(Fault(0, "", "nested too deeply for a fabric file"))
        return None
    try:
        root = YAML(pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        faults.found.append(Fault(line, "", f"not YAML: {error.problem or error.context}"))
        return None
    except YAMLError as error:
        first = str(error).splitlines()[0]
        faults.found.append(Fault(0, "", f"not YAML: {first}"))
        return None
    except RecursionError:
        faults.found.append(Fault(0, "", "nested too deeply for a fabric file"))
        return None
    if root is None:
        faults.found.append(Fault(0, "", "the file is empty; it needs at least the key fabric"))
    return root  # type: ignore[no-any-return]


def pairs(node: Node, path: str, known: Collection[str], faults: Faults) -> Iterator[tuple[str, Node]]:
    """Key and value of each known key; unknown and doubled ones are faults."""
    if not _is_new(node, path, faults):
        return
    if not isinstance(node, MappingNode):
        faults.add(node, path, f"must be keys and values ({', '.join(known)}), not {told(node)}")
        return
    found: set[str] = set()
    for key, value in node.value:
        name = key.value if isinstance(key, ScalarNode) else None
        if name is None or name not in known:
            close = difflib.get_close_matches(str(name)[:100], list(known), 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            faults.add(key, path, f"there is no key {told(key)} here; {hint}")
        elif name in found:
            faults.add(key, join(path, name), "is there twice; remove one of the two")
        else:
            found.add(name)
            yield name, value


def entries(node: Node, path: str, faults: Faults) -> Iterator[Node]:
    """The members of a list; an empty value is an empty list."""
    if isinstance(node, ScalarNode) and tag_of(node) == "null":
        return
    if not _is_new(node, path, faults):
        return
    if not isinstance(node, SequenceNode):
        faults.add(node, path, f"must be a list, not {told(node)}")
        return
    yield from node.value


def settings(node: Node, path: str, faults: Faults) -> dict[str, str] | None:
    """Free keys with texts; whole numbers are taken as they are written."""
    if isinstance(node, ScalarNode) and tag_of(node) == "null":
        return {}
    if not _is_new(node, path, faults):
        return None
    if not isinstance(node, MappingNode):
        faults.add(node, path, f"must be keys and values, not {told(node)}")
        return None
    found: dict[str, str] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, ScalarNode) else ""
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            faults.add(key, path, f"{told(key)} is no name of a setting (a-z, 0-9, _)")
        elif name in found:
            faults.add(key, join(path, name), "is there twice; remove one of the two")
        elif not isinstance(value, ScalarNode) or tag_of(value) not in ("str", "int"):
            faults.add(value, join(path, name), f"must be text, not {told(value)}; put it in quotes")
        elif not value.value.isprintable() or len(value.value) > 255:
            faults.add(value, join(path, name), "must be one line of at most 255 printable characters")
        else:
            found[name] = value.value
    return found


def text(longest: int, pattern: re.Pattern[str] | None = None, what: str = "") -> Reader:
    """One line of printable text, perhaps of a pattern that `what` describes."""

    def read(node: Node, path: str, faults: Faults) -> str | None:
        if not isinstance(node, ScalarNode) or tag_of(node) != "str":
            fix = "; put it in quotes" if isinstance(node, ScalarNode) and tag_of(node) != "null" else ""
            faults.add(node, path, f"must be text, not {told(node)}{fix}")
        elif not node.value.isprintable():
            faults.add(node, path, f"has a control, separator or invisible character: {told(node)}")
        elif len(node.value) > longest:
            faults.add(node, path, f"is {len(node.value)} characters long; at most {longest}")
        elif pattern is not None and not pattern.fullmatch(node.value):
            faults.add(node, path, f"{told(node)} is not {what}")
        else:
            return str(node.value)
        return None

    return read


def integer(low: int, high: int) -> Reader:
    def read(node: Node, path: str, faults: Faults) -> int | None:
        if not isinstance(node, ScalarNode) or not re.fullmatch(r"-?[0-9]{1,12}", node.value) or node.style:
            faults.add(node, path, f"must be a whole number, not {told(node)}")
        elif not low <= int(node.value) <= high:
            faults.add(node, path, f"must be {low} to {high}, not {node.value}")
        else:
            return int(node.value)
        return None

    return read


def number(node: Node, path: str, faults: Faults) -> float | None:
    """0 or more."""
    if isinstance(node, ScalarNode) and not node.style and tag_of(node) in ("int", "float"):
        try:
            value = float(node.value)
        except ValueError:
            value = math.nan
        if 0 <= value <= 1e9:
            return value
    faults.add(node, path, f"must be a number, 0 to 1e9, not {told(node)}")
    return None


def flag(node: Node, path: str, faults: Faults) -> bool | None:
    if isinstance(node, ScalarNode) and not node.style and node.value in ("true", "false"):
        return bool(node.value == "true")
    faults.add(node, path, f"must be true or false, not {told(node)}")
    return None


def choice(*known: str) -> Reader:
    def read(node: Node, path: str, faults: Faults) -> str | None:
        if isinstance(node, ScalarNode) and tag_of(node) == "str" and node.value in known:
            return str(node.value)
        close = (
            difflib.get_close_matches(str(node.value)[:100], known, 1) if isinstance(node, ScalarNode) else []
        )
        hint = f"; did you mean {close[0]}?" if close else ""
        faults.add(
            node,
            path,
            f"must be one of {', '.join(word or chr(34) * 2 for word in known)}, not {told(node)}{hint}",
        )
        return None

    return read


def prefix(node: Node, path: str, faults: Faults) -> str | None:
    """In normal form: host bits must be zero."""
    return _address(node, path, faults, ipaddress.ip_network, "a prefix such as 10.0.0.0/24 or 2001:db8::/64")


def interface(node: Node, path: str, faults: Faults) -> str | None:
    """An address with its prefix length."""
    return _address(
        node, path, faults, ipaddress.ip_interface, "an address with its length, such as 10.0.0.1/24"
    )


def _address(node: Node, path: str, faults: Faults, parse: Callable[[str], object], what: str) -> str | None:
    if isinstance(node, ScalarNode) and tag_of(node) == "str" and ADDRESS.fullmatch(node.value):
        try:
            return str(parse(node.value))
        except ValueError as error:
            fix = ""
            if "host bits" in str(error):
                fix = f"; host bits are set, write {ipaddress.ip_network(node.value, strict=False)}"
            faults.add(node, path, f"{told(node)} is not {what}{fix}")
            return None
    faults.add(node, path, f"{told(node)} is not {what}")
    return None


def listed(read: Reader) -> Reader:
    """A list of such values; an entry may not be there twice."""

    def read_all(node: Node, path: str, faults: Faults) -> tuple[object, ...]:
        found: list[object] = []
        for index, member in enumerate(entries(node, path, faults)):
            value = read(member, f"{path}[{index}]", faults)
            if value is not None and value in found:
                faults.add(
                    member, f"{path}[{index}]", f"{told(member)} is there twice; remove one of the two"
                )
            elif value is not None:
                found.append(value)
        return tuple(found)

    return read_all


def tag_of(node: Node) -> str:
    """str, int, float, bool, null, seq, map, or what the file says."""
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def told(node: Node) -> str:
    """A node fit for an error text: ASCII, one line, short."""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "keys and values"
    if tag_of(node) == "null":
        return "nothing"
    shown = ascii(node.value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_new(node: Node, path: str, faults: Faults) -> bool:
    if id(node) in faults.seen:
        faults.add(node, path, "is an alias; write it out")
        return False
    faults.seen.add(id(node))
    return True
