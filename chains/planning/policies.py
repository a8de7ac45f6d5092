# SPDX-License-Identifier: Apache-2.0
"""What a hop is told to do, by capability. Frozen values, made by `chains.selectors.policy`; part of `types`."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.state import Rule, Verdict


@dataclass(frozen=True, slots=True)
class RulePolicy:
    """For filters. Rules of both families; a rule applies where its family fits."""

    rules: tuple[Rule, ...] = ()
    default: Verdict = Verdict.DENY


@dataclass(frozen=True, slots=True)
class IpsPolicy:
    """patterns: hexadecimal, see drivers.state.Signatures."""

    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NatPolicy:
    """block_size: ports a subscriber gets; 0: the offer's. blocks: 0 for one block for everybody from the start, else
    blocks are given on demand, at most so many. addresses: public ones for each prefix then; 0: a quarter of what a
    block for everybody would take.
    """

    block_size: int = 0
    blocks: int = 0
    addresses: int = 0


@dataclass(frozen=True, slots=True)
class TapPolicy:
    """Nothing to say: a tap gets a copy of every packet."""


Policy = RulePolicy | IpsPolicy | NatPolicy | TapPolicy
