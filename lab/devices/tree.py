# SPDX-License-Identifier: Apache-2.0
"""A command line's configuration as a tree of lines, and a grammar that says which lines exist.

Shared by the emulated devices that speak a Cisco-like command line. A line that the grammar does not list is
refused, as the box would refuse it. Every rule names the manual it was transcribed from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rule:
    """One statement. pattern: of the whole line. opens: the mode that it enters, "" for none.

    same: how much of the line says which statement it is: two lines with equal `same` replace each other, and `no`
    with that much removes it. Default: the whole line. source: manual and section.
    """

    pattern: re.Pattern[str]
    source: str
    opens: str = ""
    same: Callable[[str], str] = field(default=lambda line: line)


Grammar = Mapping[str, tuple[Rule, ...]]


class Unknown(ValueError):
    """The line is no statement of this mode or any mode around it."""


@dataclass
class Tree:
    """Ordered lines, each with the lines inside it."""

    lines: dict[str, Tree] = field(default_factory=dict)

    def copy(self) -> Tree:
        return Tree({line: inside.copy() for line, inside in self.lines.items()})

    def text(self, indent: str = "   ", depth: int = 0) -> str:
        """As `show running-config` prints it."""
        return "".join(
            f"{indent * depth}{line}\n{inside.text(indent, depth + 1)}" for line, inside in self.lines.items()
        )

    def flat(self, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Every line with the lines around it."""
        for line, inside in self.lines.items():
            yield (*path, line)
            yield from inside.flat((*path, line))

    def at(self, *path: str) -> Tree | None:
        found: Tree | None = self
        for line in path:
            found = found.lines.get(line) if found is not None else None
        return found


class Editor:
    """A terminal in configuration mode. Errors: Unknown, with the line.

    order(mode, line): where the line stands among those of its mode (sequence numbers); others keep their place.
    """

    def __init__(
        self,
        tree: Tree,
        grammar: Grammar,
        *,
        order: Callable[[str, str], object] | None = None,
        falls_through: bool = True,
    ) -> None:
        self._grammar, self._order, self._falls_through = grammar, order, falls_through
        self._stack: list[tuple[str, Tree]] = [("", tree)]

    @property
    def mode(self) -> str:
        return self._stack[-1][0]

    def type_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.type(line)

    def type(self, text: str) -> None:
        """One line; `exit`, `end`, `!` and indentation mean what they mean."""
        line = " ".join(text.split())
        if not line or line.startswith("!"):
            return
        if line == "end":
            del self._stack[1:]
        elif line == "exit":
            if len(self._stack) > 1:
                self._stack.pop()
        else:
            self._statement(line)

    def _statement(self, line: str) -> None:
        is_no = line.startswith(("no ", "default "))
        body = line.partition(" ")[2] if is_no else line
        for depth in range(len(self._stack) - 1, -1, -1):
            mode, tree = self._stack[depth]
            rule = self._rule(mode, body, is_no, tree)
            if rule is not None:
                del self._stack[depth + 1 :]
                self._remove(rule, body, tree) if is_no else self._add(mode, rule, body, tree)
                return
            if not self._falls_through:
                break
        raise Unknown(line)

    def _rule(self, mode: str, body: str, is_no: bool, tree: Tree) -> Rule | None:
        for rule in self._grammar.get(mode, ()):
            if rule.pattern.fullmatch(body):
                return rule
        if is_no:  # with less than the whole line
            for rule in self._grammar.get(mode, ()):
                if any(rule.pattern.fullmatch(line) and rule.same(line) == body for line in tree.lines):
                    return rule
        return None

    def _add(self, mode: str, rule: Rule, line: str, tree: Tree) -> None:
        same = rule.same(line)
        held = next((old for old in tree.lines if rule.pattern.fullmatch(old) and rule.same(old) == same), None)
        if held is None or held != line:
            inside = tree.lines.pop(held, Tree()) if held is not None else Tree()
            tree.lines[line] = inside if rule.opens else Tree()
            if self._order is not None:
                place = self._order
                tree.lines = dict(sorted(tree.lines.items(), key=lambda pair: place(mode, pair[0])))  # type: ignore[arg-type,return-value]
        if rule.opens:
            self._stack.append((rule.opens, tree.lines[line]))

    def _remove(self, rule: Rule, body: str, tree: Tree) -> None:
        for line in list(tree.lines):
            is_meant = body in (line, rule.same(line)) or rule.same(line) == rule.same(body)
            if rule.pattern.fullmatch(line) and is_meant:
                del tree.lines[line]
