# SPDX-License-Identifier: Apache-2.0
"""What a proof says, made by `verify` and stored with the plan; part of `types`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """A proven problem. packet: one member of the packet set that shows it; trail: where it went."""

    code: str
    detail: str
    packet: str = ""
    trail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """states: intermediate states walked; classes: packet sets walked in each; violations: empty if it holds."""

    states: int
    classes: int
    claims: tuple[str, ...]
    violations: tuple[Violation, ...] = ()
